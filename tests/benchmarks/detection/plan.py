"""What is run with: the sets of families, the seeds, and how much of each.

Seeds 101 to 199 are for design and 201 to 299 for calibration: detectors and constants may be
tuned on both. From 301 on nothing is ever tuned; the figures that are published use the seeds of
`UNSEEN`, and nothing else does.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.benchmarks.detection.families import KNOWN, OTHER
from tests.benchmarks.detection.more import MORE
from tests.benchmarks.detection.unseen import UNSEEN as UNSEEN_FAMILIES

SETS: Final[Mapping[str, Mapping]] = {
    "known": KNOWN,
    "other": OTHER,
    "more": MORE,
    "unseen": UNSEEN_FAMILIES,
}
CALIBRATION: Final = {"known": 201, "other": 202, "more": 203, "unseen": 204}
UNSEEN: Final = {"known": 401, "other": 402, "more": 403, "unseen": 404}
CARRIERS: Final = 411
ASKED: Final = 0.1  # false findings per resource-month
QUICK_SETS: Final = ("known",)


class Size(NamedTuple):
    """How many series: to calibrate peers, to judge, of these for slow peers; and draws a carrier.

    `fleets` are the numbers of series that speed is measured at, `objects` those of River objects.
    """

    calibration: int
    judged: int
    slow: int
    draws: int
    fleets: tuple[int, ...]
    objects: tuple[int, ...]
    repeats: int


FULL: Final = Size(200, 300, 40, 8, (1_000, 100_000, 1_000_000), (1_000, 100_000), 3)
QUICK: Final = Size(30, 40, 0, 1, (1_000,), (100,), 1)
