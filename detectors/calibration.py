"""At which surprise a detector's findings are as rare as asked for.

A surprise is -log10 of a probability under a model of the tail; what it is worth was measured once
over 3,600 invented series, so that one that is asked for a rate keeps it. The figures are what
`python -m tests.benchmarks.detection.calibrate 600 201,202,203` prints.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from detectors.base import DAY, DAYS_PER_MONTH

RATES: Final = 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0  # false findings per resource-month
SURPRISES: Final[Mapping[str, tuple[float, ...]]] = {
    "spike": (7.82, 7.22, 6.05, 5.09, 4.15, 3.45, 2.84),
    "shift": (5.37, 4.99, 4.35, 3.84, 3.38, 3.01, 2.49),
    "creep": (5.28, 4.84, 4.24, 3.81, 3.35, 2.99, 2.48),
    "drop": (6.68, 6.45, 5.96, 4.98, 4.13, 3.70, 3.02),
    "gone": (6.52, 5.77, 5.09, 4.39, 3.62, 2.00, 2.00),
}
JOINT: Final = 1.1  # what the rates of all add up to, findings of one day counted once: 1


def threshold(name: str, rate: float, day: int) -> float:
    """Return the surprise that a detector's normal series reach so many times a resource-month.

    `day` is the steps in a day. A detector that was not measured is taken at its word.
    """
    if name not in SURPRISES:
        return float(-np.log10(rate / (DAYS_PER_MONTH * day)))
    known, said = np.log10(RATES), np.array(SURPRISES[name])
    wanted = np.log10(rate)
    surprise = np.interp(wanted, known, said)
    surprise += min(wanted - known[0], 0.0) * (said[1] - said[0]) / (known[1] - known[0])
    surprise += max(wanted - known[-1], 0.0) * (said[-1] - said[-2]) / (known[-1] - known[-2])
    return float(surprise - np.log10(DAY / day))
