"""How far a step lies above what its series knows: the statistics of `spike` and its state."""

from typing import Final, NamedTuple

import numpy as np

from detectors import levels, monthly, multiples, records, tail
from detectors.base import F32, F64
from detectors.compiled import compiled
from detectors.history import Rings, power, root
from detectors.references import CENTRE, HIGH, MIDS, WEEK, expect, gather
from detectors.sums import NAN

DAILY, WEEKLY, HERE, EVER, LASTING, STRANGE = range(6)
STATISTICS: Final = 6
# Working numbers after the statistics; MONTHLY is up to where the day of the month makes a root
# usual, 0 unless that was asked.
RESIDUE, SHARE, MONTHLY = range(STATISTICS, STATISTICS + 3)

# State: a tail for each statistic, the multiples, these fields, the levels and the records.
MULTIPLES: Final = STATISTICS * tail.FIELDS
LEVEL: Final = MULTIPLES + multiples.FIELDS  # mean cost
LEARNT: Final = LEVEL + 1
RESIDUAL: Final = LEVEL + 2  # mean distance to what was expected, as a share of the level's root
NEWEST: Final = LEVEL + 3  # the step learnt last, and what was summed up by then
SUM: Final = LEVEL + 4
ON: Final = LEVEL + 5  # mean root when on, and the mean distance to it
AWAY: Final = LEVEL + 6
LEVELS: Final = LEVEL + 7
RECORDS: Final = LEVELS + levels.FIELDS
WIDTH: Final = RECORDS + records.FIELDS

TINY: Final = 0.376  # roots below this share of the level's are alike: two percent of cost
LOWEST: Final = -2.0  # how far below does not matter
LOW_RECORD: Final = -0.5  # and below a record
SCALE: Final = 20.0  # records are counted in twentieths of the level's root
PRIOR: Final = 0.3  # the residual of a series not known yet, worth one day
FADES: Final = 0.75  # what is left of a sum an hour later
MOST: Final = 5.0  # what one hour adds to it


class _Known(NamedTuple):
    """What a root is held against: records, an overrun, how much of the record, units, the sum."""

    here: float
    ever: float
    overrun: float
    blend: float
    spread: float
    unit: float
    before: float


@compiled
def _stand(known: _Known, value: float, centre: float, floor: float, work: F64) -> None:
    """Write all statistics but STRANGE of a root of which up to `floor` is usual."""
    here = known.here
    for k in (DAILY, WEEKLY):
        high = work[HIGH] if k == DAILY else work[WEEK]
        high = max(high + known.blend * max(0.0, here - high), known.overrun, floor)
        work[k] = max(LOWEST, (value - high) / known.spread)
    if np.isnan(work[WEEK]):
        work[WEEKLY] = NAN
    work[HERE] = max(LOW_RECORD, SCALE * (value - max(here, floor)) / known.unit)
    work[EVER] = max(LOW_RECORD, SCALE * (value - max(known.ever, floor)) / known.unit)
    away = (value - centre) / known.spread
    work[LASTING] = min(away, MOST) + known.before if away > 0.0 else LOWEST


@compiled
def _stands_out(state: F32, work: F64) -> bool:
    """Tell whether one of the statistics is in its tail."""
    odd = 0
    for k in range(LASTING + 1):
        odd += work[k] > state[k * tail.FIELDS + tail.HIGH]
    return odd > 0


@compiled
def view(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> bool:
    """Write the statistics and what was expected; False when there is no reference."""
    step, cost, day = point
    if rings.last[row] - step > rings.steps.shape[1] - 5 * 7 * day - 2:
        return False
    count = gather(rings, row, step, day, work)
    if count == 0:
        return False
    expect(work, count)
    value = root(cost)
    kept = state[RECORDS:]
    ever = float(kept[records.TOP])
    here, overrun = float(kept[records.FIRST + step % records.slots(day)]), 0.0
    if day > 1:
        here, overrun = records.record(rings, row, kept, step, value)
    if step - rings.first[row] < records.slots(day):
        here = ever
    unit = root(max(float(state[LEVEL]), 0.05 * power(ever)))
    work[: MONTHLY + 1] = 0.0
    if unit <= 0.0:
        return True
    tiny = TINY * unit
    centre = max(work[CENTRE], tiny)
    value = max(value, tiny)
    spread = 0.0
    for i in range(MIDS, MIDS + count - 1):
        spread += abs(max(work[i], tiny) - centre)
    learnt = float(state[LEARNT])
    residue = (learnt * state[RESIDUAL] + PRIOR * day) / (learnt + day)
    spread = spread / max(count - 1, 1) + (0.004 + 0.5 * residue) * unit + 0.002 * centre
    # The less the hour tells, the more of the record at this hour counts as usual: all of it where
    # the hour is mostly idle, for then the spread tells nothing of how late or early work may be.
    blend = min(1.0, 8.0 * residue) if centre > tiny else 1.0
    goes_on = state[NEWEST] == np.float32(step - 1)
    before = FADES * float(state[SUM]) if goes_on else 0.0
    known = _Known(here, ever, overrun, blend, spread, unit, before)
    _stand(known, value, centre, tiny, work)
    if _stands_out(state, work):
        more = monthly.peak(rings, row, step // day, day)
        if more > 0.0:
            work[MONTHLY] = root(power(work[HIGH]) + monthly.ROOM * more)
            _stand(known, value, max(centre, work[MONTHLY]), work[MONTHLY], work)
            work[CENTRE] = max(work[CENTRE], min(value, root(power(work[CENTRE]) + more)))
            work[HIGH] = root(power(work[HIGH]) + more)
    work[STRANGE] = levels.strangeness(
        state[LEVELS:RECORDS], cost, float(state[LEVEL]), power(float(state[ON])), goes_on
    )
    work[RESIDUE] = residue
    work[SHARE] = abs(value - max(centre, work[CENTRE])) / unit
    return True
