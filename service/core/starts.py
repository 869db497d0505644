"""Starts: what each account spends on, and how often it starts things of a size."""

import math
from decimal import Decimal
from typing import Final

import msgspec

from service.core import money
from service.core.events import SeriesKey
from service.core.findings import Stretch
from service.core.ledger import STEP_HOURS
from service.core.things import Thing

# An account is known when its periods reach this far back; what it began with is not new.
KNOWN_AFTER_DAYS: Final = 14
# A thing is new until a whole week of it was seen.
NEW_DAYS: Final = 7
# The prior: an account is taken to have started half a thing a month before anything is known of
# it, one in ten of them a hundred times as large as the smallest that matters.
PRIOR_THINGS: Final = 0.5
PRIOR_DAYS: Final = 30.0
TAIL: Final = 0.5
LEAST_TAIL: Final = 1e-3
SMALLEST: Final = 0.01  # of what the account costs a day


class Spend:
    """What was spent on a thing; its series and sums are kept while it is new or was told.

    `first` is the step of its first money, `most` its largest day while new.
    """

    __slots__ = ("first", "is_known", "most", "series", "stretch", "sums")

    def __init__(self) -> None:
        self.first: int | None = None
        self.is_known = False
        self.most = 0.0
        self.series: dict[SeriesKey, None] = {}
        self.sums: dict[int, Decimal] = {}
        self.stretch: Stretch | None = None

    def add(self, step: int, old: Decimal | None, new: Decimal | None) -> None:
        """Replace what one series cost in a step."""
        less = money.subtract(self.sums.get(step, money.ZERO), old or money.ZERO)
        self.sums[step] = money.add(less, new or money.ZERO)

    def pack(self, thing: Thing) -> "SavedSpend":
        """Return what is saved of it."""
        return SavedSpend(
            thing=thing,
            first=self.first,
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
        spend.first, spend.is_known, spend.most = saved.first, saved.is_known, saved.most
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

    __slots__ = ("days", "first", "things")

    def __init__(self) -> None:
        self.first: int | None = None
        self.days: dict[int, Decimal] = {}
        self.things: dict[Thing, Spend] = {}

    def add(self, series: SeriesKey, step: int, old: Decimal | None, new: Decimal | None) -> None:
        """Replace what one series cost in a step."""
        day = step * STEP_HOURS[series.grain] // 24
        more = money.subtract(new or money.ZERO, old or money.ZERO)
        self.days[day] = money.add(self.days.get(day, money.ZERO), more)
        if new and (self.first is None or step < self.first):
            self.first = step

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
        """Return the step from which what begins is new."""
        return (self.first or 0) + KNOWN_AFTER_DAYS * per_day

    def others(self, thing: Thing, first: int, per_day: int) -> list[Spend]:
        """Return what it started before of the same dimension, since it is known."""
        return [
            spend
            for other, spend in self.things.items()
            if other.dimension == thing.dimension
            and other != thing
            and spend.first is not None
            and self.known_since(per_day) <= spend.first <= first
        ]

    def rate(self, thing: Thing, first: int, most: float, per_day: int) -> float:
        """Return how many things at least as costly it starts a day."""
        today = first // per_day
        days = [self.days.get(day) for day in range(today - KNOWN_AFTER_DAYS, today)]
        usual = float(money.total(cost for cost in days if cost)) / KNOWN_AFTER_DAYS
        share = most / usual / SMALLEST if usual > 0 else math.inf
        tail = min(1.0, max(math.pow(share, -TAIL), LEAST_TAIL))
        larger = sum(known.most >= most for known in self.others(thing, first, per_day))
        known_days = (first - self.known_since(per_day)) / per_day
        return (PRIOR_THINGS * tail + larger) / (PRIOR_DAYS + known_days)


class SavedSpend(msgspec.Struct, kw_only=True):
    """What is spent on a thing, as it is saved."""

    thing: Thing
    first: int | None
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
