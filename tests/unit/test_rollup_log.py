"""The log of sums without a broker: when moments are judged, and that nothing else shows."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice

import msgspec
import pytest

from service.adapters.kafka_findings import chained
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import ORDER_HEADER, TICK_HEADER, line_of
from service.adapters.kafka_rollups import decode, encode
from service.adapters.kafka_topics import EVENTS, ROLLUPS
from service.adder import PAST_IS_OVER
from service.bootstrap import build_adder, build_pipeline
from service.config import AllocationSettings, KafkaSettings, Settings
from service.core.chain import BEGINNING
from service.core.intents import Feedback, Order
from service.core.partitions import partition_key, partition_of
from service.core.state import StateError, Streams
from service.core.tag_policy import Policy
from service.entrypoints.partition import Partition, Place
from service.entrypoints.rollup_log import RollupLog
from tests.arriving import Disk
from tests.crossing import BEGINS, ENDS, HOUR, rows, sums

T0 = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PARTITIONS = 3
SETTINGS = Settings(
    kafka=KafkaSettings(partitions=PARTITIONS),
    allocation=AllocationSettings(policies={"tags": Policy(required=["project"])}),
)


def rollup_log(told_until=BEGINNING, partitions=PARTITIONS):
    return RollupLog(build_adder(SETTINGS), partitions, told_until)


def partition(number, partitions=PARTITIONS):
    pipeline = build_pipeline(SETTINGS, {}, tells_history=True, is_part=True)
    return Partition(Place(EVENTS, number, partitions), pipeline, BEGINNING, 100, sums_every=MINUTE)


def tick(at):
    return at, b"", {TICK_HEADER: b"1"}


def said_by(number, messages):
    """Return what a partition reports, as it is written."""
    mine, found = partition(number), []
    for offset, (at, value, headers) in enumerate(messages):
        for report in mine.take(Message(offset, at, headers, value)).reports:
            found += [(report.passed, value) for value in encode(report)]
    return found


@pytest.fixture(scope="module")
def reports():
    """What each partition reports of rows that come hour by hour."""
    come = {number: {} for number in range(PARTITIONS)}
    for arrival in rows(T0):
        at = max(arrival.arrived_at, T0 + (BEGINS - 1) * HOUR)
        number = partition_of(partition_key(arrival.event), PARTITIONS)
        # Rows of one partition come a little later than those of another.
        at += number * timedelta(seconds=7)
        come[number].setdefault(at, []).append(line_of(arrival.event))
    end = tick(T0 + (ENDS + 2) * HOUR)
    found = []
    for number, of in come.items():
        messages = [(at, b"".join(some), {"source": b"aws"}) for at, some in sorted(of.items())]
        found.append(said_by(number, [*messages, end]))
    return found


def in_order(reports):
    return sorted((report for some in reports for report in some), key=lambda one: one[0])


def mixed(reports, chance, lag):
    """Let partitions be up to some reports ahead of each other; some of it is said twice."""
    left, found = [list(some) for some in reports], []
    while any(left):
        most = max(len(some) for some in left)
        some = chance.choice([one for one in left if one and len(one) > most - lag])
        found.append(some.pop(0))
        if chance.random() < 0.1:
            found += found[-chance.randrange(1, 4) :]
    return found


def run(log, written, first=0):
    said = [
        log.take(Message(offset, T0, {}, value)) for offset, (_, value) in enumerate(written, first)
    ]
    return [one for one in said if one is not None]


def newest(records):
    return sums({t.finding.finding_id: t.finding for r in records for t in r.told}.values())


@pytest.fixture(scope="module")
def wanted(reports):
    found = newest(run(rollup_log(), in_order(reports)))
    assert {one.detector for one in found.values()} >= {"new_spend", "shift", "tag_policy"}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("lag", [2, 1000])
def test_how_reports_of_partitions_lie_between_each_other_does_not_show(reports, wanted, lag):
    chance = random.Random(lag)  # noqa: S311 - chance that can be had again
    said = run(rollup_log(), mixed(reports, chance, lag))
    assert newest(said) == wanted
    assert list(chained(said)) == said


@pytest.mark.slow
def test_from_a_saved_state_on_it_says_the_same_and_nothing_twice(reports):
    written = mixed(reports, random.Random(4), 3)  # noqa: S311
    said, cut = run(rollup_log(), written), 2 * len(written) // 3
    first, disk = rollup_log(), Disk()
    before = run(first, written[:cut])
    disk.write(first.save(Streams()))
    told_until = before[-1].offset + 1 if before else BEGINNING
    back = rollup_log(told_until)
    assert back.restore(disk.saved()) == []
    assert back.next_offset == cut
    again = run(back, written[cut:], cut)
    assert [one.told for one in again] == [
        o.told for o in said if o.offset > max(told_until, cut - 1)
    ]


@pytest.mark.slow
def test_feedback_on_a_group_ends_what_is_found_of_it(reports):
    log, written = rollup_log(), in_order(reports)
    found = newest(run(log, written))
    name = next(one.finding_id for one in found.values() if one.detector == "shift")
    said = Feedback(at=T0, who="ana", via="api", why="y", incident_id="i", verdict="new_level")
    value = msgspec.json.encode(Order(feedback=said, finding_ids=[name], undoes=None))
    record = log.take(Message(len(written), T0, {ORDER_HEADER: b"1"}, value))
    assert record.topic == ROLLUPS
    assert [(t.finding.finding_id, t.finding.is_new_level) for t in record.told] == [(name, True)]


def quiet(number, *minutes):
    return said_by(number, [tick(T0 + minute * MINUTE) for minute in minutes])


def test_a_moment_is_judged_when_the_last_partition_has_passed_it():
    log = rollup_log()
    run(log, [*quiet(0, 0, 9), *quiet(1, 0, 7)])
    assert (log.now, log.waits_for) == (None, 1)
    run(log, quiet(2, 0, 4))
    assert log.now == T0 + 4 * MINUTE
    run(log, quiet(2, 0, 4, 30))
    assert log.now == T0 + 7 * MINUTE


def test_a_quiet_partition_needs_a_tick_even_if_it_never_had_a_message():
    mine = partition(0)
    assert mine.is_quiet(T0, MINUTE)
    mine.take(Message(0, T0, {TICK_HEADER: b"1"}, b""))
    assert not mine.is_quiet(T0 + MINUTE / 2, MINUTE)
    assert mine.is_quiet(T0 + MINUTE, MINUTE)


def test_what_is_in_a_report_came_before_its_mark():
    event = next(iter(rows(T0))).event
    line = line_of(event)
    messages = [
        (T0 + 10 * timedelta(seconds=1), line, {"source": b"aws"}), tick(T0 + 5 * MINUTE)
    ]  # fmt: skip
    number = partition_of(partition_key(event), PARTITIONS)
    first, last = (decode(value) for _, value in said_by(number, messages))
    assert (first.mark, first.passed, first.cells) == (T0, T0, [])
    assert (last.mark, last.passed) == (T0 + MINUTE, T0 + 5 * MINUTE)
    assert [part.size for part in last.cells] == [1]


def test_what_begins_in_the_middle_since_the_rest_is_not_kept_begins_there():
    log = rollup_log()
    run(log, [one for n in range(PARTITIONS) for one in quiet(n, 0, 3, 5)[1:]])
    assert log.now == T0 + 5 * MINUTE


def test_a_report_that_is_too_large_is_cut_and_counts_when_all_of_it_is_there():
    wide = [
        msgspec.structs.replace(row.event, resource_id=f"i-{n}", tags={"team": "t" * 250 + str(n)})
        for n, row in enumerate(islice(rows(T0), 1200))
    ]
    mine = partition(0, 1)
    mine.take(Message(0, T0, {}, b"".join(map(line_of, wide))))
    (report,) = mine.take(Message(1, T0 + MINUTE, {TICK_HEADER: b"1"}, b"")).reports
    written = encode(report)
    assert len(written) > 1
    assert [cell for one in written for cell in decode(one).cells] == report.cells
    log = rollup_log(partitions=1)
    run(log, [(T0, value) for value in written[:-1]])
    assert log.now is None
    run(log, [(T0, written[-1])])
    assert log.now == T0 + MINUTE


def test_the_end_of_a_sources_past_is_said_once_nothing_more_of_it_comes():
    log = rollup_log(partitions=1)
    pipeline = build_pipeline(Settings(), {}, tells_history=False, is_part=True)
    mine = Partition(Place(EVENTS, 0, 1), pipeline, BEGINNING, 100, sums_every=MINUTE)
    now = T0 + 30 * 24 * HOUR
    old = [line_of(row.event) for row in islice(rows(T0), 40)]
    said, offset = [], 0
    for minute in range(60):
        value = old.pop() if minute < 20 and minute % 5 == 0 else b""
        out = mine.take(Message(minute, now + minute * MINUTE, {"source": b"aws"}, value))
        for report in out.reports:
            for written in encode(report):
                record = log.take(Message(offset, now, {}, written))
                offset += 1
                if record is not None and record.ends_backfill:
                    said.append((record.ends_backfill, record.now))
    assert said == [("aws", now + 16 * MINUTE + PAST_IS_OVER)]


def test_state_of_another_number_of_partitions_is_refused():
    disk = Disk()
    disk.write(rollup_log().save(Streams()))
    with pytest.raises(StateError, match="3 partitions, not 8"):
        rollup_log(partitions=8).restore(disk.saved())
