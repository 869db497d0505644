import numpy as np
import pytest

from detectors.base import as_columns
from detectors.fleet import Fleet
from detectors.registry import DETECTORS

START = 489_888  # a Monday, 00:00 UTC, in hours since 1970


class Watched:
    """A fleet of one series, driven hour by hour as the service drives it."""

    def __init__(self, names=tuple(DETECTORS), tolerated=100.0):
        self.fleet = Fleet(1, {name: {} for name in names}, tolerated)
        self.fleet.resize(1)
        self.pending = None

    def see(self, step, cost):
        """Return the surprises at a step over their thresholds, and move on."""
        if self.pending is not None:
            self.fleet.learn(*self.pending)
        point = as_columns([(0, step, cost)])
        said = self.fleet.score(*point)
        self.fleet.record(*point)
        self.pending = point
        return {
            name: float(scores.surprise[0]) / self.fleet.threshold(name)
            for name, scores in said.items()
        }

    def judge(self, step, cost):
        """Return the whole scores at a step without moving on."""
        return {n: s.at(0) for n, s in self.fleet.score(*as_columns([(0, step, cost)])).items()}


@pytest.fixture
def watched():
    return Watched


@pytest.fixture
def web():
    """Ten weeks of a daily and weekly rhythm with 4 % noise, about $10 an hour."""
    r = np.random.default_rng(7)
    hours = np.arange(70 * 24)
    weekend = np.where((hours // 24) % 7 >= 5, 0.7, 1.0)
    rhythm = 1 + 0.5 * np.cos((hours - 14) * 2 * np.pi / 24)
    return 10 * rhythm * weekend * np.exp(0.04 * r.normal(size=len(hours)))
