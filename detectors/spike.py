"""Spike: an hour (or a day) far above what this series costs at this time, or ever did.

Six statistics, each held to the tail that the series itself has shown: the excess over the recent
costs of the same hour of day (7 days, one hour either side) and of the same hour of the week (5
weeks), in units of their spread; the excess over the highest cost seen at this hour of day, and
over the highest seen at all (`records`); the excess that goes on from hour to hour, summed up; and
how long the cost has been at a level that the series does not know (`levels`). What they say is
then weighed by whether the spend comes in multiples of one price (`multiples`).
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from detectors import levels, monthly, multiples, records, tail
from detectors.base import F32, F64, Evidence, Scores, money
from detectors.calendar import month_turns
from detectors.column import Column, One, Points, ordinal
from detectors.compiled import compiled, fetch, grown
from detectors.excess import (
    AWAY,
    EVER,
    HERE,
    LASTING,
    LEARNT,
    LEVEL,
    LEVELS,
    MONTHLY,
    MULTIPLES,
    NEWEST,
    ON,
    RECORDS,
    RESIDUAL,
    RESIDUE,
    SHARE,
    STATISTICS,
    STRANGE,
    SUM,
    WIDTH,
    view,
)
from detectors.history import AHEAD, History, Rings, ask, is_off, power, root
from detectors.references import CENTRE, HIGH, LOW, ask_references
from detectors.sums import NAN

# What scoring worked out, for learning the same point: its step, cost, and what else it hangs on.
STEP, COST, TURN, OFF, AFTER, WORKED = range(6)
MEMO: Final = WORKED + STATISTICS + 2

ERRATIC: Final = 20.0  # how a residual widens a young series' tail of records
EARLY: Final = 2.0  # how it lessens the surprises of a beginner
LEAST: Final = (0.3, 0.3, 0.15, 0.1, 0.5, 1.0)  # least mean excess of each statistic
IDLE: Final = 0.05  # of the mean cost: a machine that costs less is off
LATE: Final = 5  # days after which a level becomes one that the series knows


@compiled
def judge(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> float:
    """Return the surprise at one point; work holds expected, low and high as costs."""
    step, cost, day = point
    if not view(rings, row, state, point, work):
        work[CENTRE] = work[LOW] = work[HIGH] = max(cost, 0.0)
        work[RESIDUE] = NAN
        return 0.0
    most = 0.0
    unit = root(max(float(state[LEVEL]), 1e-30))
    for k in range(STATISTICS):
        own = state[k * tail.FIELDS : (k + 1) * tail.FIELDS]
        erratic = ERRATIC * work[RESIDUE] if k == HERE else 0.0
        if k == EVER:
            erratic = ERRATIC * min(work[RESIDUE], 2.0 * float(state[AWAY]) / unit)
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
    age = (step - rings.first[row]) / day
    if weighed <= 0.0 or age >= tail.GROWN:
        return weighed
    erratic = max(work[RESIDUE], float(state[LEVELS + levels.OFF]))
    return tail.early(weighed, age, EARLY * erratic, month_turns(rings.calendars, step // day))


@compiled
def _holds(rings: Rings, row: int, state: F32, memo: F64, point: tuple[int, float, int]) -> bool:
    """Tell whether what scoring worked out still holds for a point."""
    own = memo[row]
    return bool(
        own[STEP] == point[0]
        and own[COST] == point[1]
        and own[TURN] == rings.turns[row]
        and own[AFTER] == state[LEARNT]
        and (own[OFF] > 0.0) == is_off(rings, row)
    )


@compiled
def _note(rings: Rings, row: int, state: F32, memo: F64, work: F64) -> None:
    """Keep what scoring worked out; whoever calls writes the step and the cost."""
    own = memo[row]
    own[TURN] = rings.turns[row]
    own[OFF] = 1.0 if is_off(rings, row) else 0.0
    own[AFTER] = state[LEARNT]
    for k in range(STATISTICS + 2):
        own[WORKED + k] = work[k]


@compiled
def _learn_statistics(
    rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64
) -> None:
    step, day = point[0], point[2]
    for k in range(STATISTICS):
        tail.learn(state[k * tail.FIELDS : (k + 1) * tail.FIELDS], work[k], step // day, LEAST[k])
    state[SUM] = max(work[LASTING], 0.0)
    state[NEWEST] = step
    known = state[LEVELS:RECORDS]
    known[levels.SUM] = work[STRANGE]
    late = step - LATE * day
    if late >= rings.first[row]:
        then = float(rings.steps[row, late % rings.steps.shape[1]])
        levels.follow(known, 0.0 if np.isnan(then) else power(then), float(state[LEVEL]), day)


@compiled
def absorb(rings: Rings, row: int, state: F32, point: tuple[int, float, int], work: F64) -> None:
    """Learn one closed point; work holds what `view` wrote, RESIDUE is NaN if it was nothing."""
    step, cost, day = point
    learnt = float(state[LEARNT])
    pace = max(1.0 / (learnt + 1.0), 1.0 / (14.0 * day))
    if not np.isnan(work[RESIDUE]):
        _learn_statistics(rings, row, state, point, work)
        state[RESIDUAL] += pace * (min(work[SHARE], 2.0) - state[RESIDUAL])
    amount = max(cost, 0.0)
    level = float(state[LEVEL])
    if amount > IDLE * level:
        value = root(amount)
        if state[ON] == 0.0:
            state[ON] = value
        state[ON] += pace * (value - state[ON])
        state[AWAY] += pace * (abs(value - state[ON]) - state[AWAY])
    capped = min(amount, 20.0 * level) if learnt > day and level > 0.0 else amount
    state[LEVEL] += pace * (capped - level)
    state[LEARNT] += 1.0
    records.follow(state[RECORDS:], step, amount, day)
    multiples.follow(state[MULTIPLES:LEVEL], amount, day)


@compiled
def _score(
    rings: Rings, state: F32, memo: F64, points: Points, day: int, out: Scores, work: F64
) -> None:
    for i in range(len(points.rows)):
        ask_references(rings, state, points, i, day)
        row = points.rows[i]
        step = points.steps[i]
        own = state[row]
        out.surprise[i] = judge(rings, row, own, (step, points.costs[i], day), work)
        out.expected[i] = work[CENTRE]
        out.low[i] = work[LOW]
        out.high[i] = work[HIGH]
        out.since[i] = step
        memo[row, STEP] = step
        memo[row, COST] = points.costs[i]
        _note(rings, row, own, memo, work)


@compiled
def _learn(rings: Rings, state: F32, memo: F64, points: Points, day: int, work: F64) -> None:
    for i in range(len(points.rows)):
        if i + AHEAD < len(points.rows):
            ahead = points.rows[i + AHEAD]
            fetch(memo, ahead, 0)
            fetch(memo, ahead, MEMO - 1)
            late = (points.steps[i + AHEAD] - LATE * day) % rings.steps.shape[1]
            fetch(rings.steps, ahead, late)
            ask(state, ahead)
        row = points.rows[i]
        own = state[row]
        point = points.steps[i], points.costs[i], day
        if _holds(rings, row, own, memo, point):
            for k in range(STATISTICS + 2):
                work[k] = memo[row, WORKED + k]
        elif not view(rings, row, own, point, work):
            work[RESIDUE] = NAN
        absorb(rings, row, own, point, work)


class Spike(Column):
    """Column form."""

    kind: ClassVar[str] = "spike"
    remembers: ClassVar[bool] = False
    share: ClassVar[float] = 0.45
    width: ClassVar[int] = WIDTH

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.memo: F64 = np.empty((0, MEMO), np.float64)

    def resize(self, rows: int) -> None:
        """Make room for `rows` series; the state of those already known stays."""
        if rows > self.rows:
            self.memo = grown(self.memo, self.rows, rows, NAN)
        super().resize(rows)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name; who has it may fill it."""
        self.memo[: self.rows] = NAN
        return super().columns()

    def _score(self, points: Points, out: Scores) -> None:
        history = self.history
        _score(history.rings, self.state, self.memo, points, history.day, out, self.work)

    def _learn(self, points: Points) -> None:
        history = self.history
        _learn(history.rings, self.state, self.memo, points, history.day, self.work)

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
