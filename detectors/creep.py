"""Creep: slow growth beyond the growth that this series had before.

The mean of the last three or six days stands above the second highest of the same stretch in the
five weeks before by more than its own organic growth, which the tail of that excess has learnt
(`slow`).
"""

from typing import ClassVar

from detectors.base import Evidence, money
from detectors.column import Column, One, period_of, range_of
from detectors.slow import Slow


class Creep(Slow):
    """Column form."""

    kind: ClassVar[str] = "creep"
    share: ClassVar[float] = 0.27
    spans: ClassVar[tuple[int, int]] = (2, 3)

    def reason(self, evidence: Evidence) -> str:
        """Say by how much the last days outgrew earlier weeks."""
        now, unit = money(evidence.actual, evidence.currency), period_of(evidence)
        more = money(evidence.impact, evidence.currency)
        so_far = f"; {more} more so far" if evidence.impact > 0 else ""
        return (
            f"Growing faster than before: {now} in the latest period against "
            f"{range_of(evidence)} {unit} on average in the weeks before{so_far}."
        )


class CreepOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Creep
