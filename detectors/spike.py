"""Spike: an hour (or a day) far above what this series costs at this time, or ever did.

Four statistics, each held to the tail that the series itself has shown: the excess over the recent
costs of the same hour of day (7 days, one hour either side) and of the same hour of the week (5
weeks), in units of their spread; the excess over the highest cost seen at this hour of day; and the
excess over the highest seen at all. What they say is then weighed by whether the spend comes in
multiples of one price (`multiples`).
"""

import math
from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple

import numpy as np

from detectors import monthly, multiples, tail
from detectors.base import F32, F64, Evidence, Scores, money
from detectors.calendar import weekend_before
from detectors.column import Column, One, Points, ordinal
from detectors.compiled import compiled, fetch
from detectors.history import AHEAD, Rings, ask, is_off, power, root
from detectors.window import NAN, highest

# State: a tail for each statistic, the multiples, these fields, and a record per hour of day (per
# weekday at daily grain).
DAILY, WEEKLY, HERE, EVER = (k * tail.FIELDS for k in range(4))
MULTIPLES: Final = 4 * tail.FIELDS
LEVEL: Final = MULTIPLES + multiples.FIELDS  # mean cost
LEARNT: Final = LEVEL + 1
RESIDUAL: Final = LEVEL + 2  # mean distance to what was expected, as a share of the level's root
BEFORE: Final = LEVEL + 3  # the record of the slot learnt last, as it was until then
SLOT: Final = LEVEL + 4
TOP: Final = LEVEL + 5  # the highest record
RECORDS: Final = LEVEL + 6
SLOTS: Final = 24

# Work: the four statistics, then these.
# MONTHLY is up to where the day of the month makes a root usual, 0 unless that was asked.
CENTRE, LOW, HIGH, WEEK, RESIDUE, SHARE, MONTHLY, MIDS = range(4, 12)
REFERENCES: Final = 11  # 7 days and 4 more weeks
TOPS: Final = MIDS + REFERENCES
WEIGHTS: Final = TOPS + REFERENCES + 1
FOUND: Final = WEIGHTS + REFERENCES  # the references as they were found, then their weights

KEEP: Final = 0.99623  # a record's root fades by this a day: its cost to a half in six weeks
TINY: Final = 0.376  # roots below this share of the level's are alike: two percent of cost
ALIKE: Final = 0.85  # a root within this factor of another is at the same level
LOWEST: Final = -2.0  # how far below does not matter
SCALE: Final = 20.0  # records are counted in twentieths of the level's root
PRIOR: Final = 0.3  # the residual of a series not known yet, worth one day
ERRATIC: Final = 20.0  # how a residual widens a young series' tail of records
LEAST: Final = (0.3, 0.3, 0.15, 0.1)  # least mean excess of each statistic


@compiled
def _slots(day: int) -> int:
    return day if day > 1 else 7


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
def _gather(rings: Rings, row: int, step: int, day: int, work: F64) -> int:
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
def _expect(work: F64, count: int) -> None:
    """Write the middle and the range of what was gathered, and the week's own upper end."""
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
def _records(rings: Rings, row: int, state: F32, step: int, value: float) -> tuple[float, float]:
    """Return the record at this hour of day, a neighbour's included, and the root of an overrun.

    An overrun goes on at the level of the hour before, where that hour was usual; else 0.
    """
    ring = rings.steps[row]
    slot = step % SLOTS
    prior = (slot - 1) % SLOTS
    earlier = float(state[BEFORE] if state[SLOT] == prior else state[RECORDS + prior])
    here = max(float(state[RECORDS + slot]), earlier)
    if step - 1 <= rings.last[row]:
        before = float(ring[(step - 1) % len(ring)])
        usual = max(here, float(state[RECORDS + (slot - 2) % SLOTS]))
        if ALIKE * before <= usual and ALIKE * before <= value <= before / ALIKE:
            return max(here, value), value
    return max(here, float(state[RECORDS + (slot + 1) % SLOTS])), 0.0


