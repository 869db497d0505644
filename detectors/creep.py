"""Creep: slow growth beyond the growth that this series had before.

The mean of the last three or six days stands above the second highest of the same stretch in the
five weeks before by more than its own organic growth, which the tail of that excess has learnt, a
week late so that the creep itself does not widen it.
"""

from typing import ClassVar, Final

import numpy as np

from detectors import tail
from detectors.base import F32, F64, Evidence, Scores, money
from detectors.column import Column, One, Points, period_of, range_of
from detectors.compiled import compiled
from detectors.history import Rings, power, root
from detectors.window import highest, onset, stretches, typical, usual_costs

SHORT: Final = 3  # whole days in the two stretches
LONG: Final = 6
LEAST: Final = 0.001  # least mean excess, as a share of the typical root: 0.4 percent of cost
ERRATIC: Final = 1.5  # of the distance between days, while the series is young
AIMLESS: Final = 0.3  # distance between days from which an onset cannot be told
EVERY: Final = 6  # steps between two that are learnt: neighbours say the same
TELL: Final = 2.0  # surprise from which the costs of earlier weeks are worth looking up

SECOND: Final = tail.FIELDS
QUEUE: Final = 2 * tail.FIELDS
SIZE: Final = 2 * tail.WAIT
TYPICAL: Final = QUEUE + 2 * SIZE
DISTANCE: Final = TYPICAL + 1
LATEST: Final = DISTANCE + 1  # both statistics when last learnt, and that step
WIDTH: Final = LATEST + 3
WORK: Final = 24


@compiled
def view(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> None:
    """Write how far both stretches stand above the second highest of earlier weeks.

    Into work[12:14], as a share of the typical root, NaN without a reference; work[14] receives
    the reference of the short stretch.
    """
    step, cost, day = point
    stretches(rings, row, step, cost, (SHORT, LONG, day), work)
    scale = state[TYPICAL]
    work[14] = np.nan
    for which in range(2):
        usual, known = highest(work[6 * which + 1 : 6 * which + 6])
        above = (work[6 * which] - usual) / scale
        work[12 + which] = above if known > 0 and scale > 0.0 else np.nan
        if which == 0 and known > 0:
            work[14] = usual


@compiled
def quiet(state: F32, point: tuple[int, float, int]) -> bool:
    """Tell whether neither stretch can have come into its tail since it was last learnt.

    Were every step since as far above the typical as this one, both would still be below.
    """
    step, cost, day = point
    since = step - state[LATEST + 2]
    if not 0 < since <= 2 * EVERY or day == 1:
        return False
    rise = since * max(0.0, root(cost) / state[TYPICAL] - 1.0) / day
    return bool(
        state[LATEST] + rise / SHORT < state[tail.HIGH]
        and state[LATEST + 1] + rise / LONG < state[SECOND + tail.HIGH]
    )


@compiled
def judge(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> float:
    """Return the surprise at one point; work[16:19] receive expected, low and high per step."""
    step, _, day = point
    work[16] = work[17] = work[18] = max(power(float(state[TYPICAL])), 0.0)
    if quiet(state, point):
        return 0.0
    view(rings, row, state, point, work)
    young = ERRATIC * float(state[DISTANCE])
    short = tail.surprise(state[:SECOND], work[12], LEAST, young, 1.0 / day)
    long = tail.surprise(state[SECOND:QUEUE], work[13], LEAST, young, 1.0 / day)
    if not np.isnan(work[14]):
        work[16] = work[17] = work[18] = power(work[14])
    most = max(short, long)
    if most > TELL:
        usual_costs(rings, row, step, SHORT if short >= long else LONG, day, work[16:])
    return most


@compiled
def absorb(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> None:
    """Learn one closed point."""
    step, _, day = point
    if day > 1 and step % EVERY:
        return
    mean, distance = typical(rings, row)
    if np.isnan(mean):
        return
    state[TYPICAL] = mean
    state[DISTANCE] = distance
    view(rings, row, state, point, work)
    state[LATEST] = work[12]
    state[LATEST + 1] = work[13]
    state[LATEST + 2] = step
    block = step // day
    tail.learn_late(state[QUEUE : QUEUE + SIZE], state[:SECOND], work[12], block, LEAST)
    tail.learn_late(state[QUEUE + SIZE : TYPICAL], state[SECOND:QUEUE], work[13], block, LEAST)


@compiled
def _score(rings: Rings, state: F32, points: Points, day: int, out: Scores) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(points.rows)):
        row = points.rows[i]
        step = points.steps[i]
        own = state[row]
        out.surprise[i] = judge(rings, row, own, (step, points.costs[i], day), work)
        out.expected[i] = work[16]
        out.low[i] = work[17]
        out.high[i] = work[18]
        out.since[i] = step
        if out.surprise[i] > TELL and own[DISTANCE] < AIMLESS:
            out.since[i] = onset(rings, row, step, 0.02 * float(own[TYPICAL]), day)


@compiled
def _learn(rings: Rings, state: F32, points: Points, day: int) -> None:
    work = np.empty(WORK, np.float64)
    for i in range(len(points.rows)):
        row = points.rows[i]
        absorb(rings, row, state[row], (points.steps[i], points.costs[i], day), work)


class Creep(Column):
    """Column form."""

    kind: ClassVar[str] = "creep"
    share: ClassVar[float] = 0.6
    width: ClassVar[int] = WIDTH

    def _score(self, points: Points, out: Scores) -> None:
        _score(self.history.rings, self.state, points, self.history.day, out)

    def _learn(self, points: Points) -> None:
        _learn(self.history.rings, self.state, points, self.history.day)

    def reason(self, evidence: Evidence) -> str:
        """Say by how much the last days outgrew earlier weeks."""
        now, unit = money(evidence.actual, evidence.currency), period_of(evidence)
        more = money(evidence.impact, evidence.currency)
        so_far = f"; {more} more so far" if evidence.impact > 0 else ""
        return (
            f"Growing faster than before: {now} in the latest period against "
            f"{range_of(evidence)} {unit} on average in the weeks before{so_far}."
        )


class CreepOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Creep
