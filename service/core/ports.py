"""Ports: what the core needs from the edge, and the outcomes that are expected there."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import F64, I64, Detector, Scores
from service.core.budget_figures import BudgetStatus
from service.core.events import CostEvent, Rejected
from service.core.findings import Finding
from service.core.gpu_hosts import GpuHost
from service.core.incidents import Incident
from service.core.intents import Intent
from service.core.notices import Delivery, DeliveryState, Notice
from service.core.standing import Standing


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """The destination has it. `ref` finds the message again, to edit it or write beneath it."""

    ref: dict[str, str]


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """The destination certainly does not have it and may take it later; `after` if it said when."""

    reason: str
    after: timedelta | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The destination does not have it and will never take it: a person must act."""

    reason: str


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """It may or may not have arrived: it must be looked for before it is sent again."""

    reason: str


Outcome = Sent | Retry | Refused | Unknown


class Notifier(Protocol):
    """A kind of destination. Says whether a send may be repeated; the caller decides when.

    Expected failures are outcomes, never exceptions; no text it returns holds a secret.
    """

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Send one notice. `ref` is what the incident's first post to this destination returned."""
        ...

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:
        """Look for a notice whose send ended Unknown: Sent, or Retry when it is not there.

        `ref` is what the send was given. Unknown when the destination cannot be asked now; Refused
        when it can never be asked.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Fleet(Protocol):
    """The detectors of one grain, all series in columns. See detectors/fleet.py."""

    @property
    def detectors(self) -> Mapping[str, Detector]:
        """Return the detectors by name, in the order of the config."""
        ...

    def resize(self, rows: int, *, blank: bool = True) -> None:
        """Make room for `rows` series; unless `blank`, their history is filled in at once."""
        ...

    def follow(self, rows: I64, names: Sequence[str]) -> None:
        """Let new series keep to the calendars of these names."""
        ...

    def record(self, rows: I64, steps: I64, costs: F64) -> None:
        """Put the ledger's present values into history; NaN for a row that vanished."""
        ...

    def score(
        self, rows: I64, steps: I64, costs: F64, *, on_close: bool | None = None
    ) -> dict[str, Scores]:
        """Judge points by every detector, or only by those that are `on_close` or are not.

        Changes nothing. To the former, NaN is a period for which nothing arrived.
        """
        ...

    def learn(self, rows: I64, steps: I64, costs: F64) -> None:
        """Take in closed points; a row occurs once."""
        ...

    def threshold(self, name: str) -> float:
        """Return the surprise from which a detector raises a finding."""
        ...

    def recorded(self, row: int, first: int, last: int) -> F64:
        """Return a row's history from step `first` to `last`, NaN where there is none."""
        ...

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself by name, one row per series: what is saved, and filled again."""
        ...

    def resume(self) -> None:
        """Go on once all columns are filled."""
        ...

    def blank(self, rows: I64) -> None:
        """Let rows be as though nothing had ever been recorded of them."""
        ...

    def copy(self, row: int, to: int) -> None:
        """Let a row be what another is."""
        ...

    def rebase(self, row: int, until: int, restated: Callable[[int, float], float]) -> None:
        """Learn a row anew from what its recorded steps are restated to, up to step `until`."""
        ...

    def sign(self, words: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Return one number per column of up to 4096 rows, by which a change is seen."""
        ...


class SourceStatus(msgspec.Struct, kw_only=True):
    """What is known of one source; times are of events, not of the machine.

    Of the newest period, up to `period_end`, `series_arrived` have a row, where `series_usual` do;
    0 while what is usual is not known.
    """

    source: str
    events: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: int = 0
    last_arrived_at: datetime | None = None
    last_period_end: datetime | None = None
    last_error: str | None = None
    rows_last_hour: int = 0
    period_end: datetime | None = None
    series_arrived: int = 0
    series_usual: int = 0


class PartitionStatus(msgspec.Struct, kw_only=True, frozen=True):
    """How far one partition of the input was told of, and when its owner last said anything."""

    topic: str
    partition: int
    offset: int
    at: datetime


