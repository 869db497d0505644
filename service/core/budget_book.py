"""Budget book: one budget with all that is known of it, and what that comes to in its periods.

A threshold is crossed while it is; when it was first crossed is kept, so that it is told once. Of
what changes in a period, the newest amount holds for the whole of it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec

from service.core import money
from service.core.budget_facts import Facts, Outlooks, is_forecast, severity_of
from service.core.budget_figures import Crossing, Figures, Mover
from service.core.budgets import (
    BURN,
    FORECAST,
    Budget,
    Charges,
    Period,
    counted,
    day_of,
    joined,
    share_of,
    start_of_day,
)
from service.core.burn import burn
from service.core.spend import DAYS_KEPT, SILENT_DAYS, Spent

# How long after a period its figures may change, and after a day it may be incomplete.
SETTLES_AFTER: Final = timedelta(hours=72)
# How long after a period a bill may still show that it went over.
LATE_FOR: Final = timedelta(days=14)
OPEN_FOR: Final = timedelta(hours=24)
MOVERS_TOLD: Final = 3


class Part(msgspec.Struct, kw_only=True):
    """What one part said last of a budget, but for its days."""

    hours: dict[int, Decimal]
    daily: dict[int, Decimal]
    until: int | None
    movers: list[Mover]
    lately: list[Mover]
    not_counted: list[str]


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """What a budget was when one of its periods settled, by which that is judged from then on."""

    amount: Decimal
    thresholds: list[float]


class Life(msgspec.Struct, kw_only=True):
    """One period of a budget: what is crossed, and at which amount and when each first was."""

    period: Period
    crossed: list[str] = []
    seen: dict[str, tuple[Decimal, datetime]] = {}
    detected_at: datetime | None = None
    figures: Figures | None = None
    settled_as: Settled | None = None

    @property
    def is_settled(self) -> bool:
        """Tell whether its figures were taken as final."""
        return self.settled_as is not None


class Book(msgspec.Struct, kw_only=True):
    """A budget and all that is known of it."""

    budget: Budget
    amount_before: Decimal | None = None
    changed_at: datetime | None = None
    days: dict[int, dict[str, Charges]] = {}
    parts: dict[str, Part] = {}
    lives: list[Life] = []
    touched: int | None = None  # the first day that changed since it was judged last

    def change(self, budget: Budget, now: datetime) -> None:
        """Let the same spending have another amount, or other thresholds."""
        if self.budget.amount != budget.amount:
            self.amount_before, self.changed_at = self.budget.amount, now
        self.budget = budget

    def take(self, spent: Spent, part: str) -> None:
        """Take in what a part knows."""
        first = min(spent.days, default=None)
        if first is not None:
            self.touched = first if self.touched is None else min(self.touched, first)
        for day, charges in spent.days.items():
            of_day = self.days.setdefault(day, {})
            of_day.pop(part, None)
            if charges:
                of_day[part] = charges
            if not of_day:
                del self.days[day]
        self.parts[part] = Part(
            hours=spent.hours, daily=spent.daily, until=spent.until, movers=spent.movers,
            lately=spent.lately, not_counted=spent.not_counted,
        )  # fmt: skip

    def forget(self, before: datetime) -> None:
        """Let go of days that are long before a time."""
        edge = day_of(before) - DAYS_KEPT
        self.days = {day: one for day, one in self.days.items() if day >= edge}

    def judge(self, now: datetime, memory: Outlooks) -> list[Life]:
        """Bring all periods up to now; return those of which there is anything new to say."""
        period = self.budget.period_of(day_of(now))
        if period is not None and (not self.lives or self.lives[-1].period != period):
            self.lives.append(Life(period=period))
        changed = []
        until = self._until(now)
        if self.touched is not None and (until is None or self.touched < until):
            memory.drop(self.budget.name)
        self.touched = None
        for life in self.lives:
            old, was_settled = life.figures, life.is_settled
            self._tell(life, now, memory)
            news = life.figures != old or life.is_settled != was_settled
            if life.detected_at is not None and news:
                changed.append(life)
        edge = day_of(now - LATE_FOR)
        self.lives = [life for life in self.lives if life.period.end > edge]
        return changed

    def _tell(self, life: Life, now: datetime, memory: Outlooks) -> None:
        budget, period = self._terms(life), life.period
        begin, end = start_of_day(period.begin), start_of_day(period.end)
        mine = self._by_day(range(period.begin, period.end))
        facts = self._facts(life, mine, now, memory)
        self._cross(life, budget, facts, now)
        if now >= end + SETTLES_AFTER:
            life.settled_as = Settled(budget.amount, list(map(float, budget.thresholds)))
        said, fast = facts.forecast, facts.burn
        beside = joined(mine.values())
        is_change = self.changed_at is not None and self.changed_at >= begin
        life.figures = Figures(
            name=budget.name,
            what=budget.what,
            amount=budget.amount,
            currency=budget.currency,
            severity=severity_of(budget, life.crossed, facts),
            period_start=begin,
            period_end=end,
            as_of=min(now, end),
            spent=facts.spent,
            tax=beside.get("tax", money.ZERO),
            credit=beside.get("credit", money.ZERO),
            forecast=None if said is None else money.cents(said.total),
            forecast_low=None if said is None else money.cents(said.low),
            forecast_high=None if said is None else money.cents(said.high),
            crossed=[Crossing(what, life.seen[what][1]) for what in life.crossed],
            burn=None if fast is None else round(fast.times, 3),
            burn_hours=0 if fast is None else fast.hours,
            used_up_at=_used_up_at(budget.amount, facts, now),
            movers=self._movers(is_burst=fast is not None) if now < end else [],
            amount_before=self.amount_before if is_change else None,
            changed_at=self.changed_at if is_change else None,
            not_counted=sorted({c for part in self.parts.values() for c in part.not_counted}),
        )

    def _terms(self, life: Life) -> Budget:
        was = life.settled_as
        if was is None:
            return self.budget
        return msgspec.structs.replace(
            self.budget, amount=was.amount, thresholds=was.thresholds, forecast_thresholds=[]
        )

    def _by_day(self, days: Iterable[int]) -> dict[int, Charges]:
        return {day: joined(self.days[day].values()) for day in days if day in self.days}

    def _facts(
        self, life: Life, mine: Mapping[int, Charges], now: datetime, memory: Outlooks
    ) -> Facts:
        period, end = life.period, start_of_day(life.period.end)
        costs = {day: counted(one) for day, one in mine.items()}
        spent = money.total(costs.values())
        if now >= end:
            return Facts(spent=spent, is_over=True)
        until = self._until(now)
        facts = Facts(spent=spent)
        if until is not None:
            facts.is_young = until <= period.begin
            days = partial(self._by_day, list(self.days))
            ahead = memory.of(self.budget.name, until, period, days)
            begun = money.total(cost for day, cost in costs.items() if day >= until)
            facts.forecast = None if ahead is None else ahead.total(float(spent), float(begun))
        self._burn(life, facts, (end - now).total_seconds() / 3600)
        return facts

    def _until(self, now: datetime) -> int | None:
        """Return the first day that may be incomplete: it is not over for long, or not told.

        None when nothing was told for so long that nobody knows what is spent.
        """
        edge = day_of(now) - SILENT_DAYS
        told = [part.until for part in self.parts.values() if part.until and part.until >= edge]
        return min(day_of(now - OPEN_FOR), *told) if told else None

    def _burn(self, life: Life, facts: Facts, hours_left: float) -> None:
        """Note a rate that would not last, if it is more than the forecast knows of."""
        if not self.budget.burn_rate or hours_left < 1:
            return
        even = float(self.budget.amount) / (life.period.days * 24)
        left = float(money.subtract(self.budget.amount, facts.spent))
        lasts, parts = max(even, left / hours_left), self.parts.values()
        hours, daily = joined(part.hours for part in parts), joined(part.daily for part in parts)
        found = burn(hours, daily, lasts, goes_on=False)
        if found is not None and facts.forecast is not None:
            reaches = float(facts.spent) + found.per_hour * hours_left
            facts.burn = found if reaches > facts.forecast.high else None
        else:
            facts.burn = found
        was = BURN in life.crossed
        facts.burns_on = facts.burn is not None or (
            was and burn(hours, daily, lasts, goes_on=True) is not None
        )

    @staticmethod
    def _cross(life: Life, budget: Budget, facts: Facts, now: datetime) -> None:
        before = life.crossed
        crossed = [
            f"{percent:g} %"
            for percent in sorted(budget.thresholds)
            if facts.spent >= share_of(budget.amount, percent)
        ]
        for percent in sorted(budget.forecast_thresholds):
            what, limit = f"{FORECAST} {percent:g} %", share_of(budget.amount, percent)
            if is_forecast(facts, limit, was=what in before):
                crossed.append(what)
        if facts.burns_on:
            crossed.append(BURN)
        for what in crossed:
            seen = life.seen.get(what)
            if seen is None or (what not in before and seen[0] != budget.amount):
                life.seen[what] = (budget.amount, now)
        life.crossed = crossed
        if crossed and life.detected_at is None:
            life.detected_at = now

    def _movers(self, *, is_burst: bool) -> list[Mover]:
        parts = self.parts.values()
        every = [m for part in parts for m in (part.lately if is_burst else part.movers)]
        return sorted(every, key=lambda m: (-m.more, -m.cost, m.series))[:MOVERS_TOLD]


def _used_up_at(amount: Decimal, facts: Facts, now: datetime) -> datetime | None:
    """Return when a burst uses up what is left; None when there is none, or nothing left."""
    left = float(money.subtract(amount, facts.spent))
    if facts.burn is None or left <= 0:
        return None
    return now + timedelta(hours=int(left / facts.burn.per_hour))
