"""The last days of a series beside the same stretch of earlier weeks.

A stretch is some whole UTC days and the day so far; what it is worth is the mean of the roots of
its costs (`history.root`), so that quiet hours count as much as busy ones.
"""

import numpy as np

from detectors.base import F32, F64
from detectors.column import Points
from detectors.compiled import compiled, fetch
from detectors.history import AHEAD, LINE, Rings, ask, day_cost, is_off, root
from detectors.sums import (
    KNOWN,
    SPANS,
    TOTALS,
    WEEKS,
    WHOLE,
    Series,
    ago,
    so_far,
    sum_up,
    whole,
)

Span = tuple[int, int, int]  # two places in SPANS, and the steps in a day


@compiled
def stretches(rings: Rings, row: int, point: tuple[int, float], span: Span, work: F64) -> None:
    """Write the worth of two stretches now and in earlier weeks into work[0:6] and work[6:12].

    NaN where there is none. A series without two earlier weeks is held against earlier days.
    """
    step, cost = point
    day = span[2]
    days = rings.steps.shape[1] // day
    last = rings.last[row]
    series = Series(row, rings.first[row], last, last // day, is_off(rings, row), days, day)
    today = step // day
    at = today, today % days
    count = step - today * day
    sum_up(rings, series, at, count)
    sums = rings.sums[row]
    total = 0.0 if np.isnan(cost) else root(cost)
    more = 0.0 if np.isnan(cost) else 1.0
    for week in range(WEEKS + 1):
        total += sums[TOTALS + week]
        weight = more + (count if series.off else sums[KNOWN + week])
        for which in range(2):
            of = WHOLE + 2 * (WEEKS + 1) * span[which] + week
            work[6 * which + week] = (total + sums[of]) / (weight + sums[of + WEEKS + 1])
        total = 0.0
        more = 1.0 if series.off else 0.0
    for which in range(2):
        if not np.isnan(work[6 * which + 2]):
            continue
        length = SPANS[span[which]]
        for back in range(length + 1, min(length + 5, 7)):
            then = ago(at, back, days)
            begun, arrived = so_far(rings, series, then, (0, count + 1), np.float32(0.0))
            before, weight = whole(rings, series, then, length)
            weight += count + 1.0 if series.off else arrived
            work[6 * which + back - length] = (begun + before) / weight


@compiled
def ask_stretches(rings: Rings, state: F32, points: Points, i: int, day: int) -> None:
    """Ask for the state and for what `stretches` will read some points after point `i`."""
    if i + AHEAD >= len(points.rows):
        return
    row = points.rows[i + AHEAD]
    step = points.steps[i + AHEAD]
    days = rings.steps.shape[1] // day
    slot = step // day % days
    for week in range(WEEKS + 1):
        at = slot - 7 * week
        begin = (at if at >= 0 else at + days) * day
        fetch(rings.steps, row, begin + step % day)
    for column in range(0, rings.sums.shape[1], LINE):
        fetch(rings.sums, row, column)
    ask(state, row)


@compiled
def highest(values: F64, begin: int, end: int) -> tuple[float, int]:
    """Return the second highest of values[begin:end] that are known, and how many are.

    The highest of one or two.
    """
    top = second = -np.inf
    known = 0
    for i in range(begin, end):
        value = values[i]
        is_known = not np.isnan(value)
        value = value if is_known else -np.inf
        known += is_known
        second = max(second, min(top, value))
        top = max(top, value)
    return (second if known > 2 else top), known


@compiled
def typical(rings: Rings, row: int, day: int) -> tuple[float, float]:
    """Return the mean root over the known days of the depth, and how far days are from it.

    The latter is the mean distance as a share of the former; NaN when no day is known.
    """
    past = rings.past[row]
    days = rings.steps.shape[1] // day
    newest = rings.last[row] // day % len(past)
    total = 0.0
    known = 0
    for i in range(newest - days + 1, newest + 1):
        value = float(past[i if i >= 0 else i + len(past)])
        is_known = not np.isnan(value)
        total += value if is_known else 0.0
        known += is_known
    if known == 0 or total <= 0.0:
        return np.nan, np.nan
    mean = total / known
    away = 0.0
    for i in range(newest - days + 1, newest + 1):
        value = float(past[i if i >= 0 else i + len(past)])
        away += 0.0 if np.isnan(value) else abs(value - mean)
    return mean, away / known / mean


@compiled
def usual_costs(rings: Rings, row: int, step: int, days: int, day: int, work: F64) -> None:
    """Write the middle, the least and the greatest mean cost of the stretch in earlier weeks.

    Into work[0:3]; unchanged when there is none.
    """
    today = step // day
    count = 0
    values = work[3 : 3 + WEEKS]
    for week in range(1, WEEKS + 1):
        total = 0.0
        known = 0
        for back in range(days + 1):
            number = today - 7 * week - back
            inside = rings.first[row] <= number * day <= rings.last[row]
            mean = day_cost(rings, row, number, day) if inside else np.nan
            if not np.isnan(mean):
                total += mean
                known += 1
        if known > 0:
            at = count
            while at > 0 and values[at - 1] > total / known:
                values[at] = values[at - 1]
                at -= 1
            values[at] = total / known
            count += 1
    if count > 0:
        work[0] = values[count // 2]
        work[1] = values[0]
        work[2] = values[count - 1]


@compiled
def onset(rings: Rings, row: int, step: int, margin: float, day: int) -> int:
    """Return since when each step was above the same one a week and two weeks before by `margin`.

    At most two days back, so that a guess is never far before the truth.
    """
    depth = rings.steps.shape[1]
    begun = step
    for then in range(step - 1, max(step - 2 * max(day, 2), rings.first[row] + 14 * day), -1):
        value = rings.steps[row, then % depth] if then <= rings.last[row] else np.float32(np.nan)
        week = rings.steps[row, (then - 7 * day) % depth]
        before = rings.steps[row, (then - 14 * day) % depth]
        if np.isnan(value) or np.isnan(week):
            continue
        if value <= max(week, before if not np.isnan(before) else week) + margin:
            break
        begun = then
    return begun
