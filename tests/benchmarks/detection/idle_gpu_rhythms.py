"""How often a pause that ends by itself is told as idle, per GPU-month, by rhythm of work.

`python -m tests.benchmarks.detection.idle_gpu_rhythms` prints it. The rhythms are simulated, as no
public trace labels GPU pauses. Every told pause counts, also what a person would call waste.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.idle_gpu import IdleGpu
from tests.benchmarks.detection import plan
from tests.benchmarks.detection.page import table

GPUS: Final = 150
DAYS: Final = 120
COLD_DAYS: Final = 35
SEED: Final = 5

Draw = Callable[[np.random.Generator, float], tuple[float, float]]


def lognormal(rng: np.random.Generator, median: float, sigma: float) -> float:
    return float(median * np.exp(sigma * rng.standard_normal()))


def office(rng: np.random.Generator, at: float) -> tuple[float, float]:
    """Work by day, Monday to Friday."""
    work = 9 + 0.7 * float(rng.standard_normal())
    return work, (24 if at // 24 % 7 < 4 else 72) - work


RHYTHMS: Final[dict[str, Draw]] = {
    "training, short pauses": lambda rng, _: (lognormal(rng, 30, 0.8), lognormal(rng, 0.4, 0.6)),
    "serving, quiet hours": lambda rng, _: (lognormal(rng, 2, 1), lognormal(rng, 0.3, 0.8)),
    "batch every 3 h, regular": lambda rng, _: (0.25, lognormal(rng, 2.75, 0.15)),
    "batch every 3 h, irregular": lambda rng, _: (0.25, lognormal(rng, 2.75, 0.5)),
    "office hours": office,
    "on 20 h, off 30 h, sigma 1": lambda rng, _: (lognormal(rng, 20, 1), lognormal(rng, 30, 1)),
}


def told_pauses(draw: Draw, rng: np.random.Generator) -> tuple[int, int]:
    """Return how many pauses of one GPU are told in its first 35 days, and after them."""
    detector, at, told = IdleGpu(), 0.0, [0, 0]
    while at < 24 * DAYS:
        work, gap = draw(rng, at)
        hours = int(work) + 1
        for _ in range(hours):
            detector.learn_one(_hour(at, 0.0, work / hours, work / hours))
            at += work / hours
        score = detector.score_one({"run_hours": gap, "fresh_hours": 1e3, "power_watts": 60.0})
        told[at >= 24 * COLD_DAYS] += score > 0
        at += gap
        detector.learn_one(_hour(at, gap, gap, 0.0))
    return told[0], told[1]


def _hour(at: float, gap: float, watched: float, worked: float) -> dict[str, float]:
    return {
        "hour": at,
        "gap_hours": gap,
        "watched_hours": watched,
        "worked_hours": worked,
        "least_power_watts": 58.0,
    }


def section(_size: plan.Size) -> str:
    rows = []
    for name, draw in RHYTHMS.items():
        rng = np.random.default_rng(SEED)
        cold, warm = np.mean([told_pauses(draw, rng) for _ in range(GPUS)], axis=0) * 30
        rows.append((name, f"{cold / COLD_DAYS:.2f}", f"{warm / (DAYS - COLD_DAYS):.2f}"))
    head = ("rhythm", f"told per GPU-month, first {COLD_DAYS} days", "after")
    return f"{table(head, rows)}\n\n{GPUS} GPUs over {DAYS} days each, seed {SEED}."


if __name__ == "__main__":
    print(section(plan.QUICK))
