"""Events that people labelled in 24 hourly service metrics: how many are found at a given rate.

An event is a run of labelled hours. It is found when a finding is live in it, an hour before or an
hour after. A finding is a run of odd hours without 12 normal ones between; one that touches no
event is false. The first 5 days of each series are not judged. Both directions count.

Every threshold was fixed without these files: ours by the tolerated rate of the default config, a
peer's on the calibration seeds of the invented families.
"""

from typing import NamedTuple

import numpy as np

from tests.benchmarks.detection import carriers, drive, peers, plan, real
from tests.benchmarks.detection.compare import OURS
from tests.benchmarks.detection.page import table

RATES = 1, 2, 4
WARM = 5 * 24
QUIET = 12
MONTH = 720


class Told(NamedTuple):
    """Share of events found, false findings per series-month, share of other hours that are odd."""

    recall: float
    rate: float
    live: float


def events(labelled) -> list[tuple[int, int]]:
    """First and last hour of each run of labelled hours that begins after the warm-up."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], labelled, [False]]).astype(int)))
    runs = zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)
    return [(first, last) for first, last in runs if first >= WARM]


def stretches(odd) -> list[tuple[int, int]]:
    """First and last hour of each run of odd hours without QUIET normal ones between."""
    hours = np.flatnonzero(odd)
    if not len(hours):
        return []
    breaks = np.flatnonzero(np.diff(hours) > QUIET)
    firsts, lasts = np.append(0, breaks + 1), np.append(breaks, len(hours) - 1)
    return list(zip(hours[firsts].tolist(), hours[lasts].tolist(), strict=True))


def judged(odd) -> Told:
    """Hold odd hours, as (series, hours), against the labels."""
    hit = total = false = live = hours = 0
    for row, own in enumerate(real.microsoft()):
        said = odd[row, : len(own.labelled)]
        near = np.convolve(own.labelled, np.ones(3), "same") > 0
        some = events(own.labelled)
        total += len(some)
        hit += sum(said[max(0, first - 1) : last + 2].any() for first, last in some)
        false += sum(
            first >= WARM and not (said & near)[first : last + 1].any()
            for first, last in stretches(said)
        )
        live += (said & ~near)[WARM:].sum()
        hours += (~near)[WARM:].sum()
    return Told(hit / total, MONTH * false / hours, live / hours)


def odd_hours(size: plan.Size):
    """Each detector's name and its odd hours at each rate: ours, then the peers'."""
    series = real.as_series(real.microsoft())
    ran = drive.run(series)
    thresholds = [drive.default_thresholds(1000 * rate) for rate in RATES]
    yield OURS, [drive.excess(ran, series, some) >= 0 for some in thresholds]
    for name in peers.able(slow=size.slow > 0):
        scores = np.nan_to_num(peers.hear(name, series, "both").scores)
        levels = [carriers.threshold(name, size, rate, "both") for rate in RATES]
        yield name, [scores >= level for level in levels]


def section(size: plan.Size) -> str:
    head = ("detector", *(f"{rate}/month: recall; false; hours live" for rate in RATES))
    told = {name: [judged(odd) for odd in by_rate] for name, by_rate in odd_hours(size)}
    rows = [
        [name, *(f"{t.recall:.2f}; {t.rate:.2f}; {100 * t.live:.1f} %" for t in some)]
        for name, some in told.items()
    ]
    lost = [
        f"{name} at {rate}/month"
        for name, some in told.items()
        for rate, theirs, ours in zip(RATES, some, told[OURS], strict=True)
        if (round(theirs.recall, 2), -theirs.rate) > (round(ours.recall, 2), -ours.rate)
    ]
    count = sum(len(events(own.labelled)) for own in real.microsoft())
    months = sum(len(own.values) - WARM for own in real.microsoft()) / MONTH
    return (
        f"{table(head, rows)}\n\nWhat finds more events than ours, or as many with fewer false "
        f"findings: {'; '.join(lost) or 'nothing'}.\n\n"
        f"{count} events in {months:.1f} series-months of 24 series."
    )
