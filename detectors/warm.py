"""Compile every kernel once, so that the first score of a process waits for nothing.

Run as `python -m detectors.warm`; what is compiled is kept beside the modules.
"""

import numpy as np

from detectors.base import DAY, HOUR
from detectors.fleet import Fleet
from detectors.registry import DETECTORS


def warm() -> None:
    """Let a fleet of each grain score, learn and record one point."""
    for step_hours in (HOUR, DAY):
        fleet = Fleet(step_hours, {name: {} for name in DETECTORS})
        fleet.resize(1)
        point = np.zeros(1, np.int64), np.full(1, 1000), np.ones(1)
        fleet.learn(*point)
        fleet.score(*point)
        fleet.record(*point)


if __name__ == "__main__":
    warm()
