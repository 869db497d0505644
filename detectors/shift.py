"""Shift: a step up that lasts."""

from typing import ClassVar, Final

import numpy as np

from detectors import tail
from detectors.base import F32, F64, I64, Evidence, money
from detectors.column import Column, One
from detectors.compiled import compiled
from detectors.history import Rings
from detectors.window import earlier, sort, stretch, typical

QUEUE: Final = 2 * tail.FIELDS
SIZE: Final = 2 * tail.WAIT
WIDTH: Final = QUEUE + 2 * SIZE
SHORT: Final = 1  # whole days before today in the short stretch
LONG: Final = 2
LEAST: Final = 0.001  # least mean excess: one percent of cost, in fourth roots
ERRATIC: Final = 1.5  # of the distance between days
WORK: Final = 24


@compiled
def view(rings: Rings, row: int, step: int, cost: float, days: int, day: int, work: F64) -> float:
    """Return how far the stretch stands above earlier weeks; NaN without a reference.

    work[2] receives how erratic days are, work[3:6] expected, low and high per step.
    """
    roots = work[8:16]
    means = work[16:24]
    count = earlier(rings, row, step, days, day, work[6:8], roots, means)
    if count == 0 or not stretch(rings, row, step, cost, days, day, work[6:8]):
        return np.nan
    sort(roots, means, count)
    middle = count // 2
    usual = roots[max(count - 2, 0)] if count > 2 else roots[count - 1]
    work[3] = means[middle]
    work[4] = means[0]
    work[5] = max(means[count - 1], means[middle])
    top, work[2] = typical(rings, row)
    if not top > 0.0:
        return np.nan
    return float((work[6] - usual) / top)


@compiled
def judge(rings: Rings, row: int, state: F32, step: int, cost: float, day: int, work: F64) -> float:
    """Return the surprise at one point; `work` is filled as by `view`."""
    work[3] = max(cost, 0.0)
    work[4] = work[5] = work[3]
    a = view(rings, row, step, cost, LONG, day, work)
    b = view(rings, row, step, cost, SHORT, day, work)
    short = tail.surprise(state[0 : tail.FIELDS], b, LEAST, ERRATIC * work[2], 1.0 / day) if not np.isnan(b) else 0.0
    long = (
        tail.surprise(state[tail.FIELDS : 2 * tail.FIELDS], a, LEAST, ERRATIC * work[2], 1.0 / day)
        if not np.isnan(a)
        else 0.0
    )
    return max(short, long)


@compiled
def absorb(rings: Rings, row: int, state: F32, step: int, cost: float, day: int, work: F64) -> None:
    """Learn one closed point."""
    block = step // day
    short = view(rings, row, step, cost, SHORT, day, work)
    tail.learn_late(state[QUEUE : QUEUE + SIZE], state[0 : tail.FIELDS], short, block, LEAST)
    long = view(rings, row, step, cost, LONG, day, work)
    tail.learn_late(
        state[QUEUE + SIZE :], state[tail.FIELDS : 2 * tail.FIELDS], long, block, LEAST
    )


@compiled
def _score(
    rings: Rings, state: F32, rows: I64, steps: I64, costs: F64, day: int, out: F64, since: I64
) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(rows)):
        row = rows[i]
        out[i, 0] = judge(rings, row, state[row], steps[i], costs[i], day, work)
        out[i, 1] = work[3]
        out[i, 2] = work[4]
        out[i, 3] = work[5]
        since[i] = steps[i]


@compiled
def _learn(rings: Rings, state: F32, rows: I64, steps: I64, costs: F64, day: int) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(rows)):
        row = rows[i]
        absorb(rings, row, state[row], steps[i], costs[i], day, work)


class Shift(Column):
    """Column form."""

    kind: ClassVar[str] = "shift"
    share: ClassVar[float] = 0.25
    width: ClassVar[int] = WIDTH

    def _score(self, rows: I64, steps: I64, costs: F64, out: F64, since: I64) -> None:
        _score(self.history.rings, self.state, rows, steps, costs, self.history.day, out, since)

    def _learn(self, rows: I64, steps: I64, costs: F64) -> None:
        _learn(self.history.rings, self.state, rows, steps, costs, self.history.day)

    def reason(self, evidence: Evidence) -> str:
        """Say how many times the usual it is, when, and for how long."""
        return f"{money(evidence.actual, evidence.currency)}"


class ShiftOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Shift
