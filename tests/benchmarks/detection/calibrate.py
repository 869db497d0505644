"""Works out the constants of `detectors.calibration` and prints them.

    python -m tests.benchmarks.detection.calibrate 700 201,202,203

Known and other families in equal parts, on seeds that nothing else was tuned on; never more nor
unseen ones. A detector's false findings are counted on its own at a fine ladder of thresholds.
"""

import argparse
from unittest.mock import patch

import numpy as np

from detectors.calibration import RATES, SURPRISES
from detectors.registry import DETECTORS
from tests.benchmarks.detection import drive, families, judge

LADDER = np.arange(2.0, 9.0, 0.1)
ENOUGH = 8  # false findings, below which a rate is not trusted
BASE = 12  # thresholds that the line is laid through


def tallies(pairs, name):
    """What one detector says falsely at each threshold of the ladder."""
    found = []
    for threshold in LADDER:
        parts = []
        for series, run in pairs:
            found_alone = drive.findings(run._replace(odd={name: run.odd[name]}), {name: threshold})
            parts += judge.each(series, found_alone)
        found.append(judge.add(parts))
        if found[-1].false < ENOUGH:
            return found[:-1]
    return found


def surprises(found):
    """The thresholds at the rates that are asked for; beyond what was counted, on a line."""
    steps = LADDER[: len(found)]
    falling = np.minimum.accumulate(np.log10([tally.rate for tally in found]))
    wanted = np.log10(RATES)
    slope, base = np.polyfit(falling[-BASE:], steps[-BASE:], 1)
    inside = np.interp(-wanted, -falling, steps)
    return np.where(wanted < falling[-1], slope * wanted + base, inside)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=int, help="of each seed and each set of families")
    parser.add_argument("seeds", help="separated by commas")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    pairs = []
    with patch.dict(SURPRISES, clear=True):  # what kernels say, whatever it was worth
        for seed in seeds:
            for some in (families.KNOWN, families.OTHER):
                series = families.build(given.series, seed, some)
                pairs.append((series, drive.run(series)))
    for name in DETECTORS:
        print(f'    "{name}": ({", ".join(f"{s:.2f}" for s in surprises(tallies(pairs, name)))}),')


if __name__ == "__main__":
    main()
