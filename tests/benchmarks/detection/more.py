"""Families that were held out once and have been looked at since; no constant was set on them.

Built and judged as those of `families`.
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


def etl_varying(r: Generator) -> F64:
    """A nightly load whose length follows the data; a skipped night is made up for."""
    x = np.zeros(HOURS)
    begin, hours, spread = r.integers(0, 24), r.uniform(1.5, 7), r.uniform(0.1, 0.4)
    owed = 0.0
    for day in range(DAYS):
        owed += hours * r.lognormal(0, spread)
        if r.random() < 0.03:
            continue
        at = day * 24 + begin
        whole = int(owed)
        x[at : at + whole] = 1.0
        if at + whole < HOURS:
            x[at + whole] += owed - whole
        owed = 0.0
    return x


def training(r: Generator) -> F64:
    """Jobs on one to eight GPUs, several at once, most begun by day, billed by the second."""
    x = np.zeros(HOURS)
    rate = r.uniform(0.5, 3) / 24 * np.where((HOUR >= 9) & (HOUR < 20), 2.0, 0.4)
    for hour in np.nonzero(r.random(HOURS) < rate * np.where(WEEKEND, 0.3, 1.0))[0]:
        gpus, length = r.choice([1, 2, 4, 8], p=[0.5, 0.25, 0.15, 0.1]), r.lognormal(1.5, 1.1)
        first = 1 - r.random()
        x[hour] += gpus * min(first, length)
        whole = int(max(length - first, 0))
        x[hour + 1 : hour + 1 + whole] += gpus
    return x


def agents(r: Generator) -> F64:
    """Model calls of agents: batches of Pareto size in working hours over a thin trickle."""
    rate = r.uniform(0.5, 6) * np.where((HOUR >= 8) & (HOUR < 19), 1.0, 0.15)
    batches = r.poisson(rate * np.where(WEEKEND, 0.25, 1.0))
    shape = r.uniform(1.8, 3.5)
    x = np.array([np.sum(r.pareto(shape, n) + 1) for n in batches])
    return x + 0.05 * np.exp(r.normal(0, 0.3, HOURS))


def notebooks(r: Generator) -> F64:
    """GPU notebooks that are opened for minutes or hours, and culled when idle."""
    x = np.zeros(HOURS)
    people = r.integers(1, 6)
    for _ in range(people):
        for day in range(DAYS):
            if (day + 6) % 7 >= 5 and r.random() > 0.08:
                continue
            if r.random() > 0.7:
                continue
            at = day * 24 + r.normal(11, 2)
            end = at + r.lognormal(1, 0.7)
            for hour in range(int(at), min(HOURS, int(end) + 1)):
                x[hour] += max(0.0, min(end, hour + 1) - max(at, hour))
    return x


def marketing(r: Generator) -> F64:
    """A site whose campaigns start high and fade over days."""
    x = daily(r, r.uniform(0.3, 0.6)) * np.exp(noise(r, 0.6, r.uniform(0.03, 0.12)))
    extra = np.zeros(HOURS)
    for at in np.nonzero(r.random(HOURS) < 1 / (24 * r.uniform(7, 20)))[0]:
        extra[at:] += r.uniform(0.3, 1.5) * np.exp(-np.arange(HOURS - at) / r.uniform(12, 72))
    return x * (1 + extra)


def scaled_growth(r: Generator) -> F64:
    """Whole machines under a load that grows by one to four percent a week."""
    load = r.uniform(4, 30) * (1 + r.uniform(0.01, 0.04)) ** (np.arange(HOURS) / 168)
    load *= daily(r, r.uniform(0.2, 0.6)) * np.where(WEEKEND, r.uniform(0.5, 1.0), 1.0)
    return np.maximum(2, np.ceil(load * np.exp(noise(r, 0.6, r.uniform(0.02, 0.1)))))


def ci_runners(r: Generator) -> F64:
    """Build minutes: pushes in working hours, each some minutes on some runners; nightly builds."""
    rate = r.uniform(1, 15) * np.where((HOUR >= 8) & (HOUR < 19), 1.0, 0.05)
    pushes = r.poisson(rate * np.where(WEEKEND, 0.1, 1.0))
    x = np.array([np.sum(r.lognormal(2, 0.8, n)) for n in pushes]) / 60
    x[r.integers(0, 5) == HOUR] += r.uniform(0.5, 3)
    return x


def staircase(r: Generator) -> F64:
    """Volumes that are enlarged by a few percent now and then, and never shrunk."""
    steps = np.where(
        r.random(HOURS) < 1 / (24 * r.uniform(8, 30)), r.uniform(0.01, 0.06, HOURS), 0.0
    )
    return np.exp(np.cumsum(steps)) * np.exp(r.normal(0, 0.001, HOURS))


def quarterly(r: Generator) -> F64:
    """A warehouse with a daily load, month closes, and a heavier close each third month."""
    x = daily(r, 0.3) * np.exp(noise(r, 0.4, r.uniform(0.02, 0.08)))
    first, month, heavy = r.integers(0, 30), r.uniform(1.1, 1.4), r.uniform(1.5, 2.2)
    for close in range(3 + 1):
        at = int(first + 30 * close)
        x[(at <= DAY) & (at + 2 > DAY)] *= heavy if close == 1 else month
    return x


def spot_interrupted(r: Generator) -> F64:
    """Spot machines: the price jumps and returns, and at times they are taken away for hours."""
    pull, size = r.uniform(0.01, 0.05), r.uniform(0.01, 0.04)
    price = noise(r, 1 - pull, size / np.sqrt(2 * pull))
    x = np.exp(np.round(price, 2))
    for at, hours in runs(r, 4, r.uniform(120, 480), 0.8):
        x[at : at + hours] *= r.uniform(0, 0.6)
    return x


def database(r: Generator) -> F64:
    """A provisioned database: flat, I/O by day, a backup each night, a vacuum once a week."""
    x = 1 + r.uniform(0, 0.15) * np.maximum(0, daily(r, 1) - 1)
    x += np.where(r.integers(0, 24) == HOUR, r.uniform(0.05, 0.4), 0.0)
    weekly = (r.integers(0, 7) == DAY % 7) & (r.integers(0, 24) == HOUR)
    return (x + np.where(weekly, r.uniform(0.1, 0.6), 0.0)) * np.exp(
        r.normal(0, r.uniform(0.003, 0.02), HOURS)
    )


def matches(r: Generator) -> F64:
    """Traffic of a broadcaster: evenings, and some matches a week, half of them on other days."""
    x = daily(r, r.uniform(0.4, 0.8)) * np.exp(noise(r, 0.5, r.uniform(0.03, 0.1)))
    weekdays, begin = r.choice(7, 2, replace=False), r.integers(12, 21)
    for day in range(DAYS):
        if day % 7 in weekdays or r.random() < 0.12:
            at = day * 24 + begin
            x[at : at + 3] *= r.uniform(1.5, 4)
    return x


def scheduled(r: Generator) -> F64:
    """Test machines that a scheduler starts and stops on working days, to the minute."""
    begin, end = r.integers(6, 10), r.integers(16, 22)
    x = np.where((begin <= HOUR) & (end > HOUR) & ~WEEKEND, 1.0, 0.0)
    machines = np.cumsum(np.where(r.random(DAYS) < 0.04, r.choice([-1, 1], DAYS), 0)) + 12
    return x * np.maximum(machines, 3)[DAY] * np.exp(r.normal(0, 0.002, HOURS))


MORE = {
    etl_varying: 0.10,
    training: 0.08,
    agents: 0.08,
    notebooks: 0.08,
    marketing: 0.06,
    scaled_growth: 0.10,
    ci_runners: 0.08,
    staircase: 0.08,
    quarterly: 0.04,
    spot_interrupted: 0.08,
    database: 0.10,
    matches: 0.06,
    scheduled: 0.06,
}
