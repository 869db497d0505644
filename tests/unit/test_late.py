"""What was over before its rows came: told once, as over, to those whom it would have reached."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pytest

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from service.core.intents import Feedback, Mark, Put
from service.core.routing import Route
from service.core.silences import Silence
from service.core.subscriptions import Subscription
from tests.factories import make_event
from tests.office import HOUR, T0, Office, odd

DAY = 24 * HOUR
LATE = T0 + 32 * HOUR
SAID = {"who": "ana", "via": "slack", "why": "so"}
POSTED = [("slack:#spend", "post", "first")]


def office(**values):
    return Office(msgspec.convert({"receiver": "everyone"} | values, Route, strict=False))


def over(**values):
    """A spike of three hours whose rows came a day and more after it."""
    values = {
        "charge_period_end": T0 + 3 * HOUR, "detected_at": LATE, "ended_at": T0 + 3 * HOUR,
    } | values  # fmt: skip
    return odd(**values)


def test_it_is_posted_with_its_total_its_end_and_whose_fault_the_delay_was():
    here = office()
    assert here.tell(LATE, over()) == POSTED
    lines = here.notices[0].text.splitlines()
    assert lines[0] == "✅ Ended: $30 in 3 h · Amazon EC2 · i-1 (us-east-1)"
    assert lines[1] == (
        "Total $30 over expected in 3 h; over before it could be told: "
        "the bill for it arrived 29 h after it ended."
    )
    assert {"Began: 1 Jun 2026 00:00 UTC", "Ended: 1 Jun 2026 03:00 UTC"} <= {*lines}


def test_what_lay_about_unread_is_no_fault_of_the_bill():
    here = office()
    here.tell(LATE, over(detected_at=T0 + 4 * HOUR))
    assert "arrived 1 h after it ended, and was read 28 h later." in here.notices[0].text


def test_nothing_follows_but_what_rows_change_by_more_than_a_little():
    here = office(repeat_interval="1h")
    here.tell(LATE, over())
    assert here.tell(LATE + HOUR, over(status="confirmed")) == [("slack:#spend", "edit", "update")]
    assert here.tell(LATE + 9 * DAY) == []
    goes_on = odd(hours=3, charge_period_end=T0 + 40 * HOUR, detected_at=LATE)
    assert here.tell(LATE + 9 * DAY, goes_on) == [
        ("slack:#spend", "edit", "reopened"), ("slack:#spend", "thread", "reopened"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("routes", "values"),
    [
        ({"min_impact": "31"}, {}),
        ({"min_severity": "high"}, {}),
        ({}, {"backfill": True}),
        ({}, {"status": "retracted"}),
    ],
)
def test_the_floors_hold_and_neither_history_nor_what_was_withdrawn_is_told(routes, values):
    here = office(**routes)
    here.tell(LATE, over(**values))
    assert here.tell(LATE + 9 * DAY) == []
    assert here.notices == []


def test_what_more_rows_bring_above_the_floor_is_told_then():
    here = office(min_impact="40")
    assert here.tell(LATE, over()) == []
    assert here.tell(LATE + HOUR, over(status="confirmed")) == []
    assert here.tell(LATE + 2 * HOUR, over(rate=400)) == POSTED


def test_what_was_silenced_or_seen_to_is_no_news_later():
    silenced = Silence(name="s", matchers=["owner=unowned"], starts_at=T0, ends_at=LATE + HOUR,
                       author="ana", comment="a migration")  # fmt: skip
    here = office()
    here.do(Put(thing=silenced, at=T0, **SAID))
    assert here.tell(LATE, over()) == []
    here.tell(LATE + DAY)
    assert here.tell(LATE + DAY, over(rate=900)) == []
    for say in (
        lambda name: Mark(act="comment", incident_id=name, at=LATE, **SAID),
        lambda name: Feedback(verdict="expected", incident_id=name, at=LATE, **SAID),
    ):
        here = office(min_impact="40")
        here.tell(LATE, over())
        here.do(say(here.incident.incident_id))
        assert here.tell(LATE + HOUR, over(rate=900)) == []


def test_who_subscribes_later_hears_of_what_goes_on_and_not_of_what_was_over():
    here = office()
    here.tell(LATE, over(), odd(finding_id="f2", resource_id="i-2", service_name="Amazon S3"))
    mine = Subscription(name="x", team="*", destination="slack:#mine")
    here.do(Put(thing=mine, at=LATE + HOUR, **SAID))
    assert [n.incident.service_name for n in here.posts("slack:#mine")] == ["Amazon S3"]


def test_a_claim_tells_nobody_of_what_was_over():
    here = office()
    here.tell(LATE, over())
    name = here.incident.incident_id
    here.do(Mark(act="claim", incident_id=name, to="ml", at=LATE + HOUR, **SAID))
    assert here.posts("slack:#ml") == []


def test_nobody_is_woken_by_it_and_the_digest_has_it():
    here = office(quiet_hours={"start": "05:00", "end": "12:00"})
    assert here.tell(LATE, over()) == []
    assert here.tell(LATE + DAY) == [("slack:#spend", "digest", "digest")]


def test_a_bill_that_brings_many_keeps_to_the_posts_of_an_hour():
    here = office(max_posts_per_hour=2)
    found = [
        over(finding_id=f"f{n}", resource_id=f"i-{n}", service_name=f"service {n}", rate=240 + n)
        for n in range(9)
    ]
    here.tell(LATE, *found)
    assert [n.reason for n in here.posts()] == ["first", "first", "summary"]


def test_it_is_told_once_across_a_restart():
    here = office()
    here.tell(LATE, over())
    here.restart()
    assert here.tell(LATE + HOUR, over(rate=245)) == []


START = datetime(2026, 3, 1, tzinfo=UTC)
SPIKE = 16 * 24 + 10


def bills(late, whole):
    """Twenty days of a machine with a spike of three hours; from day 16 on its bill is late."""
    random = np.random.default_rng(7)
    batches = {}
    for hour in range(20 * 24):
        start = START + hour * HOUR
        cost = 10 + random.normal(0, 0.5) + 40 * (SPIKE <= hour < SPIKE + 3)
        row = make_event(
            charge_period_start=start, charge_period_end=start + HOUR, x_event_id=str(hour),
            effective_cost=Decimal(f"{cost:.4f}"),
        )  # fmt: skip
        at = start + HOUR
        if hour >= 16 * 24:
            at = START + 20 * DAY if whole else at + late
        batches.setdefault(at, []).append(Arrival(at, "events", row))
    ticks = ((START + day * DAY, []) for day in range(16, 24))
    return sorted([*batches.items(), *ticks], key=lambda one: one[0])


def told(batches):
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
    steps = enumerate(batches, 1)
    return [
        n
        for offset, (now, batch) in steps
        for n in pipeline.step(batch, now, offset).changes.notices
    ]


def test_a_spike_in_a_bill_that_comes_all_at_once_days_later_is_told_as_over():
    (notice,) = told(bills(timedelta(0), whole=True))
    assert notice.text.startswith("✅ Ended: $121 in 3 h")
    assert "the bill for it arrived 3 d 11 h after it ended" in notice.text


def test_of_a_bill_that_is_always_late_nobody_says_it_is_over_before_the_bill_does():
    notices = told(bills(31 * HOUR, whole=False))
    first, last = notices[0], [n for n in notices if n.action == "thread"][-1]
    assert (first.reason, first.incident.state) == ("first", "firing")
    assert first.at == START + (SPIKE + 32) * HOUR
    assert "its row came 31 h after the period ended" in first.told_after
    assert (last.reason, last.incident.state) == ("resolved", "resolved")
    assert [n.action for n in notices].count("post") == 1
