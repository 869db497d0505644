"""Families that no detector, constant or threshold was ever looked at with.

They are for the last run before figures are published, and for nothing else: whoever has tuned on
them must write others. Built and judged as those of `families`.
"""

import numpy as np

from tests.benchmarks.detection.families import (
    DAY,
    DAYS,
    F64,
    HOUR,
    HOURS,
    WEEKEND,
    Generator,
    daily,
    noise,
    runs,
)


def log_ingest(r: Generator) -> F64:
    """Log volume: follows traffic, with short storms of errors that belong to it."""
    x = daily(r, r.uniform(0.2, 0.5)) * np.exp(noise(r, 0.7, r.uniform(0.03, 0.1)))
    for at, hours in runs(r, 2, r.uniform(150, 400), 0.5):
        x[at : at + hours] *= r.uniform(1.1, 1.6)
    return x


def job_queue(r: Generator) -> F64:
    """A cluster that scales to zero: a fixed nightly part, and jobs of the day in whole nodes."""
    night, nodes = r.integers(0, 6), r.integers(4, 20)
    jobs = r.poisson(r.uniform(0.1, 0.5) * np.where((HOUR >= 8) & (HOUR < 20) & ~WEEKEND, 1.0, 0.1))
    x = np.where((night <= HOUR) & (night + 3 > HOUR), float(nodes), 0.0)
    return x + np.convolve(jobs * r.integers(1, 5, HOURS), np.ones(2))[:HOURS]


def game_servers(r: Generator) -> F64:
    """Evenings and weekends, slowly losing players; a patch every other week draws some back."""
    x = daily(r, r.uniform(0.4, 0.8)) * np.where(WEEKEND, r.uniform(1.1, 1.5), 1.0)
    x *= (1 - r.uniform(0, 0.03)) ** (np.arange(HOURS) / 168)
    first, lift = r.integers(0, 14), r.uniform(0.05, 0.2)
    since = (np.arange(HOURS) - 24 * first) % (14 * 24)
    return x * (1 + lift * np.exp(-since / 60)) * np.exp(noise(r, 0.6, r.uniform(0.02, 0.06)))


def inference_fleet(r: Generator) -> F64:
    """Whole GPUs under a daily load, added at once and taken away late."""
    load = r.uniform(2, 16) * daily(r, r.uniform(0.2, 0.7)) * np.exp(noise(r, 0.8, 0.08))
    x, now = np.empty(HOURS), 1.0
    for hour in range(HOURS):
        wanted = np.ceil(load[hour])
        now = wanted if wanted > now or wanted < now - 1 else now
        x[hour] = now
    return x


def holidays_taken(r: Generator) -> F64:
    """Machines of a small team on working days; each person is away for a week now and then."""
    x = np.zeros(HOURS)
    for _ in range(r.integers(3, 10)):
        away = np.zeros(DAYS, bool)
        for at in np.nonzero(r.random(DAYS) < 1 / 60)[0]:
            away[at : at + 7] = True
        begin, end = r.integers(7, 11), r.integers(16, 20)
        x += np.where((begin <= HOUR) & (end > HOUR) & ~WEEKEND & ~away[DAY], 1.0, 0.0)
    return x


def crons(r: Generator) -> F64:
    """A function every few minutes: nearly constant, with retries."""
    x = 1 + r.binomial(12, r.uniform(0.005, 0.05), HOURS) * r.uniform(0.02, 0.2)
    return x * np.exp(r.normal(0, 0.003, HOURS))


def snapshots_kept(r: Generator) -> F64:
    """Backups: each day adds, what is older than some weeks expires."""
    sizes = r.lognormal(0, r.uniform(0.05, 0.4), DAYS + 40)
    kept = int(r.integers(7, 35))
    held = np.convolve(sizes, np.ones(kept))[40 : 40 + DAYS]
    return held[DAY] * np.exp(r.normal(0, 0.001, HOURS))


def warehouse(r: Generator) -> F64:
    """Queries of analysts: heavy hours on working days, next to nothing else."""
    rate = np.where((HOUR >= 8) & (HOUR < 18) & ~WEEKEND, 1.0, r.uniform(0.02, 0.15))
    return rate * r.lognormal(0, r.uniform(0.2, 0.6), HOURS)


def telemetry(r: Generator) -> F64:
    """Devices in the field: steady growth, and hours for which nothing was sent."""
    x = (1 + r.uniform(0.002, 0.02)) ** (np.arange(HOURS) / 168) * daily(r, r.uniform(0, 0.2))
    x[r.random(HOURS) < 0.002] = 0.0
    return x * np.exp(noise(r, 0.5, r.uniform(0.005, 0.03)))


def long_training(r: Generator) -> F64:
    """One node that trains for days at a fixed price, then waits for days."""
    x = np.zeros(HOURS)
    for at, hours in runs(r, r.uniform(40, 120), r.uniform(24, 100), 0.6):
        x[at : at + hours] = 1.0
    return x * 8


def egress(r: Generator) -> F64:
    """Data sent out: heavy-tailed transfers over a daily base."""
    x = daily(r, r.uniform(0.1, 0.5)) * np.exp(noise(r, 0.3, r.uniform(0.05, 0.2)))
    return x + r.uniform(0.02, 0.1) * (r.pareto(r.uniform(2, 4), HOURS) + 1)


def two_sites(r: Generator) -> F64:
    """A service of two continents: two waves a day, weekends a little less."""
    x = daily(r, r.uniform(0.2, 0.5)) + r.uniform(0.3, 1) * daily(r, r.uniform(0.2, 0.5))
    return (
        x * np.where(WEEKEND, r.uniform(0.7, 1), 1) * np.exp(noise(r, 0.8, r.uniform(0.01, 0.08)))
    )


UNSEEN = {
    log_ingest: 0.08,
    job_queue: 0.08,
    game_servers: 0.08,
    inference_fleet: 0.10,
    holidays_taken: 0.08,
    crons: 0.10,
    snapshots_kept: 0.08,
    warehouse: 0.08,
    telemetry: 0.10,
    long_training: 0.06,
    egress: 0.08,
    two_sites: 0.08,
}
