"""The topic `cost.findings`: what the owners of the input's partitions say, link by link.

It is the one place where it stands how far a partition was told: a worker that starts reads it
before it says anything.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from service.adapters.kafka_client import MAX_MESSAGE_BYTES, Cluster, read_all
from service.adapters.kafka_topics import FINDINGS
from service.core.chain import BEGINNING, Link, fit
from service.core.drivers import Member
from service.core.findings import Finding, OddPoint
from service.core.ports import SourceStatus

Place = tuple[str, int]


class Told(msgspec.Struct, kw_only=True, frozen=True):
    """A finding that changed, with those of its periods that did."""

    finding: Finding
    points: dict[int, OddPoint]
    step_hours: int
    last_step: int


class Record(msgspec.Struct, kw_only=True, frozen=True):
    """What one input message changed: a link of the chain of its partition.

    One that is too large for a message is several with the same link, numbered by `part`.
    """

    topic: str
    partition: int
    previous: int
    offset: int
    now: datetime
    told: list[Told]
    sources: list[SourceStatus]
    part: int = 0
    parts: int = 1

    @property
    def link(self) -> Link:
        """Return the record's place in the chain."""
        return Link(self.previous, self.offset)


def told(members: Sequence[Member]) -> list[Told]:
    """Write changed findings down; of their periods only those that changed."""
    return [
        Told(
            finding=member.finding,
            points={step: member.points[step] for step in member.dirty if step in member.points},
            step_hours=member.step_hours,
            last_step=member.last_step,
        )
        for member in members
    ]


def encode(record: Record) -> list[bytes]:
    """Write a record as messages, each small enough."""
    whole = _ENCODE(record)
    if len(whole) <= MAX_MESSAGE_BYTES:
        return [whole]
    rows: list[list[Told]] = [[]]
    size = 0
    for row in record.told:
        length = len(_ENCODE(row))
        if rows[-1] and size + length > MAX_MESSAGE_BYTES // 2:
            rows.append([])
            size = 0
        rows[-1].append(row)
        size += length
    return [
        _ENCODE(msgspec.structs.replace(record, told=some, part=part, parts=len(rows)))
        for part, some in enumerate(rows)
    ]


def ends(cluster: Cluster) -> dict[Place, int]:
    """Return how far each input partition has been told: the offset of its chain's last link."""
    found: dict[Place, int] = {}
    for record in chained(records(cluster)):
        if record.part == record.parts - 1:
            found[record.topic, record.partition] = record.offset
    return found


def chained(rows: Iterator[Record]) -> Iterator[Record]:
    """Leave out what was said twice: yield each link once, with all its parts in order.

    A link whose last part is missing is not complete, and what repeats it begins anew.
    """
    ends: dict[Place, int] = {}
    waiting: dict[Place, list[Record]] = {}
    for row in rows:
        place = (row.topic, row.partition)
        if fit(ends.get(place, BEGINNING), row.link) != "next":
            continue
        known = waiting.get(place, [])
        if row.part == 0:
            known = []
        elif not known or known[0].link != row.link or len(known) != row.part:
            continue
        waiting[place] = known = [*known, row]
        if row.part == row.parts - 1:
            yield from known
            ends[place] = row.offset
            del waiting[place]


def records(cluster: Cluster) -> Iterator[Record]:
    """Yield what is in the topic now, from first to last."""
    for row in read_all(cluster, FINDINGS, fetch_max_bytes=16 * 1024 * 1024):
        yield decode(row)


def decode(row: Any) -> Record:
    """Read one message."""
    return _DECODE(row.value)


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Record).decode
