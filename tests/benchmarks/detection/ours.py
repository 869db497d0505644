"""Runs the default detectors over invented series and prints what they found and missed.

    python -m tests.benchmarks.detection.ours 600 101 known
    python -m tests.benchmarks.detection.ours 600 101 other --tolerated 300

For design: the seeds that figures are published with are in `plan`.
"""

import argparse

from detectors.registry import DETECTORS
from tests.benchmarks.detection import drive, families, judge
from tests.benchmarks.detection.plan import SETS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("series", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("families", choices=SETS)
    parser.add_argument("--tolerated", type=float, default=100.0, help="per 1,000 resource-months")
    given = parser.parse_args()
    series = families.build(given.series, given.seed, SETS[given.families])
    ran = drive.run(series, tolerated=given.tolerated)
    found = drive.findings(ran)
    print(judge.table(judge.judge(series, found, set(DETECTORS))))
    for name in DETECTORS:
        alone = judge.judge(series, found, {name})["all"]
        print(f"{name}: {alone.rate:.3f} false per resource-month, {alone.young_rate:.3f} young")
    print(f"{ran.points} points in {ran.seconds:.1f} s with the driver")


if __name__ == "__main__":
    main()
