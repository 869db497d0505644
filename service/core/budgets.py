"""Budgets: what may be spent on what and by when, and what there is to say when it is near.

A budget is of one currency. What counts is plain usage, fees, purchases and adjustments, by the
cost that the source is judged by; taxes and credits are shown apart. A fee or a purchase counts on
the day on which its charge period begins.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from service.core import money
from service.core.events import CostEvent
from service.core.forecast import EPOCH
from service.core.ledger import Charge
from service.core.owners import Owner, Owners, plain_key

KIND: Final = "budget"
# What is crossed, beside percentages of the amount.
FORECAST: Final = "forecast"
BURN: Final = "burn"
COUNTS: Final[frozenset[Charge]] = frozenset({"usage", "fee", "adjustment"})
LONGEST_MONTH: Final = 31
LONGEST_DAYS: Final = 3 * 366
Charges = dict[Charge, Decimal]
_Key = TypeVar("_Key")
Percent = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Period(NamedTuple):
    """Days of UTC, from `begin` to before `end`, counted since 1970."""

    begin: int
    end: int

    @property
    def days(self) -> int:
        """Return how long it is."""
        return self.end - self.begin


class Terms(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """An amount for a period, of what one owner, service, tag or sub-account spends; else of all.

    What names several takes what is all of them. A period of `days` begins at `starts`, and the
    next when it ends. `thresholds` are percentages of the amount that are told when they are spent,
    `forecast_thresholds` those told when they are expected to be. `belongs_to` hears of it: the
    owner, where nothing else is said.
    """

    amount: Decimal
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "USD"
    owner: Text | None = None
    service: Text | None = None
    tag: Annotated[str, msgspec.Meta(pattern="^[^=]+=.+$", max_length=256)] | None = None
    sub_account: Text | None = None
    belongs_to: Text | None = None
    period: Literal["month", "quarter", "year", "days"] = "month"
    starts: date | None = None
    days: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_DAYS)] | None = None
    thresholds: Annotated[list[Percent], msgspec.Meta(max_length=20)] = msgspec.field(
        default_factory=lambda: [50, 80, 100]
    )
    forecast_thresholds: Annotated[list[Percent], msgspec.Meta(max_length=20)] = msgspec.field(
        default_factory=lambda: [100]
    )
    burn_rate: bool = True

    def __post_init__(self) -> None:
        """Refuse an amount that is none, and a period that is given in part."""
        money.check("amount", self.amount)
        if not self.amount:
            raise ValueError("amount is 0")
        if (self.period == "days") != (self.days is not None) or (
            (self.period == "days") != (self.starts is not None)
        ):
            raise ValueError('starts and days go together with period = "days"')

    def takes(self, about: CostEvent, owner: str) -> bool:
        """Tell whether what a row says of its series makes it count, whatever its currency."""
        if self.tag is not None:
            key, _, wanted = self.tag.partition("=")
            tags = {plain_key(k): v for k, v in sorted((about.tags or {}).items())}
            if _plain(tags.get(plain_key(key))) != _plain(wanted):
                return False
        return (
            self.owner in (None, owner)
            and self.service in (None, about.service_name)
            and self.sub_account in (None, about.sub_account_id)
        )

    def same_scope(self, other: "Terms") -> bool:
        """Tell whether the same spending counts to both."""
        return _scope(self) == _scope(other)

    @property
    def scope(self) -> str:
        """Name what counts: the same for two budgets if the same spending counts to both."""
        return "\0".join("" if one is None else f"={one}" for one in _scope(self))

    def same_periods(self, other: "Terms") -> bool:
        """Tell whether both begin and end on the same days."""
        return (self.period, self.starts, self.days) == (other.period, other.starts, other.days)

    def takes_all_of(self, owner: str, service: str | None, sub_account: str) -> bool:
        """Tell whether all that is spent there counts, as far as these names tell."""
        return (
            self.tag is None
            and self.owner in (None, owner)
            and self.service in (None, service)
            and self.sub_account in (None, sub_account)
        )

    def period_of(self, day: int) -> Period | None:
        """Return the period of a day; None before the first."""
        at = date.fromordinal(EPOCH.toordinal() + day)
        if self.starts is not None and self.days is not None:
            first = number_of(self.starts)
            since = first + (day - first) // self.days * self.days
            return None if day < first else Period(since, since + self.days)
        months = {"month": 1, "quarter": 3, "year": 12}[self.period]
        begin = date(at.year, (at.month - 1) // months * months + 1, 1)
        last = date(at.year, begin.month + months - 1, 1)
        return Period(number_of(begin), number_of(last) + monthrange(last.year, last.month)[1])

    def compared(self, day: int) -> tuple[range, range]:
        """Return the days of a period up to one, and as many from the start of the period before.

        Of a longer period than a month, its last four weeks and the four before.
        """
        period = self.period_of(day)
        if period is None:
            return range(0), range(0)
        if period.days > LONGEST_MONTH:
            return range(day - 27, day + 1), range(day - 55, day - 27)
        before = self.period_of(period.begin - 1) or Period(period.begin, period.begin)
        end = min(before.begin + day + 1 - period.begin, before.end)
        return range(period.begin, day + 1), range(before.begin, end)

    def heard_by(self, owners: Owners) -> Owner:
        """Return who hears of it, and what decided that."""
        if self.belongs_to is not None:
            return Owner(self.belongs_to, "belongs_to of the budget")
        if self.owner is not None:
            return Owner(self.owner, "owner of the budget")
        return owners.of(None, self.sub_account)

    @property
    def what(self) -> str:
        """Say in a few words what is spent on; foreign text, empty for everything."""
        named = (
            (self.owner, "{}"), (self.service, "{}"), (self.tag, "{}"),
            (self.sub_account, "account {}"),
        )  # fmt: skip
        return " · ".join(form.format(value) for value, form in named if value)


class Budget(Terms, kw_only=True, frozen=True, forbid_unknown_fields=True, tag=KIND):
    """A budget by its name; set in the config, or by people as a standing thing."""

    name: Name

    @property
    def owners(self) -> list[str]:
        """Return whose it is: nobody's when it may count what is another's."""
        return [] if self.owner is None else sorted({self.owner, self.belongs_to or self.owner})

    @property
    def in_words(self) -> str:
        """Say what it is in one line."""
        length = f"{self.days} days from {self.starts}" if self.days else self.period
        told = [f"{percent:g} % spent" for percent in sorted(self.thresholds)]
        told += [f"{percent:g} % expected" for percent in sorted(self.forecast_thresholds)]
        told += ["spent too fast"] if self.burn_rate else []
        what = f"what {self.what} spends" if self.what else "all that is spent"
        amount = f"{money.text(self.amount)} {self.currency}"
        return f"{amount} a {length} for {what}; told at {', '.join(told) or 'nothing'}"

    @classmethod
    def of(cls, name: str, terms: Terms) -> "Budget":
        """Name some terms."""
        return cls(name=name, **msgspec.structs.asdict(terms))


def number_of(at: date) -> int:
    """Return a date's number since 1970."""
    return at.toordinal() - EPOCH.toordinal()


