"""Series that follow the wall clock, and a fleet that is driven over them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from detectors.base import start_of, step_of
from detectors.fleet import Fleet
from detectors.registry import DETECTORS


def steps_between(first, last, step_hours=1):
    """The steps from one date to another, both as "2025-01-31"."""
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (first, last))
    return np.arange(step_of(begin, step_hours), step_of(end, step_hours))


def clock(steps, zone):
    """What the wall clock shows at hourly steps."""
    return [start_of(int(step), 1).astimezone(ZoneInfo(zone)) for step in steps]


def hours_of(day, zone="UTC"):
    """The hourly steps of one date of the wall clock."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (begin + timedelta(days=1)).astimezone(UTC)
    return range(step_of(begin.astimezone(UTC), 1), step_of(end, 1))


def drive(costs, steps, calendar=None, step_hours=1, names=tuple(DETECTORS)):
    """Return (row, step, detector, score) of every surprise over its threshold.

    `costs` is (rows, steps); a NaN is a period without a row, which only the detectors of closed
    periods see.
    """
    fleet = Fleet(step_hours, {name: {} for name in names}, 100.0, [calendar] if calendar else [])
    rows = np.arange(len(costs))
    fleet.resize(len(rows))
    if calendar:
        fleet.follow(rows, [calendar.name] * len(rows))
    found = []
    for step, cost in zip(steps.tolist(), costs.T, strict=True):
        known = ~np.isnan(cost)
        point = rows[known], np.full(known.sum(), step), cost[known]
        said = fleet.score(*point, on_close=False)
        shown = {name: (point[0], scores) for name, scores in said.items()}
        closed = fleet.score(rows, np.full(len(rows), step), cost, on_close=True)
        shown |= {name: (rows, scores) for name, scores in closed.items()}
        for name, (which, scores) in shown.items():
            odd = np.flatnonzero(scores.surprise >= fleet.threshold(name))
            found += [(int(which[i]), step, name, scores.at(i)) for i in odd]
        fleet.learn(*point)
        fleet.record(*point)
    return found
