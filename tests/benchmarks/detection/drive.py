"""Runs a fleet over many series at once, by arrival, under the policy of the service.

At each hour: what has closed is learnt, what changed is scored and then recorded. A finding opens
when the surprise reaches the threshold and ends after 24 normal hours.
"""

import time
from typing import NamedTuple

import numpy as np

from detectors.fleet import Fleet

BASE = 492_000 - 492_000 % 168  # hours since 1970 of hour 0
KEPT = 2.0  # surprises below this are not kept


class Odd(NamedTuple):
    """A point whose surprise is worth keeping; hours are counted from the first of the series."""

    row: int
    arrived: int
    hour: int
    since: int
    surprise: float


class Found(NamedTuple):
    """One finding as it was first raised."""

    row: int
    arrived: int
    since: int
    detector: str


class Run(NamedTuple):
    """What a fleet said about every odd point, its thresholds, and what it took."""

    odd: dict
    thresholds: dict
    points: int
    seconds: float


def run(series, settings, tolerated=100.0) -> Run:
    """Feed all series to one fleet, hour by hour."""
    final = np.array([s.final for s in series])
    seen = np.array([s.seen for s in series])
    present = np.array([s.present for s in series])
    restated = (final != seen) & present
    rows = np.arange(len(series))
    hours = final.shape[1]
    fleet = Fleet(1, settings, tolerated)
    fleet.resize(len(series))
    odd = {name: [] for name in fleet.detectors}
    points = 0
    begun = time.perf_counter()

    def keep(out, row, step, arrived):
        for name, scores in out.items():
            for i in np.nonzero(scores.surprise >= KEPT)[0]:
                odd[name].append(
                    Odd(
                        int(row[i]),
                        arrived,
                        int(step[i]) - BASE,
                        int(scores.since[i]) - BASE,
                        float(scores.surprise[i]),
                    )
                )

    for arrived in range(1, hours + 25):
        hour, closed, late = arrived - 1, arrived - 2, arrived - 25
        if 0 <= closed < hours:
            row = rows[present[:, closed]]
            fleet.learn(row, np.full(len(row), BASE + closed), seen[row, closed])
            cost = np.where(present[:, closed], seen[:, closed], np.nan)
            step = np.full(len(rows), BASE + closed)
            keep(fleet.score(rows, step, cost, on_close=True), rows, step, arrived)
        parts = []
        if 0 <= late < hours:
            row = rows[restated[:, late]]
            parts.append((row, np.full(len(row), BASE + late), final[row, late]))
        if hour < hours:
            row = rows[present[:, hour]]
            parts.append((row, np.full(len(row), BASE + hour), seen[row, hour]))
        row, step, cost = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(row):
            points += len(row)
            keep(fleet.score(row, step, cost, on_close=False), row, step, arrived)
            fleet.record(row, step, cost)
    thresholds = {name: fleet.threshold(name) for name in fleet.detectors}
    return Run(odd, thresholds, points, time.perf_counter() - begun)


def findings(ran, more=0.0) -> list[Found]:
    """Group odd points into findings; `more` is added to every threshold."""
    found = []
    for name, points in ran.odd.items():
        last: dict[int, int] = {}
        for point in points:
            if point.surprise < ran.thresholds[name] + more:
                continue
            before = last.get(point.row)
            if before is None or point.hour > before + 24:
                found.append(Found(point.row, point.arrived, point.since, name))
            last[point.row] = point.hour if before is None else max(before, point.hour)
    return found
