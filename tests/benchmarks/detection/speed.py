"""Measures the column form: microseconds of one core per point, by detector.

    python -m tests.benchmarks.detection.speed 100000

A second argument says for how many hours, at most 48.
"""

import sys
import time

import numpy as np

from detectors.fleet import Fleet
from detectors.history import HOURS
from detectors.registry import DETECTORS
from detectors.warm import warm

DISTINCT = 2_000
BEGIN = 491_904 - 491_904 % HOURS


def _filled(count):
    """A fleet of `count` rows with six weeks behind them, and their costs by hour."""
    r = np.random.default_rng(0)
    fleet = Fleet(1, {name: {} for name in DETECTORS})
    fleet.resize(min(count, DISTINCT))
    rows = np.arange(min(count, DISTINCT))
    rhythm = 1 + 0.4 * np.cos(np.arange(HOURS + 48) * 2 * np.pi / 24)
    costs = (
        r.lognormal(1, 1, (len(rows), 1)) * rhythm * np.exp(0.05 * r.normal(size=(len(rows), 1)))
    )
    costs = costs * np.exp(0.05 * r.normal(size=costs.shape))
    for h in range(HOURS):
        points = rows, np.full(len(rows), BEGIN + h), costs[:, h].copy()
        fleet.learn(*points)
        fleet.record(*points)
    few = {name: part.copy() for name, part in fleet.save().items() if name != "version"}
    large = Fleet(1, {name: {} for name in DETECTORS})
    large.resize(count)
    for name, part in large.save().items():
        if name != "version":
            for at in range(0, count, len(rows)):
                part[at : at + len(rows)] = few[name][: count - at]
    return large, costs


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    hours = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    fleet, costs = _filled(count)
    warm()
    rows = np.arange(count)
    spent: dict[str, float] = {}

    def timed(name, call, *points):
        begun = time.process_time()
        call(*points)
        spent[name] = spent.get(name, 0.0) + time.process_time() - begun

    for h in range(HOURS, HOURS + hours):
        points = rows, np.full(count, BEGIN + h), costs[rows % len(costs), h].copy()
        for name, detector in fleet.detectors.items():
            timed(f"{name}.score", detector.score, *points)
        timed("record", fleet.record, *points)
        for name, detector in fleet.detectors.items():
            timed(f"{name}.learn", detector.learn, *points)
    scale = 1e6 / count / hours
    print({name: round(seconds * scale, 3) for name, seconds in spent.items()})
    total = sum(spent.values()) * scale
    size = sum(part.nbytes for part in fleet.save().values()) / count
    print(
        f"{count} series: {total:.2f} us a point, {1 / total:.2f} M points/s, {size:.0f} B a series"
    )


if __name__ == "__main__":
    main()
