"""What a detector's surprise is worth, so that those of all detectors mean the same.

A kernel says -log10 of a probability under a model of the tail. How often normal series reach it
was measured once over 3,600 invented series, and turns it into the -log10 of the share of steps
that are so odd: one number tells all detectors how rare is rare enough. The figures are what
`python -m tests.benchmarks.detection.calibrate 600 201,202,203` prints.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final

import numpy as np

from detectors.base import DAY, DAYS_PER_MONTH, F64
from detectors.compiled import compiled

RATES: Final = 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0  # false findings per resource-month
# What the kernels say at these rates, at 24 steps a day.
SURPRISES: Final[Mapping[str, tuple[float, ...]]] = {
    "spike": (7.75, 7.01, 6.03, 5.03, 4.11, 3.42, 2.82),
    "shift": (5.41, 4.91, 4.33, 3.83, 3.39, 2.97, 2.46),
    "creep": (5.26, 4.82, 4.18, 3.79, 3.33, 2.94, 2.46),
    "drop": (6.68, 6.45, 5.96, 4.98, 4.13, 3.71, 3.05),
    "gone": (6.52, 5.77, 5.09, 4.39, 3.62, 2.00, 2.00),
}
FAR: Final = 100.0  # powers of ten for which the line through the rarest two goes on
JOINT: Final = 1.1  # what the rates of all add up to, findings of one day counted once: 1


@compiled
def _weigh(said: F64, known: F64, worth: F64, finer: float) -> None:
    """Turn what is said above 0 into its worth, on the line through (known, worth), both rising."""
    for i in range(len(said)):
        if said[i] > 0.0:
            place = 1
            while place < len(known) - 1 and known[place] <= said[i] + finer:
                place += 1
            wide = known[place] - known[place - 1]
            share = (said[i] + finer - known[place - 1]) / wide if wide > 0.0 else 1.0
            value = worth[place - 1] + share * (worth[place] - worth[place - 1])
            said[i] = max(0.0, value - finer)


def calibrate(name: str, said: F64, day: int) -> None:
    """Turn what a detector's kernel says into the -log10 of the share of steps that are so odd.

    In place. `day` is the steps in a day. Nothing to say stays 0, and a detector that was not
    measured is taken at its word.
    """
    if name in SURPRISES:
        _weigh(said, *_line(name), _finer(day))


def threshold(rate: float, day: int) -> float:
    """Return the surprise that so many findings a resource-month stand for."""
    return float(-np.log10(rate / (DAYS_PER_MONTH * day)))


@cache
def _finer(day: int) -> float:
    """Return how much less it takes to be as odd where a day has fewer steps."""
    return float(np.log10(DAY / day))


@cache
def _line(name: str) -> tuple[F64, F64]:
    """Return what a kernel says, in rising order, and what it is worth, at 24 steps a day."""
    known = np.array([threshold(rate, DAY) for rate in RATES])
    said = np.array(SURPRISES[name])
    slope = (said[0] - said[1]) / (known[0] - known[1])
    worth = np.concatenate([[known[0] + FAR], known, [0.0]])
    far = said[0] + FAR * slope
    return np.concatenate([[0.0], said[::-1], [far]]), worth[::-1].copy()
