"""The router's log: its entries in, in order, and what they change out. Touches nothing.

What comes out depends on the entries alone, so that whoever is the router says the same, and what
was lost is told again under the same names.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.adapters.kafka_findings import (
    Chains,
    Entry,
    Followed,
    Ordered,
    Place,
    Record,
    Tick,
    Told,
)
from service.adapters.kafka_topics import EVENTS, FINDINGS, ROLLUPS
from service.core.budgets import KIND as BUDGET
from service.core.budgets import Budget
from service.core.drivers import Member
from service.core.events import EARLIEST
from service.core.feedback import NO_BAR, NO_LEVEL
from service.core.findings import Finding, OddPoint
from service.core.gpu_hosts import GpuHost, joined
from service.core.incidents import Incident
from service.core.intents import Drop, Feedback, Intent, Order, Put
from service.core.money import ZERO
from service.core.notices import Chart
from service.core.phrases import moment
from service.core.ports import Changes, PartitionStatus, SourceStatus
from service.core.state import Chunk, Saved, StateError, Streams, keep_all
from service.core.troubles import SILENT
from service.desk import Desk
from service.desk import Parts as DeskParts

# What the owners of the partitions still know must be known here.
MARGIN: Final = timedelta(days=7)
PLACES_NAMED: Final = 5
# Well before the input that told of a budget is let go of.
REMINDS_AFTER: Final = timedelta(days=21)


class Handed(msgspec.Struct, kw_only=True):
    """An order, or what is said of a budget, and the partitions that hold what it is about."""

    places: list[Place]
    order: Order | None = None
    budget: Put | Drop | None = None

    @property
    def intent_id(self) -> str:
        """Name it by what a person said."""
        said = self.order.feedback if self.order is not None else self.budget
        assert said is not None  # noqa: S101 - it is one of both
        return said.intent_id


class _Held(msgspec.Struct, kw_only=True):
    """A finding as it was told last, and whose it is."""

    finding: Finding
    place: Place
    points: dict[int, OddPoint]
    chart: Chart | None


class DeskLog:
    """Runs the entries of the log through a desk.

    `detectors` names those that learn: feedback acts on what they found. `remembers` is how old a
    period may be and still change. Budgets are handed to all `partitions` of the input.
    """

    def __init__(
        self,
        parts: DeskParts,
        detectors: Collection[str],
        remembers: timedelta,
        partitions: int,
    ) -> None:
        self._desk = Desk(parts, self._chart)
        self._detectors = frozenset(detectors)
        self._remembers = remembers + MARGIN
        self._everywhere = [(EVENTS, number) for number in range(partitions)]
        self._handed_at: dict[str, datetime] = {}
        self._chains: Chains[Record] = Chains()
        self._held: dict[str, _Held] = {}
        self._sources: dict[Place, list[SourceStatus]] = {}
        self._gpus: dict[str, GpuHost] = {}
        self._heard: dict[Place, datetime] = {}
        self._orders: dict[str, Handed] = {}
        self._next_intent = 0
        self._next = 0
        self._forgot_at = EARLIEST
        self._now = EARLIEST

    @property
    def name(self) -> str:
        """Name the log."""
        return FINDINGS

    @property
    def now(self) -> datetime:
        """Return the time that the log has reached."""
        return self._now

    @property
    def offset(self) -> int:
        """Return the offset after the last entry that changed anything."""
        return self._desk.offset

    @property
    def next_offset(self) -> int:
        """Return the offset of the next entry."""
        return self._next

    @property
    def next_intent(self) -> int:
        """Return the place in `cost.intents` of the next intent to be followed."""
        return self._next_intent

    @property
    def orders(self) -> list[Handed]:
        """Return the orders that nobody has said were handed on."""
        return list(self._orders.values())

    def take(self, offset: int, at: datetime, entry: Entry) -> Changes | None:
        """Take in the entry at an offset, written at `at`; return what is to be saved."""
        self._next = offset + 1
        # A broker's clock may step back; time in a log does not.
        self._now = max(at, self._now)
        self._forget()
        match entry:
            case Record():
                link = self._chains.take(entry)
                return self._tell(link, offset) if link else None
            case Followed():
                return self._follow(entry, offset)
            case Ordered():
                self._orders.pop(entry.intent_id, None)
                return None
            case Tick():
                return self._changes([], offset)

    def silent(self) -> list[str]:
        """Say which partitions nothing is heard of: who owns one says something every few minutes.

        Who adds up speaks when there is something to say. What was heard before a restart is not
        known, so that it counts from then.
        """
        ours = (place for place in self._sources if place[0] != ROLLUPS)
        heard = {place: self._heard.setdefault(place, self._now) for place in ours}
        found = sorted(place for place, at in heard.items() if self._now - at > SILENT)
        if not found:
            return []
        since = moment(min(heard[place] for place in found))
        named = ", ".join("/".join(map(str, place)) for place in found[:PLACES_NAMED])
        more = f" and {len(found) - PLACES_NAMED} more" if len(found) > PLACES_NAMED else ""
        return [f"A worker has stopped since {since}: nothing is heard of {named}{more}."]

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save; take all of it before the next entry."""
        yield from self._desk.save(streams, self._periods)
        yield from streams.values("held", self._held.items())
        yield from streams.values("gpus", self._gpus.items())
        rest = _Rest(
            ends=list(self._chains.ends.items()),
            waiting=self._chains.waiting,
            sources=list(self._sources.items()),
            orders=list(self._orders.values()),
            next_intent=self._next_intent,
            next_offset=self._next,
            forgot_at=self._forgot_at,
            now=self._now,
            handed_at=list(self._handed_at.items()),
        )
        yield from streams.values("router", [("", rest)])

    def restore(self, saved: Saved) -> list[str]:
        """Take over what was saved, into one that has taken nothing yet; all of it is used.

        StateError when it cannot be: this one is then spoilt.
        """
        try:
            self._restore(saved)
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            raise StateError(f"saved state does not fit: {error}") from error
        return []

    def _restore(self, saved: Saved) -> None:
        self._held = saved.values("held", _Held)
        self._gpus = saved.values("gpus", GpuHost)
        (rest,) = saved.values("router", _Rest).values()
        self._chains = Chains(dict(rest.ends), rest.waiting)
        self._sources = dict(rest.sources)
        self._orders = {handed.intent_id: handed for handed in rest.orders}
        self._handed_at = dict(rest.handed_at)
        self._next_intent, self._next = rest.next_intent, rest.next_offset
        self._forgot_at, self._now = rest.forgot_at, rest.now
        self._desk.restore(saved, self._periods, keep_all)

    def _tell(self, link: Sequence[Record], offset: int) -> Changes:
        place = (link[0].topic, link[0].partition)
        self._sources[place] = link[0].sources
        self._heard[place] = self._now
        members = [self._member(told, place) for record in link for told in record.told]
        for record in link:
            self._desk.note_spent(record.spent, "/".join(map(str, place)))
        changes = self._changes(members, offset, link[0].ends_backfill)
        one = link[0]
        told = PartitionStatus(
            topic=one.topic, partition=one.partition, offset=one.offset, at=one.now
        )
        changes.partitions = {f"{one.topic}/{one.partition}": told}
        changes.gpus = {
            host: self._host(host, news) for record in link for host, news in record.gpus.items()
        }
        return changes

    def _host(self, host: str, news: GpuHost | None) -> GpuHost | None:
        if news is None:
            self._gpus.pop(host, None)
            return None
        self._gpus[host] = joined(self._gpus.get(host), news)
        return self._gpus[host]

    def _changes(
        self, members: Sequence[Member], offset: int, ends_backfill: str | None = None
    ) -> Changes:
        return self._desk.tell(members, self._now, offset + 1, self._statuses(), ends_backfill)

    def _member(self, told: Told, place: Place) -> Member:
        name = told.finding.finding_id
        held = self._held.get(name)
        if held is None:
            held = _Held(finding=told.finding, place=place, points={}, chart=None)
            self._held[name] = held
        held.finding = told.finding
        held.chart = told.chart or held.chart
        for step, point in told.points.items():
            if point is None:
                held.points.pop(step, None)
            else:
                held.points[step] = point
        return Member(
            told.finding,
            held.points,
            told.step_hours,
            list(told.points),
            told.last_step,
            told.groups,
            is_group=told.is_group,
        )

    def _follow(self, entry: Followed, offset: int) -> Changes | None:
        if entry.place < self._next_intent:
            return None  # two routers wrote it down
        self._next_intent = entry.place + 1
        intent = entry.intent
        self._desk.catch_up(self._now)
        refused = self._desk.refusal(intent)
        if refused is None and isinstance(intent, Feedback):
            order = self._desk.order(intent)
            refused = self._refusal(order)
            if refused is None and intent.verdict != "expected":
                held = (self._held.get(name) for name in order.finding_ids)
                places = sorted({one.place for one in held if one is not None})
                self._orders[intent.intent_id] = Handed(order=order, places=places)
        if refused is None:
            self._desk.follow(intent)
            self._hand_budget(intent)
        changes = self._changes([], offset)
        if refused is not None:
            changes.refused = {intent.intent_id: refused}
        return changes

    def _hand_budget(self, intent: Intent) -> None:
        """Let whoever adds up know what stands now, if it is a budget."""
        if isinstance(intent, Put) and isinstance(intent.thing, Budget):
            self._handed_at[intent.thing.name] = self._now
        elif isinstance(intent, Drop) and intent.kind == BUDGET:
            self._handed_at.pop(intent.name, None)
        else:
            return
        self._orders[intent.intent_id] = Handed(places=self._everywhere, budget=intent)

    def _remind(self) -> None:
        """Say again what stands for long: the input that told it is not kept for ever."""
        for budget in self._desk.budgets():
            if self._now - self._handed_at.get(budget.name, EARLIEST) >= REMINDS_AFTER:
                self._hand_budget(
                    Put(at=self._now, who="router", via="router", why="it stands", thing=budget)
                )

    def _refusal(self, order: Order) -> str | None:
        """Say why the detectors could not follow an order, as far as their findings tell."""
        verdict = order.feedback.verdict
        if verdict not in ("new_level", "not_an_issue"):
            return None
        held = (self._held.get(name) for name in order.finding_ids)
        found = [one.finding for one in held if one is not None]
        judged = [f for f in found if f.detector in self._detectors and f.status != "retracted"]
        if verdict == "not_an_issue":
            return None if judged else NO_BAR
        return None if any(f.ended_at is None or f.is_new_level for f in judged) else NO_LEVEL

    def _statuses(self) -> list[SourceStatus]:
        """Add up what the partitions know of each source."""
        found: dict[str, SourceStatus] = {}
        for place in sorted(self._sources):
            for one in self._sources[place]:
                known = found.setdefault(one.source, SourceStatus(source=one.source))
                known.events += one.events
                known.duplicates += one.duplicates
                known.late += one.late
                known.rejected += one.rejected
                known.rows_last_hour += one.rows_last_hour
                _add_period(known, one)
                known.last_arrived_at = _later(known.last_arrived_at, one.last_arrived_at)
                known.last_period_end = _later(known.last_period_end, one.last_period_end)
                known.last_error = one.last_error or known.last_error
        return [found[name] for name in sorted(found)]

    def _forget(self) -> None:
        """Let go, once a day, of what is too old to change."""
        if self._now - self._forgot_at < timedelta(days=1):
            return
        self._forgot_at = self._now
        self._remind()
        for incident in self._desk.forget(self._now - self._remembers):
            for finding_id in incident.finding_ids:
                self._held.pop(finding_id, None)

    def _periods(self, finding_id: str) -> Mapping[int, OddPoint] | None:
        held = self._held.get(finding_id)
        return None if held is None else held.points

    def _chart(self, incident: Incident) -> Chart | None:
        """Return the chart of the series that drives an incident most."""
        lead = incident.drivers[0].series
        held = (self._held.get(name) for name in incident.finding_ids)
        mine = [one for one in held if one is not None and one.finding.series == lead]
        most = max(mine, key=lambda one: abs(one.finding.impact or ZERO), default=None)
        return None if most is None else most.chart


class _Rest(msgspec.Struct, kw_only=True):
    """What is saved beside the desk and the findings."""

    ends: list[tuple[Place, int]]
    waiting: list[Record]
    sources: list[tuple[Place, list[SourceStatus]]]
    orders: list[Handed]
    next_intent: int
    next_offset: int
    forgot_at: datetime
    now: datetime
    handed_at: list[tuple[str, datetime]] = []


def _add_period(known: SourceStatus, one: SourceStatus) -> None:
    """Add up what came of the newest period that any partition knows."""
    if one.period_end is None or (known.period_end and known.period_end > one.period_end):
        return
    if known.period_end != one.period_end:
        known.period_end, known.series_arrived, known.series_usual = one.period_end, 0, 0
    known.series_arrived += one.series_arrived
    known.series_usual += one.series_usual


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)
