"""Idle GPU: a GPU that has done nothing for longer than its own record of pauses explains.

What a GPU did comes as GPU-hours, from which every sample that does not exist, or whose sensors say
nothing, has been left out already: unknown is not idle. A pause is a stretch without work of an
hour or more. It is odd once it is longer than `LEAST`, longer than `MARGIN` times the 95th
percentile of the GPU's last `RECORD` pauses, and, on a GPU too new to have shown a rhythm, longer
than `PATIENCE`. Sensors that contradict each other (no work, but the power of work: a partitioned
GPU whose parts are not scraped) prove nothing.

The surprise is -log10 of the chance that an hour of this GPU belongs to the start of a pause this
long: pauses an hour, times the share of pauses this long (rule of succession), times a Pareto tail
of exponent 2 beyond the longest on record.
"""

import math
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from river import base, stats

from detectors.base import F32, F64, I64

LEAST: Final = 110 / 60  # hours without work, so that the word is out within two hours
GRACE: Final = 0.5  # hours that a new GPU or pod may take to load before it is held to LEAST
PATIENCE: Final = 4.0  # hours, while a GPU has worked too little to have shown a rhythm
SHOWN_HOURS: Final = 2.0
SHOWN_PAUSES: Final = 3
MARGIN: Final = 1.25
QUANTILE: Final = 0.95
RECORD: Final = 32
PAUSE: Final = 1.0  # hours: what is shorter can never matter
# One forgotten week must not blind the detector for the next: a pause is learnt as at most this
# many times what was waited for, so that a lasting habit is accepted within a few repetitions.
STRETCH: Final = 2.0
# Boards idle at 9 W (T4) to 170 W (B200), and work at three times that or more.
IDLE_POWER: Final = 100.0
POWER_FACTOR: Final = 2.5
POWER_SLACK: Final = 60.0
DAY_ONE: Final = 24.0  # hours watched that a beginner is lent

SCORED: Final = ("run_hours", "fresh_hours", "power_watts")
LEARNT: Final = ("gap_hours", "watched_hours", "worked_hours", "least_power_watts")


class IdleGpu(base.AnomalyDetector):
    """Scalar form: one GPU. x is one GPU-hour, all values in hours and watts.

    To score: `run_hours`, seen without work up to now; `fresh_hours`, since the GPU or its pod
    appeared; `power_watts`, the most it drew of late (NaN if unknown). To learn, of an hour that is
    over: `gap_hours`, the pause that ended in it (0 if none); `watched_hours`, `worked_hours`, and
    `least_power_watts` (NaN if unknown).
    """

    def __init__(self) -> None:
        self._habit = stats.RollingQuantile(QUANTILE, RECORD)
        self._pauses: deque[float] = deque(maxlen=RECORD)
        self._recorded = 0
        self._watched = 0.0
        self._worked = 0.0
        self._least_power = math.inf

    def score_one(self, x: dict[Hashable, Any]) -> float:
        """Return the surprise, 0 while there is nothing to say; changes nothing."""
        run, fresh = x["run_hours"], x["fresh_hours"]
        settled = fresh >= LEAST + GRACE
        floor = min(self._least_power, IDLE_POWER)
        at_work = x["power_watts"] > max(POWER_FACTOR * floor, floor + POWER_SLACK)
        if at_work or not settled or not run >= self._need():
            return 0.0
        longer = sum(pause >= run for pause in self._pauses)
        longest = max(self._pauses, default=PAUSE)
        share = (longer + 1) / (len(self._pauses) + 1) * min(1.0, longest / run) ** 2
        return max(0.0, -math.log10((self._recorded + 1) / (self._watched + DAY_ONE) * share))

    def learn_one(self, x: dict[Hashable, Any]) -> None:
        """Take in an hour that is over; what is NaN in it is left out."""
        if x["gap_hours"] >= PAUSE:
            pause = float(np.float32(min(x["gap_hours"], STRETCH * self._need())))
            self._habit.update(pause)
            self._pauses.append(pause)
            self._recorded += 1
        self._watched += _known(x["watched_hours"])
        self._worked += _known(x["worked_hours"])
        self._least_power = min(self._least_power, float(np.float32(x["least_power_watts"])))

    def _need(self) -> float:
        need = max(LEAST, MARGIN * (self._habit.get() or 0.0))
        young = 0.0 < self._worked < SHOWN_HOURS and self._recorded < SHOWN_PAUSES
        return max(need, PATIENCE) if young else need


