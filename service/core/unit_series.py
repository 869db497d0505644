"""Unit series: what unit costs are made of, followed in the ledger, by day."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final

from detectors.base import DAY
from service.core import money
from service.core.events import UNSCORED, CostEvent, SeriesKey
from service.core.groups import Change
from service.core.ledger import STEP_HOURS, Ledger
from service.core.owners import Owners
from service.core.state import Chunk, Saved, Streams
from service.core.tag_policy import Dimensions
from service.core.unit_costs import UnitCost, UnitCosts

_PLACES: Final = ("owner", "service", "sub_account", "region")


class UnitSeries(UnitCosts):
    """Unit costs that are known from the series themselves."""

    def __init__(
        self,
        ledger: Ledger,
        owners: Owners,
        dimensions: Dimensions,
        named: Mapping[str, UnitCost],
    ) -> None:
        super().__init__(named)
        self._ledger = ledger
        self._owners = owners
        self._dimensions = dimensions
        self._members: dict[SeriesKey, tuple[str, ...]] = {}

    def observe(self, changes: Mapping[tuple[SeriesKey, int], Change]) -> None:
        """Take note of what steps of series cost before a batch, and after it."""
        if not self._named:
            return
        changed: dict[SeriesKey, dict[int, Change]] = {}
        for (series, step), change in changes.items():
            changed.setdefault(series, {})[step] = change
        for series, steps in changed.items():
            if series.grain != UNSCORED:
                self._observe(series, steps)

    def of(self, series: SeriesKey) -> list[str]:
        """Name the unit costs that a series is spend of, as groups that its findings are in."""
        return [str(self._series(name)) for name in self._members.get(series, ())]

    def _observe(self, series: SeriesKey, changed: Mapping[int, Change]) -> None:
        about = self._ledger.about(series)
        for name, unit in self._units.items():
            skus = (sku for step in changed for sku in self._ledger.usage(series, step))
            if any(self._named[name].counts_rows(series, sku) for sku in skus):
                if series not in unit.counted:
                    unit.counted.append(series)
                for day in {step * STEP_HOURS[series.grain] // DAY for step in changed}:
                    self._count(name, day)
        old, new = self._members.get(series, ()), self._of(series, about)
        if not old and not new:
            return
        self._members[series] = new
        for step in changed if old == new else {*changed, *self._ledger.steps(series)}:
            cost = self._ledger.point(series, step) or money.ZERO
            was = changed[step].before or money.ZERO if step in changed else cost
            self._add(old, series, step, was.copy_negate())
            self._add(new, series, step, cost)

    def forget(self, now: datetime) -> None:
        """Let go of days that are too old to be shown, and of series that are gone."""
        super().forget(now)
        for unit in self._units.values():
            unit.counted = [series for series in unit.counted if series in self._ledger]
        self._members = {s: names for s, names in self._members.items() if s in self._ledger}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from super().save(streams, name)
        members = ((str(series), list(names)) for series, names in self._members.items())
        yield from streams.values(f"{name}/members", members)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved of the unit costs that the config still names."""
        super().restore(saved, name)
        self._members = {
            SeriesKey.parse(series): tuple(names)
            for series, names in saved.values(f"{name}/members", list[str]).items()
        }

    def _of(self, series: SeriesKey, about: CostEvent) -> tuple[str, ...]:
        return tuple(
            name
            for name, unit in self._named.items()
            if unit.currency == series.billing_currency and self._is_spend(unit, about)
        )

    def _is_spend(self, unit: UnitCost, about: CostEvent) -> bool:
        places = {
            "owner": self._owners.of_row(about).name,
            "service": about.service_name,
            "sub_account": about.sub_account_id,
            "region": about.region_id,
        }
        return all(
            (places[key] if key in _PLACES else self._dimensions.of(about.tags, key)) == value
            for key, value in unit.where.items()
        )

    def _add(self, names: Iterable[str], series: SeriesKey, step: int, cost: Decimal) -> None:
        day = step * STEP_HOURS[series.grain] // DAY
        for name in names if cost else ():
            unit = self._units[name]
            unit.cost[day] = money.add(unit.cost.get(day, money.ZERO), cost)
            unit.note(day)

    def _count(self, name: str, day: int) -> None:
        """Add a day's counts up again."""
        unit, named = self._units[name], self._named[name]
        quantities = [
            quantity
            for series in unit.counted
            for step in _steps(series, day)
            for sku, (_, quantity) in self._ledger.usage(series, step).items()
            if named.counts_rows(series, sku)
        ]
        unit.count[day] = money.total(quantities)
        unit.note(day)


def _steps(series: SeriesKey, day: int) -> range:
    per_day = DAY // STEP_HOURS[series.grain]
    return range(day * per_day, (day + 1) * per_day)
