"""Measures false findings and recall at each value of the one knob, with their intervals.

    python -m tests.benchmarks.detection.frontier 600 301,302 known other
    python -m tests.benchmarks.detection.frontier 600 301,302 unseen

The intervals are of 95 percent: Poisson for false findings, Wilson's for recall. One run serves
all values: the knob moves thresholds only.
"""

import argparse

import numpy as np
from scipy import stats

from detectors.fleet import Fleet
from detectors.registry import DETECTORS
from tests.benchmarks.detection import drive, families, judge
from tests.benchmarks.detection.unseen import UNSEEN

ASKED = 30.0, 100.0, 300.0, 1000.0
DEFAULT = 100.0
FAMILIES = {"known": families.KNOWN, "other": families.OTHER, "unseen": UNSEEN}
SETTINGS = {name: {} for name in DETECTORS}


def poisson(count, hours):
    """Rate per resource-month and its interval."""
    months = max(hours, 1) / judge.MONTH
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return count / months, low / months, stats.chi2.ppf(0.975, 2 * count + 2) / 2 / months


def wilson(hits, tries):
    """A share and its interval."""
    if not tries:
        return np.nan, np.nan, np.nan
    interval = stats.binomtest(hits, tries).proportion_ci(method="wilson")
    return hits / tries, interval.low, interval.high


def ran(count, seeds, names):
    """Series and runs, one of each for every seed and set of families."""
    pairs = []
    for seed in seeds:
        for name in names:
            series = families.build(count, seed, FAMILIES[name])
            pairs.append((series, drive.run(series, SETTINGS)))
    return pairs


def tallies(pairs, tolerated, kinds=None):
    """Tallies by family at one value of the knob, over all runs."""
    fleet = Fleet(1, SETTINGS, tolerated)
    thresholds = {name: fleet.threshold(name) for name in SETTINGS}
    parts = {}
    for series, run in pairs:
        found = drive.findings(run._replace(thresholds=thresholds))
        for family, tally in judge.judge(series, found, kinds).items():
            parts.setdefault(family, []).append(tally)
    return {family: judge.add(some) for family, some in parts.items()}


def lines(pairs):
    """The frontier as lines for a person."""
    every = set(DETECTORS)
    yield f"{'asked':>5}  rise+fall (interval)   rise (interval)        day 3-35 (interval)"
    for tolerated in ASKED:
        both, rise = tallies(pairs, tolerated, every)["all"], tallies(pairs, tolerated)["all"]
        spans = [
            poisson(both.false, both.hours),
            poisson(rise.false, rise.hours),
            poisson(both.young_false, both.young_hours),
        ]
        text = "  ".join(f"{rate:.3f} ({low:.3f}-{high:.3f})" for rate, low, high in spans)
        recall = []
        for kind in judge.KINDS:
            delays = rise.delays[kind]
            hit = [d for d in delays if d is not None]
            share, low, high = wilson(len(hit), len(delays))
            middle, spent = np.median(hit) if hit else np.nan, np.mean(rise.spent[kind])
            recall.append(f"{kind} {share:.3f} ({low:.2f}-{high:.2f}) {middle:.0f} h {spent:.2f}")
        yield f"{tolerated / 1000:5.2f}  {text}  {'; '.join(recall)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=int, help="of each seed and each set of families")
    parser.add_argument("seeds", help="separated by commas")
    parser.add_argument("families", nargs="+", choices=FAMILIES)
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    pairs = ran(given.series, seeds, given.families)
    print(judge.table(tallies(pairs, DEFAULT)))
    for name in DETECTORS:
        alone = tallies(pairs, DEFAULT, {name})["all"]
        print(f"{name}: {alone.rate:.3f} false per resource-month, {alone.young_rate:.3f} young")
    print("\n".join(lines(pairs)))


if __name__ == "__main__":
    main()