class _Known(NamedTuple):
    """What a root is held against: records, an overrun, how much of the record, and units."""

    here: float
    ever: float
    overrun: float
    blend: float
    spread: float
    unit: float


@compiled
def _stand(known: _Known, value: float, floor: float, work: F64) -> None:
    """Write the four statistics of a root of which up to `floor` is usual."""
    here = known.here
    for k in range(2):
        high = work[HIGH] if k == 0 else work[WEEK]
        high = max(high + known.blend * max(0.0, here - high), known.overrun, floor)
        work[k] = max(LOWEST, (value - high) / known.spread)
    if np.isnan(work[WEEK]):
        work[1] = NAN
    work[2] = max(LOWEST, SCALE * (value - max(here, floor)) / known.unit)
    work[3] = max(LOWEST, SCALE * (value - max(known.ever, floor)) / known.unit)


@compiled
def _stands_out(state: F32, work: F64) -> bool:
    """Tell whether one of the four statistics is in its tail."""
    odd = 0
    for k in range(4):
        odd += work[k] > state[k * tail.FIELDS + tail.HIGH]
    return odd > 0


@compiled
def view(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> bool:
    """Write the four statistics and what was expected; False when there is no reference."""
    step, cost, day = point
    if rings.last[row] - step > rings.steps.shape[1] - 5 * 7 * day - 2:
        return False
    count = _gather(rings, row, step, day, work)
    if count == 0:
        return False
    _expect(work, count)
    value = root(cost)
    ever = float(state[TOP])
    here, overrun = float(state[RECORDS + step % _slots(day)]), 0.0
    if day > 1:
        here, overrun = _records(rings, row, state, step, value)
    if step - rings.first[row] < _slots(day):
        here = ever
    unit = root(max(float(state[LEVEL]), 0.05 * power(ever)))
    work[0:4] = 0.0
    work[RESIDUE] = work[SHARE] = work[MONTHLY] = 0.0
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
    known = _Known(here, ever, overrun, blend, spread, unit)
    _stand(known, value, tiny, work)
    if _stands_out(state, work):
        more = monthly.peak(rings, row, step // day, day)
        if more > 0.0:
            work[MONTHLY] = root(power(work[HIGH]) + monthly.ROOM * more)
            _stand(known, value, work[MONTHLY], work)
            work[CENTRE] = max(work[CENTRE], min(value, root(power(work[CENTRE]) + more)))
            work[HIGH] = root(power(work[HIGH]) + more)
    work[RESIDUE] = residue
    work[SHARE] = abs(value - max(centre, work[CENTRE])) / unit
    return True


@compiled
def judge(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> float:
    """Return the surprise at one point; work holds expected, low and high as costs."""
    step, cost, day = point
    if not view(rings, row, state, point, work):
        work[CENTRE] = work[LOW] = work[HIGH] = max(cost, 0.0)
        return 0.0
    most = 0.0
    for k in range(4):
        own = state[k * tail.FIELDS : (k + 1) * tail.FIELDS]
        erratic = ERRATIC * work[RESIDUE] if k > 1 else 0.0
        most = max(most, tail.surprise(own, work[k], LEAST[k], erratic, 1.0 / day))
    weighed = multiples.weigh(state[MULTIPLES:LEVEL], cost, float(state[LEVEL]), most, day)
    for k in (CENTRE, LOW, HIGH):
        work[k] = power(work[k])
    if weighed > most:
        limit = power(work[MONTHLY])
        if limit == 0.0:
            more = monthly.peak(rings, row, step // day, day)
            limit = work[HIGH] + monthly.ROOM * more if more > 0.0 else 0.0
        weighed = most if cost <= limit else weighed
    return float(weighed)


@compiled
def absorb(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> None:
    """Learn one closed point."""
    step, cost, day = point
    learnt = float(state[LEARNT])
    pace = max(1.0 / (learnt + 1.0), 1.0 / (14.0 * day))
    if view(rings, row, state, point, work):
        for k in range(4):
            own = state[k * tail.FIELDS : (k + 1) * tail.FIELDS]
            tail.learn(own, work[k], step // day, LEAST[k])
        state[RESIDUAL] += pace * (min(work[SHARE], 2.0) - state[RESIDUAL])
    amount = max(cost, 0.0)
    level = float(state[LEVEL])
    capped = min(amount, 20.0 * level) if learnt > day and level > 0.0 else amount
    state[LEVEL] += pace * (capped - level)
    state[LEARNT] += 1.0
    slots = _slots(day)
    slot = RECORDS + step % slots
    state[SLOT] = step % slots
    before = state[slot]
    state[BEFORE] = before
    state[slot] = max(root(amount), float(before) * (KEEP if day > 1 else KEEP**7))
    if state[slot] >= state[TOP]:
        state[TOP] = state[slot]
    elif before >= state[TOP]:
        state[TOP] = state[RECORDS]
        for i in range(RECORDS + 1, RECORDS + slots):
            state[TOP] = max(state[TOP], state[i])
    multiples.follow(state[MULTIPLES:LEVEL], amount, day)


@compiled
def _ask(rings: Rings, state: F32, points: Points, i: int, day: int) -> None:
    """Ask for what will be read some points after point `i`."""
    if i + AHEAD >= len(points.rows):
        return
    row = points.rows[i + AHEAD]
    depth = rings.steps.shape[1]
    slot = points.steps[i + AHEAD] % depth
    for k in range(REFERENCES):
        back = (k + 1) * day if k < 7 else (k - 5) * 7 * day
        fetch(rings.steps, row, slot - back if slot >= back else slot - back + depth)
    ask(state, row)


@compiled
def _score(rings: Rings, state: F32, points: Points, day: int, out: Scores, work: F64) -> None:
    for i in range(len(points.rows)):
        _ask(rings, state, points, i, day)
        row = points.rows[i]
        step = points.steps[i]
        out.surprise[i] = judge(rings, row, state[row], (step, points.costs[i], day), work)
        out.expected[i] = work[CENTRE]
        out.low[i] = work[LOW]
        out.high[i] = work[HIGH]
        out.since[i] = step


@compiled
def _learn(rings: Rings, state: F32, points: Points, day: int, work: F64) -> None:
    for i in range(len(points.rows)):
        _ask(rings, state, points, i, day)
        row = points.rows[i]
        absorb(rings, row, state[row], (points.steps[i], points.costs[i], day), work)


class Spike(Column):
    """Column form."""

    kind: ClassVar[str] = "spike"
    remembers: ClassVar[bool] = False
    share: ClassVar[float] = 0.35
    width: ClassVar[int] = RECORDS + SLOTS
    judge: ClassVar[Callable[..., None]] = _score
    absorb: ClassVar[Callable[..., None]] = _learn

    def reason(self, evidence: Evidence) -> str:
        """Say how many times the usual it is, when, and for how long."""
        at = f"{evidence.start:%A %H:%M}" if evidence.step_hours == 1 else f"{evidence.start:%A}"
        unit = "hour" if evidence.step_hours == 1 else "day"
        currency = evidence.currency
        usual = (
            f"{money(evidence.low, currency)}-{money(evidence.high, currency)}"
            if evidence.high > evidence.low
            else money(evidence.expected, currency)
        )
        times = evidence.actual / evidence.expected if evidence.expected > 0 else math.inf
        about = (
            f"About {times:.{0 if times >= 2 else 1}f}x a normal" if times < 1000 else "Far above a"
        )
        row = f", {ordinal(evidence.periods)} {unit} in a row" if evidence.periods > 1 else ""
        return f"{about} {at}: {money(evidence.actual, currency)} against {usual} expected{row}."


class SpikeOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Spike
