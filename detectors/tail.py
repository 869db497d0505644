"""How odd a statistic is for its own series: a peaks-over-threshold tail learnt online.

Per series and statistic, the daily maximum is taken (so that one odd stretch counts once), a
high quantile of it is tracked by stochastic approximation (Robbins and Monro, 1951), and the
excess above it is held to a generalised Pareto tail of fixed shape (Pickands, 1975; Siffer et al.,
"Anomaly Detection in Streams with Extreme Value Theory", 2017). Beginners lean on a prior.
"""

from typing import Final

import numpy as np

from detectors.base import F32
from detectors.compiled import compiled

# One tail is these float32 fields of a detector's state.
HIGH, EXCESS, BLOCK, PEAK, BLOCKS, MEAN, DEVIATION = range(7)
FIELDS: Final = 7

WAIT: Final = 7  # blocks that a slow statistic waits before it is learnt

DAILY: Final = 1.38  # -log10 of the share of an hour in a day
QUANTILE: Final = 0.15  # share of days whose maximum lies above HIGH
SHAPE: Final = 0.15  # heavier than exponential: costs are
RATE: Final = 0.12
LARGEST: Final = 8.0  # an excess counts as at most this many mean excesses when learnt

TELL: Final = 2.5  # surprise at 24 steps a day below which nobody asks: one a resource-month
DESCRIBE: Final = 3.0  # and from which it may be told why

SETTLED: Final = 7.0  # days after which no day may move the mean far
GROWN: Final = 35.0  # days after which no series is a beginner
TURN: Final = 1.5  # how much less odd a first turn of a month is
YOUNG: Final = 4.0  # days by which a beginner's tail is widened


@compiled
def surprise(own: F32, value: float, floor: float, erratic: float, share: float) -> float:
    """Return -log10 of the chance that a normal step of this series reaches `value`.

    0 below the tracked quantile, and before a day was learnt. `floor` is the least mean
    excess, `erratic` by how much the tail of a series known for a day is widened besides, `share`
    how much of a block a step is.
    """
    blocks = own[BLOCKS]
    if blocks < 1.0 or not value > own[HIGH]:
        return 0.0
    scale = (
        max(float(own[EXCESS]), 0.5 * float(own[DEVIATION]), floor) * (1.0 + YOUNG / blocks)
        + erratic / blocks
    )
    over = (value - own[HIGH]) / scale
    if not over > 0.0:
        return 0.0
    chance = np.log10(QUANTILE * share) - np.log10(1.0 + SHAPE * over) / SHAPE
    return float(max(0.0, -chance))


@compiled
def is_odd(surprise: float, least: float, day: int) -> bool:
    """Tell whether a surprise is above `least`, which is for 24 of `day` steps a day."""
    return bool(surprise > (least if day > 1 else least - DAILY))


@compiled
def early(surprise: float, days: float, erratic: float, turns: bool) -> float:
    """Return what is left of a surprise in a series of so many days, `GROWN` at most.

    What comes and goes has shown little of what it does before five weeks are over, and no series
    what it does when a month `turns`.
    """
    return surprise / (1.0 + erratic * (1.0 - days / GROWN)) / (TURN if turns else 1.0)


@compiled
def learn(own: F32, value: float, block: int, floor: float) -> None:
    """Take in a closed step's `value`; a block's maximum counts once the block is over."""
    if np.isnan(value):
        return
    if own[BLOCKS] == 0.0 and own[BLOCK] == 0.0:
        own[BLOCK] = block
        own[PEAK] = value
    if block < own[BLOCK]:
        return
    if block == own[BLOCK]:
        own[PEAK] = max(float(own[PEAK]), value)
        return
    peak = float(own[PEAK])
    excess = max(float(own[EXCESS]), floor)
    if own[BLOCKS] == 0.0:
        own[HIGH] = peak + excess
        own[MEAN] = peak
    pace = max(0.05, 1.0 / (own[BLOCKS] + 1.0))
    away = peak - own[MEAN]
    if own[BLOCKS] > SETTLED:
        reach = LARGEST * max(excess, float(own[DEVIATION]))
        away = min(max(away, -reach), reach)
    own[DEVIATION] += pace * (abs(away) - own[DEVIATION])
    own[MEAN] += pace * away
    over = peak - own[HIGH]
    pace = max(RATE, 1.0 / (own[BLOCKS] + 2.0))
    if over > 0.0:
        own[EXCESS] = excess + 0.2 * (min(over, LARGEST * excess) - excess)
        own[HIGH] += 3.0 * pace * excess * (1.0 - QUANTILE)
    else:
        own[EXCESS] = excess
        own[HIGH] -= 3.0 * pace * excess * QUANTILE
    # Stochastic approximation travels slowly: mean and deviation keep it near after a bad start.
    reach = float(max(own[DEVIATION], own[EXCESS]))
    own[HIGH] = min(max(own[HIGH], own[MEAN]), own[MEAN] + 3.0 * reach)
    own[BLOCKS] += 1.0
    own[BLOCK] = block
    own[PEAK] = value


@compiled
def learn_late(queue: F32, own: F32, value: float, block: int, floor: float) -> None:
    """Learn a statistic that moves for days only when `len(queue)` blocks have gone by.

    Otherwise slow growth would widen the tail that it has to stand out from.
    """
    if np.isnan(value):
        return
    slot = block % (len(queue) // 2)
    half = len(queue) // 2
    if queue[half + slot] == np.float32(block):
        queue[slot] = max(queue[slot], np.float32(value))
        return
    if queue[half + slot] > block:
        return
    if queue[half + slot] > 0.0:
        learn(own, float(queue[slot]), int(queue[half + slot]), floor)
    queue[half + slot] = block
    queue[slot] = value
