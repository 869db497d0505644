"""The topic `cost.findings`: the router's one log, in the order in which everything is told.

The owners of the input's partitions say in it, link by link, what they found; it is the one place
where it stands how far a partition was told. The router adds what comes from elsewhere, so that
all that it does is a function of this log: what people did, and the passing of time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from service.adapters.kafka_client import MAX_MESSAGE_BYTES, Cluster, read_all
from service.adapters.kafka_topics import FINDINGS
from service.core.chain import BEGINNING, Link, fit
from service.core.drivers import Member
from service.core.findings import Finding, OddPoint
from service.core.gpu_hosts import GpuHost
from service.core.intents import Intent
from service.core.notices import Chart
from service.core.ports import SourceStatus
from service.core.spend import Spent

Place = tuple[str, int]


class Told(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A finding that changed, with those of its periods that did: None for one that is no more.

    A chart comes when the finding is new, and again at intervals.
    """

    finding: Finding
    points: dict[int, OddPoint | None]
    step_hours: int
    last_step: int
    groups: list[str] = []
    is_group: bool = False
    chart: Chart | None = None


class Record(msgspec.Struct, kw_only=True, frozen=True, tag_field="x_Record", tag="findings"):
    """What one input message changed: a link of the chain of its partition.

    One that is too large for a message is several with the same link, numbered by `part`. Of hosts
    with GPUs it holds those that changed, with the hours that were counted anew. With
    `ends_backfill` the past of that source has been read, and is to be summed up.
    """

    topic: str
    partition: int
    previous: int
    offset: int
    now: datetime
    told: list[Told]
    sources: list[SourceStatus]
    spent: list[Spent] = []
    gpus: dict[str, GpuHost | None] = {}
    ends_backfill: str | None = None
    part: int = 0
    parts: int = 1

    @property
    def link(self) -> Link:
        """Return the record's place in the chain."""
        return Link(self.previous, self.offset)


class Followed(msgspec.Struct, kw_only=True, frozen=True, tag_field="x_Record", tag="intent"):
    """What a person did, from the topic `cost.intents`; `place` is its offset there.

    Whoever reads takes each place once, in order.
    """

    place: int
    intent: Intent


class Ordered(msgspec.Struct, kw_only=True, frozen=True, tag_field="x_Record", tag="ordered"):
    """What an intent asks of the detectors has been handed to the owners of its series."""

    intent_id: str


class Tick(msgspec.Struct, kw_only=True, frozen=True, tag_field="x_Record", tag="tick"):
    """Lets time pass."""


Entry = Record | Followed | Ordered | Tick


def told(members: Sequence[Member], charts: Mapping[str, Chart]) -> list[Told]:
    """Write changed findings down; of their periods only those that changed."""
    return [
        Told(
            finding=member.finding,
            points={step: member.points.get(step) for step in member.dirty},
            step_hours=member.step_hours,
            last_step=member.last_step,
            groups=list(member.groups),
            is_group=member.is_group,
            chart=charts.get(member.finding.finding_id),
        )
        for member in members
    ]


def encode(entry: Entry) -> list[bytes]:
    """Write an entry as messages, each small enough."""
    whole = _ENCODE(entry)
    if len(whole) <= MAX_MESSAGE_BYTES or not isinstance(entry, Record):
        return [whole]
    record = entry
    parts: list[tuple[list[Told], dict[str, GpuHost | None]]] = [([], {})]
    size = 0
    rows: list[Told | tuple[str, GpuHost | None]] = [*record.told, *record.gpus.items()]
    for row in rows:
        length = len(_ENCODE(row))
        if size and size + length > MAX_MESSAGE_BYTES // 2:
            parts.append(([], {}))
            size = 0
        if isinstance(row, Told):
            parts[-1][0].append(row)
        else:
            parts[-1][1][row[0]] = row[1]
        size += length
    return [
        _ENCODE(
            msgspec.structs.replace(
                record,
                told=told,
                gpus=gpus,
                spent=[] if part else record.spent,
                ends_backfill=None if part else record.ends_backfill,
                part=part,
                parts=len(parts),
            )
        )
        for part, (told, gpus) in enumerate(parts)
    ]


def ends(cluster: Cluster) -> dict[Place, int]:
    """Return how far each input partition has been told: the offset of its chain's last link."""
    chains: Chains[Record] = Chains()
    for entry in entries(cluster):
        if isinstance(entry, Record):
            chains.take(entry)
    return chains.ends


class Linked(Protocol):
    """What is a link of a chain of its partition, or one of the parts of a link."""

    @property
    def topic(self) -> str:
        """Return the topic of the input that it is about."""
        ...

    @property
    def partition(self) -> int:
        """Return the partition of the topic."""
        ...

    @property
    def offset(self) -> int:
        """Return the offset that it moves the chain to."""
        ...

    @property
    def part(self) -> int:
        """Return its number among the parts of its link."""
        ...

    @property
    def parts(self) -> int:
        """Return how many parts its link has."""
        ...

    @property
    def link(self) -> Link:
        """Return its place in the chain."""
        ...


_L = TypeVar("_L", bound=Linked)


class Chains(Generic[_L]):
    """Leaves out what was said twice, of every partition's chain.

    A link whose last part is missing is not complete, and what repeats it begins anew.
    """

    def __init__(self, ends: Mapping[Place, int] | None = None, waiting: Iterable[_L] = ()) -> None:
        self.ends: dict[Place, int] = dict(ends or {})
        self._waiting: dict[Place, list[_L]] = {}
        for record in waiting:
            self._waiting.setdefault((record.topic, record.partition), []).append(record)

    @property
    def waiting(self) -> list[_L]:
        """Return the parts of links that are not complete yet."""
        return [record for parts in self._waiting.values() for record in parts]

    def take(self, record: _L) -> list[_L]:
        """Take the next record; return the link that it completes, all parts in order."""
        place = (record.topic, record.partition)
        if fit(self.ends.get(place, BEGINNING), record.link) != "next":
            return []
        known = self._waiting.get(place, [])
        if record.part == 0:
            known = []
        elif not known or known[0].link != record.link or len(known) != record.part:
            return []
        self._waiting[place] = known = [*known, record]
        if record.part < record.parts - 1:
            return []
        self.ends[place] = record.offset
        return self._waiting.pop(place)


def chained(rows: Iterable[Record]) -> Iterator[Record]:
    """Yield each link once, with all its parts in order."""
    chains: Chains[Record] = Chains()
    for row in rows:
        yield from chains.take(row)


def records(cluster: Cluster) -> Iterator[Record]:
    """Yield what partitions have said until now, from first to last."""
    return (entry for entry in entries(cluster) if isinstance(entry, Record))


def has_router(cluster: Cluster) -> bool:
    """Tell whether a router has ever told anything: then it first wrote here that it would."""
    return any(not isinstance(entry, Record) for entry in entries(cluster))


def entries(cluster: Cluster) -> Iterator[Entry]:
    """Yield what is in the topic now, from first to last."""
    for row in read_all(cluster, FINDINGS, fetch_max_bytes=16 * 1024 * 1024):
        yield decode(row.value)


def decode(value: bytes) -> Entry:
    """Read one message."""
    return _DECODE(value)


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final[Callable[[bytes], Entry]] = msgspec.json.Decoder(Entry).decode
