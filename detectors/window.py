"""The last days of a series beside the same stretch of earlier weeks.

A stretch is some whole UTC days and the day so far; what it is worth is the mean of the roots of
its costs (`history.root`), so that quiet hours count as much as busy ones.
"""

from typing import Final

import numpy as np

from detectors.base import F32, F64
from detectors.compiled import compiled
from detectors.history import Rings, is_off, root

WEEKS: Final = 5


@compiled
def _day_so_far(ring: F32, slot: int, count: int) -> tuple[float, int]:
    """Return the sum of the known roots among `count` from `slot` on, and how many are known."""
    total = 0.0
    known = 0
    for i in range(slot, slot + count):
        value = ring[i]
        if value == value:  # noqa: PLR0124  NaN is the one that is not
            total += value
            known += 1
    return total, known


@compiled
def _stretch(
    rings: Rings, row: int, today: int, count: int, cost: float, span: tuple[int, int, int]
) -> tuple[float, float]:
    """Return the worth of the short and the long stretch that end in day `today`.

    `count` steps of that day are read; `cost`, unless NaN, is one more. `span` is how many whole
    days the stretches have, and the steps in a day. NaN where the series had not begun.
    """
    short, long, day = span
    days = rings.roots.shape[1]
    newest = rings.last[row] // day
    first = rings.first[row]
    if (today - short) * day < first or today - short <= newest - days:
        return np.nan, np.nan
    at = today % days
    off = is_off(rings, row)
    arrived = min(count, max(0, rings.last[row] + 1 - today * day))
    total, known = _day_so_far(rings.steps[row], at * day, arrived)
    weight = float(count if off else known)
    if cost == cost:  # noqa: PLR0124  as above
        total += root(cost)
        weight += 1.0
    brief = np.nan
    for back in range(1, long + 1):
        at = at - 1 if at > 0 else days - 1
        mean = float(rings.roots[row, at]) if today - back <= newest else np.nan
        if mean == mean:  # noqa: PLR0124  as above
            total += day * mean
            weight += day
        elif off:
            weight += day
        if back == short and weight > 0.0:
            brief = total / weight
    if weight == 0.0 or (today - long) * day < first or today - long <= newest - days:
        return brief, np.nan
    return brief, total / weight


@compiled
def stretches(
    rings: Rings, row: int, step: int, cost: float, span: tuple[int, int, int], work: F64
) -> None:
    """Write the worth of both stretches now and in earlier weeks into work[0:6] and work[6:12].

    NaN where there is none. A series without two earlier weeks is held against earlier days.
    """
    day = span[2]
    today = step // day
    count = step - today * day
    work[0], work[6] = _stretch(rings, row, today, count, cost, span)
    for week in range(1, WEEKS + 1):
        then = today - 7 * week
        work[week], work[6 + week] = _stretch(rings, row, then, count + 1, np.nan, span)
    for which in range(2):
        at = 6 * which
        if work[at + 2] == work[at + 2]:
            continue
        days = span[which]
        for back in range(days + 1, min(days + 5, 7)):
            pair = _stretch(rings, row, today - back, count + 1, np.nan, span)
            work[at + back - days] = pair[which]


@compiled
def highest(values: F64) -> tuple[float, int]:
    """Return the second highest of the values that are known (the highest of two), and how many."""
    top = second = -np.inf
    known = 0
    for value in values:
        if value == value:  # noqa: PLR0124  as above
            known += 1
            if value > top:
                second = top
                top = value
            elif value > second:
                second = value
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
        if value == value:  # noqa: PLR0124  as above
            total += value
            known += 1
    if known == 0 or total <= 0.0:
        return np.nan, np.nan
    mean = total / known
    away = 0.0
    for value in roots:
        if value == value:  # noqa: PLR0124  as above
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
        if value <= max(week, before if before == before else week) + margin:  # noqa: PLR0124
            break
        begun = then
    return begun
