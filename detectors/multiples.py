"""Spend that comes in whole multiples of one price: so many equal machines, on or off.

A series is followed for the price that its costs are multiples of, for how often a cost is none (a
miss: a first hour billed in part, a restated one), and for which multiples were seen. Where misses
are rare, a miss is a surprise of its own, and one more multiple is less of one than its size says.
"""

from typing import Final

import numpy as np

from detectors.base import F32
from detectors.compiled import compiled

UNIT, ODD, AGAIN, RUN, COUNTS, CANDIDATE, ACTIVE = range(7)
FIELDS: Final = 7

MOST: Final = 16  # a multiple of more units cannot be told from noise
EXACT: Final = 0.004  # how far, of itself, a cost may be from a multiple to confirm a unit
ALMOST: Final = 0.006  # to be taken for that multiple
NEARLY: Final = 0.01  # to be taken for a miss it must be further than this
APART: Final = 0.1  # and than this share of a unit
RARE: Final = 0.003  # share of misses below which one is a surprise
CLEAR: Final = 4.0  # evidence, in powers of ten, from which a run of misses is one
MISS: Final = 5.5  # the surprise of it
SEEN: Final = 0.4  # what is left of a surprise at a multiple that was seen before
UNSEEN: Final = 0.6  # and at another one, up to twice the highest


@compiled
def multiple(cost: float, unit: float, within: float) -> int:
    """Return how many units a cost is, 0 when it is no whole number of them."""
    share = cost / unit
    whole = int(np.round(min(share, 2.0 * MOST)))
    return whole if 1 <= whole <= MOST and abs(share - whole) <= within * whole else 0


@compiled
def weigh(own: F32, cost: float, level: float, surprise: float, day: int) -> float:
    """Return what is left of a surprise, or what it becomes, knowing the multiples."""
    unit = float(own[UNIT])
    if own[ACTIVE] <= 4.0 * day or unit <= 0.0 or own[ODD] >= 0.2:
        return surprise
    whole = multiple(cost, unit, NEARLY)
    if whole > 0:
        mask = int(own[COUNTS])
        several = mask & (mask - 1) != 0
        near = mask >= 1 << ((whole + 1) // 2)
        if several and near and multiple(cost, unit, ALMOST) > 0:
            return surprise * (SEEN if mask & (1 << whole) else UNSEEN)
        return surprise
    share = cost / unit
    if cost <= 0.05 * level or abs(share - np.round(share)) <= APART:
        return surprise
    evidence = -np.log10(max(float(own[ODD]), 1e-4))
    evidence -= min(float(own[RUN]), 8.0) * np.log10(max(float(own[AGAIN]), 0.1))
    if own[ODD] < RARE or evidence > CLEAR:
        return max(surprise, MISS)
    return surprise


@compiled
def follow(own: F32, cost: float, day: int) -> None:
    """Learn a closed cost.

    A smaller unit is taken over when it was seen twice in a row, any other after a day of misses,
    or at once where most costs miss anyway.
    """
    unit = float(own[UNIT])
    whole = multiple(cost, unit, NEARLY) if unit > 0.0 else 0
    missed = whole == 0 and cost > 0.0
    if own[RUN] > 0.0:
        own[AGAIN] += 0.05 * ((1.0 if missed else 0.0) - own[AGAIN])
    if cost <= 0.0:
        own[RUN] = 0.0
        return
    own[ACTIVE] += 1.0
    pace = max(1.0 / float(own[ACTIVE]), 1.0 / (21.0 * day))
    if not missed:
        own[UNIT] += 0.2 * (cost / whole - unit)
        own[COUNTS] = int(own[COUNTS]) | (1 << whole)
        own[ODD] -= pace * own[ODD]
        own[RUN] = 0.0
        return
    again = own[CANDIDATE] > 0.0 and multiple(cost, float(own[CANDIDATE]), EXACT) == 1
    divides = unit > 0.0 and multiple(unit, cost, EXACT) > 0
    useless = own[ODD] > 0.5
    if unit <= 0.0 or (again and (divides or useless)) or own[RUN] > day:
        own[UNIT] = cost
        own[COUNTS] = 2.0
        own[RUN] = 0.0
        own[CANDIDATE] = 0.0
        return
    own[CANDIDATE] = cost
    if not divides:
        own[ODD] += pace * (1.0 - own[ODD])
    own[RUN] += 1.0
