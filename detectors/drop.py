"""Drop and gone: spend that falls, or stops, although it used to go on.

Both judge closed periods only, for a row that is still to come looks like them. Drop holds the
mean of the last days under the same stretch of earlier weeks; gone compares the time without any
spend with the longest this series ever took off.
"""

from collections.abc import Callable
from typing import ClassVar, Final

import numpy as np

from detectors import tail
from detectors.base import F32, F64, Evidence, Scores, money
from detectors.calendar import days_off
from detectors.column import Column, One, Points, period_of, range_of
from detectors.compiled import compiled
from detectors.history import Rings, power, root
from detectors.sums import SPANS
from detectors.window import ask_stretches, stretches, typical, usual_costs

ONE_DAY: Final = 0  # the stretch of one whole day, in `window.SPANS`
LEAST: Final = 0.005  # least mean excess, as a share of the typical root: two percent of cost
ERRATIC: Final = 1.5  # of the distance between days, while the series is young
EVERY: Final = 6  # steps between two that are learnt
TYPICAL: Final = tail.FIELDS
DISTANCE: Final = TYPICAL + 1
QUEUE: Final = DISTANCE + 1
SIZE: Final = 2 * tail.WAIT
LATEST: Final = QUEUE + SIZE  # the statistic when last learnt, and that step

LEVEL, LEARNT, LONGEST, ACTIVE = range(4)
OLD: Final = 14.0  # days before which a series may stop as it likes
NOTHING: Final = 0.02  # of the usual level: as good as no spend
PATIENCE: Final = 6.0  # hours that any series may be off
FADE: Final = 0.98  # a longest pause fades by this a day
ONCE: Final = 3.5  # -log10 of the chance that a step begins a pause as long as the longest
INDEX: Final = 4.0  # Pareto index of longer ones


@compiled
def fall(rings: Rings, row: int, point: tuple[int, float, int], scale: float, work: F64) -> float:
    """Return how far the last days stand under the second lowest of earlier weeks.

    As a share of the typical root; NaN without four weeks, and when one of the days is a public
    holiday: nobody knows how low it may be. work[14:17] receive the middle, the
    lowest and the highest of these weeks per step.
    """
    step, cost, day = point
    today = step // day
    off = days_off(rings.calendars, rings.which[row], today - SPANS[ONE_DAY], today)
    if step - rings.first[row] < 30 * day or off > 0:
        return np.nan
    stretches(rings, row, (step, cost), (ONE_DAY, ONE_DAY, day), work)
    lowest = second = np.inf
    known = 0
    for value in work[7:12]:
        if np.isnan(value):
            continue
        known += 1
        if value < lowest:
            second = lowest
            lowest = value
        elif value < second:
            second = value
    return float((second - work[6]) / scale) if known > 3 and scale > 0.0 else np.nan


@compiled
def _score_drop(rings: Rings, state: F32, points: Points, day: int, out: Scores, work: F64) -> None:
    for i in range(len(points.rows)):
        ask_stretches(rings, state, points, i, day)
        row = points.rows[i]
        step = points.steps[i]
        own = state[row]
        cost = 0.0 if np.isnan(points.costs[i]) else points.costs[i]
        out.since[i] = step
        out.surprise[i] = 0.0
        out.expected[i] = out.low[i] = out.high[i] = power(float(own[TYPICAL]))
        since = step - own[LATEST + 1]
        fallen = since * max(0.0, 1.0 - root(cost) / own[TYPICAL]) / day
        if day > 1 and 0 < since <= 2 * EVERY and own[LATEST] + fallen < own[tail.HIGH]:
            continue
        value = fall(rings, row, (step, cost, day), float(own[TYPICAL]), work)
        young = ERRATIC * float(own[DISTANCE])
        surprise = tail.surprise(own[: tail.FIELDS], value, LEAST, young, 1.0 / day)
        work[14] = work[15] = work[16] = cost
        if tail.is_odd(surprise, tail.DESCRIBE, day):
            usual_costs(rings, row, step, SPANS[ONE_DAY], day, work[14:])
        out.surprise[i] = surprise if cost < work[14] else 0.0
        out.expected[i] = work[14]
        out.low[i] = work[15]
        out.high[i] = work[16]


