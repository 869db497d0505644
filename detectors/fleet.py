"""All series of one grain with all their detectors: what the service feeds and asks.

A fleet has no clock: who drives it says which points changed and which have closed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from detectors.base import F64, I64, Scores, as_columns
from detectors.calendar import Calendar
from detectors.calibration import JOINT, threshold
from detectors.column import Column, Points
from detectors.history import History
from detectors.registry import column_of
from detectors.rivers import RiverColumn
from detectors.signature import U32, U64, signature

DEFAULT_TOLERATED: Final = 100.0


class Fleet:
    """Detectors over a shared history of rows; `detectors` maps names to their settings.

    `false_findings_per_1000_resource_months` is what all detectors together may raise on normal
    series. `calendars` are those that series may be told to `follow`. ValueError for an unknown
    detector or setting.
    """

    def __init__(
        self,
        step_hours: int,
        detectors: Mapping[str, Mapping[str, Any]],
        false_findings_per_1000_resource_months: float = DEFAULT_TOLERATED,
        calendars: Sequence[Calendar] = (),
    ) -> None:
        self.history = History(step_hours, None, calendars)
        self._settings = detectors
        self._calendars = calendars
        columns = {
            name: column_of(name, self.history, settings) for name, settings in detectors.items()
        }
        self.detectors: Mapping[str, Column] = columns
        if not false_findings_per_1000_resource_months > 0.0:
            raise ValueError("the tolerated rate of false findings must be above 0")
        rate = false_findings_per_1000_resource_months / 1000.0 * JOINT
        shares = sum(column.share for column in columns.values())
        self._thresholds = {
            name: threshold(rate * column.share / shares, self.history.day)
            for name, column in columns.items()
        }

    @property
    def rows(self) -> int:
        """How many series there is room for."""
        return self.history.rows

    def resize(self, rows: int, *, blank: bool = True) -> None:
        """Make room for `rows` series; what is known of those already there stays.

        Unless `blank`, the history of the others is to be filled in before anything else.
        """
        self.history.resize(rows, blank=blank)
        for detector in self.detectors.values():
            detector.resize(rows)

    def follow(self, rows: I64, names: Sequence[str]) -> None:
        """Let new series keep to the calendars of these names; the others keep to UTC."""
        self.history.follow(rows, names)

    def record(self, rows: I64, steps: I64, costs: F64) -> None:
        """Write what steps cost now, NaN where a row vanished; any step, in rising order a row."""
        self.history.record(rows, steps, costs)

    def score(
        self, rows: I64, steps: I64, costs: F64, *, on_close: bool | None = None
    ) -> dict[str, Scores]:
        """Judge points by the history strictly before each; changes nothing.

        `on_close` asks only the detectors that judge closed periods, or only those that judge at
        once. To the former a cost of NaN is a period for which nothing arrived.
        """
        points = Points(rows, self.history.walls(rows, steps), costs)
        return {
            name: detector.score_walls(steps, points)
            for name, detector in self.detectors.items()
            if on_close is None or detector.on_close == on_close
        }

    def learn(self, rows: I64, steps: I64, costs: F64) -> None:
        """Take in closed points; a row occurs once in a call."""
        points = Points(*self.history.kept(rows, steps, costs))
        for detector in self.detectors.values():
            detector.learn_walls(points)

    def threshold(self, name: str) -> float:
        """Return the surprise at which a detector's finding is raised."""
        return self._thresholds[name]

    def recorded(self, row: int, first: int, last: int) -> F64:
        """Return the recorded costs of steps `first` to `last`, NaN for gaps."""
        return self.history.recorded(row, first, last)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return all state by name, one row per series: views of what the fleet goes on changing.

        Who restores a fleet fills them, before anything else, and lets it `resume`.

        River's objects are not in it; they relearn the recorded weeks.
        """
        owners = {"history": self.history.columns()}
        owners |= {name: detector.columns() for name, detector in self.detectors.items()}
        return {
            f"{owner}/{name}": column
            for owner, columns in owners.items()
            for name, column in columns.items()
        }

    def resume(self) -> None:
        """Go on once all columns are filled."""
        self.history.resume()

    def blank(self, rows: I64) -> None:
        """Let rows be as though nothing had ever been recorded of them."""
        fresh = Fleet(self.history.step_hours, self._settings, calendars=self._calendars)
        fresh.resize(1)
        blank = fresh.columns()
        for name, column in self.columns().items():
            column[rows] = blank[name][0]
        self.history.rings.which[rows] = 0
        for row in rows.tolist():
            self._renew(row)

    def copy(self, row: int, to: int) -> None:
        """Let a row be what another is; a River object relearns its recorded weeks."""
        for column in self.columns().values():
            column[to] = column[row]
        self.history.rings.which[to] = self.history.rings.which[row]
        self._renew(to)

    def rebase(self, row: int, until: int, restated: Callable[[int, float], float]) -> None:
        """Learn a row anew from what its recorded steps are restated to.

        `restated` returns what a step's cost is taken for; steps up to `until` are learnt. The
        series stays as old as it was.
        """
        rings = self.history.rings
        begun, last = int(rings.first[row]), int(rings.last[row])
        first = max(begun, last - self.history.depth + 1)
        again = Fleet(self.history.step_hours, self._settings, calendars=self._calendars)
        again.resize(1)
        again.history.rings.calendar[0] = rings.calendar[row]
        again.resume()
        around = 24 // self.history.step_hours  # what is kept is kept by the wall clock
        first, last = first - around, last + around
        for step, cost in enumerate(self.recorded(row, first, last).tolist(), first):
            if not math.isnan(cost):
                point = as_columns([(0, step, restated(step, cost))])
                if step <= until:
                    again.learn(*point)
                again.record(*point)
        learnt = again.columns()
        for name, column in self.columns().items():
            column[row] = learnt[name][0]
        rings.first[row] = begun
        self._renew(row)

    def _renew(self, row: int) -> None:
        for detector in self.detectors.values():
            if isinstance(detector, RiverColumn):
                detector.renew(row)

    def sign(self, words: U32) -> U64:
        """Return one number per column of up to 4096 rows, by which a change is seen."""
        return signature(words)
