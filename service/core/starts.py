"""Starts: what each account spends on, and how often it starts things of a size.

All of it is of the last half year: a thing that was not spent on for so long is new again, and
those started before count no more.
"""

import math
from decimal import Decimal
from typing import Final

import msgspec

from service.core import money
from service.core.events import SeriesKey
from service.core.findings import Stretch
from service.core.ledger import STEP_HOURS
from service.core.things import Thing

# An account is known when it spent on this many days, the first of them so long ago; what it began
# with is not new.
KNOWN_AFTER_DAYS: Final = 14
REMEMBERED_DAYS: Final = 183
# A thing is new until a whole week of it was seen.
NEW_DAYS: Final = 7
# The prior: an account is taken to have started half a thing a month before anything is known of
# it, one in ten of them a hundred times as large as the smallest that matters.
PRIOR_THINGS: Final = 0.5
PRIOR_DAYS: Final = 30.0
TAIL: Final = 0.5
LEAST_TAIL: Final = 1e-3
SMALLEST: Final = 0.01  # of what the account costs a day
NEVER: Final = 2**40


class Spend:
    """What was spent on a thing; its series and sums are kept while it is new or was told.

    `first` is the step of its first money, `most` its largest day while new, `last_day` the
    newest day with a row of it.
    """

    __slots__ = ("first", "is_known", "last_day", "most", "series", "stretch", "sums")

    def __init__(self) -> None:
        self.first: int | None = None
        self.last_day = 0
        self.is_known = False
        self.most = 0.0
        self.series: dict[SeriesKey, None] = {}
        self.sums: dict[int, Decimal] = {}
        self.stretch: Stretch | None = None

    def add(self, step: int, old: Decimal | None, new: Decimal | None) -> None:
        """Replace what one series cost in a step."""
        less = money.subtract(self.sums.get(step, money.ZERO), old or money.ZERO)
        self.sums[step] = money.add(less, new or money.ZERO)

    def forget(self, step: int) -> None:
        """Let go of what was spent before a step."""
        self.sums = {at: cost for at, cost in self.sums.items() if at >= step}

    def is_gone(self, day: int) -> bool:
        """Tell whether nobody spends on it: none of its series is left, or since before a day."""
        if self.series or self.stretch is not None:
            return False
        return self.first is None or self.last_day < day

    def pack(self, thing: Thing) -> "SavedSpend":
        """Return what is saved of it."""
        return SavedSpend(
            thing=thing,
            first=self.first,
            last_day=self.last_day,
            is_known=self.is_known,
            most=self.most,
            series=list(self.series),
            sums=self.sums,
            finding_id=None if self.stretch is None else self.stretch.finding_id,
        )

    @classmethod
    def unpack(cls, saved: "SavedSpend") -> "Spend":
        """Return what was saved, but for its finding."""
        spend = cls()
        spend.first, spend.last_day, spend.most = saved.first, saved.last_day, saved.most
        spend.is_known = saved.is_known
        spend.series, spend.sums = dict.fromkeys(saved.series), dict(saved.sums)
        return spend

    def measure(self, per_day: int) -> None:
        """Find the first money, and the largest sum over a day's length of the new days."""
        paid = [step for step, cost in self.sums.items() if cost > 0]
        self.first = min(paid, default=None)
        if self.first is None:
            return
        steps = range(self.first, self.first + NEW_DAYS * per_day)
        costs = [float(self.sums.get(step, money.ZERO)) for step in steps]
        self.most = day = 0.0
        for index, cost in enumerate(costs):
            day += cost - (costs[index - per_day] if index >= per_day else 0.0)
            self.most = max(self.most, day)


class Account:
    """What one account costs a day, since when it is known, and what it spends on."""

    __slots__ = ("_known_day", "days", "first", "things")

    def __init__(self) -> None:
        self.first: int | None = None
        self.days: dict[int, Decimal] = {}
        self.things: dict[Thing, Spend] = {}
        self._known_day: int | None = None  # worked out from the days

    def add(self, series: SeriesKey, step: int, old: Decimal | None, new: Decimal | None) -> None:
        """Replace what one series cost in a step."""
        day = step * STEP_HOURS[series.grain] // 24
        before = self.days.get(day, money.ZERO)
        cost = self.days[day] = money.add(
            before, money.subtract(new or money.ZERO, old or money.ZERO)
        )
        if (before > 0) != (cost > 0):
            self._known_day = None
        if new and (self.first is None or step < self.first):
            self.first = step

    def forget(self, day: int) -> None:
        """Let go of what it cost before a day, but for the days by which it is known."""
        first = set(self._first_days())
        self.days = {at: cost for at, cost in self.days.items() if at >= day or at in first}

    def pack(self, key: SeriesKey) -> "SavedAccount":
        """Return what is saved of it, but for its things."""
        return SavedAccount(key, self.first, self.days)

    @classmethod
    def unpack(cls, saved: "SavedAccount") -> "Account":
        """Return what was saved, but for its things."""
        account = cls()
        account.first, account.days = saved.first, saved.days
        return account

    def known_since(self, per_day: int) -> int:
        """Return the step from which what begins is new; days without spend say nothing of it."""
        if self._known_day is None:
            days = self._first_days()
            self._known_day = days[-1] + 1 if len(days) == KNOWN_AFTER_DAYS else NEVER
        return max((self.first or 0) + KNOWN_AFTER_DAYS * per_day, self._known_day * per_day)

    def known_days(self, first: int, per_day: int) -> int:
        """Return for how many days before a step it is known what the account starts."""
        days = (first - self.known_since(per_day)) // per_day + KNOWN_AFTER_DAYS
        return min(max(days, 0), REMEMBERED_DAYS)

    def others(self, thing: Thing, first: int, per_day: int) -> list[Spend]:
        """Return what it started lately of the same dimension, since it is known."""
        since = max(self.known_since(per_day), first - REMEMBERED_DAYS * per_day)
        return [
            spend
            for other, spend in self.things.items()
            if other.dimension == thing.dimension
            and other != thing
            and spend.first is not None
            and since <= spend.first <= first
        ]

    def rate(self, thing: Thing, first: int, most: float, per_day: int) -> float:
        """Return how many things at least as costly it starts a day."""
        today = first // per_day
        days = [self.days.get(day) for day in range(today - KNOWN_AFTER_DAYS, today)]
        usual = float(money.total(cost for cost in days if cost)) / KNOWN_AFTER_DAYS
        share = most / usual / SMALLEST if usual > 0 else math.inf
        tail = min(1.0, max(math.pow(share, -TAIL), LEAST_TAIL))
        larger = sum(known.most >= most for known in self.others(thing, first, per_day))
        known_days = min((first - self.known_since(per_day)) / per_day, REMEMBERED_DAYS)
        return (PRIOR_THINGS * tail + larger) / (PRIOR_DAYS + known_days)

    def _first_days(self) -> list[int]:
        return sorted(day for day, cost in self.days.items() if cost > 0)[:KNOWN_AFTER_DAYS]


class SavedSpend(msgspec.Struct, kw_only=True):
    """What is spent on a thing, as it is saved."""

    thing: Thing
    first: int | None
    last_day: int
    is_known: bool
    most: float
    series: list[SeriesKey]
    sums: dict[int, Decimal]
    finding_id: str | None


class SavedAccount(msgspec.Struct, array_like=True):
    """An account as it is saved."""

    key: SeriesKey
    first: int | None
    days: dict[int, Decimal]
