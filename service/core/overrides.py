"""Overrides: what feedback changes in the judging of a series, kept beside the detectors.

A bar asks for more surprise than the detector's own threshold: as much as the finding had that was
no issue, at least ten and at most a thousand times rarer than the threshold, fading to nothing over
half a year. A level says that the past of a series is to be taken as though it had cost what it
costs since; a row that nobody changed, its shadow, learns beside it until that is settled.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from detectors.base import F64, I64
from service.core.events import SeriesKey
from service.core.findings import OddPoint

LEAST_RAISE: Final = 1.0  # in surprise: powers of ten
MOST_RAISE: Final = 3.0
FADES_DAYS: Final = 180


class Level(NamedTuple):
    """What the past of a series is taken for: before `since`, its cost by `times`, plus `more`."""

    since: int
    times: float
    more: float

    def restated(self, step: int, cost: float) -> float:
        """Return what a step's cost is taken for; a credit stays one, and nothing becomes one."""
        if step >= self.since or not cost >= 0.0:
            return cost
        return max(0.0, cost * self.times + self.more)


class Bar(NamedTuple):
    """What is asked for above the threshold of a detector, from a step on."""

    intent_id: str
    series: SeriesKey
    detector: str
    step: int
    raise_: float


class Bars:
    """The bars of one grain."""

    def __init__(self, steps_per_day: int, bars: Iterable[Bar] = ()) -> None:
        self._fades = FADES_DAYS * steps_per_day
        self._bars: dict[tuple[SeriesKey, str], list[Bar]] = {}
        for bar in bars:
            self._bars.setdefault((bar.series, bar.detector), []).append(bar)

    def put(self, intent_id: str, series: SeriesKey, detector: str, step: int, over: float) -> None:
        """Ask for `over` above the threshold, within its bounds."""
        bar = Bar(intent_id, series, detector, step, min(max(over, LEAST_RAISE), MOST_RAISE))
        self._bars.setdefault((series, detector), []).append(bar)

    def drop(self, intent_id: str) -> None:
        """Take back what an intent asked for."""
        self._bars = {
            key: left
            for key, bars in self._bars.items()
            if (left := [bar for bar in bars if bar.intent_id != intent_id])
        }

    def forget(self, step: int) -> None:
        """Let go of bars that ask for nothing more from a step on."""
        self._bars = {
            key: left
            for key, bars in self._bars.items()
            if (left := [bar for bar in bars if step - bar.step < self._fades])
        }

    def has(self, series: SeriesKey) -> bool:
        """Tell whether anything is asked of a series."""
        return any(known == series for known, _ in self._bars)

    def of(self, series: SeriesKey, detector: str) -> bool:
        """Tell whether anything is asked of a detector about a series."""
        return (series, detector) in self._bars

    def above(self, series: SeriesKey, detector: str, step: int) -> float:
        """Return what is asked for above the threshold at a step: the most that anyone asks."""
        return max(
            (
                bar.raise_ * min(1.0, max(0.0, 1.0 - (step - bar.step) / self._fades))
                for bar in self._bars.get((series, detector), ())
            ),
            default=0.0,
        )

    def all(self) -> list[Bar]:
        """Return every bar."""
        return [bar for bars in self._bars.values() for bar in bars]


class Barred:
    """What bars of one grain kept from being found: odd all the same, so no news of a sum either.

    By series, step and detector.
    """

    def __init__(self, points: "Iterable[BarredPoint]" = ()) -> None:
        self._of: dict[SeriesKey, dict[tuple[int, str], OddPoint]] = {}
        for one in points:
            self.put(one)

    def __len__(self) -> int:
        return len(self._of)

    def put(self, one: "BarredPoint") -> None:
        """Note a point that would have been a finding."""
        self._of.setdefault(one.series, {})[one.step, one.detector] = one.point

    def drop(self, series: SeriesKey, step: int, detectors: Iterable[str]) -> None:
        """Let go of what some detectors said of a step: they are asked again."""
        known = self._of.get(series)
        if known is not None:
            for detector in detectors:
                known.pop((step, detector), None)

    def at(self, step: int) -> Iterator[tuple[SeriesKey, OddPoint]]:
        """Yield each series' point of a step, the one that says most."""
        for series, known in self._of.items():
            points = [point for (at, _), point in known.items() if at == step]
            if points:
                yield series, max(points, key=lambda point: (abs(point.excess), point))

    def forget(self, step: int, bars: Bars) -> None:
        """Let go of what is older than a step, or was kept by a bar that is no more."""
        for series, known in list(self._of.items()):
            left = {
                (at, detector): point
                for (at, detector), point in known.items()
                if at >= step and bars.of(series, detector)
            }
            if left:
                self._of[series] = left
            else:
                del self._of[series]

    def all(self) -> "list[BarredPoint]":
        """Return every point."""
        return [
            BarredPoint(series, step, detector, point)
            for series, known in self._of.items()
            for (step, detector), point in known.items()
        ]


class BarredPoint(NamedTuple):
    """What one detector found odd in one step, but not as odd as was asked."""

    series: SeriesKey
    step: int
    detector: str
    point: OddPoint


class Taken(NamedTuple):
    """A level that a row was given, and the row that goes on as though it had not been."""

    intent_id: str
    row: int
    shadow: int
    level: Level


class Levels:
    """The levels of one grain, of each row the oldest first."""

    def __init__(self, taken: Iterable[Taken] = ()) -> None:
        self._of: dict[int, list[Taken]] = {}
        for one in taken:
            self.put(one)

    def put(self, taken: Taken) -> None:
        """Give a row a level."""
        self._of.setdefault(taken.row, []).append(taken)

    def drop(self, intent_id: str) -> list[Taken]:
        """Let go of the levels that an intent gave, and return them."""
        gone = [taken for taken in self.all() if taken.intent_id == intent_id]
        for taken in gone:
            self._of[taken.row].remove(taken)
            if not self._of[taken.row]:
                del self._of[taken.row]
        return gone

    def are_newest(self, intent_id: str) -> bool:
        """Tell whether no row of an intent was given another level since."""
        return all(
            of[-1].intent_id == intent_id
            for of in self._of.values()
            if any(taken.intent_id == intent_id for taken in of)
        )

    def has(self, row: int) -> bool:
        """Tell whether a row was given a level that may be taken back."""
        return row in self._of

    def real(self, row: int) -> int:
        """Return the row that holds what a series really cost."""
        of = self._of.get(row)
        return row if of is None else of[0].shadow

    def spread(self, rows: I64, steps: I64, costs: F64) -> tuple[I64, I64, F64]:
        """Return points with those of the shadows, each with what its row takes them for."""
        if not self._of:
            return rows, steps, costs
        points = zip(rows.tolist(), steps.tolist(), costs.tolist(), strict=True)
        found: list[tuple[int, int, float]] = []
        for row, step, cost in points:
            seen = cost
            for taken in self._of.get(row, ()):
                found.append((taken.shadow, step, seen))
                seen = taken.level.restated(step, seen)
            found.append((row, step, seen))
        return (
            np.array([point[0] for point in found], np.int64),
            np.array([point[1] for point in found], np.int64),
            np.array([point[2] for point in found], np.float64),
        )

    def all(self) -> list[Taken]:
        """Return every level."""
        return [taken for of in self._of.values() for taken in of]