class DestinationStatus(msgspec.Struct, kw_only=True):
    """How one destination does. `failing_since` is the first failure since it last took anything.

    What was sent, and failed for good, is counted since the store was last filled.
    """

    destination: str
    sent: int = 0
    dead: int = 0
    pending: int = 0
    unknown: int = 0
    last_sent_at: datetime | None = None
    failing_since: datetime | None = None
    last_error: str | None = None


Saved = Literal["saved", "stale", "gap"]


class Changes(msgspec.Struct, kw_only=True):
    """All that one batch of events changed, saved as a whole.

    It moves the saved state from log offset `previous` to `offset`.
    """

    previous: int
    offset: int
    findings: Sequence[Finding] = ()
    incidents: Sequence[Incident] = ()
    notices: Sequence[Notice] = ()
    sources: Sequence[SourceStatus] = ()
    # By kind and name; None for what stands no more.
    things: Mapping[tuple[str, str], Standing | None] = {}
    intents: Sequence[Intent] = ()
    # Why intents were not followed, by their ids.
    refused: Mapping[str, str] = {}
    # By name; None for one that is no more.
    budgets: Mapping[str, BudgetStatus | None] = {}
    # By host; None for one that is no more.
    gpus: Mapping[str, GpuHost | None] = {}
    # By name.
    partitions: Mapping[str, PartitionStatus] = {}


class Begun(NamedTuple):
    """How a new delivery begins: not always as `ready`, when a store that lost it is filled anew.

    What may have been sent is `unknown`, to be looked for from `due` on; what ended before ends
    again with its `ref` or its `error`.
    """

    state: DeliveryState = "ready"
    due: datetime | None = None
    ref: dict[str, str] | None = None
    error: str | None = None


Begin = Callable[[Notice], Begun]


def as_new(_: Notice) -> Begun:
    """Let a delivery begin as one that nobody has tried."""
    return Begun()


def as_maybe_sent(_: Notice) -> Begun:
    """Let a delivery begin as one that is looked for before it is sent."""
    return Begun("unknown")


class Answer(NamedTuple):
    """What became of an intent: why it was refused, or None when it was followed."""

    refused: str | None


class Place(NamedTuple):
    """Where a page of a list ended: what its last item is put in order by, and its name."""

    score: float
    name: str


