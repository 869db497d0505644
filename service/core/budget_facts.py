"""Budget facts: what one moment of a budget's period comes to, and how grave that is."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from service.core import money
from service.core.budget_figures import Severity
from service.core.budgets import FORECAST, Budget, Charges, Period, counted, share_of
from service.core.burn import Burn
from service.core.forecast import Forecast, Outlook, Past, outlook

# A forecast that was over stays so until it is this much below, or it would come and go.
BACK_BELOW: Final = Decimal("0.97")
FEWEST_DAYS: Final = 7
NEAR: Final = 80
BURST_HOURS: Final = 24


class Facts(msgspec.Struct, kw_only=True):
    """What one moment of one period comes to; `is_young` until a day of it is over."""

    spent: Decimal
    forecast: Forecast | None = None
    burn: Burn | None = None
    burns_on: bool = False
    is_young: bool = False
    is_over: bool = False


class Outlooks:
    """Remembers outlooks while the days that they hang on have not changed; never saved."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, Period], Outlook | None]] = {}

    def drop(self, name: str) -> None:
        """Forget a budget: a day that was over has changed."""
        self._known.pop(name, None)

    def of(
        self, name: str, until: int, period: Period, days: Callable[[], Mapping[int, Charges]]
    ) -> Outlook | None:
        """Return what the rest of a period will cost; None while too little is known."""
        known = self._known.get(name)
        if known is None or known[0] != (until, period):
            closed = {day: one for day, one in days().items() if day < until}
            found = None
            if len(closed) >= FEWEST_DAYS:
                found = outlook(_past(closed, until), max(until, period.begin), period.end)
            known = self._known[name] = (until, period), found
        return known[1]


def _past(closed: Mapping[int, Charges], until: int) -> Past:
    usage, fees = {}, {}
    for day, one in closed.items():
        fees[day] = float(one.get("fee", money.ZERO))
        usage[day] = float(money.subtract(counted(one), one.get("fee", money.ZERO)))
    return Past(usage, fees, until)


def is_forecast(facts: Facts, limit: Decimal, *, was: bool) -> bool:
    """Tell whether an amount will be spent.

    Not told of what is spent already, nor before a period has a day of its own.
    """
    if facts.is_over or (not was and (facts.is_young or facts.spent >= limit)):
        return False
    if facts.forecast is None:
        return was
    return facts.forecast.total >= float(limit * BACK_BELOW if was else limit)


def severity_of(budget: Budget, crossed: Sequence[str], facts: Facts) -> Severity:
    """High: it is spent, or will be, by all that is known. Medium: it is likely to be."""
    is_forecast = any(what.startswith(FORECAST) for what in crossed)
    will_be = facts.forecast is not None and facts.forecast.low >= float(budget.amount)
    is_burst = facts.burn is not None and facts.burn.hours <= BURST_HOURS
    if facts.spent >= budget.amount or (is_forecast and will_be) or is_burst:
        return "high"
    is_near = facts.spent >= share_of(budget.amount, NEAR)
    return "medium" if is_near or is_forecast or facts.burns_on else "low"
