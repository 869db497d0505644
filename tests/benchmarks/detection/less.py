"""Spend that stops although it should not: all of it, or a part, for one to three weeks.

Half of the series get such a fault, the other half none. Half of what is gone has no rows any more,
the other half rows of 0. Peers are handed zeros for both: without a row they would say nothing.
"""

import numpy as np

from tests.benchmarks.detection import drive, families, judge, peers, plan
from tests.benchmarks.detection.compare import Row, line, losses, split
from tests.benchmarks.detection.faults import LESS, inject_less
from tests.benchmarks.detection.page import table

HEAD = ("detector", "resource-months", "false per resource-month (90 %)", *LESS)


def without_more(own: families.Series) -> families.Series:
    """The series as it would have been without its fault of more spend."""
    base = own.final - own.added
    share = np.divide(base, own.final, out=np.ones(len(base)), where=own.final > 0)
    return own._replace(final=base, seen=own.seen * share, fault=None, added=np.zeros(len(base)))


def with_less(r, own: families.Series) -> families.Series:
    """The series with less spend for a while; unchanged if it would have spent nothing then."""
    fault, left = inject_less(r, len(own.final), families.FAULT_WINDOW)
    if not own.final[fault.start : fault.end].any():
        return own
    present = own.present.copy()
    if fault.kind == "gone" and r.random() < 0.5:
        present[fault.start : fault.end] = False
    return own._replace(
        final=own.final * left,
        seen=own.seen * left,
        present=present,
        fault=fault,
        added=own.final * (1 - left),
    )


def build(name: str, count: int, seed: int) -> list[families.Series]:
    r = np.random.default_rng(seed)
    some = [without_more(own) for own in families.build(count, seed, plan.SETS[name])]
    return [with_less(r, own) if r.random() < 0.5 else own for own in some]


def shown(series) -> list[families.Series]:
    """The series as peers see them: what is gone is 0."""
    return [
        own._replace(present=own.present | (own.added > 0)) if own.fault else own for own in series
    ]


def section(size: plan.Size) -> str:
    parts = []
    for name in plan.QUICK_SETS if size is plan.QUICK else plan.SETS:
        some = build(name, size.judged, plan.UNSEEN[name])
        calibrating = build(name, size.calibration, plan.CALIBRATION[name])
        tallies = judge.each(some, drive.findings(drive.run(some)))
        rows = split(some, tallies)
        for peer in peers.able(slow=False):
            level = peers.threshold(
                peers.hear(peer, shown(calibrating), "less"), calibrating, plan.ASKED
            )
            found = peers.findings(peers.hear(peer, shown(some), "less"), level)
            rows.append(Row(peer, judge.each(some, found)))
        parts.append(
            f"Families `{name}`, seed {plan.UNSEEN[name]}.\n\n"
            f"{table(HEAD, [line(row, LESS) for row in rows])}\n\n"
            f"{losses(rows, LESS)}"
        )
    return "\n\n".join(parts)