class _Listed(msgspec.Struct, kw_only=True, frozen=True):
    """Which items to list, at most `limit`, those after a place; `owners` None means everyone's.

    An item passes when it has to do with some moment from `since` on and before `until`.
    """

    owners: frozenset[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: Place | None = None
    limit: int = 100


class _OfSpend(_Listed, kw_only=True, frozen=True):
    """What is about spend: `min_impact` is of the item's own currency."""

    service: str | None = None
    sub_account: str | None = None
    region: str | None = None
    kind: str | None = None
    min_impact: float | None = None


class FindingFilter(_OfSpend, kw_only=True, frozen=True):
    """Which findings to list, the newest first, or those of the greatest impact."""

    status: str | None = None
    series: str | None = None
    order: Literal["time", "impact"] = "time"


class Glance(NamedTuple):
    """How the store stands at one moment.

    `offset` is how far into the log it reaches, `rebuilding` up to when it is filled again.
    `deliveries` are counts by state, `next_due` is when the next of them is due, and `firing`
    counts incidents by severity. Sources and partitions are in order of their names.
    """

    offset: int
    rebuilding: datetime | None
    sources: list[SourceStatus]
    partitions: list[PartitionStatus]
    deliveries: dict[str, int]
    next_due: datetime | None
    firing: dict[str, int]


class IncidentFilter(_OfSpend, kw_only=True, frozen=True):
    """Which incidents to list: the last changed, last opened or those of the greatest impact first.

    With `is_open` all but those that are resolved; with `begins` those whose id begins so, of many
    the first thousand by name.
    """

    begins: str | None = None
    state: str | None = None
    severity: str | None = None
    is_open: bool = False
    order: Literal["changed", "opened", "impact"] = "changed"


class DeliveryFilter(_OfSpend, kw_only=True, frozen=True):
    """Which deliveries to list, the last decided first; all but `state` as it was decided then."""

    state: str | None = None
    severity: str | None = None
    destination: str | None = None
    incident_id: str | None = None
    order: Literal["time", "impact"] = "time"


class IntentFilter(_Listed, kw_only=True, frozen=True):
    """Which intents to list, the newest first; `about` is an incident, or a thing as `kind/name`.

    Unless `for_admins`, without what only admins may see.
    """

    who: str | None = None
    via: str | None = None
    what: str | None = None
    about: str | None = None
    for_admins: bool = True
    order: Literal["time"] = "time"


ANY_DELIVERY: Final = DeliveryFilter()
ANY_INTENT: Final = IntentFilter()


class Store(Protocol):
    """Current state, shared by all parts. Every method may raise StoreUnavailableError."""

    def time(self) -> datetime:
        """Return the store's own time."""
        ...

    def ping(self) -> None:
        """Return when the store answers."""
        ...

    def offset(self) -> int:
        """Return how far into the log what is saved reaches; 0 for an empty store."""
        ...

    def log(self) -> str | None:
        """Return the id of the log that what is saved is of; None where nobody said."""
        ...

    def follow(self, log: str, offset: int) -> None:
        """Go on with a log from an offset; what is there stays."""
        ...

    def save(self, changes: Changes, begin: Begin = as_new) -> Saved:
        """Save all of it or nothing.

        `stale` when it is already saved, `gap` when what comes before it is not. `begin` says how
        each delivery begins that is not there yet.
        """
        ...

    def glance(self, owners: frozenset[str] | None = None) -> Glance:
        """Return how the store stands; `firing` counts what is of `owners`, None being all."""
        ...

    def rebuilding(self) -> datetime | None:
        """Return up to when the store is filled again, None when it is whole."""
        ...

    def mark_rebuilding(self, until: datetime | None) -> None:
        """Note up to when the store is filled again; None when it is whole."""
        ...

    def answer(self, intent_id: str) -> Answer | None:
        """Return what became of an intent; None when it has not been come to yet.

        That one was refused is known for an hour.
        """
        ...

    def finding(self, finding_id: str) -> Finding | None:
        """Return one finding."""
        ...

    def findings(self, where: FindingFilter) -> list[Finding]:
        """List findings."""
        ...

    def incident(self, incident_id: str) -> Incident | None:
        """Return one incident."""
        ...

    def incidents(self, where: IncidentFilter) -> list[Incident]:
        """List incidents."""
        ...

    def written(self, where: IncidentFilter | FindingFilter) -> list[bytes]:
        """List incidents or findings as they were written: the same bytes are the same item."""
        ...

    def changed(self, since: int) -> tuple[int, list[bytes]]:
        """Return the offset, and the incidents that were saved after another, as written.

        Since 0: all that are not over.
        """
        ...

    def latest_notice(self, incident_id: str) -> Notice | None:
        """Return the newest notice of an incident: it carries the chart and the drivers."""
        ...

    def sources(self) -> list[SourceStatus]:
        """Return the state of every source."""
        ...

    def things(self, kind: str) -> list[Standing]:
        """Return what stands of a kind, by name."""
        ...

    def thing(self, kind: str, name: str) -> Standing | None:
        """Return one standing thing."""
        ...

    def note_used(self, token: str, at: datetime) -> None:
        """Note when a token was used; of no account to anything else."""
        ...

    def tokens_used(self) -> dict[str, datetime]:
        """Return when each token was used last."""
        ...

    def intents(self, where: IntentFilter = ANY_INTENT) -> list[Intent]:
        """Return what people did and what took effect, the newest first: the audit."""
        ...

    def budgets(self) -> list[BudgetStatus]:
        """Return every budget as it stands, by name."""
        ...

    def destinations(self) -> list[DestinationStatus]:
        """Return how each destination does that anything was to be sent to, by name."""
        ...

    def gpus(self) -> list[GpuHost]:
        """Return every host with GPUs as it stands, by name."""
        ...

    def deliveries(self, where: DeliveryFilter = ANY_DELIVERY) -> list[Delivery]:
        """List deliveries."""
        ...

    def told(self, incident_id: str, limit: int = 1000) -> list[Delivery]:
        """Return what was told of an incident, alone or with others, in the order of telling."""
        ...

    def incident_of(self, finding_id: str) -> Incident | None:
        """Return the incident that holds a finding; None when none does."""
        ...

    def delivery_counts(self) -> dict[str, int]:
        """Count deliveries by state."""
        ...

    def next_due(self) -> datetime | None:
        """Return when the next delivery is due, or None when nothing waits."""
        ...

    def claim(self, now: datetime, lease: timedelta) -> Delivery | None:
        """Take the next due delivery for `lease`, so that no one else sends it.

        Of one incident and destination only the oldest unsent is ever due. A delivery whose claim
        ran out comes back with state `unknown`: it may have been sent. UnreadableDeliveryError when
        its row is not one that `save` wrote: it is dead then, and the next one may be claimed.
        """
        ...

    def conclude(
        self, delivery_id: str, claim: int, outcome: Outcome, now: datetime, due: datetime
    ) -> bool:
        """Record how a claimed send ended; False when the claim was no longer held.

        `due` is when to try or to look again, for an outcome that is not final.
        """
        ...

    def renew(self, delivery_id: str, claim: int, until: datetime) -> bool:
        """Hold on to a claimed delivery until then; False when the claim is no longer held."""
        ...

    def release(self, now: datetime, due: datetime) -> int:
        """Take back every claim, since whoever held one is dead; return how many there were.

        What was under way may have been sent, and is looked for from `due` on.
        """
        ...

    def tell(self, posts: Sequence[Notice], now: datetime) -> int:
        """Put posts into the outbox that no log holds; return how many were not there already."""
        ...

    def troubles(self) -> list[bytes]:
        """Return the troubles that were told and are not over, as they were noted."""
        ...

    def note_trouble(
        self, key: str, trouble: bytes, notices: Sequence[Notice], now: datetime
    ) -> bool:
        """Note that a trouble began (or, with an empty one, is over), with what is told of it.

        False, and nothing is done, when that was noted before.
        """
        ...

    def beat(self, part: str, faults: Sequence[str], until: datetime) -> None:
        """Say that a part of the service works until then, and what it knows to be wrong."""
        ...

    def beats(self) -> Mapping[str, tuple[datetime, Sequence[str]]]:
        """Return by part until when it said to work, and what it knew to be wrong."""
        ...

    def waiting(self, destination: str) -> list[list[Delivery]]:
        """Return the first posts that wait for a destination, each with what follows it.

        Those that are `unknown` may have been sent, or somebody may be at them.
        """
        ...

    def catch_up(self, digests: Sequence[tuple[Notice, Sequence[Delivery]]], now: datetime) -> bool:
        """Put digests into the outbox, each in the place of posts that wait and what follows them.

        What is told of those later has the digest for its `parent`. False, and nothing is done,
        when somebody is at one of the posts, or was since they were looked at.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class PostedBatch(Protocol):
    """A batch of events that is being taken in. OSError when there is no room for it."""

    def put(self, event: CostEvent, line: bytes) -> None:
        """Take one event, written as a line."""
        ...

    def refuse(self, rejected: Rejected) -> None:
        """Take a line that was refused."""
        ...

    def save(self) -> None:
        """Return once all of it is safe; LogUnavailableError when that cannot be known."""
        ...

    def drop(self) -> None:
        """Forget the batch; nothing of it is ever counted."""
        ...


class Posting(Protocol):
    """Where events go that come over HTTP."""

    @property
    def feeds(self) -> Sequence[str]:
        """Return the feeds that take events."""
        ...

    def open(self, feed: str) -> PostedBatch:
        """Begin a batch."""
        ...


class StoreUnavailableError(Exception):
    """The store does not answer, or refuses to write."""


class UnreadableDeliveryError(Exception):
    """A row of the outbox that someone else wrote or damaged; it has been made dead."""

    def __init__(self, delivery_id: str, reason: str) -> None:
        super().__init__(reason)
        self.delivery_id = delivery_id


class LogUnavailableError(Exception):
    """The log does not answer, or refuses to write."""


class WrittenDownError(Exception):
    """An intent is in the log, and nobody has come to it yet: it will be followed later."""
