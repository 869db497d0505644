"""All series of one grain with all their detectors: what the service feeds and asks.

A fleet has no clock: who drives it says which points changed and which have closed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import F64, I64, Scores
from detectors.calendar import Calendar
from detectors.calibration import JOINT, threshold
from detectors.column import Column, Points
from detectors.history import History
from detectors.registry import column_of

VERSION: Final = 3
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
        columns = {
            name: column_of(name, self.history, settings) for name, settings in detectors.items()
        }
        self.detectors: Mapping[str, Column] = columns
        if not false_findings_per_1000_resource_months > 0.0:
            raise ValueError("the tolerated rate of false findings must be above 0")
        rate = false_findings_per_1000_resource_months / 1000.0 * JOINT
        shares = sum(column.share for column in columns.values())
        self._thresholds = {
            name: threshold(name, rate * column.share / shares, self.history.day)
            for name, column in columns.items()
        }

    @property
    def rows(self) -> int:
        """How many series there is room for."""
        return self.history.rows

    def resize(self, rows: int) -> None:
        """Make room for `rows` series; what is known of those already there stays."""
        self.history.resize(rows)
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

    def save(self) -> dict[str, NDArray[Any]]:
        """Return all state by name: views of what the fleet goes on changing, so copy or write."""
        saved: dict[str, NDArray[Any]] = {
            "version": np.array([VERSION, self.history.step_hours, self.rows], np.int64)
        }
        for owner, columns in self._columns().items():
            saved |= {f"{owner}/{name}": part for name, part in columns.items()}
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `save` returned; a detector that is not in it starts anew.

        ValueError when it is of another version, grain or shape; the fleet is then unchanged.
        """
        rows = self._check(saved)
        self.resize(rows)
        for owner, columns in self._columns().items():
            for name, part in columns.items():
                if f"{owner}/{name}" in saved:
                    part[:] = saved[f"{owner}/{name}"]
        self.history.resume()

    def _check(self, saved: Mapping[str, NDArray[Any]]) -> int:
        head = saved.get("version")
        if head is None or head.shape != (3,) or head.dtype != np.int64:
            raise ValueError("not a saved fleet")
        version, step_hours, rows = (int(number) for number in head)
        if (version, step_hours) != (VERSION, self.history.step_hours) or rows < self.rows:
            raise ValueError(
                f"a fleet of version {version}, {rows} series, steps of {step_hours} h"
            )
        for owner, columns in self._columns().items():
            for name, part in columns.items():
                found = saved.get(f"{owner}/{name}")
                if found is None and owner != "history":
                    continue
                shape = (rows, *part.shape[1:])
                if found is None or (found.dtype, found.shape) != (part.dtype, shape):
                    raise ValueError(f"{owner}/{name} is missing or of another type or shape")
        return rows

    def _columns(self) -> dict[str, Mapping[str, NDArray[Any]]]:
        return {
            "history": self.history.columns(),
            **{name: detector.columns() for name, detector in self.detectors.items()},
        }
