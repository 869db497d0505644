"""Idle GPU: a GPU that has done nothing for longer than its own last month explains.

What a GPU did comes as GPU-hours, from which every sample that does not exist, or whose sensors say
nothing, has been left out already: unknown is not idle. A pause is a stretch without work of an
hour or more. It is odd once it is longer than `LEAST`, longer than `MARGIN` times the longest pause
of the last `DAYS` days, and, on a GPU too new to have shown a rhythm, longer than `PATIENCE`.
Sensors that contradict each other (no work, but the power of work: a partitioned GPU whose parts
are not scraped) prove nothing.

The surprise is -log10 of the chance that an hour of this GPU begins a pause this long: the days of
the record with such a pause, per hour watched (Laplace's rule of succession), times a Pareto tail
of exponent 2 beyond the longest.
"""

import math
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import base

from detectors.base import DAY, F32, F64, I64

LEAST: Final = 110 / 60  # hours without work, so that the word is out within two hours
GRACE: Final = 0.5  # hours that a new GPU or pod may take to load before it is held to LEAST
PATIENCE: Final = 4.0  # hours, while a GPU has worked too little to have shown a rhythm
SHOWN_HOURS: Final = 2.0
SHOWN_PAUSES: Final = 3
MARGIN: Final = 1.25
DAYS: Final = 32
PAUSE: Final = 1.0  # hours: what is shorter can never matter
# One forgotten week must not blind the detector for the next: a pause is learnt as at most this
# many times what was waited for, so that a lasting habit is accepted within a few repetitions.
STRETCH: Final = 2.0
# Boards idle at 9 W (T4) to 170 W (B200), and work at three times that or more.
IDLE_POWER: Final = 100.0
POWER_FACTOR: Final = 2.5
POWER_SLACK: Final = 60.0

SCORED: Final = ("run_hours", "fresh_hours", "power_watts")
LEARNT: Final = ("hour", "gap_hours", "watched_hours", "worked_hours", "least_power_watts")


