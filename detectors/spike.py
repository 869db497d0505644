"""Spike: an hour (or a day) far above what this series costs at this time, or ever did.

Four views, each held to the tail that the series itself has shown: the excess over the recent
costs of the same hour (7 days, 5 weeks, one hour either side) in units of their spread; the excess
over the highest ever seen at this hour of day; the excess over the highest ever seen; and, for
spend that comes in multiples of one unit price, a cost that is no such multiple.
"""

from typing import ClassVar, Final

import numpy as np

from detectors import tail
from detectors.base import F32, F64, Evidence, Scores, money
from detectors.column import Column, One, Points
from detectors.compiled import compiled
from detectors.history import Rings, is_off, power, root

# State: three tails, then these fields, then the record per hour of day (or weekday).
LEVEL: Final = 4 * tail.FIELDS
LEARNT: Final = LEVEL + 1
UNIT: Final = LEVEL + 2
ODD: Final = LEVEL + 3
RUN: Final = LEVEL + 4
RESIDUAL: Final = LEVEL + 5
COUNTS: Final = LEVEL + 6
CANDIDATE: Final = LEVEL + 7
AGAIN: Final = LEVEL + 8
BEFORE: Final = LEVEL + 9  # the record of the slot learnt last, as it was until then
SLOT: Final = LEVEL + 10
ACTIVE: Final = LEVEL + 11
RECORDS: Final = LEVEL + 12
SLOTS: Final = 24

KEEP: Final = 0.99623  # a record's root fades by this a day: its cost to a half in six weeks
TINY: Final = 0.376  # roots below this share of the level are alike: two percent of cost
ERRATIC: Final = 20.0  # of the distance to what was expected, for the two records
EXACT: Final = 0.004  # how far a cost may be from a multiple of the unit price
ALMOST: Final = 0.006
NEARLY: Final = 0.01  # and how far it must be to be none
RARE: Final = 0.003  # share of misses below which one is a surprise
ALIKE: Final = 0.85  # a root within this factor of another is at the same level
LOWEST: Final = -2.0  # how far below does not matter
WORK: Final = 41


@compiled
def _slots(day: int) -> int:
    return day if day > 1 else 7


@compiled
def _middle(values: F64, weights: F64, count: int) -> float:
    """Weighted median of the first `count` values, which are sorted in place."""
    total = 0.0
    for i in range(count):
        total += weights[i]
        j = i
        while j > 0 and values[j - 1] > values[j]:
            values[j - 1], values[j] = values[j], values[j - 1]
            weights[j - 1], weights[j] = weights[j], weights[j - 1]
            j -= 1
    half = 0.0
    for i in range(count):
        half += weights[i]
        if 2.0 * half >= total:
            return float(values[i])
    return 0.0


