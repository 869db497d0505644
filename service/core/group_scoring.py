"""Group scoring: sums of many series judged like series, where their members do not speak.

A sum is judged only where it adds something: with two members or more, none of which is most of it,
and of its excess only what no finding tells already and a few new members do not explain. A closed
period of a group is held to be low only if everyone who was there a day before is there.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from detectors.base import F64, I64, Score
from service.core import money
from service.core.events import SeriesKey
from service.core.findings import OddPoint, Stretch
from service.core.ports import Fleet
from service.core.rollups import FEW, Rollups
from service.core.scoring import Around, Point, Scoring
from service.core.stretches import Stretches
from service.core.told import Told

# A group is as good as one series when, over the last week, the largest member of each step
# makes up more than this share of it.
DOMINATED: Final = Decimal("0.8")
DOMINATED_DAYS: Final = 7
# A detector that remembers may still be surprised by what was told of the days before.
REMEMBERED_DAYS: Final = 7
# Of a group's excess at least this share must be untold, or its members' findings explain it.
LEAST_UNTOLD: Final = 0.2
# A few new members explain an excess that is mostly theirs.
MOSTLY: Final = Decimal("0.8")
# Groups may raise this share of the false findings that as many series may.
GROUP_SHARE: Final = 0.25
# What stopped altogether is told by the members that stopped.
MEMBERS_ONLY: Final = frozenset({"gone"})


class GroupScoring(Scoring):
    """One grain's groups, from sums to stretches."""

    def __init__(
        self,
        step_hours: int,
        fleet: Fleet,
        rollups: Rollups,
        stretches: Stretches,
        around: Around,
        told: Told,
        newcomers: Callable[[SeriesKey, int], list[Decimal]],
    ) -> None:
        super().__init__(step_hours, fleet, rollups, stretches, around)
        self._rollups = rollups
        self._told = told
        self._newcomers = newcomers
        self._per_day = 24 // step_hours

    def _order(self, points: Sequence[Point]) -> list[Point]:
        """Put the narrowest groups first: wider ones give way to them."""
        return sorted(points, key=lambda p: (self._told.size(p.series), p))

    def _point(self, name: str, series: SeriesKey, step: int, score: Score) -> OddPoint | None:
        actual = self._rollups.point(series, step) or money.ZERO
        whole = OddPoint.of(actual, score)
        if score.surprise < self._fleet.threshold(name):
            return self._told.rest(series, step, whole)
        rest = self._told.rest(series, step, whole)
        least = max(LEAST_UNTOLD * whole.surprise, self._fleet.threshold(name))
        if rest.surprise >= least and self._fleet.detectors[name].remembers:
            left = self._left_lately(name, series, step, score.since)
            rest = rest._replace(surprise=min(rest.surprise, whole.surprise * left))
        if rest.surprise < least or self._is_dominated(series, step):
            return None
        few = money.total(self._newcomers(series, step)[:FEW])
        return None if few >= MOSTLY * rest.excess > 0 else rest

    def _is_dominated(self, group: SeriesKey, step: int) -> bool:
        largest = whole = money.ZERO
        for at in range(step - DOMINATED_DAYS * self._per_day + 1, step + 1):
            rollup = self._rollups.at(group, at)
            largest = money.add(largest, rollup.largest)
            whole = money.add(whole, rollup.cost)
        return largest > DOMINATED * whole

    def _left_lately(self, name: str, group: SeriesKey, step: int, since: int) -> float:
        """Return what share of the excess since the onset, or of a week, is untold."""
        first = min(since, step - REMEMBERED_DAYS * self._per_day + 1)
        steps, scores = self._scores_again(name, group, first, step)
        excess = told = money.ZERO
        for index, at in enumerate(steps.tolist()):
            actual = self._rollups.point(group, at) or money.ZERO
            excess = money.add(excess, OddPoint.of(actual, scores.at(index)).excess)
            told = money.add(told, self._told.of(group, at).excess)
        if not excess:
            return 0.0
        return min(1.0, max(0.0, 1.0 - float(told) / float(excess)))

    def _restated(self, stretch: Stretch, step: int, actual: Decimal) -> OddPoint:
        told = self._told.subtract(stretch.series, step)
        return stretch.points[step].restated(money.subtract(actual, told.actual))

    def _keep(self, stretch: Stretch, step: int) -> None:
        self._told.subtract(stretch.series, step)

    def _to_close(self, step: int, rows: I64, costs: F64) -> tuple[I64, F64]:
        before = step - self._per_day
        whole = np.array(
            [
                self._rollups.at(group, step).members >= self._rollups.at(group, before).members
                for group in map(self._rows.key, rows.tolist())
            ],
            dtype=bool,
        )
        return rows[whole], costs[whole]
