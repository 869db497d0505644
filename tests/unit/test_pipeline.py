"""The pipeline whole, with the real detectors: what arrives decides, not how it arrives."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from msgspec.structs import replace

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival, GpuSample, series_of
from tests.factories import make_event

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = 20
SPIKE = 15 * 24 + 10


def rows(spike=40.0, series=4):
    """Some weeks of smooth hours; one series spikes for three hours."""
    random = np.random.default_rng(7)
    found = []
    for hour in range(DAYS * 24):
        start = T0 + hour * HOUR
        for number in range(series):
            cost = 10 + 3 * np.sin(hour / 24 * 2 * np.pi) + random.normal(0, 0.1)
            if number == 1 and SPIKE <= hour < SPIKE + 3:
                cost += spike
            found.append(
                make_event(
                    charge_period_start=start,
                    charge_period_end=start + HOUR,
                    effective_cost=Decimal(f"{cost:.4f}"),
                    resource_id=f"i-{number}",
                    x_event_id=f"{number}-{hour}",
                    tags={"team": "search"},
                )
            )
    return found


def arrivals(events, source="events", at=None):
    return [Arrival(at or event.charge_period_end, source, event) for event in events]


def run(batches, tells_history=True):
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=tells_history)
    findings, incidents, notices = {}, {}, []
    for offset, (now, batch) in enumerate(batches, 1):
        changes = pipeline.step(batch, now, offset).changes
        findings |= {f.finding_id: f for f in changes.findings}
        incidents |= {i.incident_id: i for i in changes.incidents}
        notices += changes.notices
    return findings, incidents, notices


def by_arrival(all_arrivals):
    times = sorted({arrival.arrived_at for arrival in all_arrivals})
    groups = {at: [] for at in times}
    for arrival in all_arrivals:
        groups[arrival.arrived_at].append(arrival)
    return [(at, groups[at]) for at in times]


@pytest.fixture(scope="module")
def plain():
    return run(by_arrival(arrivals(rows())))


def test_a_spike_is_found_told_once_and_resolved_with_its_total(plain):
    findings, incidents, notices = plain
    odd = [f for f in findings.values() if f.kind == "spike"]
    assert [f.resource_id for f in odd] == ["i-1"]
    assert odd[0].charge_period_start == T0 + SPIKE * HOUR
    assert odd[0].detected_at == T0 + (SPIKE + 1) * HOUR
    assert odd[0].status == "confirmed"
    assert 115 < odd[0].impact < 125
    assert odd[0].impact == odd[0].actual - odd[0].expected
    (incident,) = incidents.values()
    assert (incident.owner, incident.owner_source) == ("search", "tag team=search")
    assert incident.state == "resolved"
    assert [n.action for n in notices if n.action == "post"] == ["post"]
    assert [n.reason for n in notices if n.action == "thread"][-1] == "resolved"
    assert len({n.delivery_id for n in notices}) == len(notices)


def test_order_within_an_arrival_and_repeated_rows_change_nothing(plain):
    random = np.random.default_rng(3)
    batches = []
    for now, batch in by_arrival(arrivals(rows())):
        twice = batch + [batch[index] for index in random.integers(0, len(batch), 2)]
        batches.append((now, [twice[index] for index in random.permutation(len(twice))]))
    assert run(batches) == plain


def test_a_restated_hour_withdraws_the_finding_in_the_same_conversation():
    events = rows()
    wrong = [e for e in events if e.resource_id == "i-1" and
             SPIKE <= int((e.charge_period_start - T0) / HOUR) < SPIKE + 3]  # fmt: skip
    restated = [
        make_event(
            **{name: getattr(e, name) for name in
               ("charge_period_start", "charge_period_end", "resource_id", "x_event_id", "tags")},
            effective_cost=e.effective_cost - 40,
            x_revision=1,
        )
        for e in wrong
    ]  # fmt: skip
    at = T0 + (SPIKE + 30) * HOUR
    findings, incidents, notices = run(by_arrival(arrivals(events) + arrivals(restated, at=at)))
    odd = [f for f in findings.values() if f.resource_id == "i-1"]
    assert {f.status for f in odd} == {"retracted"}
    assert {i.status for i in incidents.values()} == {"retracted"}
    assert [n.action for n in notices].count("post") == 1
    assert notices[-1].reason == "retracted"


def test_a_first_contact_with_history_is_learnt_and_not_told():
    now = T0 + timedelta(days=DAYS)
    findings, incidents, notices = run([(now, arrivals(rows(), at=now))], tells_history=False)
    assert {f.resource_id for f in findings.values()} == {"i-1"}
    assert all(f.backfill for f in findings.values())
    assert all(i.backfill for i in incidents.values())
    assert notices == []


def test_a_history_is_summed_up_once_with_its_money_and_no_one_to_blame():
    now = T0 + timedelta(days=DAYS)
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=False)
    pipeline.step(arrivals(rows(), at=now), now, 1)
    (said,) = pipeline.step([], now, 2, ends_backfill="events").changes.notices
    lines = said.text.splitlines()
    assert lines[0].endswith(" in all · one incident in the history of events")
    assert lines[0].startswith("🔵 +$1")
    assert lines[1].startswith("Over before this source was first read")
    assert not [line for line in lines if line.startswith(("Owner", "Confidence", "Resolved"))]
    assert "back to normal" not in said.text


def test_what_two_detectors_found_of_one_series_is_marked_in_one_chart():
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
    notices = []
    for number, row in enumerate(rows(spike=0, series=1), 1):
        more = Decimal(0 if number <= SPIKE else 40 if number == SPIKE + 1 else 6)
        event = replace(row, effective_cost=row.effective_cost + more)
        notices += pipeline.step(arrivals([event]), event.charge_period_end, number).changes.notices
    stretches = pipeline._parts.stretches.of(series_of("events", event))
    chart = notices[-1].chart
    odd = {stretch.at(step) for stretch in stretches for step in stretch.odd} & {*chart.starts}
    assert {stretch.kind for stretch in stretches} >= {"spike", "shift"}
    assert {at for at, is_odd in zip(chart.starts, chart.odd, strict=True) if is_odd} == odd


def test_a_one_time_purchase_is_a_finding_and_a_monthly_fee_is_none():
    start = T0 + timedelta(days=10)
    month = start + timedelta(days=30)
    bought = make_event(
        charge_category="Purchase", charge_frequency="One-Time", billed_cost=Decimal(8760),
        effective_cost=Decimal(0), charge_period_start=start, charge_period_end=month,
        x_event_id="buy", resource_id="ri-1",
    )  # fmt: skip
    fee = make_event(
        charge_category="Purchase", charge_frequency="Recurring", billed_cost=Decimal(9000),
        effective_cost=Decimal(9000), charge_period_start=start, charge_period_end=month,
        x_event_id="fee", resource_id="support",
    )  # fmt: skip
    findings, _, notices = run([(month, arrivals([bought, fee]))])
    assert [(f.kind, f.resource_id, f.impact) for f in findings.values()] == [
        ("purchase", "ri-1", 8760)
    ]
    assert "purchase of $8,760 on 11 Mar 2026." in next(iter(findings.values())).reason
    assert [n.action for n in notices] == ["post"]


def daily(cost, day, resource="i-0", starts_at=0, **values):
    start = T0 + timedelta(days=day, hours=starts_at)
    whole = {
        "charge_period_start": start, "charge_period_end": start + timedelta(days=1),
        "effective_cost": Decimal(f"{cost:.4f}"), "resource_id": resource,
        "x_event_id": f"{resource}-{day}",
    }  # fmt: skip
    return make_event(**(whole | values))


def test_a_day_that_begins_at_eight_is_told_from_eight_to_eight():
    random = np.random.default_rng(3)
    costs = [100 + random.normal(0, 1) + (200 if day == 40 else 0) for day in range(42)]
    found, _, notices = run(
        by_arrival(arrivals([daily(cost, day, starts_at=8) for day, cost in enumerate(costs)]))
    )
    (odd,) = [f for f in found.values() if f.kind == "spike"]
    start = T0 + timedelta(days=40, hours=8)
    assert (odd.charge_period_start, odd.charge_period_end) == (start, start + 24 * HOUR)
    assert notices[0].chart.starts[-1] == start


def test_usage_that_is_restated_as_a_fee_is_judged_again():
    events = rows()
    fees = [
        replace(e, charge_frequency="Recurring", x_revision=1)
        for e in events
        if e.resource_id == "i-1" and SPIKE <= (e.charge_period_start - T0) / HOUR < SPIKE + 3
    ]
    at = T0 + (SPIKE + 30) * HOUR
    findings, _, _ = run(by_arrival(arrivals(events) + arrivals(fees, at=at)))
    assert {f.status for f in findings.values() if f.kind == "spike"} == {"retracted"}


def test_a_drop_is_detected_when_the_row_that_shows_it_came():
    random = np.random.default_rng(5)
    late = timedelta(hours=30)
    events = [daily(100 + random.normal(0, 1) - 60 * (day >= 50), day) for day in range(53)]
    found, _, _ = run([(e.charge_period_end + late, arrivals([e], at=e.charge_period_end + late))
                       for e in events])  # fmt: skip
    (drop,) = [f for f in found.values() if f.kind == "drop"]
    assert drop.detected_at in {e.charge_period_end + late for e in events}


@pytest.mark.parametrize("paused", [(), (20,)])
def test_a_credit_that_grows_is_neither_a_drop_nor_gone(paused):
    random = np.random.default_rng(5)
    credit = {day: -100 - day + random.normal(0, 1) for day in range(60)} | dict.fromkeys(paused, 0)
    events = [daily(cost, day) for day, cost in credit.items()]
    found, _, _ = run(by_arrival(arrivals(events)))
    assert [f.kind for f in found.values() if f.kind in ("drop", "gone")] == []


def test_idle_gpus_are_charted_by_what_their_instance_was_billed():
    bills = [
        make_event(
            charge_period_start=T0 + hour * HOUR, charge_period_end=T0 + (hour + 1) * HOUR,
            effective_cost=Decimal(4), resource_id="i-gpu", x_event_id=str(hour),
        )
        for hour in range(12)
    ]  # fmt: skip
    samples = [
        Arrival(
            at, "gpu_samples",
            GpuSample(timestamp=at, gpu_uuid="GPU-0", hostname="n", resource_id="i-gpu",
                      utilization=0.9 if at < T0 + 4 * HOUR else 0.0),
        )
        for minutes in range(0, 12 * 60, 5)
        for at in (T0 + timedelta(minutes=minutes),)
    ]  # fmt: skip
    _, _, notices = run(by_arrival(arrivals(bills) + samples))
    (first, *_, last) = [n for n in notices if n.incident.kind == "idle_gpu"]
    assert first.incident.starts_at == T0 + timedelta(hours=3, minutes=55)
    marked = [at for at, odd in zip(last.chart.starts, last.chart.odd, strict=True) if odd]
    assert marked[0] == T0 + 3 * HOUR
    assert set(last.chart.actual) == {None, 4.0}


def bought(cost=8760, **values):
    start = T0 + timedelta(days=10)
    whole = {
        "charge_category": "Purchase", "charge_frequency": "One-Time", "resource_id": "ri-1",
        "billed_cost": Decimal(cost), "effective_cost": Decimal(0), "x_event_id": "buy",
        "charge_period_start": start, "charge_period_end": start + timedelta(hours=1),
    }  # fmt: skip
    return make_event(**(whole | values))


@pytest.mark.parametrize(("hours", "is_past"), [(40, False), (400, True)])
def test_a_purchase_found_in_a_history_is_of_the_past(hours, is_past):
    at = T0 + timedelta(days=10, hours=hours)
    findings, incidents, notices = run([(at, arrivals([bought()], at=at))], tells_history=False)
    assert [f.backfill for f in findings.values()] == [is_past]
    assert len(notices) == (0 if is_past else 1)
    assert all(i.run_rate_per_day is None for i in incidents.values())


def test_a_purchase_that_is_refunded_is_withdrawn_and_one_that_is_over_is_no_news():
    start = T0 + timedelta(days=10)
    back = bought(-8760, charge_class="Correction", x_event_id="refund")
    batches = [(start + hours * HOUR, []) for hours in (30, 90)]
    first = (start + HOUR, arrivals([bought()]))
    _, _, notices = run([first, *batches])
    assert [n.action for n in notices] == ["post", "edit"]
    assert "normal" not in notices[-1].text
    at = start + 100 * HOUR
    findings, _, notices = run([first, *batches, (at, arrivals([back], at=at))])
    assert [f.status for f in findings.values()] == ["retracted"]
    assert notices[-1].reason == "retracted"
    assert "taken back" in notices[-1].text


def test_rows_after_their_period_settled_count_as_late_and_still_as_money():
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
    event = make_event()
    at = event.charge_period_end + timedelta(days=5)
    outcome = pipeline.step(arrivals([event], at=at), at, 1)
    assert pipeline.statuses["events"].late == 1
    assert [row.cost for row in outcome.ledger_rows] == [1]
