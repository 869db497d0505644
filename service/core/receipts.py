"""Receipts: how each delivery ended, kept outside the store, so that losing that loses no memory.

A receipt is written before the store hears of the end. A conversation is sent in order, so what
comes before a receipt in it and has none was an edit that another took the place of.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from service.core.notices import Notice
from service.core.ports import Begun, Refused, Sent

# By then a delivery has been sent, or given up.
ENDS_WITHIN: Final = timedelta(days=2)
TOO_OLD: Final = "nobody knows whether it was sent, and it is too old to be sent now"


class Receipt(msgspec.Struct, kw_only=True, frozen=True):
    """How one delivery ended: `sent` with what finds the message again, or `dead` and why."""

    delivery_id: str
    incident_id: str
    destination: str
    seq: int
    state: Literal["sent", "dead"]
    at: datetime
    ref: dict[str, str] | None = None
    error: str | None = None


def receipt_of(notice: Notice, outcome: Sent | Refused, at: datetime) -> Receipt:
    """Write down how a delivery ended."""
    is_sent = isinstance(outcome, Sent)
    return Receipt(
        delivery_id=notice.delivery_id,
        incident_id=notice.incident_id,
        destination=notice.destination,
        seq=notice.seq,
        state="sent" if is_sent else "dead",
        at=at,
        ref=outcome.ref if isinstance(outcome, Sent) else None,
        error=None if isinstance(outcome, Sent) else outcome.reason,
    )


class Receipts:
    """Says how deliveries begin in a store that has lost them.

    What may have been sent is looked for from `looks_from` on.
    """

    def __init__(self, receipts: Iterable[Receipt], looks_from: datetime) -> None:
        self._looks_from = looks_from
        self._known: dict[str, Receipt] = {}
        self._last: dict[tuple[str, str], int] = {}
        for receipt in receipts:
            self._known[receipt.delivery_id] = receipt
            conversation = receipt.incident_id, receipt.destination
            self._last[conversation] = max(receipt.seq, self._last.get(conversation, 0))

    def begin(self, notice: Notice) -> Begun:
        """Say how a delivery begins."""
        known = self._known.get(notice.delivery_id)
        if known is not None:
            return Begun(known.state, None, known.ref, known.error)
        if notice.seq < self._last.get((notice.incident_id, notice.destination), 0):
            return Begun("superseded")
        if notice.at < self._looks_from - ENDS_WITHIN:
            return Begun("dead", None, None, TOO_OLD)
        return Begun("unknown", self._looks_from)
