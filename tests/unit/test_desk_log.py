"""The router's log: its entries in, what they change out; the same from any saved state on."""

from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from service.adapters.kafka_client import MAX_MESSAGE_BYTES
from service.adapters.kafka_findings import (
    Followed,
    Ordered,
    Record,
    Tick,
    decode,
    encode,
    told,
)
from service.adapters.kafka_topics import ROLLUPS
from service.bootstrap import build_desk_parts
from service.config import Settings
from service.core.chain import BEGINNING
from service.core.drivers import Member
from service.core.findings import OddPoint
from service.core.intents import Feedback
from service.core.ports import SourceStatus
from service.core.state import Streams
from service.entrypoints.desk_log import DeskLog
from tests.arriving import Disk
from tests.factories import STARTS_AT, make_chart, make_finding, make_gpu_host

HOUR = timedelta(hours=1)
PLACE = ("billing.events", 3)


def desk_log():
    settings = Settings()
    parts = build_desk_parts(settings)
    return DeskLog(parts, settings.detection.detectors, timedelta(days=62), 2)


def member(points, dirty, **values):
    odd = {step: OddPoint(Decimal(90), *[Decimal(10)] * 3, 9.0) for step in points}
    values = {"impact": Decimal(80) * len(points), "detector": "spike", "kind": "spike"} | values
    return Member(make_finding(**values), odd, 1, dirty, max(points), ["team=x"])


def record(offset, *members, previous=None, number=PLACE[1], chart=True, events=5):
    charts = {one.finding.finding_id: make_chart() for one in members} if chart else {}
    return Record(
        topic=PLACE[0], partition=number, previous=offset - 1 if previous is None else previous,
        offset=offset, now=STARTS_AT, told=told(members, charts),
        sources=[SourceStatus(source="aws", events=events)],
    )  # fmt: skip


def feedback(place, verdict, name):
    at = STARTS_AT + place * HOUR
    intent = Feedback(at=at, who="ana", via="api", why="y", incident_id=name, verdict=verdict)
    return Followed(place=place, intent=intent)


def run(log, entries, first=0):
    return [
        log.take(offset, STARTS_AT + offset * HOUR, entry)
        for offset, entry in enumerate(entries, first)
    ]


def an_incident(log):
    (changes,) = run(log, [record(0, member({1, 2}, {1, 2}))])
    (incident,) = changes.incidents
    return incident


def story():
    """What partitions and people say, the name of the incident being known."""
    name = an_incident(desk_log()).incident_id
    return [
        record(0, member({1, 2}, {1, 2})),
        record(
            0, member({5}, {5}, finding_id="f9", service_name="S"), number=1, previous=BEGINNING
        ),
        record(0, member({1, 2}, {1, 2})),
        record(1, member({1, 2, 3}, {3}), chart=False, events=7),
        Tick(),
        feedback(4, "not_an_issue", name),
        feedback(4, "not_an_issue", name),
        feedback(5, "undo", name),
        Ordered(intent_id=feedback(4, "not_an_issue", name).intent.intent_id),
        record(2, member({1, 3}, {2, 4}), chart=False),
        feedback(6, "undo", name),
        record(3, member({1, 3, 9}, {9}), chart=False),
    ]


def test_what_changes_is_told_and_continues_from_what_changed_before():
    changes = [one for one in run(desk_log(), story()) if one is not None]
    assert [(one.previous, one.offset) for one in changes] == [
        (0, 1), (1, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 10), (10, 11), (11, 12),
    ]  # fmt: skip
    assert sum(len(one.notices) for one in changes) >= 3


@pytest.mark.parametrize("cut", range(12))
def test_from_a_saved_state_on_it_says_the_same(cut):
    entries, whole = story(), desk_log()
    said = run(whole, entries)
    first, again, disk = desk_log(), desk_log(), Disk()
    run(first, entries[:cut])
    disk.write(first.save(Streams()))
    again.restore(disk.saved())
    assert run(again, entries[cut:], cut) == said[cut:]
    assert (again.offset, again.next_offset, again.next_intent) == (12, 12, 7)


def test_a_period_that_is_no_more_is_taken_out_of_its_incident():
    log = desk_log()
    run(log, [record(0, member({1, 2}, {1, 2}))])
    (changes,) = run(log, [record(1, member({1}, {2}), chart=False)], 1)
    assert changes.incidents[0].actual == Decimal(90)


def test_a_notice_has_the_chart_that_came_with_its_finding():
    log = desk_log()
    run(log, [record(0, member({1, 2}, {1, 2}))])
    (changes,) = run(log, [record(1, member({1, 2, *range(3, 40)}, {3}), chart=False)], 1)
    assert changes.notices
    assert all(notice.chart == make_chart() for notice in changes.notices)


