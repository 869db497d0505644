"""What shift and creep share: the mean of the last days against the same stretch of earlier weeks.

Two stretches, each held to the second highest of the five weeks before. What is far is what this
series has not shown: the excess is held to its own tail, learnt a week late so that what is slow
does not widen what it has to stand out from.
"""

from typing import ClassVar, Final

import numpy as np

from detectors import monthly, tail
from detectors.base import F32, F64, Scores
from detectors.calendar import month_turns
from detectors.column import Column, Points
from detectors.compiled import compiled
from detectors.history import Rings, power, root
from detectors.sums import NAN, SPANS
from detectors.window import (
    Span,
    ask_stretches,
    highest,
    onset,
    stretches,
    typical,
    usual_costs,
)

LEAST: Final = 0.001  # least mean excess, as a share of the typical root: 0.4 percent of cost
EARLY: Final = 3.0
ERRATIC: Final = 1.5  # of the distance between days, while the series is young
AIMLESS: Final = 0.3  # distance between days from which an onset cannot be told
EVERY: Final = 6  # steps between two that are learnt: neighbours say the same

SECOND: Final = tail.FIELDS
QUEUE: Final = 2 * tail.FIELDS
SIZE: Final = 2 * tail.WAIT
TYPICAL: Final = QUEUE + 2 * SIZE
DISTANCE: Final = TYPICAL + 1
LATEST: Final = DISTANCE + 1  # both statistics when last learnt, and that step
WIDTH: Final = LATEST + 3


@compiled
def view(rings: Rings, row: int, own: F32, point: tuple[int, float], span: Span, work: F64) -> None:
    """Write how far both stretches stand above the second highest of earlier weeks.

    Into work[12:14], as a share of the typical root, NaN without a reference; work[14] receives
    the reference of the short stretch.
    """
    stretches(rings, row, point, span, work)
    scale = own[TYPICAL]
    work[14] = NAN
    for which in range(2):
        usual, known = highest(work, 6 * which + 1, 6 * which + 6)
        above = (work[6 * which] - usual) / scale
        work[12 + which] = above if known > 0 and scale > 0.0 else NAN
        if which == 0 and known > 0:
            work[14] = usual


@compiled
def _without_months(rings: Rings, row: int, own: F32, step: int, span: Span, work: F64) -> None:
    """Take from both statistics what is usual for their days of the month."""
    for which in range(2):
        days = SPANS[span[which]]
        work[12 + which] -= monthly.share(rings, row, step, days, span[2]) / own[TYPICAL]


@compiled
def quiet(own: F32, point: tuple[int, float], span: Span) -> bool:
    """Tell whether neither stretch can have come into its tail since it was last learnt.

    Were every step since as far above the typical as this one, both would still be below.
    """
    step, cost = point
    short, long, day = SPANS[span[0]], SPANS[span[1]], span[2]
    since = step - own[LATEST + 2]
    if not 0 < since <= 2 * EVERY or day == 1:
        return False
    rise = since * max(0.0, root(cost) / own[TYPICAL] - 1.0) / day
    return bool(
        own[LATEST] + rise / short < own[tail.HIGH]
        and own[LATEST + 1] + rise / long < own[SECOND + tail.HIGH]
    )


@compiled
def judge(
    rings: Rings, row: int, own: F32, point: tuple[int, float], span: Span, work: F64
) -> float:
    """Return the surprise at one point; work[16:19] receive expected, low and high per step."""
    short, long, day = SPANS[span[0]], SPANS[span[1]], span[2]
    work[16] = work[17] = work[18] = max(power(float(own[TYPICAL])), 0.0)
    if quiet(own, point, span):
        return 0.0
    view(rings, row, own, point, span, work)
    young = ERRATIC * float(own[DISTANCE])
    brief = tail.surprise(own[:SECOND], work[12], LEAST, young, 1.0 / day)
    lasting = tail.surprise(own[SECOND:QUEUE], work[13], LEAST, young, 1.0 / day)
    if tail.is_odd(max(brief, lasting), tail.TELL, day):
        _without_months(rings, row, own, point[0], span, work)
        brief = tail.surprise(own[:SECOND], work[12], LEAST, young, 1.0 / day)
        lasting = tail.surprise(own[SECOND:QUEUE], work[13], LEAST, young, 1.0 / day)
    if not np.isnan(work[14]):
        work[16] = work[17] = work[18] = power(work[14])
    most = max(brief, lasting)
    if tail.is_odd(most, tail.DESCRIBE, day):
        usual_costs(rings, row, point[0], short if brief >= lasting else long, day, work[16:])
    age = (point[0] - rings.first[row]) / day
    if most <= 0.0 or age >= tail.GROWN:
        return most
    turns = month_turns(rings.calendars, point[0] // day)
    return tail.early(most, age, EARLY * float(own[DISTANCE]), turns)


@compiled
def absorb(
    rings: Rings, row: int, own: F32, point: tuple[int, float], span: Span, work: F64
) -> None:
    """Learn one closed point."""
    step, day = point[0], span[2]
    mean, distance = typical(rings, row, day)
    if np.isnan(mean):
        return
    own[TYPICAL] = mean
    own[DISTANCE] = distance
    view(rings, row, own, point, span, work)
    if work[12] > own[tail.HIGH] or work[13] > own[SECOND + tail.HIGH]:
        _without_months(rings, row, own, step, span, work)
    own[LATEST] = work[12]
    own[LATEST + 1] = work[13]
    own[LATEST + 2] = step
    block = step // day
    tail.learn_late(own[QUEUE : QUEUE + SIZE], own[:SECOND], work[12], block, LEAST)
    tail.learn_late(own[QUEUE + SIZE : TYPICAL], own[SECOND:QUEUE], work[13], block, LEAST)


@compiled
def _score(rings: Rings, state: F32, points: Points, span: Span, out: Scores, work: F64) -> None:
    day = span[2]
    for i in range(len(points.rows)):
        ask_stretches(rings, state, points, i, day)
        row = points.rows[i]
        step = points.steps[i]
        own = state[row]
        out.surprise[i] = judge(rings, row, own, (step, points.costs[i]), span, work)
        out.expected[i] = work[16]
        out.low[i] = work[17]
        out.high[i] = work[18]
        out.since[i] = step
        if tail.is_odd(out.surprise[i], tail.DESCRIBE, day) and own[DISTANCE] < AIMLESS:
            out.since[i] = onset(rings, row, step, 0.02 * float(own[TYPICAL]), day)


@compiled
def _learn(rings: Rings, state: F32, points: Points, span: Span, work: F64) -> None:
    day = span[2]
    for i in range(len(points.rows)):
        if day > 1 and points.steps[i] % EVERY:
            continue
        ask_stretches(rings, state, points, i, day)
        row = points.rows[i]
        absorb(rings, row, state[row], (points.steps[i], points.costs[i]), span, work)


class Slow(Column):
    """Column form of what lasts; a subclass says which two stretches."""

    spans: ClassVar[tuple[int, int]]  # places in `window.SPANS`
    width: ClassVar[int] = WIDTH

    def _score(self, points: Points, out: Scores) -> None:
        span = (*self.spans, self.history.day)
        _score(self.history.rings, self.state, points, span, out, self.work)

    def _learn(self, points: Points) -> None:
        span = (*self.spans, self.history.day)
        _learn(self.history.rings, self.state, points, span, self.work)
