"""Invented hourly cost series with injected faults, by family.

Each family stands for a way that cloud spend really behaves; none is fitted to data. A series is
what the provider finally bills (`final`), what it says first (`seen`), whether a row exists at all
(`present`), and one fault or none (`faults`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from tests.benchmarks.detection.faults import Fault, inject

DAYS = 120
HOURS = 24 * DAYS
FAULT_WINDOW = 42 * 24, 106 * 24
BEGIN = 492_000 - 492_000 % 168  # hours since 1970 of hour 0
HOUR = np.arange(HOURS) % 24
DAY = np.arange(HOURS) // 24
WEEKEND = (DAY + 6) % 7 >= 5  # day 0 is a Sunday

_DATES = np.datetime64("1970-01-01") + BEGIN // 24 + DAY
DATE = (_DATES - _DATES.astype("datetime64[M]")).astype(int) + 1  # day of the month

F64 = NDArray[np.float64]
Generator = np.random.Generator


class Series(NamedTuple):
    """One series; arrays of one number an hour.

    `excused` marks hours of a real series in which something real is known to be odd: what is found
    there is not judged.
    """

    family: str
    final: F64
    seen: F64
    present: NDArray[np.bool_]
    fault: Fault | None
    added: F64
    excused: NDArray[np.bool_] | None = None


def noise(r: Generator, phi: float, sigma: float) -> F64:
    """Autoregressive noise of standard deviation sigma."""
    shocks = r.normal(0, sigma * np.sqrt(1 - phi * phi), HOURS)
    return lfilter([1.0], [1.0, -phi], shocks)


def daily(r: Generator, amplitude: float) -> F64:
    return 1 + amplitude * np.cos((HOUR - r.uniform(0, 24)) * 2 * np.pi / 24)


def runs(r: Generator, on_hours: float, off_hours: float, spread: float = 0.9) -> list:
    """Lognormal runs as (first hour, hours)."""
    runs, hour, running = [], 0, r.random() < on_hours / (on_hours + off_hours)
    while hour < HOURS:
        length = max(1, int(r.lognormal(np.log(on_hours if running else off_hours), spread)))
        if running:
            runs.append((hour, min(length, HOURS - hour)))
        hour += length
        running = not running
    return runs


def steady(r: Generator) -> F64:
    """Virtual machines that run all the time."""
    sigma = 0.0 if r.random() < 0.3 else r.uniform(0.003, 0.03)
    return np.exp(noise(r, 0.5, sigma))


def web(r: Generator) -> F64:
    """Load that follows people: by hour, and less at weekends."""
    weekend = np.where(WEEKEND, r.uniform(0.4, 1.0), 1.0)
    wobble = noise(r, r.uniform(0.3, 0.85), r.uniform(0.03, 0.2))
    return daily(r, r.uniform(0.2, 0.8)) * weekend * np.exp(wobble)


def nightly(r: Generator) -> F64:
    """A nightly job of varying size over a small base; larger on one weekday."""
    x = 0.05 * np.exp(r.normal(0, 0.1, HOURS))
    begin, hours = r.integers(0, 24), r.integers(1, 6)
    sigma, weekday, factor = r.uniform(0.15, 0.5), r.integers(0, 7), r.uniform(1, 4)
    for day in range(DAYS):
        if r.random() < 0.02:
            continue
        at = day * 24 + begin + int(r.random() < 0.05)
        size = r.lognormal(0, sigma) * (factor if day % 7 == weekday else 1)
        x[at : at + hours] += size * np.exp(r.normal(0, 0.1, len(x[at : at + hours])))
    return x


def office(r: Generator) -> F64:
    """Machines that people start in the morning and stop in the evening."""
    x = np.zeros(HOURS)
    sigma = r.uniform(0.03, 0.2)
    for day in range(DAYS):
        if (day + 6) % 7 >= 5 and r.random() > 0.03:
            continue
        late = 3 if r.random() < 0.05 else 0
        begin = day * 24 + 9 + r.integers(-1, 2)
        end = min(HOURS, day * 24 + 18 + r.integers(-1, 2) + late)
        x[begin:end] = np.exp(r.normal(0, sigma, end - begin))
    return x


def gpu(r: Generator) -> F64:
    """Training runs on 1, 2, 4 or 8 machines."""
    x = np.zeros(HOURS)
    for at, hours in runs(r, r.uniform(8, 40), r.uniform(15, 60)):
        x[at : at + hours] = r.choice([1, 2, 4, 8], p=[0.4, 0.3, 0.2, 0.1])
    return x


def gpu_partial(r: Generator) -> F64:
    """Runs billed by the second: the first and the last hour are partial."""
    x = np.zeros(HOURS)
    for at, hours in runs(r, r.uniform(8, 40), r.uniform(15, 60)):
        count = r.choice([1, 2, 4], p=[0.5, 0.3, 0.2])
        x[at : at + hours] = count
        x[at] = count * r.random()
        x[at + hours - 1] = count * r.random()
    return x


def campaign(r: Generator) -> F64:
    """Days of work, then days of none."""
    x = np.zeros(HOURS)
    sigma = r.uniform(0.01, 0.15)
    for at, hours in runs(r, r.uniform(48, 160), r.uniform(36, 120), 0.5):
        x[at : at + hours] = np.exp(r.normal(0, sigma, hours))
    return x


def serverless(r: Generator) -> F64:
    """Counted requests with a daily rhythm."""
    rate = r.uniform(2, 40) * daily(r, r.uniform(0.3, 0.9))
    return r.poisson(rate) / 20 * np.exp(r.normal(0, 0.25, HOURS))


def sparse(r: Generator) -> F64:
    """A few requests a day."""
    rate = r.uniform(0.05, 0.6) * daily(r, r.uniform(0.2, 0.9))
    return r.poisson(rate) * np.exp(r.normal(0, 0.4, HOURS))


def storage(r: Generator) -> F64:
    """Bytes that pile up."""
    growth = (1 + r.uniform(0, 0.08)) ** (np.arange(HOURS) / 720)
    return growth * np.exp(r.normal(0, r.uniform(0.002, 0.01), HOURS))


def autoscaled(r: Generator) -> F64:
    """A group of equal machines that follows load, in whole machines."""
    load = r.uniform(3, 20) * daily(r, r.uniform(0.2, 0.7)) * np.where(WEEKEND, 0.7, 1.0)
    return np.ceil(load * np.exp(noise(r, 0.7, r.uniform(0.03, 0.15))))


def tokens(r: Generator) -> F64:
    """Spend on a model by the token: daily rhythm, heavy and persistent noise."""
    wobble = noise(r, r.uniform(0.5, 0.9), r.uniform(0.3, 0.7))
    return daily(r, r.uniform(0.3, 0.9)) * np.where(WEEKEND, 0.5, 1.0) * np.exp(wobble)


def weekly(r: Generator) -> F64:
    """A job once a week, and nothing else."""
    x = np.zeros(HOURS)
    weekday, begin, hours = r.integers(0, 7), r.integers(0, 20), r.integers(2, 10)
    for day in range(int(weekday), DAYS, 7):
        x[day * 24 + begin : day * 24 + begin + hours] = r.lognormal(0, 0.2)
    return x


def overflow(r: Generator) -> F64:
    """What a commitment does not cover: zero until the load passes it."""
    load = daily(r, r.uniform(0.3, 0.8)) * np.exp(noise(r, 0.6, r.uniform(0.05, 0.2)))
    return np.maximum(load - r.uniform(0.8, 1.3), 0) + 0.001


def month_end(r: Generator) -> F64:
    """A daily rhythm with a busy last day and first two days of the month."""
    busy = np.isin(DATE, (1, 2)) | (np.roll(DATE, -24) == 1)
    wobble = noise(r, 0.5, r.uniform(0.03, 0.1))
    return daily(r, 0.4) * np.where(busy, r.uniform(1.2, 1.8), 1.0) * np.exp(wobble)


def growing(r: Generator) -> F64:
    """A young product: a rhythm that grows by up to a fifth a month."""
    growth = (1 + r.uniform(0.05, 0.2)) ** (np.arange(HOURS) / 720)
    return web(r) * growth


def spot(r: Generator) -> F64:
    """A fixed fleet at a price that moves a few times a day."""
    moves = np.where(r.random(HOURS) < r.uniform(0.05, 0.3), r.normal(0, 0.02, HOURS), 0.0)
    return np.exp(np.clip(np.cumsum(moves) - 0.02 * np.cumsum(moves) / 10, -0.5, 0.5))


KNOWN = {
    steady: 0.20,
    web: 0.25,
    nightly: 0.15,
    office: 0.10,
    gpu: 0.10,
    serverless: 0.10,
    storage: 0.10,
}
OTHER = {
    gpu_partial: 0.10,
    campaign: 0.08,
    sparse: 0.08,
    autoscaled: 0.16,
    tokens: 0.14,
    weekly: 0.06,
    overflow: 0.08,
    month_end: 0.10,
    growing: 0.10,
    spot: 0.10,
}
SMOOTH = frozenset({"steady", "web", "storage", "autoscaled", "month_end", "growing", "spot"})
OFF_WITHOUT_ROWS = frozenset(
    {
        "office",
        "gpu",
        "gpu_partial",
        "campaign",
        "sparse",
        "weekly",
        "training",
        "notebooks",
        "scheduled",
    }
)


def series(r: Generator, families: dict) -> Series:
    """One series of a random family."""
    build = list(families)[r.choice(len(families), p=list(families.values()))]
    family = build.__name__
    scale = np.exp(r.uniform(np.log(0.05), np.log(500)))
    growth = (1 + r.normal(0.005, 0.015)) ** (np.arange(HOURS) / 720)
    x = scale * build(r) * growth
    if family in {"web", "office", "growing", "autoscaled"} and r.random() < 0.5:
        holiday = r.integers(36, DAYS - 5)
        x[holiday * 24 : (holiday + 1) * 24] *= 0.5
    added, fault = np.zeros(HOURS), None
    if r.random() < 0.5:
        fault, added = inject(r, x, FAULT_WINDOW)
    final = x + added
    seen = final.copy()
    if r.random() < 0.3:
        late = r.random(HOURS) < 0.1
        seen[late] *= 1 - r.uniform(0, 0.3, late.sum())
    present = r.random(HOURS) >= 0.005
    if family in OFF_WITHOUT_ROWS and r.random() < 0.5:
        present &= final > 0
    return Series(family, np.round(final, 6), np.round(seen, 6), present, fault, added)


def build(count: int, seed: int, families: dict) -> list[Series]:
    """`count` series of one seed."""
    r = np.random.default_rng(seed)
    return [series(r, families) for _ in range(count)]
