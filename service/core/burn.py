"""Burn rate: is money spent so fast that a budget will not last, seen over hours and days.

After multi-window burn rates of service levels (Google, The Site Reliability Workbook, ch. 5): a
short window hears a burst the same day, a long one what is slower. What would last is the even rate
of the whole budget, or what is left over the time left, whichever is more.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

# Hours of a window, and how many times the rate that would last is told. A job of six hours a night
# spends at four times its mean, working hours at three, working days at 1.4.
WINDOWS: Final = ((6, 6.0), (24, 2.0), (72, 1.5))
# Once told, it is over when the rate is below this much of that.
GOES_ON: Final = 0.7


class Burn(NamedTuple):
    """How many times as fast as would last it is spent, over so many hours; the money an hour."""

    times: float
    hours: int
    per_hour: float


def burn(
    hours: Mapping[int, Decimal],
    daily: Mapping[int, Decimal],
    lasts: float,
    *,
    goes_on: bool,
) -> Burn | None:
    """Return the shortest window in which money is spent too fast, or None.

    `hours` is what hours cost, `daily` what is known by the day only; `lasts` is the rate an hour
    that would last. A window ends where what is known ends, hours and days apart.

    >>> spent = {hour: Decimal(10) for hour in range(48)}
    >>> burn(spent, {}, 4.0, goes_on=False)
    Burn(times=2.5, hours=24, per_hour=10.0)
    """
    for window, times in WINDOWS:
        rate = _of_hours(hours, window) + _of_days(daily, window)
        needed = times * GOES_ON if goes_on else times
        if lasts > 0 and rate >= needed * lasts:
            return Burn(rate / lasts, window, rate)
    return None


def _of_hours(hours: Mapping[int, Decimal], window: int) -> float:
    newest = max(hours, default=0)
    return float(sum(hours.get(newest - back, Decimal(0)) for back in range(window))) / window


def _of_days(daily: Mapping[int, Decimal], window: int) -> float:
    newest, days = max(daily, default=0), max(window // 24, 1)
    return float(sum(daily.get(newest - back, Decimal(0)) for back in range(days))) / (days * 24)
