"""Unused commitments: what reservations and savings plans cost in the hours that nobody used them.

The bill alone knows, by rows of CommitmentDiscountStatus Unused (FOCUS). Capacity reservations are
told as idle GPUs are (`core/unused.py`).
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from service.core import money
from service.core.events import SeriesKey
from service.core.incidents import UNUSED
from service.core.lapses import Lapse
from service.core.ledger import Ledger, period_of
from service.core.owners import Owners
from service.core.phrases import clean
from service.core.phrases import money as amount
from service.core.state import Chunk, Saved, Streams

WINDOW: Final = timedelta(days=7)
# A month's fee says in arrears what of the month was not used.
LONGEST: Final = timedelta(days=32)
FEWEST_DAYS: Final = 2
LEAST_PER_DAY: Final = Decimal(1)
DAYS_IN_MONTH: Final = 30


class _Part(NamedTuple):
    """What one charge period of a commitment cost unused, in money per day of it."""

    start: datetime
    end: datetime
    cost: Decimal


class Commitments:
    """Knows the series whose newest row is of a commitment that was not used."""

    def __init__(self, ledger: Ledger, owners: Owners) -> None:
        self._ledger = ledger
        self._owners = owners
        self._series: set[SeriesKey] = set()

    def observe(self, series: SeriesKey) -> None:
        """Take note of a series that changed."""
        if self._ledger.about(series).commitment_discount_status == "Unused":
            self._series.add(series)

    def read(self) -> None:
        """Take note of all that the ledger knows."""
        for series in self._ledger.series():
            self.observe(series)

    def forget(self) -> None:
        """Let go of series that are gone."""
        self._series = {series for series in self._series if series in self._ledger}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, [("", sorted(self._series))])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._series = set(saved.values(name, list[SeriesKey]).get("", ()))

    def lapses(self, now: datetime) -> Iterator[Lapse]:
        """Yield the commitments that were not used lately, in a fixed order."""
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for series in sorted(self._series):
            parts = [part for part in self._parts(series, today) if part.cost > 0]
            days = sum(((part.end - part.start) for part in parts), timedelta()) / timedelta(days=1)
            touched = {part.start.date() for part in parts}
            if not parts or (len(touched) < FEWEST_DAYS and days < FEWEST_DAYS):
                continue
            span = max(part.end for part in parts) - min(part.start for part in parts)
            cost = money.total(part.cost for part in parts)
            rate = money.cents(float(cost) / (span / timedelta(days=1)))
            if rate >= LEAST_PER_DAY:
                yield self._lapse(series, parts, cost, rate)

    def _parts(self, series: SeriesKey, today: datetime) -> Iterator[_Part]:
        for step in self._ledger.steps(series):
            begins, _ = period_of(series, step)
            if begins < today - LONGEST:
                continue
            for row in self._ledger.rows(series, step, 0):
                start, end = row.charge_period_start, row.charge_period_end
                if row.commitment == "Unused" and end > today - WINDOW and start < today:
                    yield _Part(start, end, row.cost)

    def _lapse(self, series: SeriesKey, parts: list[_Part], cost: Decimal, rate: Decimal) -> Lapse:
        about, currency = self._ledger.about(series), series.billing_currency
        owner = self._owners.of_row(about)
        name = about.commitment_discount_id or about.resource_id or about.service_name or "it"
        first, last = min(part.start for part in parts), max(part.end for part in parts)
        span = max(round((last - first) / timedelta(days=1)), 1)
        month = amount(rate * DAYS_IN_MONTH, currency)
        return Lapse.of(
            UNUSED,
            series,
            about,
            owner,
            since=first,
            cost=cost,
            reason=(
                f"{amount(cost, currency)} of the commitment {clean(name, 160)} was paid for and "
                f"not used in {span} days, about {month} a month. Move work that it covers onto "
                "it, exchange it, or let it end."
            ),
            title=name,
            run_rate_per_day=rate,
        )
