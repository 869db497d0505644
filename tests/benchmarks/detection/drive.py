"""Runs a fleet over many series at once, by arrival, under the policy of the service.

At each hour: what has closed is learnt, what changed is scored and then recorded. A finding opens
when the surprise reaches the threshold and ends after 24 normal hours.
"""

import time
from typing import NamedTuple

import numpy as np

from detectors.base import F64
from detectors.fleet import Fleet
from detectors.registry import DETECTORS
from tests.benchmarks.detection.families import BEGIN

BASE = BEGIN
KEPT = 1.5  # surprises below this are not kept
QUIET = 24  # normal hours after which a stretch is over


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


def together(series):
    """What was billed, what was said first, and what was there at all, as (series, hours).

    After the end of a shorter series nothing is there.
    """
    shape = len(series), max(len(s.final) for s in series)
    final, seen, present = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    for row, own in enumerate(series):
        hours = len(own.final)
        final[row, :hours], seen[row, :hours] = own.final, own.seen
        present[row, :hours] = own.present
    return final, seen, present


def default_thresholds(tolerated=100.0) -> dict:
    """The threshold of each default detector at a tolerated rate per 1,000 resource-months."""
    fleet = Fleet(1, {name: {} for name in DETECTORS}, tolerated)
    return {name: fleet.threshold(name) for name in fleet.detectors}


def run(series, settings=None, tolerated=100.0) -> Run:
    """Feed all series to one fleet, hour by hour; the default detectors unless told otherwise."""
    settings = {name: {} for name in DETECTORS} if settings is None else settings
    final, seen, present = together(series)
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


def findings(ran, thresholds=None, more=0.0, quiet=QUIET) -> list[Found]:
    """Group odd points into findings; `more` is added to every threshold."""
    found = []
    for name, points in ran.odd.items():
        threshold = (thresholds or ran.thresholds)[name] + more
        last: dict[int, int] = {}
        for point in points:
            if point.surprise < threshold:
                continue
            before = last.get(point.row)
            if before is None or point.hour > before + quiet:
                found.append(Found(point.row, point.arrived, point.since, name))
            last[point.row] = point.hour if before is None else max(before, point.hour)
    return found


def excess(ran, series, thresholds=None) -> F64:
    """By how much the oddest word that arrived after each hour passed its detector's threshold.

    As (series, hours); minus infinity where nothing odd was said, and after the end of a series.
    """
    ends = [len(own.final) for own in series]
    out = np.full((len(ends), max(ends)), -np.inf)
    for name, points in ran.odd.items():
        threshold = (thresholds or ran.thresholds)[name]
        for point in points:
            if point.arrived <= ends[point.row]:
                at = point.row, point.arrived - 1
                out[at] = max(out[at], point.surprise - threshold)
    return out