@compiled
def view(rings: Rings, row: int, state: F32, step: int, cost: float, day: int, work: F64) -> bool:
    """Write the statistics and the expectation into `work`; False when there is no reference.

    work[0:3] statistics, work[3] expected, work[4] low, work[5] high.
    """
    ring = rings.steps[row]
    depth = len(ring)
    first = rings.first[row]
    if rings.last[row] - step > depth - 5 * 7 * day - 2:
        return False
    near = 1 if day > 1 else 0
    now = step % depth
    mids = work[8:24]
    weights = work[24:40]
    count = 0
    unknown = 0
    day1 = day2 = week1 = week2 = -np.inf
    seen_days = 0
    seen_weeks = 0
    for k in range(11):
        back = (k + 1) * day if k < 7 else (k - 5) * 7 * day
        if step - back < first:
            break
        i = now - back
        if i < 0:
            i += depth
        mid = float(ring[i])
        top = mid if mid == mid else -np.inf  # noqa: PLR0124  NaN is the one that is not
        if near:
            top = max(top, ring[i - 1 if i > 0 else depth - 1])
            top = max(top, ring[i + 1 if i + 1 < depth else 0])
        if mid == mid:  # noqa: PLR0124  as above
            mids[count] = mid
            weights[count] = 2.0 if k >= 6 else 1.0
            count += 1
        else:
            unknown += 1
        if top == -np.inf:
            continue
        if k < 7:
            seen_days += 1
            if top > day1:
                day2 = day1
                day1 = top
            elif top > day2:
                day2 = top
        if k >= 6:
            seen_weeks += 1
            if top > week1:
                week2 = week1
                week1 = top
            elif top > week2:
                week2 = top
    if is_off(rings, row) or unknown > count:
        for _ in range(unknown):
            mids[count] = 0.0
            weights[count] = 1.0
            count += 1
    if count == 0:
        return False
    centre = max(_middle(mids, weights, count), 0.0)
    low = mids[1] if count > 4 else mids[0]
    high = max(mids[count - 1 if count < 5 else count - 2], centre)
    if seen_days > 0:
        high = max(high, day1 if seen_days < 4 else day2)
    if seen_weeks > 0:
        high = max(high, week1 if seen_weeks < 3 else week2)
    slots = _slots(day)
    slot = step % slots
    ever = 0.0
    for i in range(slots):
        ever = max(ever, state[RECORDS + i])
    here = float(state[RECORDS + slot])
    earlier = here
    if near:
        prior = (slot - 1) % slots
        earlier = float(state[BEFORE] if state[SLOT] == prior else state[RECORDS + prior])
        here = max(here, state[RECORDS + (slot + 1) % slots], earlier)
    # What goes on from the hour before at the same level, where that hour was usual, is an overrun.
    overrun = 0.0
    before = ring[now - 1 if now > 0 else depth - 1]
    if near and before == before and step - 1 <= rings.last[row]:  # noqa: PLR0124  as above
        usual = max(earlier, state[RECORDS + (slot - 2) % slots], state[RECORDS + slot])
        value = root(cost)
        if before <= usual and ALIKE * before <= value <= before / ALIKE:
            here = max(here, value)
            overrun = value
    work[3] = power(centre)
    work[4] = power(low)
    work[5] = power(high)
    unit = root(max(float(state[LEVEL]), 0.05 * power(ever)))
    if unit <= 0.0:
        work[0] = work[1] = work[2] = work[6] = work[7] = work[40] = 0.0
        return True
    tiny = TINY * unit
    value = max(root(cost), tiny)
    spread = 0.0
    for i in range(count - 1):
        spread += abs(max(mids[i], tiny) - max(centre, tiny))
    spread /= max(count - 1, 1)
    learnt = float(state[LEARNT])
    residual = (learnt * state[RESIDUAL] + 0.3 * day) / (learnt + day)
    spread += (0.004 + 0.5 * residual) * unit + 0.002 * max(centre, tiny)
    # The less the hour tells, the more of the record at this hour counts as usual.
    work[40] = np.nan
    if seen_weeks > 2:
        top = week2 + min(1.0, 8.0 * residual) * max(0.0, here - week2)
        top = max(top, overrun)
        work[40] = max(LOWEST, (value - max(top, tiny)) / spread)
    high += min(1.0, 8.0 * residual) * max(0.0, here - high)
    high = max(high, overrun)
    work[0] = max(LOWEST, (value - max(high, tiny)) / spread)
    work[1] = max(LOWEST, 20.0 * (value - max(here, tiny)) / unit)
    work[2] = max(LOWEST, 20.0 * (value - max(ever, tiny)) / unit)
    work[7] = residual
    work[6] = abs(value - max(centre, tiny)) / unit
    return True


@compiled
def _multiple(cost: float, unit: float, within: float) -> int:
    """Return how many units a cost is, 0 when it is no whole number of them up to 16."""
    share = cost / unit
    whole = int(np.round(share))
    return whole if 1 <= whole <= 16 and abs(share - whole) <= within * whole else 0


@compiled
def _counts(seen: float) -> tuple[int, int]:
    """Return how many different counts were seen, and the highest."""
    mask = int(seen)
    some = 0
    top = 0
    for k in range(1, 17):
        if mask & (1 << k):
            some += 1
            top = k
    return some, top


@compiled
def judge(rings: Rings, row: int, state: F32, step: int, cost: float, day: int, work: F64) -> float:
    """Return the surprise at one point; `work` is filled as by `view`."""
    if not view(rings, row, state, step, cost, day, work):
        work[3] = max(cost, 0.0)
        work[4] = work[5] = work[3]
        return 0.0
    erratic = ERRATIC * work[7]
    a = tail.surprise(state[0 : tail.FIELDS], work[0], 0.3, 0.0, 1.0 / day)
    b = tail.surprise(state[tail.FIELDS : 2 * tail.FIELDS], work[1], 0.15, erratic, 1.0 / day)
    c = tail.surprise(state[2 * tail.FIELDS : 3 * tail.FIELDS], work[2], 0.1, erratic, 1.0 / day)
    d = tail.surprise(state[3 * tail.FIELDS : 4 * tail.FIELDS], work[40], 0.3, 0.0, 1.0 / day)
    most = max(a, b, c, d)
    if state[ACTIVE] > 4.0 * day and state[UNIT] > 0.0 and state[ODD] < 0.2:
        whole = _multiple(cost, float(state[UNIT]), NEARLY)
        if whole > 0:
            some, top = _counts(float(state[COUNTS]))
            if some > 1 and whole <= 2 * top and _multiple(cost, float(state[UNIT]), ALMOST):
                most *= 0.4 if int(state[COUNTS]) & (1 << whole) else 0.6
        elif cost > 0.05 * state[LEVEL]:
            evidence = -np.log10(max(float(state[ODD]), 1e-4))
            evidence += min(state[RUN], 8.0) * -np.log10(max(float(state[AGAIN]), 0.1))
            if state[ODD] < RARE or evidence > 4.0:
                most = max(most, 5.0)
    return most