class IdleGpuColumns:
    """Column form: one row per GPU, the same state and the same numbers as `IdleGpu`."""

    least_hours = LEAST

    def __init__(self) -> None:
        self._pauses: F32 = np.empty((0, RECORD), np.float32)
        self._recorded: I64 = np.empty(0, np.int64)
        self._watched: F64 = np.empty(0, np.float64)
        self._worked: F64 = np.empty(0, np.float64)
        self._least_power: F32 = np.empty(0, np.float32)

    def resize(self, rows: int) -> None:
        """Make room for `rows` GPUs; the state of those already known stays."""
        have = len(self._recorded)
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
        settled = hours["fresh_hours"] >= LEAST + GRACE
        floor = np.minimum(self._least_power[rows].astype(np.float64), IDLE_POWER)
        at_work = hours["power_watts"] > np.maximum(POWER_FACTOR * floor, floor + POWER_SLACK)
        odd = settled & ~at_work & (run >= self._need(rows))
        pauses = self._pauses[rows].astype(np.float64)
        longer = (pauses >= run[:, None]).sum(axis=1)
        known = np.isfinite(pauses)
        longest = np.where(known, pauses, 0.0).max(axis=1, initial=0.0)
        longest = np.where(known.any(axis=1), longest, PAUSE)
        tail = np.minimum(1.0, longest / np.where(odd, run, 1.0)) ** 2
        share = (longer + 1) / (known.sum(axis=1) + 1) * tail
        chance = (self._recorded[rows] + 1) / (self._watched[rows] + DAY_ONE) * share
        return np.where(odd, np.maximum(0.0, -np.log10(np.where(odd, chance, 1.0))), 0.0)

    def learn(self, rows: I64, hours: Mapping[str, F64]) -> None:
        """Take in hours that are over, fields as in `LEARNT`; a row occurs once."""
        gap = hours["gap_hours"]
        paused = gap >= PAUSE
        at = rows[paused]
        learnt = np.minimum(gap, STRETCH * self._need(rows))[paused]
        self._pauses[at, self._recorded[at] % RECORD] = learnt.astype(np.float32)
        self._recorded[at] += 1
        self._watched[rows] += np.nan_to_num(hours["watched_hours"], nan=0.0)
        self._worked[rows] += np.nan_to_num(hours["worked_hours"], nan=0.0)
        least = hours["least_power_watts"].astype(np.float32)
        self._least_power[rows] = np.fmin(self._least_power[rows], least)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name."""
        return {name[1:]: getattr(self, name) for name in _EMPTY}

    def _need(self, rows: I64) -> F64:
        pauses = np.sort(self._pauses[rows].astype(np.float64), axis=1)  # unknown ones come last
        last = np.isfinite(pauses).sum(axis=1) - 1
        place = QUANTILE * np.maximum(last, 0)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(last, 0))
        row = np.arange(len(rows))
        below, above = pauses[row, low], pauses[row, high]
        habit = np.where(last >= 0, below + (above - below) * (place - low), 0.0)
        need = np.maximum(LEAST, MARGIN * habit)
        worked, recorded = self._worked[rows], self._recorded[rows]
        young = (worked > 0.0) & (worked < SHOWN_HOURS) & (recorded < SHOWN_PAUSES)
        return np.where(young, np.maximum(need, PATIENCE), need)


_EMPTY: Final = {
    "_pauses": np.nan,
    "_recorded": 0,
    "_watched": 0.0,
    "_worked": 0.0,
    "_least_power": np.inf,
}


def _known(hours: float) -> float:
    return 0.0 if math.isnan(hours) else hours
