"""The last days of a series beside the same stretch of earlier weeks.

A stretch is some whole UTC days and the day so far; what it is worth is the mean of the roots of
its costs (`history.root`), so that quiet hours count as much as busy ones.
"""

from typing import Final, NamedTuple

import numpy as np

from detectors.base import F32, F64
from detectors.column import Points
from detectors.compiled import compiled, fetch
from detectors.history import AHEAD, LINE, Rings, ask, is_off, root

WEEKS: Final = 5
NAN: Final = float("nan")

Span = tuple[int, int, int]


class _Known(NamedTuple):
    """What one row's stretches are read by; `newest` is its latest day, `days` the ring's depth."""

    first: int
    last: int
    newest: int
    days: int
    off: bool


@compiled
def _stretch(
    rings: Rings, row: int, at: tuple[int, int], count: int, cost: float, span: Span, known: _Known
) -> tuple[float, float]:
    """Return the worth of the short and the long stretch that end in a day.

    `at` is that day and its slot in the ring of days, `count` how many of its steps are read;
    `cost`, unless NaN, is one more. NaN where the series had not begun.
    """
    today, slot = at
    short, long, day = span
    oldest = known.newest - known.days
    if (today - short) * day < known.first or today - short <= oldest:
        return NAN, NAN
    total = 0.0
    arrived = 0
    begin = slot * day
    for i in range(begin, begin + min(count, max(0, known.last + 1 - today * day))):
        value = float(rings.steps[row, i])
        is_known = not np.isnan(value)
        total += value if is_known else 0.0
        arrived += is_known
    weight = float(count if known.off else arrived)
    if not np.isnan(cost):
        total += root(cost)
        weight += 1.0
    brief = NAN
    for back in range(1, long + 1):
        slot = slot - 1 if slot > 0 else known.days - 1
        mean = float(rings.roots[row, slot])
        is_known = not np.isnan(mean) and today - back <= known.newest
        total += day * mean if is_known else 0.0
        weight += day if is_known or known.off else 0
        if back == short and weight > 0.0:
            brief = total / weight
    if weight == 0.0 or (today - long) * day < known.first or today - long <= oldest:
        return brief, NAN
    return brief, total / weight


@compiled
def stretches(rings: Rings, row: int, step: int, cost: float, span: Span, work: F64) -> None:
    """Write the worth of both stretches now and in earlier weeks into work[0:6] and work[6:12].

    NaN where there is none. `span` is how many whole days the stretches have, and the steps in a
    day. A series without two earlier weeks is held against earlier days.
    """
    day = span[2]
    last = rings.last[row]
    days = rings.roots.shape[1]
    known = _Known(rings.first[row], last, last // day, days, is_off(rings, row))
    today = step // day
    slot = today % days
    count = step - today * day
    work[0], work[6] = _stretch(rings, row, (today, slot), count, cost, span, known)
    for week in range(1, WEEKS + 1):
        then = slot - 7 * week
        at = today - 7 * week, then if then >= 0 else then + days
        work[week], work[6 + week] = _stretch(rings, row, at, count + 1, NAN, span, known)
    for which in range(2):
        begin = 6 * which
        if not np.isnan(work[begin + 2]):
            continue
        whole = span[which]
        for back in range(whole + 1, min(whole + 5, 7)):
            then = slot - back
            at = today - back, then if then >= 0 else then + days
            pair = _stretch(rings, row, at, count + 1, NAN, span, known)
            work[begin + back - whole] = pair[which]


@compiled
def ask_stretches(rings: Rings, state: F32, points: Points, i: int, day: int) -> None:
    """Ask for the state and for what `stretches` will read some points after point `i`."""
    if i + AHEAD >= len(points.rows):
        return
    row = points.rows[i + AHEAD]
    step = points.steps[i + AHEAD]
    slot = step // day % rings.roots.shape[1]
    for week in range(WEEKS + 1):
        at = slot - 7 * week
        begin = (at if at >= 0 else at + rings.roots.shape[1]) * day
        fetch(rings.steps, row, begin)
        fetch(rings.steps, row, begin + step % day)
    for column in range(0, rings.roots.shape[1], LINE):
        fetch(rings.roots, row, column)
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
def typical(rings: Rings, row: int) -> tuple[float, float]:
    """Return the mean root over the known days of a series, and how far days are from it.

    The latter is the mean distance as a share of the former; NaN when no day is known.
    """
    roots = rings.roots[row]
    total = 0.0
    known = 0
    for value in roots:
        if not np.isnan(value):
            total += value
            known += 1
    if known == 0 or total <= 0.0:
        return np.nan, np.nan
    mean = total / known
    away = 0.0
    for value in roots:
        if not np.isnan(value):
            away += abs(value - mean)
    return mean, away / known / mean


@compiled
def usual_costs(rings: Rings, row: int, step: int, days: int, day: int, work: F64) -> None:
    """Write the middle, the least and the greatest mean cost of the stretch in earlier weeks.

    Into work[0:3]; unchanged when there is none.
    """
    slots = rings.means.shape[1]
    today = step // day
    count = 0
    values = work[3 : 3 + WEEKS]
    for week in range(1, WEEKS + 1):
        total = 0.0
        known = 0
        for back in range(days + 1):
            number = today - 7 * week - back
            mean = float(rings.means[row, number % slots])
            inside = rings.first[row] <= number * day <= rings.last[row]
            if inside and not np.isnan(mean):
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
