"""Unit costs: what a thousand inferences, a run or a training hour cost, and whether that is odd.

A unit cost is spend divided by a usage count, both of whole days. Its series is scored like any
other, in money at a fixed number of units (that of its first day), so that more use is no rise; a
finding says what the units of its days cost more than they usually would have.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import Final

import msgspec

from detectors.base import DAY, start_of
from service.core import money, phrases
from service.core.budgets import day_of
from service.core.drivers import Member
from service.core.events import DAILY, UNIT_FEED, SeriesKey
from service.core.findings import Finding, OddPoint, Stretch, Sums, run_rate_per_day
from service.core.forecast import EPOCH
from service.core.notices import Chart
from service.core.owners import UNOWNED, Owner
from service.core.scoring import Point
from service.core.state import Chunk, Saved, Streams
from service.core.tag_policy import Dimension

KEPT_DAYS: Final = 400
# Bills of yesterday are still coming in.
COMPLETE_AFTER: Final = timedelta(hours=24)
_DIVIDES: Final = Context(prec=28)


class UnitCost(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which spend is divided by which count. `where` names a value for each dimension or tag.

    Counts are the quantities of rows of the feed `counts` whose resource or SKU is `count`, or
    whose SKU ends with it, as `requests` in `gpt-5-requests`; without it of all of its rows.
    """

    where: dict[Dimension, str]
    counts: str
    count: str | None = None
    unit: str = "units"
    per: Decimal = Decimal(1)
    currency: str = "USD"
    belongs_to: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be divided by."""
        money.check("per", self.per)
        if not self.per:
            raise ValueError("per is 0")
        if not self.where:
            raise ValueError("where is empty: it would divide all that is spent")

    def counts_rows(self, series: SeriesKey, sku: str) -> bool:
        """Tell whether rows of a SKU of a series are what is counted."""
        if series.source != self.counts:
            return False
        return self.count in (None, series.resource, sku) or sku.endswith(f"-{self.count}")


class UnitDay(msgspec.Struct, kw_only=True):
    """What the units of one day cost: `unit_cost` is of `per` of them."""

    day: date
    cost: Decimal
    count: Decimal
    unit_cost: Decimal


class UnitBill(msgspec.Struct, kw_only=True):
    """One unit cost, as it is shown: its newest days, the last one first."""

    name: str
    unit: str
    per: Decimal
    owner: str
    billing_currency: str
    days: list[UnitDay]


class UnitPart(msgspec.Struct, frozen=True, array_like=True):
    """What a part of all series adds to one day of a unit cost, in place of what it said before."""

    name: str
    day: int
    cost: Decimal
    count: Decimal


class Unit(msgspec.Struct):
    """The days of one unit cost, and which of them changed since they were judged, or handed on."""

    cost: dict[int, Decimal] = {}
    count: dict[int, Decimal] = {}
    counted: list[SeriesKey] = []
    reference: Decimal | None = None
    dirty: list[int] = []

    def note(self, day: int) -> None:
        """Note that a day changed."""
        if day not in self.dirty:
            self.dirty.append(day)


class UnitCosts:
    """Knows what units cost by day, as parts of all series say, and is what their series cost."""

    def __init__(self, named: Mapping[str, UnitCost]) -> None:
        self._named = named
        self._units = {name: Unit() for name in named}
        self._said: dict[str, UnitPart] = {}

    def put(self, part: str, said: Iterable[UnitPart]) -> None:
        """Take in what a part says of some days."""
        for one in said:
            if one.name not in self._units:  # the config named it once
                continue
            key = f"{part}\0{one.name}\0{one.day}"
            nothing = UnitPart(one.name, one.day, money.ZERO, money.ZERO)
            before, self._said[key] = self._said.get(key, nothing), one
            unit = self._units[one.name]
            for whole, old, new in (
                (unit.cost, before.cost, one.cost),
                (unit.count, before.count, one.count),
            ):
                known = whole.get(one.day, money.ZERO)
                whole[one.day] = money.add(money.subtract(known, old), new)
            unit.note(one.day)

    def drain(self) -> list[UnitPart]:
        """Return the days that changed since the last call, for others to judge."""
        found = []
        for name, unit in sorted(self._units.items()):
            zero = money.ZERO
            for day in sorted(unit.dirty):
                part = UnitPart(name, day, unit.cost.get(day, zero), unit.count.get(day, zero))
                found.append(part)
            unit.dirty = []
        return found

    def advance(self, now: datetime) -> list[Point]:
        """Return the days whose unit cost is to be judged: whole ones that changed."""
        edge, found = day_of(now - COMPLETE_AFTER), []
        for name, unit in sorted(self._units.items()):
            ready = sorted(day for day in unit.dirty if day < edge)
            unit.dirty = [day for day in unit.dirty if day >= edge]
            for day in ready:
                if unit.count.get(day):
                    unit.reference = unit.reference or unit.count[day]
                    found.append(Point(self._series(name), day, now))
        return found

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what the reference number of units cost at a day's unit cost."""
        unit = self._units[series.resource]
        count = unit.count.get(step)
        if not count or unit.reference is None:
            return None
        whole = _DIVIDES.multiply(unit.cost.get(step, money.ZERO), unit.reference)
        return _DIVIDES.divide(whole, count)

    def offset(self, series: SeriesKey, step: int) -> timedelta:  # noqa: ARG002
        """Return how long after a step its charge periods begin: days are UTC's."""
        return timedelta()

    def bills(self, now: datetime, days: int = 35) -> list[UnitBill]:
        """Return the unit costs of the newest days, by name."""
        today = day_of(now)
        return [
            UnitBill(
                name=name,
                unit=known.unit,
                per=known.per,
                owner=self._owner(name).name,
                billing_currency=known.currency,
                days=[
                    UnitDay(
                        day=date.fromordinal(EPOCH.toordinal() + day),
                        cost=self._units[name].cost.get(day, money.ZERO),
                        count=count,
                        unit_cost=self._of_units(name, day),
                    )
                    for day, count in sorted(self._units[name].count.items(), reverse=True)
                    if count and today - days < day <= today
                ],
            )
            for name, known in sorted(self._named.items())
        ]

    def member(self, stretch: Stretch, settled_until: datetime | None) -> Member:
        """Return the finding, in the money of its days' own units."""
        name = stretch.series.resource
        points = {step: self._in_money(name, step, p) for step, p in stretch.points.items()}
        sums = Sums()
        for point in points.values():
            sums = sums.replace(None, point)
        owner = self._owner(name)
        start, end = stretch.period()
        finding = Finding(
            finding_id=stretch.finding_id,
            detector=stretch.detector,
            kind=stretch.kind,
            status=stretch.status,
            series=str(stretch.series),
            resource_id=None,
            sub_account_id="",
            service_name=None,
            region_id=None,
            owner=owner.name,
            charge_period_start=start,
            charge_period_end=end,
            detected_at=stretch.detected_at,
            score=round(max(point.surprise for point in points.values()), 6),
            actual=sums.actual,
            expected=sums.expected,
            expected_low=sums.low,
            expected_high=sums.high,
            impact=sums.excess,
            billing_currency=stretch.series.billing_currency,
            reason=self._reason(stretch, sums.excess),
            owner_source=owner.source,
            run_rate_per_day=run_rate_per_day(points, DAY, stretch.last_step),
            settled_until=settled_until,
            ended_at=stretch.ended_at,
            resource_name=f"unit cost of {name}",
            backfill=stretch.backfill,
        )
        dirty, stretch.dirty = stretch.dirty, set()
        mine = [str(stretch.series)]
        return Member(finding, points, DAY, dirty, stretch.last_step, mine, is_group=True)

    def charted(self, chart: Chart, series: SeriesKey) -> Chart:
        """Show a unit cost where a chart shows money at the reference number of units."""
        unit = self._units[series.resource]
        share = float(self._named[series.resource].per / (unit.reference or Decimal(1)))
        scaled = {
            name: [None if value is None else value * share for value in getattr(chart, name)]
            for name in ("actual", "expected", "low", "high")
        }
        return msgspec.structs.replace(chart, **scaled)

    def forget(self, now: datetime) -> None:
        """Let go of days that are too old to be shown."""
        edge = day_of(now) - KEPT_DAYS
        for unit in self._units.values():
            unit.cost = {day: cost for day, cost in unit.cost.items() if day >= edge}
            unit.count = {day: count for day, count in unit.count.items() if day >= edge}
        self._said = {key: one for key, one in self._said.items() if one.day >= edge}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/units", self._units.items())
        yield from streams.values(f"{name}/said", self._said.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved of the unit costs that the config still names."""
        known = saved.values(f"{name}/units", Unit)
        self._units |= {one: unit for one, unit in known.items() if one in self._named}
        self._said = saved.values(f"{name}/said", UnitPart)

    def _series(self, name: str) -> SeriesKey:
        return SeriesKey(UNIT_FEED, "", name, self._named[name].currency, DAILY)

    def _of_units(self, name: str, day: int) -> Decimal:
        unit, per = self._units[name], self._named[name].per
        cost = _DIVIDES.multiply(unit.cost.get(day, money.ZERO), per)
        return _DIVIDES.divide(cost, unit.count[day]).quantize(Decimal("1E-9"))

    def _in_money(self, name: str, step: int, point: OddPoint) -> OddPoint:
        """Turn money at the reference number of units into that of the day's own."""
        unit = self._units[name]
        count, reference = unit.count.get(step, money.ZERO), unit.reference or Decimal(1)
        actual, expected, low, high = (
            _DIVIDES.divide(_DIVIDES.multiply(amount, count), reference).quantize(Decimal("1E-6"))
            for amount in point[:4]
        )
        return OddPoint(actual, expected, low, high, point.surprise)

    def _owner(self, name: str) -> Owner:
        known = self._named[name]
        if known.belongs_to is not None:
            return Owner(known.belongs_to, "belongs_to of the unit cost")
        if "owner" in known.where:
            return Owner(known.where["owner"], "owner of the unit cost")
        return Owner(UNOWNED, "the unit cost has no owner")

    def _reason(self, stretch: Stretch, excess: Decimal) -> str:
        name, unit = stretch.series.resource, self._named[stretch.series.resource]
        last = stretch.last_step if stretch.last_step in stretch.points else max(stretch.points)
        point, reference = stretch.points[last], self._units[name].reference or Decimal(1)
        now, usual = (
            phrases.money(_DIVIDES.divide(_DIVIDES.multiply(a, unit.per), reference), unit.currency)
            for a in (point.actual, point.expected)
        )
        what = f"{unit.per:,f} {phrases.clean(unit.unit, 60)}"
        count = self._units[name].count.get(last, money.ZERO)
        more = phrases.signed(excess, unit.currency)
        return (
            f"{what} cost {now} on {phrases.date(start_of(last, DAY))}, where {usual} is usual, "
            f"with {count:,f} of them that day: {more} in all."
        )
