"""Sums over the last days of a series, and the same stretch of earlier weeks."""

import numpy as np

from detectors.base import F64
from detectors.compiled import compiled
from detectors.history import Rings, power, root


@compiled
def stretch(rings: Rings, row: int, step: int, cost: float, days: int, day: int, out: F64) -> bool:
    """Write the mean root and the mean cost from the start of the `days`-th day back to `step`.

    `cost` stands for `step` itself, NaN to read it from the history. Nothing known of a stretch of
    a series that had begun means that it was off. False, with `out` untouched, when the series had
    not begun by then.
    """
    today = step // day
    begin = (today - days) * day
    if begin < rings.first[row] or begin <= rings.last[row] - rings.steps.shape[1]:
        return False
    ring = rings.steps[row]
    depth = len(ring)
    known = 0
    rooted = 0.0
    total = 0.0
    span = step - today * day + 1
    slot = (today * day) % depth
    for i in range(min(span, rings.last[row] - today * day + 1)):
        value = float(ring[slot + i])
        if i == span - 1 and not np.isnan(cost):
            continue
        if not np.isnan(value):
            known += 1
            rooted += value
            total += power(value)
    if not np.isnan(cost):
        known += 1
        rooted += root(cost)
        total += cost
    over = float(known if 2 * known >= span else span)
    slots = rings.roots.shape[1]
    if 2 * known < span and known > 0:
        over = float(span)
    weight = over if known > 0 else 0.0
    off = 0
    for back in range(1, days + 1):
        number = (today - back) % slots
        mean = float(rings.means[row, number])
        if np.isnan(mean):
            off += 1
            continue
        weight += day
        rooted += day * float(rings.roots[row, number])
        total += day * mean
    if 2 * off > days:
        weight += off * day
    if weight == 0.0:
        weight = 1.0
    out[0] = rooted / weight
    out[1] = total / weight
    return True


@compiled
def typical(rings: Rings, row: int) -> tuple[float, float]:
    """Return the mean root over the known days of a series, and how far days are from it.

    The latter is the mean distance as a share of the former; NaN when no day is known.
    """
    roots = rings.roots[row]
    total = 0.0
    known = 0
    for slot in range(len(roots)):
        if not np.isnan(roots[slot]):
            total += roots[slot]
            known += 1
    if known == 0 or total <= 0.0:
        return np.nan, np.nan
    mean = total / known
    away = 0.0
    for slot in range(len(roots)):
        if not np.isnan(roots[slot]):
            away += abs(roots[slot] - mean)
    return mean, away / known / mean


@compiled
def earlier(
    rings: Rings, row: int, step: int, days: int, day: int, out: F64, roots: F64, means: F64
) -> int:
    """Write the same stretch of up to five earlier weeks, newest first; return how many.

    In the first two weeks the days before stand in for the weeks.
    """
    week = 7 * day
    count = 0
    for back in range(1, 6):
        then = step - back * week
        if stretch(rings, row, then, np.nan, days, day, out):
            roots[count] = out[0]
            means[count] = out[1]
            count += 1
    if count < 2:
        for back in range(days + 1, 7):
            then = step - back * day
            if stretch(rings, row, then, np.nan, days, day, out):
                roots[count] = out[0]
                means[count] = out[1]
                count += 1
    return count


@compiled
def sort(values: F64, other: F64, count: int) -> None:
    """Sort the first `count` values in place, `other` along with them."""
    for i in range(1, count):
        j = i
        while j > 0 and values[j - 1] > values[j]:
            values[j - 1], values[j] = values[j], values[j - 1]
            other[j - 1], other[j] = other[j], other[j - 1]
            j -= 1
