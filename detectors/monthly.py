"""What comes back with the month: fees, batches, pay days.

A day is like last month's day of the same phase (`calendar.month_before`). What that day and the
one of the month before it both had above the same weekday a week earlier and a week later is usual
for it: seen twice, it is no surprise the third time.
"""

from typing import Final

import numpy as np

from detectors.base import F32
from detectors.calendar import MONTHS, PHASES, month_before
from detectors.compiled import compiled, compiled_apart
from detectors.history import Rings
from detectors.sums import LIFTS

CLEAR: Final = 1.5  # a peak is this many times those beside it
ALIKE: Final = 0.5  # two peaks within this factor are of one kind, the higher one is usual
ROOM: Final = 1.3  # and the next, or the next lift, may be this many times as high


@compiled
def _of_day(values: F32, newest: int, oldest: int, day: int) -> float:
    """Return the value of a day, NaN outside of what is kept."""
    if day > newest or day <= newest - len(values) or day < oldest:
        return np.nan
    return float(values[day % len(values)])


@compiled_apart
def lift(rings: Rings, row: int, number: int, day: int) -> float:
    """Return by how much the mean root of a day is usually above the weeks beside it, or 0.

    `number` is the day, `day` how many steps it has.
    """
    newest = rings.last[row] // day
    oldest = -(-rings.first[row] // day)
    most = 0.0
    for phase in range(PHASES):
        least = np.inf
        for month in range(1, MONTHS + 1):
            then = month_before(rings.calendars, rings.which[row], number, phase, month)
            value = _of_day(rings.past[row], newest, oldest, then)
            before = _of_day(rings.past[row], newest, oldest, then - 7)
            after = _of_day(rings.past[row], newest, oldest, then + 7)
            above = value - max(before, after)
            least = min(least, above) if above > 0.0 else 0.0
            if least == 0.0:
                break
        most = max(most, least)
    return most


@compiled_apart
def peak(rings: Rings, row: int, number: int, day: int) -> float:
    """Return how much more one step of a day usually costs for its place in the month, or 0."""
    newest = rings.last[row] // day
    oldest = -(-rings.first[row] // day)
    most = 0.0
    for phase in range(PHASES):
        low = np.inf
        high = 0.0
        for month in range(1, MONTHS + 1):
            then = month_before(rings.calendars, rings.which[row], number, phase, month)
            value = _of_day(rings.peaks[row], newest, oldest, then)
            before = _of_day(rings.peaks[row], newest, oldest, then - 7)
            after = _of_day(rings.peaks[row], newest, oldest, then + 7)
            if not value > CLEAR * max(before, after, 0.0):
                low = 0.0
                break
            low = min(low, value)
            high = max(high, value)
        if low > 0.0:
            most = max(most, high if low >= ALIKE * high else low)
    return most


@compiled_apart
def share(rings: Rings, row: int, step: int, whole: int, day: int) -> float:
    """Return how much of the mean root of a stretch is usual for its days of the month.

    The stretch is `whole` days and the day so far, and was summed up before (`sums.sum_up`).
    """
    total = 0.0
    for back in range(whole + 1):
        if np.isnan(rings.sums[row, LIFTS + back]):
            rings.sums[row, LIFTS + back] = lift(rings, row, step // day - back, day)
        total += ROOM * day * rings.sums[row, LIFTS + back]
    return total / (whole * day + step % day + 1)
