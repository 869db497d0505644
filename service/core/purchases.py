"""Purchases: a one-time purchase above a configured amount is a finding of its own."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

from service.core import money, phrases
from service.core.events import CostEvent, SeriesKey
from service.core.findings import OddPoint, Stretch, is_history
from service.core.ledger import STEP_HOURS, Ledger
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches

DETECTOR: Final = "purchase"


class Purchases:
    """Watches one-time purchases by what was billed for them, whatever the usage metric is.

    `first_contact` returns the time before which a purchase is history, not to be told.
    """

    def __init__(
        self,
        limit: Callable[[str], Decimal | None],
        stretches: Stretches,
        billed: Ledger,
        first_contact: Callable[[str], datetime | None],
    ) -> None:
        self._limit = limit
        self._first_contact = first_contact
        self._stretches = stretches
        self._billed = billed
        self._changed: dict[tuple[SeriesKey, int], datetime] = {}

    def take(self, source: str, event: CostEvent, arrived_at: datetime) -> None:
        """Note a row if it is a one-time purchase, or corrects one."""
        if event.charge_category != "Purchase":
            return
        if (event.charge_frequency or "").lower() != "one-time":
            return
        change = self._billed.take(source, event)
        if change.taken == "new":
            self._changed[change.series, change.step] = arrived_at

    def judge(self) -> None:
        """Raise, update or retract the findings of what changed since the last call."""
        changed, self._changed = self._changed, {}
        for (series, step), arrived_at in sorted(changed.items()):
            limit = self._limit(series.billing_currency)
            cost = money.total(row.cost for row in self._billed.rows(series, step, 0))
            is_odd = limit is not None and cost >= limit
            hours = STEP_HOURS[series.grain]
            point = OddPoint(cost, money.ZERO, money.ZERO, money.ZERO, 0.0 if is_odd else -1.0)
            for known in self._stretches.of(series):
                if known.detector == DETECTOR and step in known.points:
                    self._stretches.put(known, step, point)
                    break
            else:
                if is_odd:
                    fresh = Stretch(series, DETECTOR, DETECTOR, hours, 0.0)
                    fresh.offset = self._billed.offset(series, step)
                    fresh.backfill = is_history(step, hours, self._first_contact(series.source))
                    self._stretches.raise_alone(fresh, step, arrived_at)
                    self._stretches.put(fresh, step, point)

    def forget(self, before: datetime) -> None:
        """Let go of purchases for periods that ended before a time, and that nothing is said of."""
        gone = self._billed.forget(before)
        self._billed.drop(series for series in gone if not self._stretches.of(series))

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._billed.save(streams, name)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept."""
        self._billed.restore(saved, name, keep)


def reason(stretch: Stretch) -> str:
    """Say what was bought, in one sentence."""
    amount = phrases.money(stretch.sums.actual, stretch.series.billing_currency)
    return f"A one-time purchase of {amount} on {phrases.date(stretch.period()[0])}."
