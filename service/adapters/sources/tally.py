"""Tally: how many rows were read and refused, and what the accepted ones add up to."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from service.adapters.sources.base import Flaw, FlawKind
from service.core.events import CostEvent, Event, Rejected
from service.core.money import ZERO, add

LONGEST_REASON: Final = 500


class Total:
    """What the accepted rows of one (source, currency, charge category) add up to, exactly."""

    __slots__ = ("billed_cost", "effective_cost", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.billed_cost: Decimal = ZERO
        self.effective_cost: Decimal = ZERO


class Tally:
    """Counts every raw row, duplicates and superseded snapshots included.

    `read` counts accepted rows, `rejected` refused rows and files, `reasons` the latter by class,
    `files` the files and `broken` those of them that are not there or could not be read to the end;
    `totals` are by (source, billing currency, charge category).
    """

    def __init__(self, reject: Callable[[Rejected], None]) -> None:
        self._reject = reject
        self.read = 0
        self.rejected = 0
        self.files = 0
        self.broken = 0
        self.reasons: Counter[FlawKind] = Counter()
        self.totals: dict[tuple[str, str, str], Total] = {}

    def refuse(self, file: str, flaw: Flaw) -> None:
        """Set a bad row or file aside."""
        self.rejected += 1
        self.reasons[flaw.kind] += 1
        reason = flaw.reason
        if not reason.isprintable():
            reason = "".join(c if c.isprintable() else "?" for c in reason)
        self._reject(Rejected(file, flaw.number, reason[:LONGEST_REASON], flaw.raw))

    def count(self, feed: str, event: Event) -> None:
        """Count an accepted row, and add up what it costs."""
        self.read += 1
        if isinstance(event, CostEvent):
            key = (feed, event.billing_currency, event.charge_category)
            total = self.totals.get(key)
            if total is None:
                total = self.totals[key] = Total()
            total.rows += 1
            total.billed_cost = add(total.billed_cost, event.billed_cost)
            if event.effective_cost is not None:
                total.effective_cost = add(total.effective_cost, event.effective_cost)
