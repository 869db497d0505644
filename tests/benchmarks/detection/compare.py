"""Our default detectors beside peers: over the same series, under the same policy and judge.

A peer's threshold is the lowest with which it raised no more than the asked rate of false findings
on calibration seeds of the very same families. Ours have their default config and see no
calibration.
"""

from collections import defaultdict
from functools import cache
from typing import NamedTuple

import numpy as np

from tests.benchmarks.detection import drive, families, judge, peers, plan
from tests.benchmarks.detection.faults import KINDS
from tests.benchmarks.detection.page import table

OURS = "**Spendwatch**"
HEAD = ("detector", "resource-months", "false per resource-month (90 %)", *KINDS)


class Row(NamedTuple):
    """What one detector did on some series, and a word about it."""

    name: str
    tallies: list
    note: str = ""


@cache
def series(name: str, count: int, seed: int):
    return families.build(count, seed, plan.SETS[name])


@cache
def ours(name: str, count: int, seed: int) -> drive.Run:
    """What our detectors said of a set of series."""
    return drive.run(series(name, count, seed))


@cache
def calibration(name: str, count: int, peer: str, direction="more") -> peers.Heard:
    """What a peer says of calibration series."""
    return peers.hear(peer, series(name, count, plan.CALIBRATION[name]), direction)


def peer_row(name: str, peer: str, size: plan.Size) -> Row:
    """A peer at the threshold that calibration set."""
    slow = peers.PEERS[peer].slow
    count, judged = (size.slow, size.slow) if slow else (size.calibration, size.judged)
    calibrated = calibration(name, count, peer)
    known = series(name, count, plan.CALIBRATION[name])
    level = peers.threshold(calibrated, known, plan.ASKED)
    some = series(name, size.judged, plan.UNSEEN[name])[:judged]
    found = peers.findings(peers.hear(peer, some), level)
    note = " (saturated)" if peers.is_saturated(calibrated, level) else ""
    return Row(peer, judge.each(some, found), note)


def rows(name: str, size: plan.Size) -> list[Row]:
    """Ours, ours by smooth and bursty families, and every peer."""
    some = series(name, size.judged, plan.UNSEEN[name])
    tallies = judge.each(some, drive.findings(ours(name, size.judged, plan.UNSEEN[name])))
    beside = [peer_row(name, peer, size) for peer in peers.able(slow=size.slow > 0)]
    return split(some, tallies) + beside


def split(some, tallies) -> list[Row]:
    """Ours on all series and, where there are both, on smooth and on bursty ones."""
    smooth = [own.family in families.SMOOTH for own in some]
    parts = [Row(OURS, tallies)]
    if any(smooth) and not all(smooth):
        pairs = list(zip(tallies, smooth, strict=True))
        parts.append(Row("- on smooth series", [tally for tally, is_smooth in pairs if is_smooth]))
        parts.append(
            Row("- on bursty series", [tally for tally, is_smooth in pairs if not is_smooth])
        )
    return parts


def found_of(tally, kind) -> str:
    """Recall, median and p90 delay, and the share of money spent before."""
    delays = tally.delays[kind]
    hit = [delay for delay in delays if delay is not None]
    if not delays:
        return "-"
    if not hit:
        return f"0.00 of {len(delays)}"
    middle, late = np.percentile(hit, [50, 90])
    recall, spent = len(hit) / len(delays), 100 * np.mean(tally.spent[kind])
    return f"{recall:.2f} of {len(delays)}; {middle:.0f}, {late:.0f} h; {spent:.0f} %"


def line(row: Row, kinds=KINDS) -> tuple:
    """A row as the table has it."""
    tally = judge.add(row.tallies)
    low, high = judge.interval(row.tallies)
    return (
        row.name + row.note,
        f"{tally.hours / judge.MONTH:.0f}",
        f"{tally.rate:.3f} ({low:.3f} to {high:.3f})",
        *(found_of(tally, kind) for kind in kinds),
    )


def losses(rows: list[Row], kinds=KINDS) -> str:
    """Say in what a peer that keeps to twice the asked rate beats ours, which comes first."""
    ours, beaten = judge.add(rows[0].tallies), defaultdict(list)
    for row in rows:
        if row.name not in peers.PEERS:
            continue
        tally = judge.add(row.tallies)
        if tally.rate > 2 * plan.ASKED or not any(recall(tally, kind) for kind in kinds):
            continue
        if tally.rate < ours.rate:
            beaten["fewer false findings"].append(row.name)
        for kind in kinds:
            if recall(tally, kind) > recall(ours, kind):
                beaten[f"more faults of kind {kind}"].append(row.name)
            elif delay(tally, kind) < delay(ours, kind):
                share = f"{row.name} (finds {100 * recall(tally, kind):.0f} %)"
                beaten[f"sooner in the median of kind {kind}"].append(share)
    lines = [f"{what}: {', '.join(names)}" for what, names in beaten.items()]
    return f"Where a peer beats ours: {'; '.join(lines) or 'nowhere'}."


def recall(tally, kind) -> float:
    delays = tally.delays[kind]
    return sum(delay is not None for delay in delays) / max(len(delays), 1)


def delay(tally, kind) -> float:
    hit = [delay for delay in tally.delays[kind] if delay is not None]
    return float(np.median(hit)) if hit else np.inf


def alone(size: plan.Size) -> str:
    """Ours without peers, which are slow, on twice as many series."""
    parts = []
    for name in plan.QUICK_SETS if size is plan.QUICK else plan.SETS:
        some = series(name, 2 * size.judged, plan.UNSEEN[name])
        tallies = judge.each(some, drive.findings(ours(name, 2 * size.judged, plan.UNSEEN[name])))
        parts += [(name, *line(row)) for row in split(some, tallies)]
    return table(("families", *HEAD), parts)


def section(size: plan.Size) -> str:
    parts = []
    for name in plan.QUICK_SETS if size is plan.QUICK else plan.SETS:
        some = rows(name, size)
        parts.append(
            f"Families `{name}`, seed {plan.UNSEEN[name]}; peers calibrated on seed "
            f"{plan.CALIBRATION[name]}.\n\n{table(HEAD, [line(row) for row in some])}\n\n"
            f"{losses(some)}"
        )
    return "\n\n".join(parts)
