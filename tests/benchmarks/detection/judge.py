"""Judges findings: recall and delay of faults, and false findings per resource-month.

A fault is found by a finding that was raised after it began and at the latest an hour after its end
(four for a spike), and whose stretch begins no more than 6 h before it, in the direction of the
fault. Every other finding outside of start to end + 48 h is false, whatever its detector, but one
within 24 h of a false one counts with it. The first 35 days are counted on their own, from day 3.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from tests.benchmarks.detection.faults import KINDS

BURN = 35 * 24
YOUNG = 3 * 24
MONTH = 720.0
DOWN = {"drop", "gone"}


class Tally(NamedTuple):
    """False findings, the hours they could be in, and delays per fault kind, None if missed."""

    false: int
    hours: float
    young_false: int
    young_hours: float
    first_days: int
    delays: dict
    spent: dict

    @property
    def rate(self) -> float:
        return MONTH * self.false / max(self.hours, 1.0)

    @property
    def young_rate(self) -> float:
        return MONTH * self.young_false / max(self.young_hours, 1.0)


def one(series, found) -> Tally:
    """The tally of one series, its findings in order of arrival."""
    hours = len(series.final)
    excused = np.zeros(hours, bool) if series.excused is None else series.excused.copy()
    delays, spent = defaultdict(list), defaultdict(list)
    if series.fault:
        kind, begin, end, _ = series.fault
        latest = end + (4 if kind == "spike" else 1)
        fits = [f for f in found if (f.detector in DOWN) == (kind in DOWN)]
        hits = [f.arrived for f in fits if begin < f.arrived <= latest and f.since >= begin - 6]
        delays[kind].append(hits[0] - begin if hits else None)
        until = hits[0] if hits else end
        spent[kind].append(series.added[begin:until].sum() / series.added[begin:end].sum())
        excused[begin : end + 48] = True
    false = young = first = 0
    last = -np.inf
    for f in found:
        if f.arrived > hours + 1 or excused[min(f.arrived, hours) - 1] or f.arrived - last < 24:
            continue
        last = f.arrived
        if f.arrived >= BURN:
            false += 1
        elif f.arrived >= YOUNG:
            young += 1
        else:
            first += 1
    judged, young_judged = (~excused[BURN:]).sum(), (~excused[YOUNG:BURN]).sum()
    return Tally(false, int(judged), young, int(young_judged), first, delays, spent)


def add(tallies) -> Tally:
    """The sum of tallies."""
    delays, spent = defaultdict(list), defaultdict(list)
    for tally in tallies:
        for kind, some in tally.delays.items():
            delays[kind] += some
        for kind, some in tally.spent.items():
            spent[kind] += some
    numbers = [sum(t[i] for t in tallies) for i in range(5)]
    return Tally(*numbers, delays, spent)


def each(series, found) -> list[Tally]:
    """The tally of each series."""
    by_row = defaultdict(list)
    for f in sorted(found, key=lambda f: f.arrived):
        by_row[f.row].append(f)
    return [one(own, by_row[row]) for row, own in enumerate(series)]


def judge(series, found, kinds=None) -> dict[str, Tally]:
    """Tallies by family, and of `all`; upward detectors only unless `kinds` says otherwise."""
    some = [f for f in found if (f.detector in kinds if kinds else f.detector not in DOWN)]
    families = defaultdict(list)
    for own, tally in zip(series, each(series, some), strict=True):
        families[own.family].append(tally)
    tallies = {family: add(some) for family, some in sorted(families.items())}
    return {**tallies, "all": add(list(tallies.values()))}


def interval(tallies, draws=1000) -> tuple[float, float]:
    """90 % interval of the false rate: series are drawn again, for one has many false or none.

    Without a single false finding, the upper end is that of a Poisson rate.
    """
    false = np.array([t.false for t in tallies])
    hours = np.array([t.hours for t in tallies])
    if not false.any():
        return 0.0, MONTH * -np.log(0.05) / max(hours.sum(), 1.0)
    drawn = np.random.default_rng(0).integers(0, len(false), (draws, len(false)))
    rates = MONTH * false[drawn].sum(1) / np.maximum(hours[drawn].sum(1), 1.0)
    low, high = np.percentile(rates, [5, 95])
    return float(low), float(high)


def table(tallies) -> str:
    """The tallies as lines for a person."""
    meaning = "   recall (n), median and p90 delay in h, share spent before: " + ", ".join(KINDS)
    lines = [f"{'family':12} {'false/mo':>8} {'day 3-35':>8} {'day 0-3':>7}{meaning}"]
    for family, t in tallies.items():
        line = f"{family:12} {t.rate:8.3f} {t.young_rate:8.3f} {t.first_days:7d} "
        for kind in KINDS:
            delays = t.delays[kind]
            hit = [d for d in delays if d is not None]
            median, late = np.percentile(hit, [50, 90]) if hit else (np.nan, np.nan)
            share = len(hit) / len(delays) if delays else np.nan
            spent = np.mean(t.spent[kind]) if delays else np.nan
            line += f"  {share:5.3f} ({len(delays)}) {median:.0f} {late:.0f} {spent:.2f}"
        lines.append(line)
    return "\n".join(lines)
