"""Any anomaly detector of River by dotted name, one object per series, kept from doing harm.

River's classes see x = {"cost": c, "change": d}, both within 0 to 1 and near the logarithm of the
spend; supervised ones see the scaled cost as their target. What they say is only used through the
tail that it has on its own series, so that a score that saturates says nothing instead of raising
for ever. A class that fails on a series starts afresh there. Its objects are not saved: they
relearn the recorded weeks when a fleet is restored.
"""

import copy
import math
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Final, cast

from numpy.typing import NDArray
from river import base

from detectors import tail
from detectors.base import Evidence, Scores, money
from detectors.column import Column, Points
from detectors.history import NEVER, History, at, power, root

PREFIX: Final = "river."
LEARNT, TOP, USUAL, DEVIATION, SPAN = range(tail.FIELDS, tail.FIELDS + 5)
LEAST: Final = 0.05  # least mean excess, as a share of the highest score lately
WARM: Final = 3  # days of scores before one is believed
# score_one of these was read and changes nothing; any other class is asked on a copy.
PURE: Final = frozenset(
    {
        "GaussianScorer",
        "HalfSpaceTrees",
        "LODA",
        "LocalOutlierFactor",
        "OneClassSVM",
        "StandardAbsoluteDeviation",
    }
)


def river_class(name: str) -> type[base.Estimator]:
    """Return the River anomaly detector of a dotted name; ValueError when it is none."""
    module, _, attribute = name.rpartition(".")
    found: object = None
    if name.startswith(PREFIX):
        try:
            found = getattr(import_module(module), attribute, None)
        except ImportError:
            found = None
    kinds = (base.AnomalyDetector, base.SupervisedAnomalyDetector)
    if not isinstance(found, type) or not issubclass(found, kinds):
        raise ValueError(f"{name} is not an anomaly detector of River")  # noqa: TRY004
    return cast("type[base.Estimator]", found)


class RiverColumn(Column):
    """Column form of a River class over many series; `settings` are what its constructor takes."""

    kind: ClassVar[str] = "river"
    remembers: ClassVar[bool] = False
    width: ClassVar[int] = SPAN + 1

    def __init__(self, history: History, name: str, **settings: Any) -> None:
        super().__init__(history)
        self.faults = 0
        self._class = river_class(name)
        self._settings = settings
        self._supervised = issubclass(self._class, base.SupervisedAnomalyDetector)
        self._copied = self._class.__name__ not in PURE
        self._models: dict[int, Any] = {}
        try:
            self._class(**settings)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error

    def _score(self, points: Points, out: Scores) -> None:
        """Judge each point by its series' own object; 0 when the object fails."""
        for i, (row, step, cost) in enumerate(zip(*points, strict=True)):
            own = self.state[row]
            spread = 3.0 * float(own[DEVIATION])
            out.surprise[i] = 0.0
            out.expected[i] = own[USUAL]
            out.low[i] = max(0.0, own[USUAL] - spread)
            out.high[i] = own[USUAL] + spread
            out.since[i] = step
            if own[tail.BLOCKS] >= WARM and math.isfinite(cost):
                raw = self._ask(int(row), self._features(int(row), int(step), float(cost)))
                if raw is not None:
                    floor = LEAST * float(own[SPAN])
                    share = 1.0 / self.history.day
                    out.surprise[i] = tail.surprise(own, raw, floor, 0.0, share)

    def _learn(self, points: Points) -> None:
        """Let each series' object learn its closed point."""
        for row, step, cost in zip(*points, strict=True):
            if math.isfinite(cost):
                self._learn_point(int(row), int(step), float(cost))

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the tails; River's objects relearn from the history."""
        return {"state": self.state[: self.rows]}

    def renew(self, row: int) -> None:
        """Note that a row was given another state: its object relearns from there."""
        self._models.pop(row, None)

    def reason(self, evidence: Evidence) -> str:
        """Say what it cost against what is usual."""
        return (
            f"{self._class.__name__} finds {money(evidence.actual, evidence.currency)} odd; usual "
            f"is {money(evidence.low, evidence.currency)} to "
            f"{money(evidence.high, evidence.currency)}."
        )

    def _learn_point(self, row: int, step: int, cost: float) -> None:
        own = self.state[row]
        own[TOP] = max(own[TOP], root(cost))
        features = self._features(row, step, cost)
        raw = self._ask(row, features)
        # A class says 0, or anything, until it has seen enough: its tail begins after a day, with
        # its first word.
        begun = own[LEARNT] >= self.history.day and (raw != 0.0 or own[SPAN] > 0.0)
        if raw is not None and begun:
            span = float(own[SPAN])
            most = abs(raw) if span == 0.0 else min(abs(raw), 10.0 * span)
            own[SPAN] = max(most, 0.98 * span)
            tail.learn(own, raw, step // self.history.day, LEAST * float(own[SPAN]))
        self._teach(row, features)
        pace = max(1.0 / (own[LEARNT] + 1.0), 1.0 / (14.0 * self.history.day))
        own[LEARNT] += 1.0
        own[DEVIATION] += pace * (abs(cost - own[USUAL]) - own[DEVIATION])
        own[USUAL] += pace * (cost - own[USUAL])

    def _features(self, row: int, step: int, cost: float) -> dict[str, float]:
        rings = self.history.rings
        top = 2.0 * float(self.state[row, TOP])
        value = root(cost)
        day_before = step - self.history.day
        before = at(rings.steps[row], rings.first[row], rings.last[row], day_before)
        change = value - before if math.isfinite(before) else 0.0
        scale = 1.0 / top if top > 0.0 else 0.0
        return {
            "cost": min(1.0, value * scale),
            "change": min(1.0, max(0.0, 0.5 + 0.5 * change * scale)),
        }

    def _model(self, row: int) -> Any:
        if row not in self._models:
            self._models[row] = self._class(**self._settings)
            self._relearn(row)
        return self._models[row]

    def _relearn(self, row: int) -> None:
        """Teach a new object what is recorded of a series whose tail was restored."""
        rings = self.history.rings
        newest = int(rings.last[row])
        if newest == NEVER or self.state[row, tail.BLOCKS] == 0:
            return
        begin = newest - self.history.depth + 1
        for step in range(begin, newest):
            cost = power(at(rings.steps[row], rings.first[row], newest, step))
            if math.isfinite(cost):
                self._teach(row, self._features(row, step, cost))

    def _ask(self, row: int, features: dict[str, float]) -> float | None:
        model = self._model(row)
        try:
            asked = copy.deepcopy(model) if self._copied else model
            said = self._call(asked.score_one, features)
        except BaseException as fault:  # noqa: BLE001  a Rust panic is a BaseException
            self._failed(row, fault)
            return None
        usable = isinstance(said, (int, float)) and math.isfinite(said)
        return float(said) if usable else None

    def _teach(self, row: int, features: dict[str, float]) -> None:
        try:
            self._call(self._models[row].learn_one, features)
        except BaseException as fault:  # noqa: BLE001  a Rust panic is a BaseException
            self._failed(row, fault)

    def _call(self, method: Any, features: dict[str, float]) -> Any:
        if self._supervised:
            return method({"change": features["change"]}, features["cost"])
        return method(features)

    def _failed(self, row: int, fault: BaseException) -> None:
        if isinstance(fault, (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError)):
            raise fault
        self.faults += 1
        self._models[row] = self._class(**self._settings)
