"""Faults that are put into a series: what went wrong, when, and the money it added.

A spike of 1 to 4 h at 1 to 5 times the RMS of the hourly cost, a shift of 7 to 21 days at 0.25 to
1.5 RMS, a creep that rises over 7 to 21 days to 0.3 to 1.5 RMS and then stays for 3 days. Less: all
spend gone, or 30 to 80 % of it dropped, for 7 to 21 days.
"""

from typing import NamedTuple

import numpy as np

KINDS = "spike", "shift", "creep"
LESS = "gone", "drop"


class Fault(NamedTuple):
    """An injected fault: hours `start` to `end`, and its size in RMS of the hourly cost."""

    kind: str
    start: int
    end: int
    size: float


def inject(r, cost, window):
    """Draw a fault that begins in `window`, two hours; return it and what it adds to each hour."""
    hours, rms = len(cost), float(np.sqrt(np.mean(cost**2)))
    kind = str(r.choice(KINDS))
    start = int(r.integers(*window))
    added = np.zeros(hours)
    if kind == "spike":
        size, end = r.uniform(1, 5), start + int(r.integers(1, 5))
        added[start:end] = size * rms
    elif kind == "shift":
        size, end = r.uniform(0.25, 1.5), min(hours, start + int(r.uniform(7, 21) * 24))
        added[start:end] = size * rms
    else:
        size, rise = r.uniform(0.3, 1.5), int(r.uniform(7, 21) * 24)
        end = min(hours, start + rise + 72)
        added[start:end] = size * rms * np.minimum(1, np.arange(end - start) / rise)
    return Fault(kind, start, end, float(size)), added


def inject_less(r, hours, window):
    """Draw a fault of less spend; return it and the share of each hour's cost that is left."""
    kind = str(r.choice(LESS))
    start = int(r.integers(*window))
    end = min(hours, start + int(r.uniform(7, 21) * 24))
    left = np.ones(hours)
    left[start:end] = 0.0 if kind == "gone" else r.uniform(0.2, 0.7)
    return Fault(kind, start, end, float(1 - left[start])), left
