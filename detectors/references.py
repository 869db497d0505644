"""What a step usually costs: the same hour of the last seven days and of four more weeks.

Kernels write what they find into a row of working numbers, whose places are named here; the first
ones are free for who calls.
"""

from typing import Final

import numpy as np

from detectors.base import F32, F64
from detectors.calendar import weekend_before
from detectors.column import Points
from detectors.compiled import compiled, fetch
from detectors.history import AHEAD, Rings, ask, is_off
from detectors.sums import NAN
from detectors.window import highest

FREE: Final = 9
CENTRE, LOW, HIGH, WEEK, MIDS = range(FREE, FREE + 5)
REFERENCES: Final = 11  # 7 days and 4 more weeks
TOPS: Final = MIDS + REFERENCES
WEIGHTS: Final = TOPS + REFERENCES + 1
FOUND: Final = WEIGHTS + REFERENCES  # the references as they were found, then their weights
SIZE: Final = FOUND + 2 * REFERENCES


@compiled
def _sort(work: F64, count: int) -> None:
    """Put the `count` references found in order, with their weights.

    Each is counted to its place: the order of costs is what no processor can guess.
    """
    for i in range(count):
        value = work[FOUND + i]
        place = 0
        for j in range(i):
            place += work[FOUND + j] <= value
        for j in range(i + 1, count):
            place += work[FOUND + j] < value
        work[MIDS + place] = value
        work[WEIGHTS + place] = work[FOUND + REFERENCES + i]


@compiled
def _middle(work: F64, count: int) -> float:
    """Return the weighted median of the first `count` references in order."""
    total = 0.0
    for i in range(WEIGHTS, WEIGHTS + count):
        total += work[i]
    place = 0
    half = 0.0
    for i in range(WEIGHTS, WEIGHTS + count):
        half += work[i]
        place += 2.0 * half < total
    return float(work[MIDS + place])


@compiled
def _beside(rings: Rings, row: int, slot: int, mid: float) -> float:
    """Return the highest known of a step and its neighbours; `slot` is its place in the ring."""
    depth = rings.steps.shape[1]
    before = float(rings.steps[row, slot - 1 if slot > 0 else depth - 1])
    after = float(rings.steps[row, slot + 1 if slot + 1 < depth else 0])
    top = -np.inf if np.isnan(mid) else mid
    top = max(top, before, after)
    return NAN if top == -np.inf else top


@compiled
def gather(rings: Rings, row: int, step: int, day: int, work: F64) -> int:
    """Write the roots at the same hour of earlier days and weeks; return how many are known.

    With them their weights and, per day and week, the highest of the hour and its neighbours. On a
    public holiday the weeks are those that ended with the last weekend.
    """
    depth = rings.steps.shape[1]
    first = rings.first[row]
    last = rings.last[row]
    slot = step % depth
    count = 0
    unknown = 0
    weekend = weekend_before(rings.calendars, rings.which[row], step // day)
    week = weekend if weekend > 0 else 7
    for k in range(TOPS, TOPS + REFERENCES + 1):
        work[k] = NAN
    for k in range(REFERENCES):
        back = (k + 1) * day if k < 6 else (7 * (k - 6) + week) * day
        if step - back < first:
            break
        i = slot - back if slot >= back else slot - back + depth
        mid = float(rings.steps[row, i]) if step - back <= last else NAN
        is_known = not np.isnan(mid)
        work[FOUND + count] = mid
        work[FOUND + REFERENCES + count] = 1.0 if k < 6 else 2.0
        count += is_known
        unknown += not is_known
        if day > 1 and step - back < last:
            mid = _beside(rings, row, i, mid)
        work[TOPS + k + (1 if k > 6 else 0)] = mid
    work[TOPS + 7] = work[TOPS + 6]  # the seventh day is the first week
    if is_off(rings, row) or unknown > count:
        for _ in range(unknown):
            work[FOUND + count] = 0.0
            work[FOUND + REFERENCES + count] = 1.0
            count += 1
    return count


@compiled
def expect(work: F64, count: int) -> None:
    """Write the middle and the range of what was gathered, and the weeks' own upper end."""
    _sort(work, count)
    work[CENTRE] = max(_middle(work, count), 0.0)
    work[LOW] = work[MIDS + (1 if count > 4 else 0)]
    high = max(work[MIDS + count - (1 if count < 5 else 2)], work[CENTRE])
    top, known = highest(work, TOPS, TOPS + 7)
    if known > 0:
        high = max(high, top)
    top, known = highest(work, TOPS + 7, TOPS + 12)
    if known > 0:
        high = max(high, top)
    work[WEEK] = top if known > 2 else NAN
    work[HIGH] = high


@compiled
def ask_references(rings: Rings, state: F32, points: Points, i: int, day: int) -> None:
    """Ask for what `gather` will read some points after point `i`, and for the state."""
    if i + AHEAD >= len(points.rows):
        return
    row = points.rows[i + AHEAD]
    depth = rings.steps.shape[1]
    slot = points.steps[i + AHEAD] % depth
    for k in range(REFERENCES):
        back = (k + 1) * day if k < 7 else (k - 5) * 7 * day
        fetch(rings.steps, row, slot - back if slot >= back else slot - back + depth)
    ask(state, row)
