"""Which levels of cost a series knows, and how long it has been at none of them.

A machine that is on or off costs one amount or another and next to nothing between; what lies
there, hour after hour, is something else beside it, however small. A histogram of costs by half
octaves, fading over three weeks, says how rare a level is; a cumulative sum of the rarity (Page,
1954) counts how long that has lasted.
"""

from typing import Final

import numpy as np

from detectors.base import F32
from detectors.compiled import compiled

BINS: Final = 24
OFF, SUM, LEARNT = BINS, BINS + 1, BINS + 2  # share of steps off, the sum, steps learnt
FIELDS: Final = BINS + 3

QUIET: Final = 0.02  # share of the level that counts as off
DAYS: Final = 21.0
COMMON: Final = 2.3  # -ln of the share of steps that is neither rare nor common
RAREST: Final = 6.0
YOUNG: Final = 100.0
SOMETIMES: Final = 0.05  # share of steps off from which a series is one that goes off


@compiled
def place(cost: float) -> int:
    """Return the bin of a cost above 0: half octaves, around and around."""
    return int(np.floor(2.0 * np.log2(cost))) % BINS


@compiled
def strangeness(own: F32, cost: float, level: float, usual: float, goes_on: bool) -> float:
    """Return the sum with this step; costs above `usual`, what it is when on, are no matter here.

    `goes_on` is whether the step before was the one learnt last.
    """
    if own[OFF] < SOMETIMES:
        return 0.0
    total = float(own[SUM]) if goes_on else 0.0
    if own[LEARNT] < YOUNG or not QUIET * level < cost <= usual:
        share = 1.0
    else:
        at = place(cost)
        share = float(own[at] + own[at - 1 if at > 0 else BINS - 1] + own[(at + 1) % BINS])
    rare = min(-np.log(max(share, 1e-9)), RAREST) - COMMON
    return float(max(0.0, total + rare))


@compiled
def follow(own: F32, cost: float, level: float, day: int) -> None:
    """Learn what a step a while ago cost."""
    own[LEARNT] += 1.0
    pace = np.float32(max(1.0 / float(own[LEARNT]), 1.0 / (DAYS * day)))
    for i in range(OFF + 1):
        own[i] -= pace * own[i]
    own[OFF if cost <= QUIET * level else place(cost)] += pace
