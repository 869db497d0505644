"""Forecast: what a period will have cost at its end, with a range, from what each day cost so far.

A day's usage is its weekday's part of a level that drifts. The level is a recent mean with single
days held back (Huber 1964), the drift a median of slopes (Theil 1950, Sen 1968) that is believed as
far as it stands out from its noise and dies out ahead (Gardner and McKenzie 1985). Fees come on the
days of the month on which they came before. The range is how far the same rule was off over as many
days before, held to a prior while there are few.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from statistics import median
from typing import Final, NamedTuple

# A day is the number of its UTC date since 1970-01-01, a Thursday: as steps of 24 hours are.
EPOCH: Final = date(1970, 1, 1)
WEEK: Final = 7
PROFILE_DAYS: Final = 56
# What a weekday of which nothing is known counts for against one that was seen.
PROFILE_PRIOR: Final = 1.0
LEVEL_DAYS: Final = 28
HALF_LIFE_DAYS: Final = 10.0
# A day this many robust deviations from the middle is held back; so many in a row are a new level.
HELD_AT: Final = 2.0
NEW_LEVEL_DAYS: Final = 3
FEWEST_FOR_DRIFT: Final = 14
# What a day's drift leaves for the next, and how much more than noise alone a drift must be.
DAMPING: Final = 0.8
DRIFT_NOISE: Final = 4.0
# The error of a sum of 30 days, as a share of it, and how many past forecasts that is worth.
PRIOR_ERROR: Final = 0.10
PRIOR_COUNT: Final = 3.0
LARGEST_ERROR: Final = 2.0
# Eight of ten periods end within so many deviations.
WIDTH: Final = 1.2816
# A fee comes again when it came in so many months, or in all that are known.
FEE_MONTHS: Final = 2


class Past(NamedTuple):
    """What is known: usage and fees by day, up to `until`, the first day that is not over.

    Days that are missing cost nothing, from the first known day on.
    """

    usage: Mapping[int, float]
    fees: Mapping[int, float]
    until: int


class Forecast(NamedTuple):
    """What a period will have cost in all, and between what and what in eight of ten cases."""

    total: float
    low: float
    high: float


class Outlook(NamedTuple):
    """What is still to come of a period, and how far that may be off."""

    rest: float
    error: float

    def total(self, spent: float, begun: float) -> Forecast:
        """Add what is `spent`, of which `begun` on days that are not over."""
        rest = max(self.rest - begun, 0.0)
        low, high = max(rest - self.error, 0.0), max(rest + self.error, 0.0)
        return Forecast(spent + rest, spent + low, spent + high)


def outlook(past: Past, begin: int, end: int) -> Outlook | None:
    """Return what days `begin` to `end` will cost, of which none is over; None if nothing is known.

    >>> days = dict.fromkeys(range(20_000, 20_010), 100.0)
    >>> known = outlook(Past(days, {}, 20_010), 20_010, 20_030)
    >>> known.total(spent=1000.0, begun=0.0).total
    3000.0
    """
    known = [day for day in past.usage if day < past.until]
    if not known:
        return None
    first = max(min(known), past.until - PROFILE_DAYS)
    usage = [past.usage.get(day, 0.0) for day in range(first, past.until)]
    ahead = _ahead(usage, past.until, max(end - past.until, 0))
    expected = math.fsum(ahead[begin - past.until :])
    fees = math.fsum(_fee(past, day) for day in range(begin, end))
    return Outlook(expected + fees, WIDTH * _error(usage, past.until, end - begin) * expected)


def weekday(day: int) -> int:
    """Return 0 for a Monday."""
    return (day + 3) % WEEK


def _ahead(usage: Sequence[float], until: int, days: int) -> list[float]:
    """Return the usage expected of each of the next days; `usage` ends with the day before."""
    factors = _profile(usage, until)
    first = until - len(usage)
    plain = [cost / factors[weekday(first + place)] for place, cost in enumerate(usage)]
    level, drift = _level(plain[-LEVEL_DAYS:])
    found, grown = [], 0.0
    for number in range(days):
        found.append(level * math.exp(grown) * factors[weekday(until + number)])
        grown += drift * DAMPING**number
    return found


def _profile(usage: Sequence[float], until: int) -> list[float]:
    """Return each weekday's part of a usual day, by its middle over the weeks around it."""
    shares: list[list[float]] = [[] for _ in range(WEEK)]
    first = until - len(usage)
    for place in range(len(usage)):
        begin = min(max(place - WEEK // 2, 0), len(usage) - WEEK)
        if begin >= 0 and (around := sum(usage[begin : begin + WEEK]) / WEEK) > 0:
            shares[weekday(first + place)].append(max(usage[place], 0.0) / around)
    raw = [
        (len(seen) * (median(seen) if seen else 1.0) + PROFILE_PRIOR) / (len(seen) + PROFILE_PRIOR)
        for seen in shares
    ]
    return [one * WEEK / sum(raw) for one in raw]


def _level(recent: Sequence[float]) -> tuple[float, float]:
    """Return the level of the next day and its drift a day, as a logarithm."""
    drift, last = _drift(recent), len(recent)
    now = [cost * math.exp(drift * (last - place)) for place, cost in enumerate(recent)]
    weights = [0.5 ** ((last - place) / HALF_LIFE_DAYS) for place in range(last)]
    middle = _middle(now, weights)
    spread = HELD_AT * 1.4826 * _middle([abs(cost - middle) for cost in now], weights)
    if since := _new_level(now, middle, spread):
        now, weights = now[-since:], weights[-since:]
    else:
        now = [min(max(cost, middle - spread), middle + spread) for cost in now]
    return sum(w * cost for w, cost in zip(weights, now, strict=True)) / sum(weights), drift


def _new_level(now: Sequence[float], middle: float, spread: float) -> int:
    """Return how many days of a new level there are at the end; 0 when it is the old one."""
    for sign in (1, -1):
        count = 0
        while count < len(now) and sign * (now[-1 - count] - middle) > spread:
            count += 1
        if count >= NEW_LEVEL_DAYS:
            return count
    return 0


def _drift(recent: Sequence[float]) -> float:
    """Return the median slope of the logarithm, as far as it stands out from its noise."""
    count = len(recent)
    if count < FEWEST_FOR_DRIFT or min(recent) <= 0:
        return 0.0
    logs = [math.log(cost) for cost in recent]
    slope = median(
        (logs[j] - logs[i]) / (j - i) for i in range(count) for j in range(i + WEEK, count)
    )
    rest = [log - slope * place for place, log in enumerate(logs)]
    middle = median(rest)
    noise = DRIFT_NOISE * 1.4826 * median(abs(one - middle) for one in rest)
    squared = noise**2 * 12 / (count * (count**2 - 1))
    return slope * slope**2 / (slope**2 + squared) if slope else 0.0


def _middle(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted median."""
    half, seen = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        seen += weight
        if seen >= half:
            return value
    return values[-1]


def _error(usage: Sequence[float], until: int, days: int) -> float:
    """Return by what share a forecast over so many days was off before, as a standard error."""
    squares, count = PRIOR_COUNT * (PRIOR_ERROR * (1 + days / 30) / 2) ** 2, PRIOR_COUNT
    span = min(days, len(usage) // 2)  # a young past is asked about less
    for origin in range(len(usage) - span, WEEK - 1, -max(span // 4, 2)):
        said = sum(_ahead(usage[:origin], until - len(usage) + origin, span))
        if said > 0:
            off = sum(usage[origin : origin + span]) / said - 1
            squares += min(abs(off), LARGEST_ERROR) ** 2
            count += 1
    return math.sqrt(squares / count)


def _fee(past: Past, day: int) -> float:
    """Return the fees of a day to come: the least of those on this day of the latest months."""
    first, months = min(past.fees, default=past.until), 0
    found: list[float] = []
    while len(found) < FEE_MONTHS:
        months += 1
        like = _months_before(day, months)
        if like < first:
            break
        if like < past.until:
            found.append(past.fees.get(like, 0.0))
    return min(found, default=0.0)


def _months_before(day: int, months: int) -> int:
    at = EPOCH + timedelta(days=day)
    year, month = divmod(at.year * 12 + at.month - 1 - months, 12)
    after = date(year + (month + 1) // 12, (month + 1) % 12 + 1, 1)
    last = (after - timedelta(days=1)).day
    return (date(year, month + 1, min(at.day, last)) - EPOCH).days