@compiled
def absorb(rings: Rings, row: int, state: F32, step: int, cost: float, day: int, work: F64) -> None:
    """Learn one closed point."""
    if view(rings, row, state, step, cost, day, work):
        block = step // day
        tail.learn(state[0 : tail.FIELDS], work[0], block, 0.3)
        tail.learn(state[tail.FIELDS : 2 * tail.FIELDS], work[1], block, 0.15)
        tail.learn(state[2 * tail.FIELDS : 3 * tail.FIELDS], work[2], block, 0.1)
        tail.learn(state[3 * tail.FIELDS : 4 * tail.FIELDS], work[40], block, 0.3)
        pace = max(1.0 / (state[LEARNT] + 1.0), 1.0 / (14.0 * day))
        state[RESIDUAL] += pace * (min(work[6], 2.0) - state[RESIDUAL])
    learnt = np.float64(state[LEARNT])
    pace = max(1.0 / (learnt + 1.0), 1.0 / (14.0 * day))
    amount = max(cost, 0.0)
    level = np.float64(state[LEVEL])
    capped = min(amount, 20.0 * level) if learnt > day and level > 0.0 else amount
    state[LEVEL] += pace * (capped - level)
    state[LEARNT] = learnt + 1.0
    slot = step % _slots(day)
    keep = KEEP if day > 1 else KEEP**7
    state[SLOT] = slot
    state[BEFORE] = state[RECORDS + slot]
    state[RECORDS + slot] = max(root(amount), keep * state[RECORDS + slot])
    _count(state, amount, day)


@compiled
def _count(state: F32, amount: float, day: int) -> None:
    """Follow the unit price that the costs are multiples of, and the multiples seen.

    A cost that is no multiple is a miss. A smaller unit is taken over when it was seen twice in a
    row, or any other after a day of misses.
    """
    unit = float(state[UNIT])
    whole = _multiple(amount, unit, NEARLY) if unit > 0.0 else 0
    if state[RUN] > 0.0:
        state[AGAIN] += 0.05 * ((0.0 if whole > 0 or amount <= 0.0 else 1.0) - state[AGAIN])
    if amount <= 0.0:
        state[RUN] = 0.0
        return
    state[ACTIVE] += 1.0
    pace = max(1.0 / state[ACTIVE], 1.0 / (21.0 * day))
    if whole > 0:
        state[UNIT] += 0.2 * (amount / whole - unit)
        state[COUNTS] = int(state[COUNTS]) | (1 << whole)
        state[ODD] -= pace * state[ODD]
        state[RUN] = 0.0
        return
    again = state[CANDIDATE] > 0.0 and _multiple(amount, float(state[CANDIDATE]), EXACT) == 1
    divides = unit > 0.0 and _multiple(unit, amount, EXACT) > 0
    if unit <= 0.0 or (again and divides) or state[RUN] > 24.0:
        state[UNIT] = amount
        state[COUNTS] = 2.0
        state[RUN] = 0.0
        state[CANDIDATE] = 0.0
        return
    state[CANDIDATE] = amount
    if not divides:
        state[ODD] += pace * (1.0 - state[ODD])
    state[RUN] += 1.0


@compiled
def _score(rings: Rings, state: F32, points: Points, day: int, out: Scores) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(points.rows)):
        row = points.rows[i]
        step = points.steps[i]
        out.surprise[i] = judge(rings, row, state[row], step, points.costs[i], day, work)
        out.expected[i] = work[3]
        out.low[i] = work[4]
        out.high[i] = work[5]
        out.since[i] = step


@compiled
def _learn(rings: Rings, state: F32, points: Points, day: int) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(points.rows)):
        row = points.rows[i]
        absorb(rings, row, state[row], points.steps[i], points.costs[i], day, work)


class Spike(Column):
    """Column form."""

    kind: ClassVar[str] = "spike"
    share: ClassVar[float] = 0.5
    width: ClassVar[int] = RECORDS + SLOTS

    def _score(self, points: Points, out: Scores) -> None:
        _score(self.history.rings, self.state, points, self.history.day, out)

    def _learn(self, points: Points) -> None:
        _learn(self.history.rings, self.state, points, self.history.day)

    def reason(self, evidence: Evidence) -> str:
        """Say how many times the usual it is, when, and for how long."""
        return f"{money(evidence.actual, evidence.currency)}"


class SpikeOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Spike
