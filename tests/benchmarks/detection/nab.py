"""A score like NAB's on its 13 labelled series at hourly grain.

The scoring function of NAB (A. Lavin and S. Ahmad, *Evaluating Real-Time Anomaly Detection
Algorithms: the Numenta Anomaly Benchmark*, ICMLA 2015): in each labelled window the first detection
earns a sigmoid of how early it is, a missed window and each detection outside cost; 0 is for saying
nothing, 100 for all windows at their first hour and nothing else. The first 15 % are not scored. A
detection is an odd hour after 24 normal ones. Leave one group out: the threshold for each of the
three groups of files is the best for the other two.
"""

from typing import NamedTuple

import numpy as np

from tests.benchmarks.detection import carriers, drive, peers, plan, real
from tests.benchmarks.detection.compare import OURS
from tests.benchmarks.detection.page import table

PROBATION = 0.15
QUIET = 24
LEVELS = 60  # thresholds that are tried


class Profile(NamedTuple):
    """What a detection outside of every window and a missed window cost."""

    false: float
    missed: float


PROFILES = {
    "standard": Profile(0.11, 1.0),
    "low false": Profile(0.22, 1.0),
    "low missed": Profile(0.11, 2.0),
}


def sigmoid(position):
    """What a detection is worth by its place: -1 at a window's first hour, 0 at its last."""
    return -1.0 if position > 3 else 2 / (1 + np.exp(5 * position)) - 1


def windows(labelled) -> list[tuple[int, int]]:
    """First and last hour of each labelled window."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labelled, [False]]).astype(int)))
    return list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


def raised(odd):
    """Odd hours after QUIET normal ones."""
    hours = np.flatnonzero(odd)
    return hours[np.diff(hours, prepend=-QUIET - 1) > QUIET].tolist()


def points(hours, labelled, profile) -> float:
    """What detections at `hours` of one series earn, a missed window costing."""
    total, first_scored = 0.0, int(PROBATION * len(labelled))
    some = windows(labelled)
    met = set()
    for hour in hours:
        if hour < first_scored:
            continue
        inside = next((w for w in some if w[0] <= hour <= w[1]), None)
        if inside is None:
            before = [w for w in some if w[1] < hour]
            worth = -1.0
            if before:
                first, last = before[-1]
                worth = sigmoid((hour - last) / max(last - first, 1))
            total += profile.false * worth
        elif inside not in met:
            met.add(inside)
            first, last = inside
            total += sigmoid(-(last - hour + 1) / (last - first + 1)) / sigmoid(-1.0)
    return total - profile.missed * (len(scored_windows(labelled)) - len(met))


def scored_windows(labelled):
    """The windows that can still be met after the probation."""
    return [w for w in windows(labelled) if w[1] >= int(PROBATION * len(labelled))]


def score(scores, rows, level, profile) -> float:
    """The normalised score of some series at one threshold."""
    own = real.nab()
    earned = perfect = null = 0.0
    for row in rows:
        labelled = own[row].labelled
        count = len(scored_windows(labelled))
        earned += points(raised(scores[row, : len(labelled)] >= level), labelled, profile)
        perfect += count
        null -= profile.missed * count
    return 100 * (earned - null) / (perfect - null)


def left_out(scores, profile) -> float:
    """The score with each group at the threshold that is best for the others."""
    groups = [own.name.split("/")[0] for own in real.nab()]
    known = np.sort(scores[np.isfinite(scores)])
    levels = np.unique(known[-np.geomspace(1, len(known), LEVELS).astype(int)])
    total = weight = 0.0
    for group in dict.fromkeys(groups):
        rows = [row for row, name in enumerate(groups) if name == group]
        others = [row for row, name in enumerate(groups) if name != group]
        best = max(levels, key=lambda level: score(scores, others, level, profile))
        count = sum(len(scored_windows(real.nab()[row].labelled)) for row in rows)
        total += count * score(scores, rows, best, profile)
        weight += count
    return total / weight


def detectors(size: plan.Size):
    """Each detector's name, its scores by hour, and its threshold fixed beforehand."""
    series = real.as_series(real.nab())
    ran = drive.run(series)
    yield OURS, drive.excess(ran, series), 0.0
    for name in peers.able(slow=size.slow > 0):
        heard = peers.hear(name, series, "both")
        scores = np.where(np.isnan(heard.scores), -np.inf, heard.scores)
        yield name, scores, carriers.threshold(name, size, plan.ASKED, "both")


def section(size: plan.Size) -> str:
    head = ["detector", *(f"{name}, leave one group out" for name in PROFILES)]
    head += [f"standard, fixed for {plan.ASKED}/month"]
    every = range(len(real.nab()))
    told = {}
    for name, scores, level in detectors(size):
        told[name] = [left_out(scores, profile) for profile in PROFILES.values()]
        told[name].append(score(scores, every, level, PROFILES["standard"]))
    rows = [[name, *(f"{number:.1f}" for number in row)] for name, row in told.items()]
    lost = [
        f"{name} ({column})"
        for name, row in told.items()
        for column, theirs, ours in zip(head[1:], row, told[OURS], strict=True)
        if theirs > ours
    ]
    hours = sum(len(own.values) for own in real.nab())
    count = sum(len(scored_windows(own.labelled)) for own in real.nab())
    return (
        f"{table(head, rows)}\n\nWhat scores higher than ours: {'; '.join(lost) or 'nothing'}."
        f"\n\n13 series in 3 groups, {hours} hours, {count} windows."
    )
