"""Shift: a step up that lasts.

The mean of the last one or two days stands far above the second highest of the same stretch in
the five weeks before (`slow`).
"""

from typing import ClassVar

from detectors.base import Evidence, money
from detectors.column import Column, One, period_of, range_of
from detectors.slow import Slow


class Shift(Slow):
    """Column form."""

    kind: ClassVar[str] = "shift"
    share: ClassVar[float] = 0.15
    spans: ClassVar[tuple[int, int]] = (0, 1)

    def reason(self, evidence: Evidence) -> str:
        """Say how much more a day costs than in earlier weeks."""
        now, unit = money(evidence.actual, evidence.currency), period_of(evidence)
        more = money(evidence.impact, evidence.currency)
        so_far = f"; {more} more so far" if evidence.impact > 0 else ""
        return (
            f"A step up since {evidence.since:%a %Y-%m-%d %H:%M} UTC: {now} in the latest period "
            f"against {range_of(evidence)} {unit} on average in the weeks before{so_far}."
        )


class ShiftOne(One):
    """Scalar form."""

    column: ClassVar[type[Column]] = Shift
