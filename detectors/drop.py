"""Drop and gone: spend that falls, or stops, although it used to go on.

Both judge closed periods only, for a row that is still to come looks like them. Drop holds the
mean of the last days under the same stretch of earlier weeks; gone compares the time without any
spend with the longest this series ever took off.
"""

from typing import ClassVar, Final

import numpy as np

from detectors import tail
from detectors.base import F32, F64, I64, Evidence, money
from detectors.column import Column, One
from detectors.compiled import compiled
from detectors.history import Rings
from detectors.window import earlier, sort, stretch, typical

DAYS: Final = 1  # whole days before today in the stretch
LEAST: Final = 0.01  # least mean excess: four percent of cost, in fourth roots
ERRATIC: Final = 1.5  # of the distance between days
WORK: Final = 24

LEVEL, LEARNT, LONGEST, ACTIVE = range(4)
NOTHING: Final = 0.02  # of the usual level: as good as no spend
PATIENCE: Final = 6.0  # steps that any series may be off
FADE: Final = 0.98  # a longest pause fades by this a day
ONCE: Final = 3.5  # -log10 of the chance that a step begins a pause as long as the longest
INDEX: Final = 4.0  # Pareto index of longer ones


@compiled
def fall(rings: Rings, row: int, step: int, cost: float, day: int, work: F64) -> float:
    """Return how far the last days stand under earlier weeks; NaN without a reference.

    work[3:6] receive expected, low and high per step.
    """
    roots = work[8:16]
    means = work[16:24]
    work[3] = work[4] = work[5] = cost
    count = earlier(rings, row, step, DAYS, day, work[6:8], roots, means)
    if count < 3 or not stretch(rings, row, step, cost, DAYS, day, work[6:8]):
        return np.nan
    sort(roots, means, count)
    work[3] = means[count // 2]
    work[4] = means[0]
    work[5] = means[count - 1]
    usual, work[2] = typical(rings, row)
    return float((roots[1] - work[6]) / usual)


@compiled
def _score_drop(
    rings: Rings, state: F32, rows: I64, steps: I64, costs: F64, day: int, out: F64, since: I64
) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(rows)):
        row = rows[i]
        cost = 0.0 if np.isnan(costs[i]) else costs[i]
        value = fall(rings, row, steps[i], cost, day, work)
        known = not np.isnan(value) and cost < work[3]
        out[i, 0] = tail.surprise(state[row], value, LEAST, ERRATIC * work[2], 1.0 / day) if known else 0.0
        out[i, 1] = work[3]
        out[i, 2] = work[4]
        out[i, 3] = work[5]
        since[i] = steps[i]


@compiled
def _learn_drop(rings: Rings, state: F32, rows: I64, steps: I64, costs: F64, day: int) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(rows)):
        row = rows[i]
        value = fall(rings, row, steps[i], costs[i], day, work)
        tail.learn(state[row], value, steps[i] // day, LEAST)


@compiled
def _score_gone(
    rings: Rings, state: F32, rows: I64, steps: I64, costs: F64, day: int, out: F64
) -> None:
    for i in range(len(rows)):
        own = state[rows[i]]
        age = (steps[i] - rings.first[rows[i]]) / day
        out[i, 0] = 0.0
        out[i, 1] = out[i, 2] = out[i, 3] = own[LEVEL]
        if age < 14.0 or own[ACTIVE] == 0.0 or costs[i] > NOTHING * own[LEVEL]:
            continue
        longest = (own[LONGEST] + PATIENCE / (1.0 if day > 1 else 6.0)) * (1.0 + 14.0 / age)
        times = (steps[i] - own[ACTIVE]) / longest
        if times > 1.0:
            out[i, 0] = ONCE + INDEX * np.log10(times)


@compiled
def _learn_gone(state: F32, rows: I64, steps: I64, costs: F64, day: int) -> None:
    for i in range(len(rows)):
        own = state[rows[i]]
        pace = max(1.0 / (own[LEARNT] + 1.0), 1.0 / (14.0 * day))
        own[LEARNT] += 1.0
        if costs[i] > NOTHING * own[LEVEL]:
            if steps[i] > own[ACTIVE] > 0.0:
                pause = steps[i] - own[ACTIVE] - 1.0
                own[LONGEST] = max(pause, own[LONGEST] * FADE ** ((pause + 1.0) / day))
            own[ACTIVE] = max(own[ACTIVE], np.float32(steps[i]))
            own[LEVEL] += pace * (costs[i] - own[LEVEL])


class Drop(Column):
    """Column form of drop: spend that went down and stays there."""

    kind: ClassVar[str] = "drop"
    on_close: ClassVar[bool] = True
    share: ClassVar[float] = 0.05
    width: ClassVar[int] = tail.FIELDS

    def _score(self, rows: I64, steps: I64, costs: F64, out: F64, since: I64) -> None:
        day = self.history.day
        _score_drop(self.history.rings, self.state, rows, steps, costs, day, out, since)

    def _learn(self, rows: I64, steps: I64, costs: F64) -> None:
        _learn_drop(self.history.rings, self.state, rows, steps, costs, self.history.day)

    def reason(self, evidence: Evidence) -> str:
        """Say what it costs now against what it cost."""
        return (
            f"Down to {money(evidence.actual / evidence.periods, evidence.currency)}, from "
            f"{money(evidence.low / evidence.periods, evidence.currency)} or more in earlier weeks."
        )


class Gone(Column):
    """Column form of gone: no spend for longer than ever."""

    kind: ClassVar[str] = "gone"
    on_close: ClassVar[bool] = True
    share: ClassVar[float] = 0.05
    width: ClassVar[int] = 4

    def _score(self, rows: I64, steps: I64, costs: F64, out: F64, since: I64) -> None:
        _score_gone(self.history.rings, self.state, rows, steps, costs, self.history.day, out)
        since[:] = np.minimum(steps, self.state[rows, ACTIVE].astype(np.int64) + 1)

    def _learn(self, rows: I64, steps: I64, costs: F64) -> None:
        _learn_gone(self.state, rows, steps, costs, self.history.day)

    def reason(self, evidence: Evidence) -> str:
        """Say since when nothing was spent."""
        usual = money(evidence.expected / evidence.periods, evidence.currency)
        unit = "an hour" if evidence.step_hours == 1 else "a day"
        return (
            f"Nothing since {evidence.since:%Y-%m-%d %H:%M} UTC, longer than ever before; "
            f"usual is {usual} {unit}."
        )


class DropOne(One):
    """Scalar form of drop."""

    column: ClassVar[type[Column]] = Drop


class GoneOne(One):
    """Scalar form of gone."""

    column: ClassVar[type[Column]] = Gone
