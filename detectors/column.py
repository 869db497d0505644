"""What the detectors here share: how a column form and a scalar form are built from one kernel.

A detector is two compiled functions over (rings, row, state, ...): one judges a point, the other
learns it. The column form runs them over many rows, the scalar form over a history of one row, so
that both compute the same numbers by construction.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river.base import AnomalyDetector

from detectors.base import F32, F64, HOUR, I64, Evidence, Scores, money
from detectors.calendar import Calendar
from detectors.calibration import calibrate
from detectors.compiled import grown
from detectors.history import History

WORK: Final = 80  # numbers that a kernel may scribble on
ONE = np.zeros(1, np.int64)
WORDS = (
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)


class Points(NamedTuple):
    """Points as kernels take them: arrays of one length."""

    rows: I64
    steps: I64
    costs: F64


class Column:
    """Column form over a shared history; a subclass names its kernels and its state's width."""

    kind: ClassVar[str]
    on_close: ClassVar[bool] = False
    remembers: ClassVar[bool] = True
    share: ClassVar[float] = 1.0  # of the budget of false findings, relative to its neighbours
    width: ClassVar[int]
    judge: ClassVar[Callable[..., None]]  # (rings, state, points, day, out, work)
    absorb: ClassVar[Callable[..., None]]  # (rings, state, points, day, work)

    def __init__(self, history: History) -> None:
        self.history = history
        self.work = np.empty(WORK, np.float64)
        self.rows = 0
        self.state: F32 = np.empty((0, self.width), np.float32)

    def resize(self, rows: int) -> None:
        """Make room for `rows` series; the state of those already known stays."""
        if rows > self.rows:
            self.state = grown(self.state, self.rows, rows, 0.0)
            self.rows = rows

    def score(self, rows: I64, steps: I64, costs: F64) -> Scores:
        """Judge each point against what was learnt and recorded of its series before its step."""
        return self.score_walls(steps, Points(rows, self.history.walls(rows, steps), costs))

    def score_walls(self, steps: I64, points: Points) -> Scores:
        """Judge points whose steps are by the wall clock; `steps` are the same in UTC."""
        count = len(steps)
        surprise, expected, low, high = np.empty((4, count), np.float64)
        out = Scores(surprise, expected, low, high, np.empty(count, np.int64))
        self._score(points, out)
        calibrate(self.kind, surprise, self.history.day)
        if points.steps is steps:
            return out
        earlier = np.flatnonzero(out.since != points.steps)
        since = steps.copy()
        since[earlier] = self.history.steps(points.rows[earlier], out.since[earlier])
        return out._replace(since=since)

    def learn(self, rows: I64, steps: I64, costs: F64) -> None:
        """Take in closed points; a row occurs once."""
        self.learn_walls(Points(*self.history.kept(rows, steps, costs)))

    def learn_walls(self, points: Points) -> None:
        """Take in closed points whose steps are by the wall clock, none that it showed before."""
        self._learn(points)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name."""
        return {"state": self.state[: self.rows]}

    def _score(self, points: Points, out: Scores) -> None:
        history = self.history
        type(self).judge(history.rings, self.state, points, history.day, out, self.work)

    def _learn(self, points: Points) -> None:
        history = self.history
        type(self).absorb(history.rings, self.state, points, history.day, self.work)

    def reason(self, evidence: Evidence) -> str:
        """Say in one plain sentence why this is odd."""
        raise NotImplementedError


class One(AnomalyDetector):
    """Scalar form: River's interface over one series.

    Takes x = {"step": int, "cost": float}, steps in rising order; a cost of NaN is a step at which
    nothing arrived. Steps are of UTC whatever the calendar.
    """

    column: ClassVar[type[Column]]

    def __init__(self, step_hours: int = HOUR, calendar: Calendar | None = None) -> None:
        self.step_hours = step_hours
        self.calendar = calendar
        self._history = History(step_hours, None, [] if calendar is None else [calendar])
        self._history.resize(1)
        if calendar is not None:
            self._history.follow(ONE, [calendar.name])
        self._column = self.column(self._history)
        self._column.resize(1)

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """Return the surprise at a point; changes nothing."""
        return self.judge_one(x).at(0).surprise

    def judge_one(self, x: dict[Hashable, Any]) -> Scores:
        """Return the whole score of a point; changes nothing."""
        return self._column.score(ONE, np.array([int(x["step"])]), np.array([float(x["cost"])]))

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Learn a closed point and record what it cost."""
        point = ONE, np.array([int(x["step"])]), np.array([float(x["cost"])])
        if not np.isnan(point[2][0]):
            self._column.learn(*point)
        self._history.record(*point)


def ordinal(number: int) -> str:
    """Write a place in a row.

    >>> [ordinal(n) for n in (2, 3, 11, 12, 21, 112)]
    ['second', 'third', '11th', '12th', '21st', '112th']
    """
    if 1 <= number <= len(WORDS):
        return WORDS[number - 1]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}th" if number % 100 in (11, 12, 13) else f"{number}{ending}"


def range_of(evidence: Evidence) -> str:
    """Write what earlier weeks cost per period."""
    low, high = money(evidence.low, evidence.currency), money(evidence.high, evidence.currency)
    return f"{low} to {high}" if evidence.high > evidence.low else low


def period_of(evidence: Evidence) -> str:
    """Write what a period of a series is called, with its article."""
    return "an hour" if evidence.step_hours == HOUR else "a day"
