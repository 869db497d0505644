"""Spend: what counts to each budget by day, from the ledger, and which resources moved it.

A series counts to the budgets that its newest row names, with all that the ledger still knows of
it, as with groups. These are the sums of the series at hand: whoever tells adds up all parts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from service.core import money
from service.core.budget_figures import Mover
from service.core.budgets import Budget, Charges, counted, day_of
from service.core.events import DAILY, HOURLY, SeriesKey, TagValue
from service.core.ledger import STEP_HOURS, Ledger
from service.core.movers import SeriesDays
from service.core.owners import UNOWNED, Owners
from service.core.slots import Slots
from service.core.state import Chunk, Saved, Sign, Streams

_Said = tuple[Mapping[str, TagValue] | None, str | None, str | None]
_T = TypeVar("_T")

DAYS_KEPT: Final = 400
HOURS_KEPT: Final = 8 * 24
MOVERS: Final = 5
# A source that told nothing for so long does not hold the others up.
SILENT_DAYS: Final = 8


class Spent(msgspec.Struct, kw_only=True):
    """What a part knows of a budget: the days that changed, and the newest hours, whole.

    `hours` is plain usage by hour, `daily` that which is known by the day only. `until` is the
    first day that some source has not told whole; None when none told anything lately. `movers`
    are compared with the period before, `lately` of two days with those a week before. `scope`
    names what counted; empty text is what was said before that was told.
    """

    budget: str
    days: dict[int, Charges]
    hours: dict[int, Decimal]
    daily: dict[int, Decimal]
    until: int | None
    movers: list[Mover]
    lately: list[Mover]
    not_counted: list[str]
    scope: str = ""


class _Sums(msgspec.Struct, kw_only=True):
    """What is known, and saved, of one budget."""

    budget: Budget
    days: dict[int, Charges] = {}
    hours: dict[int, Decimal] = {}
    daily: dict[int, Decimal] = {}
    sources: list[str] = []
    not_counted: list[str] = []
    dirty: list[int] = []
    has_news: bool = True


class _Code(msgspec.Struct, frozen=True, array_like=True):
    """The budgets of a series, and its owner."""

    budgets: tuple[str, ...]
    owner: str


class Spend:
    """The sums of the series at hand, for the budgets of the config and those that people set."""

    def __init__(self, ledger: Ledger, owners: Owners, budgets: Iterable[Budget]) -> None:
        self._ledger = ledger
        self._owners = owners
        self._sums = {budget.name: _Sums(budget=budget) for budget in budgets}
        self._series = SeriesDays()
        self._said: dict[SeriesKey, _Said] = {}
        self._codes: Slots[_Code] = Slots()
        self._until: dict[str, int] = {}
        self._charged: dict[tuple[SeriesKey, int], Charges] = {}

    @property
    def charged(self) -> dict[tuple[SeriesKey, int], Charges] | None:
        """Return where the ledger is to note what steps were before; None without any budget."""
        return self._charged if self._sums else None

    def put(self, budget: Budget, now: datetime) -> None:
        """Follow a budget, from all that the ledger knows."""
        known = self._sums.get(budget.name)
        if known is not None and known.budget.same_scope(budget):
            if not known.budget.same_periods(budget):  # whoever judges it begins anew
                known.dirty, known.has_news = list(known.days), True
            known.budget = budget
        else:
            self._sums[budget.name] = _Sums(budget=budget)
            self._add_up([budget.name], now)

    def drop(self, name: str) -> None:
        """Follow a budget no more."""
        self._sums.pop(name, None)

    def apply(self, now: datetime) -> None:
        """Bring the sums up to the ledger, from what was noted in `charged`."""
        charged, self._charged = self._charged, {}
        if not charged:
            return
        self._series.advance(day_of(now) + 1)
        steps: dict[SeriesKey, list[int]] = {}
        for series, step in charged:
            steps.setdefault(series, []).append(step)
        for series, changed in steps.items():
            self._note_until(series, max(changed))
            old = self._budgets_of(series)
            self._place(series)
            new, is_new = self._budgets_of(series), old is None
            if new is None:
                continue
            for step in self._ledger.steps(series) if is_new or old != new else changed:
                costs = self._ledger.charges(series, step)
                was = charged.get((series, step), costs)
                self._add(old or (), series, step, was, -1)
                self._add(new, series, step, costs, 1)
                self._move(series, step, {} if is_new else was, costs)

    def report(self, now: datetime) -> list[Spent]:
        """Return what changed since the last report, of every budget of which anything did."""
        day = day_of(now)
        self._series.advance(day + 1)
        found: list[Spent] = []
        for name, sums in self._sums.items():
            if sums.has_news:
                found.append(
                    Spent(
                        budget=name,
                        days={at: dict(sums.days.get(at, {})) for at in sorted(sums.dirty)},
                        hours=dict(sorted(sums.hours.items())),
                        daily=dict(sorted(sums.daily.items())),
                        until=self._known_until(sums, now),
                        movers=self._movers(sums.budget, *sums.budget.compared(day)),
                        lately=self._movers(sums.budget, *_lately(day)),
                        not_counted=sorted(sums.not_counted),
                        scope=sums.budget.scope,
                    )
                )
                sums.dirty, sums.has_news = [], False
        return found

    def forget(self, now: datetime) -> None:
        """Let go of what is too old to be told of."""
        day = day_of(now)
        for sums in self._sums.values():
            sums.days = _since(sums.days, day - DAYS_KEPT)
            sums.hours = _since(sums.hours, (day + 1) * 24 - HOURS_KEPT)
            sums.daily = _since(sums.daily, day + 1 - HOURS_KEPT // 24)

    def let_go(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of series of which nothing can change; what they cost stays."""
        for series in gone:
            if series in self._series:
                self._series.drop(series)
                self._said.pop(series, None)

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/sums", self._sums.items())
        yield from self._codes.save(streams, f"{name}/codes")
        yield from streams.values(f"{name}/until", [("", self._until)])
        yield from self._series.save(streams, f"{name}/series", sign)

    def restore(
        self, saved: Saved, name: str, standing: Iterable[Budget], *, is_part: bool
    ) -> None:
        """Take over what was saved; the ledger knows its series already.

        What counts now goes before what was saved: a budget that is new, or of another scope, is
        added up from the ledger; so are all, when only a part of the series is kept.
        """
        self._sums |= {budget.name: _Sums(budget=budget) for budget in standing}
        anew = set(self._sums)
        for one, sums in saved.values(f"{name}/sums", _Sums).items():
            mine = self._sums.get(one)
            if mine is not None and mine.budget.same_scope(sums.budget):
                sums.budget = mine.budget
                self._sums[one] = sums
                anew.discard(one)
        self._until = saved.values(f"{name}/until", dict[str, int]).get("", {})
        if is_part:
            anew = set(self._sums)
        else:
            self._codes.restore(saved, f"{name}/codes", _Code, lambda _: True)
            self._series.restore(saved, f"{name}/series")
        if anew:
            self._add_up(anew, None)

    def _add_up(self, names: Collection[str], now: datetime | None) -> None:
        """Take in everything that the ledger knows for some budgets."""
        if now is not None:
            self._series.advance(day_of(now) + 1)
        self._sums |= {name: _Sums(budget=self._sums[name].budget) for name in names}
        for series in self._ledger.series():
            is_new = series not in self._series
            self._said.pop(series, None)
            self._place(series)
            mine = [one for one in self._budgets_of(series) or () if one in names]
            steps = self._ledger.steps(series)
            if steps:
                self._note_until(series, steps[-1])
            for step in steps if mine else ():
                costs = self._ledger.charges(series, step)
                self._add(mine, series, step, costs, 1)
                if is_new:
                    self._move(series, step, {}, costs)

    def _budgets_of(self, series: SeriesKey) -> tuple[str, ...] | None:
        """Return the budgets that a series counts to; None when it never did to any."""
        if series not in self._series:
            return None
        code = self._codes.key(self._series.code(series))
        return tuple(name for name in code.budgets if name in self._sums)

    def _place(self, series: SeriesKey) -> None:
        """Note which budgets a series counts to by its newest row."""
        about = self._ledger.about(series)
        said = (about.tags, about.sub_account_id, about.service_name)
        if self._said.get(series) == said:
            return
        owner = self._owners.of(about.tags, about.sub_account_id).name
        takes = [name for name, sums in self._sums.items() if sums.budget.takes(about, owner)]
        currency = series.billing_currency
        for sums in (self._sums[name] for name in takes):
            if series.source not in sums.sources:
                sums.sources.append(series.source)
            if sums.budget.currency != currency and currency not in sums.not_counted:
                sums.not_counted.append(currency)
                sums.has_news = True
        budgets = tuple(one for one in takes if self._sums[one].budget.currency == currency)
        if not budgets and series not in self._series:
            return
        if series not in self._series:
            self._series.add(series)
        code = _Code(budgets, owner)
        self._series.set_code(series, self._codes.give(code))
        self._said[series] = said

    def _add(
        self, names: Collection[str], series: SeriesKey, step: int, costs: Charges, sign: int
    ) -> None:
        day = step * STEP_HOURS[series.grain] // 24
        for name in names:
            sums = self._sums[name]
            of_day = sums.days.setdefault(day, {})
            for charge, cost in costs.items():
                _change(of_day, charge, sign * cost)
            if not of_day:
                del sums.days[day]
            if day not in sums.dirty:
                sums.dirty.append(day)
            sums.has_news = True
            usage = costs.get("usage", money.ZERO)
            if series.grain == HOURLY:
                _change(sums.hours, step, sign * usage)
            elif series.grain == DAILY:
                _change(sums.daily, step, sign * usage)

    def _move(self, series: SeriesKey, step: int, was: Charges, now: Charges) -> None:
        day = step * STEP_HOURS[series.grain] // 24
        self._series.move(series, day, counted(was), counted(now))

    def _note_until(self, series: SeriesKey, step: int) -> None:
        """Note up to when a source has told its days: the day after the last that is whole."""
        if series.grain in (HOURLY, DAILY):
            until = (step + 1) * STEP_HOURS[series.grain] // 24
            self._until[series.source] = max(self._until.get(series.source, 0), until)

    def _known_until(self, sums: _Sums, now: datetime) -> int | None:
        latest = [self._until.get(source, 0) for source in sums.sources]
        return min((day for day in latest if day >= day_of(now) - SILENT_DAYS), default=None)

    def _movers(self, budget: Budget, span: range, before: range) -> list[Mover]:
        """Return who moved it; other owners' resources are not named to whom it belongs."""
        heard_by = budget.heard_by(self._owners).name
        codes = [
            self._codes[code]
            for code in self._codes
            if budget.name in code.budgets and heard_by in (UNOWNED, code.owner)
        ]
        return [
            Mover(str(series), self._name(series), more, cost)
            for series, more, cost in self._series.top(codes, span, before, MOVERS)
        ]

    def _name(self, series: SeriesKey) -> str:
        about = self._ledger.about(series)
        return about.resource_name or about.resource_id or about.service_name or series.source


def _change(sums: "dict[_T, Decimal]", key: _T, cost: Decimal) -> None:
    """Add to one of some sums; none is kept that is nothing."""
    total = money.add(sums.get(key, money.ZERO), cost)
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)


def _lately(day: int) -> tuple[range, range]:
    """Return today and yesterday, and the same days a week before."""
    return range(day - 1, day + 1), range(day - 8, day - 6)


def _since(found: dict[int, _T], edge: int) -> dict[int, _T]:
    return {at: one for at, one in found.items() if at >= edge}
