"""Invented faults in real series: what real spend does between faults is not invented.

Carriers are used from six weeks on. The pools of Helios have 31 days each: 120 days are put
together from stretches of 1 to 7 of their own days, each going on at the weekday where the one
before ended.
False findings are counted on the bare carriers, once, outside of what is labelled odd in them and
two days after; recall on copies with one fault each.
"""

from typing import NamedTuple

import numpy as np

from tests.benchmarks.detection import drive, judge, peers, plan, real
from tests.benchmarks.detection.compare import HEAD, OURS, Row, calibration, line, losses
from tests.benchmarks.detection.compare import series as invented
from tests.benchmarks.detection.families import Series
from tests.benchmarks.detection.faults import inject
from tests.benchmarks.detection.page import table

DAY, WEEK = 24, 168
LEAST = 6 * WEEK
DAYS = 120
SOURCES = "helios", "philly", "nab", "microsoft"


class Carriers(NamedTuple):
    """Bare carriers, copies with a fault each, and those that were too short."""

    bare: list[Series]
    faulty: list[Series]
    short: list[str]


def prolonged(r, cost, days=DAYS):
    """A longer series of real days in the order of weekdays."""
    own = cost[: len(cost) // DAY * DAY].reshape(-1, DAY)
    chosen: list[int] = []
    while len(chosen) < days:
        fits = np.arange(len(chosen) % 7, len(own), 7)
        begin = int(r.choice(fits))
        chosen += range(begin, min(len(own), begin + int(r.integers(1, 8))))
    return own[chosen[:days]].ravel()


def carrier(source, cost, labelled) -> Series:
    present = ~np.isnan(cost)
    known = np.nan_to_num(cost)
    after = np.convolve(labelled, np.ones(49))[: len(labelled)] > 0
    return Series(source, known, known, present, None, np.zeros(len(cost)), after)


def with_fault(r, own: Series) -> Series:
    window = 36 * DAY, min(106 * DAY, len(own.final) - 4 * DAY)
    fault, added = inject(r, own.final, window)
    cost = own.final + added
    return own._replace(final=cost, seen=cost, fault=fault, added=added, excused=None)


def build(draws: int, seed: int) -> Carriers:
    """All carriers; `draws` copies with a fault of each."""
    r = np.random.default_rng(seed)
    published = [("philly", real.philly())]
    published += [("nab", one) for one in real.nab()] + [
        ("microsoft", one) for one in real.microsoft()
    ]
    bare = [
        carrier(
            source, one.values * (real.gpu_price() * 8 if source == "philly" else 1), one.labelled
        )
        for source, one in published
        if len(one.values) >= LEAST
    ]
    short = [one.name for _, one in published if len(one.values) < LEAST]
    for pool in real.helios():
        cost = prolonged(r, np.nan_to_num(pool.values)) * real.gpu_price()
        bare.append(carrier("helios", cost, np.zeros(len(cost), bool)))
    faulty = [with_fault(r, own) for own in bare for _ in range(draws)]
    return Carriers(bare, faulty, short)


def tallied(carriers: Carriers, found) -> list:
    """False findings of the bare, delays of the faulty ones; `found` is of both, in this order."""
    count = len(carriers.bare)
    bare = judge.each(carriers.bare, [f for f in found if f.row < count])
    moved = [f._replace(row=f.row - count) for f in found if f.row >= count]
    faulty = judge.each(carriers.faulty, moved)
    return bare + [judge.Tally(0, 0, 0, 0, 0, tally.delays, tally.spent) for tally in faulty]


def threshold(name: str, size: plan.Size, asked: float, direction="more") -> float:
    """A peer's threshold from the calibration seeds of all families together."""
    count = size.slow if peers.PEERS[name].slow else size.calibration
    known = [invented(kind, count, plan.CALIBRATION[kind]) for kind in plan.SETS]
    said = [calibration(kind, count, name, direction).scores for kind in plan.SETS]
    heard = peers.Heard(name, np.concatenate(said), peers.PEERS[name].nightly)
    return peers.threshold(heard, [one for some in known for one in some], asked)


def section(size: plan.Size) -> str:
    carriers = build(size.draws, plan.CARRIERS)
    both = carriers.bare + carriers.faulty
    mine = tallied(carriers, drive.findings(drive.run(both)))
    rows = [Row(OURS, mine)]
    for source in SOURCES:
        own = [t for t, carrier in zip(mine, both, strict=True) if carrier.family == source]
        rows.append(Row(f"- on {source}", own))
    for name in peers.able(slow=False):
        level = threshold(name, size, plan.ASKED)
        found = peers.findings(peers.hear(name, both), level)
        rows.append(Row(name, tallied(carriers, found)))
    used = {source: sum(own.family == source for own in carriers.bare) for source in SOURCES}
    return (
        f"{table(HEAD, [line(row) for row in rows])}\n\n"
        f"{losses(rows)}\n\n"
        f"Carriers used: {', '.join(f'{count} of {name}' for name, count in used.items())}. "
        f"Too short, under six weeks: {len(carriers.short)} ({', '.join(carriers.short)}). "
        f"Seed {plan.CARRIERS}, {size.draws} copies with a fault of each carrier."
    )
