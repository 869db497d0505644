"""One partition's messages in, what they change out: without a broker."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec
import pytest

from service.adapters.kafka_findings import Record, chained, encode, told
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import line_of
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.chain import BEGINNING
from service.core.drivers import Member
from service.core.events import GpuSample
from service.core.findings import OddPoint
from service.core.intents import Feedback, Order
from service.core.money import ZERO
from service.core.state import Saved, StateError, Streams
from service.entrypoints.partition import Partition, Place, TooManyBadError, steps
from tests.factories import make_event, make_finding

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOURCE = {"source": b"aws"}
ORDERED = {"order": b"1"}


def partition(
    told_until=BEGINNING, topic="billing.events", number=0, partitions=1, bad=100, skip=BEGINNING
):
    pipeline = build_pipeline(Settings(), {}, tells_history=True, keeps_history=False)
    return Partition(Place(topic, number, partitions), pipeline, told_until, bad, skip)


def message(offset, *lines, at=START, headers=SOURCE):
    return Message(offset, at, headers, b"".join(lines))


def hour(number, cost=1, **changes):
    start = START + number * HOUR
    event = make_event(
        charge_period_start=start,
        charge_period_end=start + HOUR,
        billed_cost=cost,
        effective_cost=cost,
        x_event_id=f"e{number}",
        **changes,
    )
    return line_of(event)


def month_with_a_spike():
    """A message for each hour: something costs 1, and once a hundred times as much."""
    for number in range(24 * 40):
        cost = 100 if number == 24 * 36 else 1 + number % 3 / 10
        yield message(number, hour(number, cost), at=START + (number + 1) * HOUR)


def records(part, messages):
    return [out.record for out in map(part.take, messages) if out.record is not None]


def in_batches(messages, most=30):
    """Cut messages as a broker may have taken them in."""
    rand, messages = random.Random(4), list(messages)  # noqa: S311 - chance that comes again
    while messages:
        many = rand.randint(1, most)
        yield messages[:many]
        messages = messages[many:]


def test_an_odd_hour_is_said_in_links_that_follow_one_another():
    said = records(partition(), month_with_a_spike())
    assert said
    assert said[0].previous == BEGINNING
    assert [record.previous for record in said[1:]] == [record.offset for record in said[:-1]]
    assert {row.finding.kind for record in said for row in record.told} >= {"spike"}


@pytest.mark.parametrize("known", range(3))
def test_what_was_said_is_not_said_again_and_the_rest_is_the_same(known):
    said = records(partition(), month_with_a_spike())
    again = records(partition(said[known].offset), month_with_a_spike())
    assert again == said[known + 1 :]


@pytest.mark.parametrize("cut", [1, 24 * 36 - 1, 24 * 36 + 1, 24 * 36 + 30])
def test_where_it_was_cut_and_restored_it_says_the_same(cut):
    messages = list(month_with_a_spike())
    said = records(partition(), messages)
    first, streams = partition(), Streams()
    before = records(first, messages[:cut])
    chunks = {}
    for chunk in first.save(streams):
        chunks[chunk.stream] = [memoryview(bytes(chunk.data))]
    back = partition(told_until=before[-1].offset if before else BEGINNING)
    assert back.restore(Saved(chunks, chunks.__getitem__)) == []
    assert back.next_offset == cut
    assert before + records(back, messages[cut:]) == said


def test_messages_that_were_taken_in_together_are_one_step_wherever_it_was_cut():
    taken = list(in_batches(month_with_a_spike()))
    part = partition()
    said = [out.record for batch in taken if (out := part.take(*batch)).record is not None]
    assert {row.finding.kind for record in said for row in record.told} >= {"spike"}
    ends = {batch[-1].offset for batch in taken}
    assert ends >= {record.offset for record in said}
    first, streams, chunks = partition(), Streams(), {}
    half = len(taken) // 2
    for batch in taken[:half]:
        first.take(*batch)
    for chunk in first.save(streams):
        chunks[chunk.stream] = [memoryview(bytes(chunk.data))]
    back = partition(told_until=max(r.offset for r in said if r.offset < first.next_offset))
    assert back.restore(Saved(chunks, chunks.__getitem__)) == []
    rest = [out.record for batch in taken[half:] if (out := back.take(*batch)).record is not None]
    assert rest == [record for record in said if record.offset >= first.next_offset]


def test_what_is_no_row_is_a_step_of_its_own():
    rows, tick, order = message(0), message(1, headers={"tick": b"1"}), message(2, headers=ORDERED)
    batch = [rows, rows, tick, order, order, rows]
    assert [*steps(batch)] == [[rows, rows], [tick], [order], [order], [rows]]


def test_what_is_wrong_with_a_row_is_told_of_its_own_message():
    part, later = partition(), START + timedelta(days=101)
    part.take(message(0, hour(0), at=later - timedelta(days=1)))
    out = part.take(
        message(1, b"bad\n", at=later),
        message(2, hour(0), b"bad\n", at=later, headers={"source": b"other"}),
        message(3, hour(0), at=later),
    )
    assert [(x.name, x.source) for x in out.letters] == [
        ("billing.events/0/1/1", "aws"),
        ("billing.events/0/2/2", "other"),
        ("billing.events/0/3/0", "aws"),  # too late for a source that had such hours
    ]
    assert [(s.source, s.rejected) for s in out.record.sources] == [("aws", 1), ("other", 1)]


def test_what_was_saved_of_a_topic_of_other_partitions_is_refused():
    part, chunks = partition(), {}
    for chunk in part.save(Streams()):
        chunks[chunk.stream] = [memoryview(bytes(chunk.data))]
    with pytest.raises(StateError, match="had 1 partitions, not 8"):
        partition(partitions=8).restore(Saved(chunks, chunks.__getitem__))


def test_a_bad_line_is_a_letter_and_costs_no_other():
    part = partition()
    out = part.take(message(0, hour(0), b"not json\n", hour(1)))
    (letter,) = out.letters
    assert (letter.name, letter.raw, letter.source) == ("billing.events/0/0/2", b"not json", "aws")
    assert letter.reason.startswith("is not JSON")
    (status,) = out.record.sources
    assert (status.events, status.rejected) == (2, 1)


def test_so_many_bad_lines_in_a_row_end_it_whatever_message_they_are_in():
    part = partition(bad=10)
    for offset in range(9):
        part.take(message(offset, b"{}\n"))
    with pytest.raises(TooManyBadError, match=r"billing.events/0: 10 bad lines in a row, the last"):
        part.take(message(9, b"{}\n"))


def test_where_it_gave_up_it_goes_past_when_told_to_and_then_for_good():
    bad = [message(offset, b"{}\n" * 4) for offset in range(6)]
    for told_until in (BEGINNING, 1):
        with pytest.raises(TooManyBadError, match=r"--skip-bad-until billing\.events/0/2$"):
            records(partition(told_until, bad=10), bad)
    part = partition(bad=10, skip=2)
    assert [len(part.take(one).letters) for one in bad[:4]] == [4, 4, 4, 4]
    with pytest.raises(TooManyBadError, match=r"--skip-bad-until billing\.events/0/4$"):
        part.take(bad[4])
    again = partition(told_until=3, bad=10)
    assert records(again, bad[:4]) == []
    with pytest.raises(TooManyBadError, match=r"--skip-bad-until billing\.events/0/4$"):
        again.take(bad[4])


def test_a_good_line_between_bad_ones_begins_the_count_anew():
    part = partition(bad=10)
    for offset in range(30):
        part.take(message(offset, b"{}\n" * 9, hour(offset)))


def test_a_row_that_belongs_elsewhere_is_sent_on_and_not_counted_here():
    part = partition(number=0, partitions=8)
    out = part.take(message(0, hour(0, resource_id="i-0abc")))  # is in partition 5
    (stray,) = out.strays
    assert (stray.partition, stray.source) == (5, "aws")
    assert stray.line == hour(0, resource_id="i-0abc")
    assert out.record.sources == []


def test_a_row_arrives_when_the_broker_had_it_unless_it_says_otherwise():
    part = partition()
    at = START + timedelta(days=3)
    out = part.take(message(0, hour(0), b"bad\n", at=at))
    assert out.record.sources[0].last_arrived_at == at
    told = at - timedelta(days=1)
    out = part.take(message(1, hour(1, x_arrived_at=told), b"bad\n", at=at, headers={}))
    assert [s.last_arrived_at for s in out.record.sources if s.source == "events"] == [told]


def test_time_does_not_step_back_and_passes_in_messages_without_events():
    part = partition()
    part.take(message(0, hour(0), at=START + HOUR))
    part.take(message(1, at=START, headers={"tick": b"1"}))
    assert part.now == START + HOUR
    part.take(message(2, at=START + 2 * HOUR, headers={"tick": b"1"}))
    assert part.now == START + 2 * HOUR


def test_gpu_samples_have_a_partition_of_their_own():
    part = partition(topic="gpu.samples")
    sample = GpuSample(timestamp=START, gpu_uuid="GPU-1", hostname="n1", resource_id="i-1")
    out = part.take(message(0, line_of(sample), b"bad\n", headers={}))
    assert [(s.source, s.events) for s in out.record.sources] == [("gpu_samples", 1)]


def test_rows_without_a_name_are_told_apart_within_their_message():
    part = partition()
    row = line_of(make_event(x_event_id=""))
    out = part.take(message(0, row, row, b"bad\n"))
    assert [(s.events, s.duplicates) for s in out.record.sources] == [(2, 0)]
    out = part.take(message(1, row, row, b"bad\n"))
    assert [(s.events, s.duplicates) for s in out.record.sources] == [(4, 2)]


def record(previous, offset, part=0, parts=1, count=0):
    rows = told([Member(make_finding(finding_id=f"f{n}"), {}, 1) for n in range(count)], {})
    return Record(
        topic="billing.events", partition=0, previous=previous, offset=offset, now=START,
        told=rows, sources=[], part=part, parts=parts,
    )  # fmt: skip


def test_what_two_owners_said_is_taken_once():
    log = [record(-1, 3), record(-1, 3), record(3, 7), record(-1, 3), record(3, 7), record(7, 8)]
    assert [r.offset for r in chained(iter(log))] == [3, 7, 8]


def test_a_link_that_misses_the_one_before_is_not_taken():
    assert [r.offset for r in chained(iter([record(-1, 3), record(7, 8)]))] == [3]


def test_a_link_counts_when_all_its_parts_are_there():
    cut = [record(-1, 3, 0, 3), record(-1, 3, 1, 3)]
    assert list(chained(iter(cut))) == []
    whole = [*cut, record(-1, 3, 0, 3), record(-1, 3, 1, 3), record(-1, 3, 2, 3)]
    assert [r.part for r in chained(iter(whole))] == [0, 1, 2]


def test_a_record_that_is_too_large_is_cut_and_nothing_of_it_is_lost():
    whole = record(-1, 3, count=3000)
    messages = encode(whole)
    assert len(messages) > 1
    assert all(len(one) < 1_000_000 for one in messages)
    read = [msgspec.json.decode(one, type=Record) for one in messages]
    assert [row for part in read for row in part.told] == whole.told
    assert list(chained(iter(read))) == read


def test_only_the_periods_that_changed_are_written_down():
    points = {step: OddPoint(ZERO, ZERO, ZERO, ZERO, 3.0) for step in range(9)}
    (row,) = told([Member(make_finding(), points, 1, {3, 4, 99})], {})
    assert row.points == {3: points[3], 4: points[4], 99: None}


def test_a_chart_comes_with_what_is_new_and_then_every_three_hours():
    said = records(partition(), month_with_a_spike())
    rows = [(record.now, row) for record in said for row in record.told]
    charted = {}
    for now, row in rows:
        name = row.finding.finding_id
        assert (row.chart is not None) == (name not in charted or now - charted[name] >= 3 * HOUR)
        if row.chart is not None:
            assert str(row.chart.series) == row.finding.series
            charted[name] = now
    assert charted


def test_what_is_known_of_a_source_in_which_nothing_is_odd_is_at_most_five_minutes_old():
    minute = timedelta(minutes=1)
    part = partition()
    said = [part.take(message(n, hour(n), at=START + n * minute)).record for n in range(12)]
    assert [number for number, record in enumerate(said) if record is not None] == [0, 5, 10]
    assert [record.sources[0].events for record in said if record is not None] == [1, 6, 11]


def test_an_order_reaches_the_detectors_once():
    part = partition()
    until_the_spike = islice(month_with_a_spike(), 24 * 36 + 1)
    told = [row.finding for record in records(part, until_the_spike) for row in record.told]
    names = sorted({finding.finding_id for finding in told})
    said = Feedback(
        at=START, who="ana", via="api", why="y", incident_id="i", verdict="new_level"
    )  # fmt: skip
    order = Order(feedback=said, finding_ids=[*names, "another's"], undoes=None)
    value = msgspec.json.encode(order)
    at = START + (24 * 36 + 1) * HOUR
    first, again = (
        part.take(message(24 * 36 + 1 + n, value, at=at, headers={"order": b"1"})) for n in range(2)
    )
    assert ("spike", at) in {(r.finding.detector, r.finding.ended_at) for r in first.record.told}
    assert again.record is None
