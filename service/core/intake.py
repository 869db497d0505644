"""Intake: the rows of a batch on their way into the ledger, and what they changed there.

What is asked of every row is asked here, once; what it leads to is for others, by the steps of
series that changed.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import chain, groupby
from operator import itemgetter
from typing import NamedTuple

from service.core.arrivals import Arrivals
from service.core.estimates import Estimates
from service.core.events import UNSCORED, Arrival, CostEvent, Grain, Run, SeriesKey
from service.core.experiments import Experiments
from service.core.gpu_findings import GpuFindings
from service.core.groups import Change, Groups
from service.core.ledger import STEP_HOURS, Ledger
from service.core.new_spend import NewSpend
from service.core.ports import SourceStatus
from service.core.purchases import Purchases
from service.core.spend import Spend
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches
from service.core.token_bills import TokenBills

_Key = tuple[SeriesKey, int]
_ORIGIN = itemgetter(0, 1)  # when an arrival came, and from which source


class Takers(NamedTuple):
    """Who is told of rows; in a part of all series nobody is of first spend and of tokens."""

    ledger: Ledger
    stretches: Stretches
    new_spend: NewSpend | None
    groups: Groups
    spend: Spend
    purchases: Purchases
    gpus: GpuFindings
    experiments: Experiments
    estimates: Estimates
    token_bills: TokenBills | None


class Intaken(NamedTuple):
    """What a batch changed: the steps whose plain usage did, all steps, and what came too late."""

    changes: dict[_Key, Change]
    charged: Collection[_Key]
    too_late: list[Arrival]


class _Origin:
    """Rows of one source that arrived together, and what the status of the source says of them."""

    __slots__ = ("arrived_at", "begun", "duplicates", "is_late", "late", "source")

    def __init__(self, source: str, arrived_at: datetime) -> None:
        self.source = source
        self.arrived_at = arrived_at
        self.duplicates = self.late = 0
        self.is_late: dict[tuple[Grain, int], bool] = {}
        self.begun: dict[tuple[Grain, int], int] = {}  # steps of series without a row before


class Intake:
    """Takes batches in, and counts by source what came.

    `contacts` is filled with when each source was met first; None when that is not asked.
    """

    def __init__(self, takers: Takers, contacts: dict[str, datetime] | None) -> None:
        self._takers = takers
        self._contacts = contacts
        self.statuses: dict[str, SourceStatus] = {}
        self._arrivals = Arrivals()
        self._before: dict[_Key, Decimal | None] = {}
        self._arrived: dict[_Key, datetime] = {}
        self._charged: dict[_Key, None] = {}  # in order
        self._too_late: list[Arrival] = []

    def take(self, batch: Sequence[Arrival], now: datetime) -> Intaken:
        """Take in a batch, in whatever order its rows are."""
        self._before, self._arrived, self._charged, self._too_late = {}, {}, {}, []
        if self._contacts is not None:
            for source in dict.fromkeys(arrival.source for arrival in batch):
                self._contacts.setdefault(source, now)
        for (arrived_at, source), some in groupby(batch, _ORIGIN):
            self._take_together(_Origin(source, arrived_at), list(some))
        self._estimate(now)
        point = self._takers.ledger.point
        changes = {
            key: Change(self._before[key], point(*key), arrived_at)
            for key, arrived_at in self._arrived.items()
        }
        return Intaken(changes, self._charged, self._too_late)

    def describe(self, now: datetime) -> None:
        """Bring up to now what the statuses say of how much came."""
        self._arrivals.describe(self.statuses.values(), now)

    def status(self, source: str) -> SourceStatus:
        """Return what is known of a source."""
        status = self.statuses.get(source)
        if status is None:
            status = self.statuses[source] = SourceStatus(source=source)
        return status

    def known_until(self, source: str) -> datetime | None:
        """Return up to when a source has told; None when it has not."""
        status = self.statuses.get(source)
        return None if status is None else status.last_period_end

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values("sources", self.statuses.items())
        yield from self._arrivals.save(streams, "arrivals")

    def restore(self, saved: Saved) -> None:
        """Take over what was saved."""
        self.statuses = saved.values("sources", SourceStatus)
        self._arrivals.restore(saved, "arrivals")

    def _take_together(self, origin: _Origin, some: Sequence[Arrival]) -> None:
        takers = self._takers
        source, arrived_at = origin.source, origin.arrived_at
        until = None
        for arrival in some:
            event = arrival.event
            if isinstance(event, CostEvent):
                self._take(origin, arrival, event)
                end = event.charge_period_end
            elif isinstance(event, Run):
                takers.experiments.observe(event, self._contact(source))
                end = event.timestamp
            else:
                takers.gpus.observe(arrived_at, event)
                takers.estimates.observe(source, event)
                end = event.timestamp
            if until is None or end > until:
                until = end
        status = self.status(source)
        status.events += len(some)
        status.duplicates += origin.duplicates
        status.late += origin.late
        status.last_arrived_at = max(status.last_arrived_at or arrived_at, arrived_at)
        if until is not None:
            status.last_period_end = max(status.last_period_end or until, until)
        self._arrivals.note_rows(source, arrived_at, len(some))
        for (grain, step), count in origin.begun.items():
            self._arrivals.note_series(source, STEP_HOURS[grain], step, count)

    def _take(self, origin: _Origin, arrival: Arrival, event: CostEvent) -> None:
        takers, source, bills = self._takers, origin.source, self._takers.token_bills
        is_of_tokens = bills is not None and bills.wants(source, event)
        if bills is not None and is_of_tokens:
            change = bills.take(source, event, origin.arrived_at)
        else:
            change = takers.ledger.take(source, event, self._before, takers.spend.charged)
        taken, series, step, is_usage, scored = change
        if taken == "too_late":
            origin.late += 1
            self._too_late.append(arrival)
            return
        takers.estimates.observe_bill(series, event)
        origin.duplicates += taken == "duplicate"
        origin.late += self._is_late(origin, series, step)
        if is_of_tokens:  # what it comes to is told by `_estimate`
            return
        if is_usage:
            # What a newer revision replaces says so too: which came first must not show.
            self._note_place(series, step, event)
        if taken != "new":
            return
        key = series, step
        self._charged[key] = None
        if scored:
            known = self._arrived.get(key)
            if known is None and self._before[key] is None and series.grain != UNSCORED:
                at = series.grain, step
                origin.begun[at] = origin.begun.get(at, 0) + 1
            if known is None or known < origin.arrived_at:
                self._arrived[key] = origin.arrived_at
        takers.purchases.take(source, event, origin.arrived_at)

    def _note_place(self, series: SeriesKey, step: int, event: CostEvent) -> None:
        takers = self._takers
        if takers.new_spend is not None:
            takers.new_spend.take(series, step, event)
        takers.groups.take(series, step, event)

    def _is_late(self, origin: _Origin, series: SeriesKey, step: int) -> bool:
        """Tell whether rows came after their period settled; history met first is not late."""
        known = origin.is_late.get((series.grain, step))
        if known is None:
            hours = STEP_HOURS[series.grain]
            settles_at = self._takers.stretches.settles_at(series, step, hours)
            contact = self._contact(origin.source)
            known = origin.arrived_at > settles_at and (contact is None or settles_at > contact)
            origin.is_late[series.grain, step] = known
        return known

    def _contact(self, source: str) -> datetime | None:
        return None if self._contacts is None else self._contacts.get(source)

    def _estimate(self, now: datetime) -> None:
        """Take in what hours cost of which there is no bill yet, and take back what was billed."""
        takers, bills = self._takers, self._takers.token_bills
        of_gpus = ((source, event, now) for source, event in takers.estimates.advance())
        of_tokens = () if bills is None else bills.advance(now)
        for source, event, at in chain(of_gpus, of_tokens):
            change = takers.ledger.take(source, event, self._before, takers.spend.charged)
            if change.taken == "new":
                key = series, step = change.series, change.step
                self._note_place(*key, event)
                self._charged[key] = None
                if self._before[key] is None and bills is not None and bills.knows(series):
                    self._arrivals.note_series(source, STEP_HOURS[series.grain], step, 1)
                self._arrived[key] = max(at, self._arrived.get(key, at))