@compiled
def _learn_drop(rings: Rings, state: F32, points: Points, day: int, work: F64) -> None:
    for i in range(len(points.rows)):
        row = points.rows[i]
        step = points.steps[i]
        if day > 1 and step % EVERY:
            continue
        ask_stretches(rings, state, points, i, day)
        own = state[row]
        mean, distance = typical(rings, row, day)
        if not np.isnan(mean):
            own[TYPICAL] = mean
            own[DISTANCE] = distance
            value = fall(rings, row, (step, points.costs[i], day), mean, work)
            own[LATEST] = value
            own[LATEST + 1] = step
            queue = own[QUEUE:LATEST]
            tail.learn_late(queue, own[: tail.FIELDS], value, step // day, LEAST)


@compiled
def _holidays(rings: Rings, row: int, active: int, step: int, day: int) -> int:
    """Return how many steps after the one last active belong to whole days off."""
    calendars, which = rings.calendars, rings.which[row]
    return day * days_off(calendars, which, active // day + 1, step // day)


@compiled
def _score_gone(rings: Rings, state: F32, points: Points, day: int, out: Scores, _: F64) -> None:
    for i in range(len(points.rows)):
        row = points.rows[i]
        step = points.steps[i]
        own = state[row]
        age = (step - rings.first[row]) / day
        active = int(own[ACTIVE])
        out.surprise[i] = 0.0
        out.expected[i] = out.low[i] = out.high[i] = own[LEVEL]
        out.since[i] = step
        if age < OLD or active == 0 or points.costs[i] > NOTHING * own[LEVEL]:
            continue
        longest = (own[LONGEST] + (PATIENCE if day > 1 else 1.0)) * (1.0 + OLD / age)
        times = (step - active - _holidays(rings, row, active, step, day)) / longest
        if times > 1.0:
            out.surprise[i] = ONCE + INDEX * np.log10(times)
            out.since[i] = active + 1


@compiled
def _learn_gone(rings: Rings, state: F32, points: Points, day: int, __: F64) -> None:
    for i in range(len(points.rows)):
        own = state[points.rows[i]]
        step = points.steps[i]
        cost = points.costs[i]
        own[LEARNT] += 1.0
        if cost <= NOTHING * own[LEVEL]:
            continue
        pause = step - own[ACTIVE] - 1.0
        if pause >= day:
            pause -= _holidays(rings, points.rows[i], int(own[ACTIVE]), step, day)
        if own[ACTIVE] > 0.0 and pause >= 0.0:
            own[LONGEST] = max(pause, own[LONGEST] * FADE ** ((pause + 1.0) / day))
        own[ACTIVE] = max(own[ACTIVE], np.float32(step))
        own[LEVEL] += max(1.0 / own[LEARNT], 1.0 / (14.0 * day)) * (cost - own[LEVEL])


class Drop(Column):
    """Column form of drop: spend that went down and stays there."""

    kind: ClassVar[str] = "drop"
    on_close: ClassVar[bool] = True
    share: ClassVar[float] = 0.2
    width: ClassVar[int] = LATEST + 2
    judge: ClassVar[Callable[..., None]] = _score_drop
    absorb: ClassVar[Callable[..., None]] = _learn_drop

    def reason(self, evidence: Evidence) -> str:
        """Say what it costs now against what it cost."""
        now = money(evidence.actual, evidence.currency)
        return (
            f"Down for a day or more: {now} in the latest period against {range_of(evidence)} "
            f"{period_of(evidence)} on average in the weeks before."
        )


class Gone(Column):
    """Column form of gone: no spend for longer than ever."""

    kind: ClassVar[str] = "gone"
    on_close: ClassVar[bool] = True
    share: ClassVar[float] = 0.06
    width: ClassVar[int] = 4
    judge: ClassVar[Callable[..., None]] = _score_gone
    absorb: ClassVar[Callable[..., None]] = _learn_gone

    def reason(self, evidence: Evidence) -> str:
        """Say since when nothing was spent."""
        usual = money(evidence.expected, evidence.currency)
        return (
            f"Nothing spent since {evidence.since:%a %Y-%m-%d %H:%M} UTC, longer than ever before; "
            f"{usual} {period_of(evidence)} was usual."
        )


class DropOne(One):
    """Scalar form of drop."""

    column: ClassVar[type[Column]] = Drop


class GoneOne(One):
    """Scalar form of gone."""

    column: ClassVar[type[Column]] = Gone