def day_of(at: datetime) -> int:
    """Return the number of the UTC day of a time."""
    return number_of(at.astimezone(UTC).date())


def start_of_day(day: int) -> datetime:
    """Return when a day begins."""
    return datetime.combine(date.fromordinal(EPOCH.toordinal() + day), time(), UTC)


def share_of(amount: Decimal, percent: float) -> Decimal:
    """Return so many percent of an amount, exactly."""
    return money.EXACT.multiply(amount, Decimal(repr(percent)) / 100)


def counted(charges: Mapping[Charge, Decimal]) -> Decimal:
    """Return what of some charges counts."""
    return money.total(cost for charge, cost in charges.items() if charge in COUNTS)


def joined(parts: Iterable[Mapping[_Key, Decimal]]) -> dict[_Key, Decimal]:
    """Add up by key what parts know."""
    found: dict[_Key, Decimal] = {}
    for part in parts:
        for key, cost in part.items():
            found[key] = money.add(found.get(key, money.ZERO), cost)
    return found


def _scope(budget: Terms) -> tuple[object, ...]:
    return (
        budget.owner, budget.service, budget.tag, budget.sub_account, budget.currency,
        budget.belongs_to,
    )  # fmt: skip


def _plain(value: object) -> str:
    return "" if value is None else " ".join(str(value).split()).lower()
