"""What units cost by day, and that a rise of it is found however much they are used."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.bootstrap import build_pipeline
from service.config import AllocationSettings, ConfigError, Settings, SourceSettings
from service.config_file import checked
from service.core.events import Arrival
from service.core.state import Saved, Streams
from service.core.unit_costs import UnitCost
from tests.factories import make_day

T0 = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
INFERENCE = UnitCost(
    where={"team": "ml", "environment": "prod"}, counts="usage", count="inferences",
    unit="inferences", per=Decimal(1000), belongs_to="ml",
)  # fmt: skip
SETTINGS = Settings(
    sources={"usage": SourceSettings(path=".", kind="counts")},
    allocation=AllocationSettings(unit_costs={"inference": INFERENCE}),
)


def row(day, resource, cost, revision=0, **more):
    return make_day(T0, day, resource, cost, revision, **more)


def spend(day, cost, resource="i-1", **more):
    return "aws", row(day, resource, cost, **{"tags": {"team": "ml", "env": "prod"}} | more)


def count(day, units, name="inferences", revision=0):
    number = Decimal(units)
    return "usage", row(
        day, name, 0, revision, sku_id=name, consumed_quantity=number, pricing_quantity=number
    )


class World:
    def __init__(self):
        self.pipeline = build_pipeline(SETTINGS, {}, tells_history=True)
        self.findings, self.notices, self.offset = {}, [], 0

    def day(self, day, *rows):
        for hours in (36, 60):  # the bill of a day comes at noon of the next; a day later it counts
            now = T0 + day * DAY + timedelta(hours=hours)
            self.offset += 1
            batch = [Arrival(now, feed, event) for feed, event in rows] if hours == 36 else []
            changes = self.pipeline.step(batch, now, self.offset).changes
            self.findings |= {f.finding_id: f for f in changes.findings}
            self.notices += changes.notices

    def costs(self, day):
        [bill] = self.pipeline.unit_bills(T0 + (day + 3) * DAY)
        return {(one.day - T0.date()).days: one.unit_cost for one in bill.days}

    def of_units(self):
        return [f for f in self.findings.values() if f.series.startswith("~unit~")]


def test_a_unit_cost_is_the_spend_of_a_day_by_its_count():
    world = World()
    other = spend(0, 500, "i-2", tags={"team": "web", "env": "prod"})
    world.day(0, spend(0, 30), spend(0, 6, "i-3"), other, count(0, 120_000), count(0, 9, "runs"))
    assert world.costs(0) == {0: Decimal("0.3")}
    world.day(
        1, spend(1, 30), count(1, 60_000), spend(0, 66, revision=1), count(0, 240_000, revision=1)
    )
    assert world.costs(1) == {0: Decimal("0.3"), 1: Decimal("0.5")}


def test_of_a_key_that_has_rows_of_tokens_and_of_requests_what_is_named_is_counted():
    requests = UnitCost(
        where={"team": "ml"}, counts="llm", count="requests", unit="requests", per=Decimal(1)
    )
    pipeline = build_pipeline(
        Settings(
            sources={"llm": SourceSettings(path=".", kind="openai")},
            allocation=AllocationSettings(unit_costs={"request": requests}),
        ),
        {},
        tells_history=True,
    )
    batch = [
        Arrival(
            T0 + DAY, "llm",
            row(0, "key", cost, sku_id=sku, pricing_quantity=Decimal(units), tags={"team": "ml"}),
        )
        for sku, cost, units in (("m-requests", 0, 50), ("m-output-tokens", 10, 99_000))
    ]  # fmt: skip
    pipeline.step(batch, T0 + DAY, 1)
    [bill] = pipeline.unit_bills(T0 + 3 * DAY)
    assert [(day.count, day.unit_cost) for day in bill.days] == [(50, Decimal("0.2"))]


def test_spend_whose_tags_change_counts_by_its_newest_row():
    world = World()
    world.day(0, spend(0, 30, tags={}), count(0, 1000))
    assert world.costs(0) == {0: Decimal(0)}
    world.day(1, spend(1, 20), count(1, 1000))
    assert world.costs(1) == {0: Decimal(30), 1: Decimal(20)}
    world.day(2, spend(2, 5, tags={"team": "web"}), count(2, 1000))
    assert world.costs(2) == {0: Decimal(0), 1: Decimal(0), 2: Decimal(0)}


def test_a_rise_of_the_unit_cost_is_a_finding_in_money_and_more_use_is_none():
    world = World()
    for day in range(60):
        units = 1_000_000 * (1 if day < 40 else 3) + 1000 * (day % 7)
        price = Decimal("0.3") if day < 50 else Decimal("0.45")
        world.day(day, spend(day, price * units / 1000), count(day, units))
    found = world.of_units()
    assert found
    assert min(f.charge_period_start for f in found) >= T0 + 50 * DAY
    assert {f.owner for f in found} == {"ml"}
    one = max(found, key=lambda f: f.actual)
    assert "1,000 inferences cost $0.45" in one.reason
    assert "where $0.30 is usual" in one.reason
    days = (one.charge_period_end - one.charge_period_start).days
    assert one.impact == pytest.approx(Decimal(450 * days), rel=Decimal("0.05"))
    assert any("unit cost of inference" in notice.text for notice in world.notices)


def test_a_unit_cost_and_the_resource_that_raised_it_are_one_incident_and_one_sum_of_money():
    world, incidents = World(), {}
    step = world.pipeline.step

    def noted(*batch):
        outcome = step(*batch)
        incidents.update({one.incident_id: one for one in outcome.changes.incidents})
        return outcome

    world.pipeline.step = noted
    for day in range(46):
        world.day(day, spend(day, (300 if day < 42 else 900) + day % 7), count(day, 1_000_000))
    [incident] = [one for one in incidents.values() if one.status != "retracted"]
    of_resource, of_units = incident.drivers
    assert "/i-1/" in of_resource.series
    assert (of_units.series, of_units.impact) == ("~unit~//inference/USD/day", None)
    assert incident.impact == of_resource.impact
    assert 600 * 3 < incident.impact < 600 * 5
    assert "where $0.30 is usual" in of_units.reason
    assert {notice.incident_id for notice in world.notices} == {incident.incident_id}
    assert "i-1" in world.notices[-1].text
    assert "unit cost of inference" in world.notices[-1].text


def test_units_are_counted_nowhere_else_as_money():
    world = World()
    for day in range(3):
        world.day(day, spend(day, 30), count(day, 1000))
    assert world.pipeline.series == 2


def test_a_run_that_is_cut_and_restored_says_the_same():
    def rows(day):
        return spend(day, 300 if day < 40 else 900), count(day, 1_000_000 + day)

    whole, cut = World(), World()
    for day in range(44):
        whole.day(day, *rows(day))
        if day == 39:
            streams, kept = Streams(), {}
            for chunk in cut.pipeline.save(streams):
                kept.setdefault(chunk.stream, []).append(memoryview(chunk.data))
            fresh = World()
            fresh.pipeline.restore(Saved(kept, kept.__getitem__))
            fresh.offset, fresh.findings = cut.offset, cut.findings
            cut = fresh
        cut.day(day, *rows(day))
    assert whole.of_units()
    assert cut.findings == whole.findings
    assert cut.costs(43) == whole.costs(43)


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ({"where": {}, "counts": "usage"}, "where is empty"),
        ({"where": {"team": "ml"}, "counts": "usage", "per": 0}, "per is 0"),
        ({"where": {"team": "ml"}, "counts": "other"}, "no feed 'other'"),
    ],
)
def test_a_unit_cost_that_cannot_be_worked_out_is_refused(unit, why):
    config = {"sources": {"usage": {"path": "."}}, "allocation": {"unit_costs": {"u": unit}}}
    with pytest.raises(ConfigError, match=why):
        checked(config, Settings, "the config")