def test_sources_are_added_up_over_partitions():
    log = desk_log()
    changes = run(log, [record(0, events=5), record(0, number=1, events=2), record(1, events=6)])
    assert [one.sources[0].events for one in changes] == [5, 7, 8]


def test_feedback_is_handed_to_the_partitions_of_its_findings_until_that_is_said():
    log = desk_log()
    name = an_incident(log).incident_id
    said = feedback(0, "not_an_issue", name)
    (changes,) = run(log, [said], 1)
    assert [one.state for one in changes.incidents] == ["expected"]
    (handed,) = log.orders
    assert (handed.places, handed.order.finding_ids) == ([PLACE], ["f1"])
    run(log, [Ordered(intent_id=said.intent.intent_id)], 2)
    assert log.orders == []


def test_an_undo_names_what_it_takes_back():
    log = desk_log()
    name = an_incident(log).incident_id
    said = feedback(0, "not_an_issue", name)
    run(log, [said, feedback(1, "undo", name)], 1)
    assert [one.order.undoes for one in log.orders] == [None, said.intent.intent_id]


@pytest.mark.parametrize(
    ("verdict", "finding", "why"),
    [
        ("undo", {}, "nothing to take back"),
        ("new_level", {"detector": "purchase"}, "no detector|nothing in this incident"),
        ("not_an_issue", {"detector": "idle_gpu"}, "no detector"),
        ("new_level", {"ended_at": STARTS_AT + HOUR}, "nothing in this incident has a level"),
    ],
)
def test_what_cannot_be_followed_is_refused_and_changes_no_incident(verdict, finding, why):
    log = desk_log()
    (changes,) = run(log, [record(0, member({1, 2}, {1, 2}, **finding))])
    said = feedback(0, verdict, changes.incidents[0].incident_id)
    (changes,) = run(log, [said], 1)
    assert changes.incidents == changes.intents == []
    pattern = changes.refused[said.intent.intent_id]
    assert any(text in pattern for text in why.split("|"))
    assert log.orders == []


def test_partitions_that_nothing_is_heard_of_are_one_sentence_until_they_speak_again():
    log, minute = desk_log(), timedelta(minutes=1)
    for number in (1, 3):
        log.take(number, STARTS_AT, record(0, number=number, previous=BEGINNING))
    log.take(4, STARTS_AT + 10 * minute, Tick())
    assert log.silent() == []
    log.take(5, STARTS_AT + 11 * minute, record(1, previous=0))
    assert log.silent() == [
        "A worker has stopped since 9 Mar 2026 18:00 UTC: nothing is heard of billing.events/1."
    ]
    log.take(6, STARTS_AT + 12 * minute, record(1, number=1, previous=0))
    assert log.silent() == []


def test_who_adds_up_may_be_silent():
    log = desk_log()
    log.take(0, STARTS_AT, replace(record(0), topic=ROLLUPS))
    log.take(1, STARTS_AT + HOUR, Tick())
    assert log.silent() == []


def test_hosts_are_put_together_from_their_news_and_partitions_say_how_far_they_are():
    host = make_gpu_host()
    older, newer = (replace(host, hours=part) for part in (host.hours[:3], host.hours[2:]))
    entries = [
        replace(record(0, chart=False), gpus={"i-gpu": older, "i-x": older}),
        replace(record(1, chart=False), gpus={"i-gpu": newer, "i-x": None}),
    ]
    (first, second) = run(desk_log(), entries)
    assert first.gpus == {"i-gpu": older, "i-x": older}
    assert second.gpus == {"i-gpu": host, "i-x": None}
    name = "/".join(map(str, PLACE))
    assert second.partitions[name].offset == 1


def test_what_came_of_the_newest_period_is_added_up_over_partitions():
    log = desk_log()
    ends = [STARTS_AT, STARTS_AT + HOUR, STARTS_AT + HOUR]
    for number, end in enumerate(ends):
        source = SourceStatus(
            source="aws", rows_last_hour=4, period_end=end, series_arrived=3, series_usual=5
        )
        said = record(0, number=number, previous=BEGINNING)
        said.sources[:] = [source]
        (changes,) = run(log, [said], number)
    (status,) = changes.sources
    assert (status.rows_last_hour, status.period_end) == (12, STARTS_AT + HOUR)
    assert (status.series_arrived, status.series_usual) == (6, 10)


def test_a_large_record_of_hosts_is_cut_and_read_as_one_link():
    many = {f"i-{n}": make_gpu_host(host=f"i-{n}", pool="p" * 4000) for n in range(300)}
    whole = replace(record(0), gpus=many)
    values = encode(whole)
    assert len(values) > 1
    assert max(map(len, values)) <= MAX_MESSAGE_BYTES
    log = desk_log()
    changes = [log.take(at, STARTS_AT, decode(value)) for at, value in enumerate(values)]
    assert changes[-1].gpus == many
    assert changes[:-1] == [None] * (len(values) - 1)
