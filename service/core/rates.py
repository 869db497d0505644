"""Rates: amounts of several currencies made comparable, by rates that the config gives with dates.

Without a rate nothing is ever converted, nor added to what is in another currency.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from service.core import money

# One amount for every currency, or one for each.
Amounts = Decimal | dict[str, Decimal]


class Rates:
    """What one unit of a currency is worth in `currency`, from each date on."""

    def __init__(
        self, currency: str = "USD", dated: Mapping[str, Mapping[date, Decimal]] | None = None
    ) -> None:
        self.currency = currency
        self._dated = {name: sorted(known.items()) for name, known in (dated or {}).items()}

    def convert(self, amount: Decimal, currency: str, at: datetime) -> Decimal | None:
        """Return an amount in `self.currency` by the rate of that day; None without one."""
        if currency == self.currency:
            return amount
        rate = None
        for since, known in self._dated.get(currency, ()):
            if since <= at.date():
                rate = known
        return None if rate is None else money.EXACT.multiply(amount, rate)

    def reaches(self, amount: Decimal, currency: str, at: datetime, floor: Amounts) -> bool:
        """Tell whether an amount is a floor or more.

        A plain floor is in `self.currency`; where no rate leads there it is taken to be in the
        amount's own. A table without the currency lets everything through that cannot be converted.
        """
        least = floor if isinstance(floor, Decimal) else floor.get(currency)
        converted = self.convert(amount, currency, at)
        if isinstance(floor, Decimal):
            return (amount if converted is None else converted) >= floor
        if least is not None:
            return amount >= least
        common = floor.get(self.currency)
        return converted is None or common is None or converted >= common

    def total(self, amounts: Iterable["Dated"]) -> "Total":
        """Add up: as they are if they have one currency, else converted, else by the commonest."""
        found = list(amounts)
        currencies = sorted({one.currency for one in found})
        if len(currencies) <= 1:
            whole = money.total(one.amount for one in found)
            return Total(whole, currencies[0] if currencies else self.currency, ())
        converted = [self.convert(*one) for one in found]
        if all(amount is not None for amount in converted):
            return Total(money.total(a for a in converted if a is not None), self.currency, ())
        counts = [one.currency for one in found]
        most = max(currencies, key=counts.count)
        whole = money.total(one.amount for one in found if one.currency == most)
        return Total(whole, most, tuple(name for name in currencies if name != most))


class Dated(NamedTuple):
    """An amount as it was on a day."""

    amount: Decimal
    currency: str
    at: datetime


class Total(NamedTuple):
    """A sum, its currency, and the currencies that are not in it."""

    amount: Decimal
    currency: str
    without: tuple[str, ...]


def check_amounts(name: str, amounts: Amounts | None) -> None:
    """Raise ValueError unless all are amounts of 0 or more."""
    if isinstance(amounts, Decimal):
        money.check(name, amounts)
    for currency, amount in (amounts or {}).items() if isinstance(amounts, dict) else ():
        money.check(f"{name}.{currency}", amount)


def said(amounts: Amounts) -> str:
    """Write a floor as it stands in a config.

    >>> said(Decimal(10)), said({"USD": Decimal(10), "EUR": Decimal(9)})
    ('10', '10 USD or 9 EUR')
    """
    if isinstance(amounts, Decimal):
        return money.text(amounts)
    return " or ".join(f"{money.text(amount)} {name}" for name, amount in amounts.items())


def lowest(amounts: Amounts) -> Decimal:
    """Return the lowest of several floors, by which routes to one destination are compared."""
    if isinstance(amounts, Decimal):
        return amounts
    return min(amounts.values(), default=money.ZERO)
