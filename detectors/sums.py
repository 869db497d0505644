"""Sums of roots over the day so far and the days before it, in this week and the five before.

They, and what is usual for days of the month (`monthly`), are the same for every detector that
asks, and from hour to hour only the last step is new; so they are kept beside the history
(`history.Rings.sums`) and carried on.
"""

from typing import Final, NamedTuple

import numpy as np

from detectors.compiled import compiled
from detectors.history import Rings

WEEKS: Final = 5
SPANS: Final = 1, 2, 3, 6  # whole days that a stretch may have
# The sums of `history.Rings`: what they are of, and by week the sum of the day so far and how many
# of its steps are known; then by span and week the sum of the days before and their weight; then
# what the day and those before it are usually lifted by, NaN until that is asked.
DATE, TURN, NEWEST, DONE, TOTALS = range(5)
KNOWN: Final = TOTALS + WEEKS + 1
WHOLE: Final = KNOWN + WEEKS + 1
LIFTS: Final = WHOLE + 2 * (WEEKS + 1) * len(SPANS)
TURNS: Final = 2**22  # after so many turns they begin anew: a float32 counts no further
NAN: Final = float("nan")

Place = tuple[int, int]  # a day and its slot in the ring, or two places in a day


class Series(NamedTuple):
    """What one row is read by.

    `newest` is its latest day, `days` the depth in days, `off` whether missing steps mean off.
    """

    row: int
    first: int
    last: int
    newest: int
    off: bool
    days: int
    day: int


@compiled
def whole(rings: Rings, series: Series, at: Place, length: int) -> tuple[float, float]:
    """Return the sum and the weight of the `length` days before a day; NaN when it had not begun.

    `at` is that day and its slot in the ring of days.
    """
    row, first, _, newest, off, days, day = series
    today = at[0]
    slots = rings.past.shape[1]
    slot = today % slots
    if (today - length) * day < first or today - length <= newest - days:
        return NAN, NAN
    total = 0.0
    weight = 0.0
    for back in range(1, length + 1):
        slot = slot - 1 if slot > 0 else slots - 1
        mean = float(rings.past[row, slot])
        is_known = not np.isnan(mean) and today - back <= newest
        total += day * mean if is_known else 0.0
        weight += day if is_known or off else 0
    return total, weight


@compiled
def so_far(
    rings: Rings, series: Series, at: Place, places: Place, before: np.float32
) -> tuple[np.float32, float]:
    """Return a sum and some more steps of a day, and how many of these are known.

    From one place in the day to before another. Step by step in the sum's own precision, so that
    it does not matter where a sum was interrupted.
    """
    today, slot = at
    begin = slot * series.day
    end = min(places[1], max(0, series.last + 1 - today * series.day))
    total = before
    arrived = 0.0
    for i in range(begin + places[0], begin + end):
        value = rings.steps[series.row, i]
        is_known = not np.isnan(value)
        total += value if is_known else np.float32(0.0)
        arrived += 1.0 if is_known else 0.0
    return total, arrived


@compiled
def ago(at: Place, back: int, days: int) -> Place:
    """Return the day `back` days, at most a ring's depth, before another."""
    slot = at[1] - back
    return at[0] - back, slot if slot >= 0 else slot + days


@compiled
def sum_up(rings: Rings, series: Series, at: Place, count: int) -> None:
    """Bring the sums of a row up to a step: what is summed up already stays."""
    sums = rings.sums[series.row]
    turn = 2.0 * (rings.turns[series.row] % TURNS) + (1.0 if series.off else 0.0)
    done = -1
    if sums[DATE] == at[0] and sums[TURN] == turn and sums[NEWEST] == series.newest:
        done = int(sums[DONE])
    if done == count:
        return
    if done < 0 or done > count:
        done = -1
        sums[DATE] = at[0]
        sums[NEWEST] = series.newest
        sums[TOTALS:WHOLE] = 0.0
        sums[LIFTS : LIFTS + SPANS[-1] + 1] = NAN
        for j in range(len(SPANS)):
            for week in range(WEEKS + 1):
                to = WHOLE + 2 * (WEEKS + 1) * j + week
                then = ago(at, 7 * week, series.days)
                sums[to], sums[to + WEEKS + 1] = whole(rings, series, then, SPANS[j])
    for week in range(WEEKS + 1):
        more = 1 if week > 0 else 0  # of earlier weeks this time of day counts as well
        places = max(done + more, 0), count + more
        then = ago(at, 7 * week, series.days)
        sums[TOTALS + week], arrived = so_far(rings, series, then, places, sums[TOTALS + week])
        sums[KNOWN + week] += arrived
    sums[DONE] = count
    # What is still to come before this step may come without a turn.
    iswhole = series.last + 1 >= at[0] * series.day + count
    sums[TURN] = turn if iswhole else -1.0