class IdleGpu(base.AnomalyDetector):
    """Scalar form: one GPU. x is one GPU-hour, all values in hours and watts.

    To score: `run_hours`, seen without work up to now; `fresh_hours`, since the GPU or its pod
    appeared; `power_watts`, the most it drew of late (NaN if unknown). To learn, of an hour that is
    over: `hour`, counted since 1970; `gap_hours`, the pause that ended in it (0 if none);
    `watched_hours`, `worked_hours`, and `least_power_watts` (NaN if unknown).
    """

    def __init__(self) -> None:
        self._longest = deque([0.0] * DAYS, maxlen=DAYS)  # pause that ended on each day
        self._day = 0
        self._pauses = 0
        self._watched = 0.0
        self._worked = 0.0
        self._least_power = math.inf

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """Return the surprise, 0 while there is nothing to say; changes nothing."""
        run, fresh = x["run_hours"], x["fresh_hours"]
        floor = min(self._least_power, IDLE_POWER)
        at_work = x["power_watts"] > max(POWER_FACTOR * floor, floor + POWER_SLACK)
        if at_work or not fresh >= LEAST + GRACE or not run >= self._need():
            return 0.0
        often = sum(pause >= run for pause in self._longest) + 1
        tail = min(1.0, max(*self._longest, PAUSE) / run) ** 2
        return max(0.0, -math.log10(often / (min(self._watched, DAYS * DAY) + DAY) * tail))

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Take in an hour that is over, in order of time; what is NaN in it is left out."""
        day = int(x["hour"]) // DAY
        self._longest.extend([0.0] * min(day - self._day, DAYS))
        self._day = max(self._day, day)
        if x["gap_hours"] >= PAUSE:
            pause = float(np.float32(min(x["gap_hours"], STRETCH * self._need())))
            self._longest[-1] = max(self._longest[-1], pause)
            self._pauses += 1
        self._watched += _known(x["watched_hours"])
        self._worked += _known(x["worked_hours"])
        self._least_power = min(self._least_power, float(np.float32(x["least_power_watts"])))

    def _need(self) -> float:
        need = max(LEAST, MARGIN * max(self._longest))
        young = 0.0 < self._worked < SHOWN_HOURS and self._pauses < SHOWN_PAUSES
        return max(need, PATIENCE) if young else need


class IdleGpuColumns:
    """Column form: one row per GPU, the same state and the same numbers as `IdleGpu`."""

    least_hours = LEAST

    def __init__(self) -> None:
        self._longest: F32 = np.empty((0, DAYS), np.float32)
        self._day: I64 = np.empty(0, np.int64)
        self._pauses: I64 = np.empty(0, np.int64)
        self._watched: F64 = np.empty(0, np.float64)
        self._worked: F64 = np.empty(0, np.float64)
        self._least_power: F32 = np.empty(0, np.float32)

    def resize(self, rows: int) -> None:
        """Make room for `rows` GPUs; the state of those already known stays."""
        have = len(self._day)
        if rows > have:
            for name, fill in _EMPTY.items():
                old = getattr(self, name)
                new = np.full((rows, *old.shape[1:]), fill, old.dtype)
                new[:have] = old
                setattr(self, name, new)

    def forget(self, rows: I64) -> None:
        """Make rows new again, for other GPUs."""
        for name, fill in _EMPTY.items():
            getattr(self, name)[rows] = fill

    def score(self, rows: I64, hours: Mapping[str, F64]) -> F64:
        """Return each GPU's surprise at its GPU-hour; `hours` holds the fields of `SCORED`."""
        run = hours["run_hours"]
        floor = np.minimum(self._least_power[rows].astype(np.float64), IDLE_POWER)
        at_work = hours["power_watts"] > np.maximum(POWER_FACTOR * floor, floor + POWER_SLACK)
        odd = ~at_work & (hours["fresh_hours"] >= LEAST + GRACE) & (run >= self._need(rows))
        run = np.where(odd, run, 1.0)
        longest = self._longest[rows].astype(np.float64)
        often = (longest >= run[:, None]).sum(axis=1) + 1
        tail = np.minimum(1.0, np.maximum(longest.max(axis=1), PAUSE) / run) ** 2
        chance = often / (np.minimum(self._watched[rows], DAYS * DAY) + DAY) * tail
        return np.where(odd, np.maximum(0.0, -np.log10(chance)), 0.0)

    def learn(self, rows: I64, hours: Mapping[str, F64]) -> None:
        """Take in hours that are over, fields as in `LEARNT`, in order of time; a row once."""
        self._turn(rows, hours["hour"].astype(np.int64) // DAY)
        gap = hours["gap_hours"]
        paused = gap >= PAUSE
        at = rows[paused]
        learnt = np.minimum(gap, STRETCH * self._need(rows))[paused].astype(np.float32)
        today = self._day[at] % DAYS
        self._longest[at, today] = np.maximum(self._longest[at, today], learnt)
        self._pauses[at] += 1
        self._watched[rows] += np.nan_to_num(hours["watched_hours"], nan=0.0)
        self._worked[rows] += np.nan_to_num(hours["worked_hours"], nan=0.0)
        least = hours["least_power_watts"].astype(np.float32)
        self._least_power[rows] = np.fmin(self._least_power[rows], least)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name."""
        return {name[1:]: getattr(self, name) for name in _EMPTY}

    def _turn(self, rows: I64, days: I64) -> None:
        """Empty the days that have come since the last one of each row."""
        passed = np.minimum(days - self._day[rows], DAYS)
        for number in range(int(passed.max(initial=0))):
            late = passed > number
            self._longest[rows[late], (days[late] - number) % DAYS] = 0.0
        self._day[rows] = np.maximum(self._day[rows], days)

    def _need(self, rows: I64) -> F64:
        longest = self._longest[rows].max(axis=1).astype(np.float64)
        need: F64 = np.maximum(LEAST, MARGIN * longest)
        worked = self._worked[rows]
        young = (worked > 0.0) & (worked < SHOWN_HOURS) & (self._pauses[rows] < SHOWN_PAUSES)
        need[young] = np.maximum(need[young], PATIENCE)
        return need


_EMPTY: Final = {
    "_longest": 0.0,
    "_day": 0,
    "_pauses": 0,
    "_watched": 0.0,
    "_worked": 0.0,
    "_least_power": np.inf,
}


def _known(hours: float) -> float:
    return 0.0 if math.isnan(hours) else hours
