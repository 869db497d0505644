"""Does the knob say the truth: measured against tolerated false findings, warm and cold."""

from detectors.registry import DETECTORS
from tests.benchmarks.detection import drive, judge, plan
from tests.benchmarks.detection.compare import ours, series
from tests.benchmarks.detection.page import table

TOLERATED = 30, 100, 300, 1000  # per 1,000 resource-months
HEAD = (
    "families",
    "tolerated",
    "measured from day 35 (90 %)",
    "measured / tolerated",
    "days 3 to 35",
    "days 0 to 3, findings",
)
WHERE = "families", "family", "false per resource-month at 0.10", "share of its set's"


def rows(name: str, size: plan.Size):
    seed = plan.UNSEEN[name]
    some, ran = series(name, size.judged, seed), ours(name, size.judged, seed)
    for tolerated in TOLERATED:
        found = drive.findings(ran, drive.default_thresholds(tolerated))
        tallies = judge.each(some, found)
        tally, (low, high) = judge.add(tallies), judge.interval(tallies)
        yield (
            name,
            f"{tolerated / 1000:.2f}",
            f"{tally.rate:.3f} ({low:.3f} to {high:.3f})",
            f"{1000 * tally.rate / tolerated:.2f}",
            f"{tally.young_rate:.3f}",
            tally.first_days,
        )


def where(name: str, size: plan.Size):
    """The families that most false findings of a set are in, down to four fifths of them."""
    seed = plan.UNSEEN[name]
    found = drive.findings(ours(name, size.judged, seed))
    tallies = judge.judge(series(name, size.judged, seed), found, set(DETECTORS))
    every = tallies.pop("all").false
    told = 0
    for family, tally in sorted(tallies.items(), key=lambda own: -own[1].false):
        if told >= 0.8 * every:
            return
        told += tally.false
        yield name, family, f"{tally.rate:.3f}", f"{tally.false / every:.0%}"


def section(size: plan.Size) -> str:
    names = plan.QUICK_SETS if size is plan.QUICK else plan.SETS
    knob = table(HEAD, [row for name in names for row in rows(name, size)])
    return f"{knob}\n\n{table(WHERE, [row for name in names for row in where(name, size)])}"
