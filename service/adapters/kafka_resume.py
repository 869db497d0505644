"""Resuming: what a publishing run that was cut off has left in Kafka already.

Kafka itself is the record. Before a run publishes anything it notes its name and where each
partition ends; its messages carry the name. A run that finds the note of one before it reads what
that one left behind, and does not say it again.
"""

import hashlib
from array import array
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec
import numpy as np
from kafka import TopicPartition

from service.adapters.kafka_client import Cluster, guarded
from service.adapters.kafka_messages import SOURCE_HEADER
from service.adapters.whole_files import write_whole
from service.decoding import from_json

RUN_HEADER: Final = "run"


class _Note(msgspec.Struct, forbid_unknown_fields=True):
    cluster: str
    run: str
    ends: dict[str, list[int]]


class Sent:
    """A set of lines, eight bytes each."""

    def __init__(self, digests: "array[int] | None" = None) -> None:
        self._digests = np.unique(np.array(digests or (), dtype=np.uint64))

    def __len__(self) -> int:
        return len(self._digests)

    def has(self, source: str, line: bytes) -> bool:
        """Tell whether a line of a feed is there."""
        digest = np.uint64(_digest(source, line))
        at = int(np.searchsorted(self._digests, digest))
        return at < len(self._digests) and bool(self._digests[at] == digest)


class Run(NamedTuple):
    """A publishing run: the name that its messages carry, and what is there of it already."""

    name: str
    sent: Sent


class RunNote:
    """The note about the run that is under way, in one file."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        self._path = path
        self._cluster = cluster
        self._where = f"{cluster.bootstrap_servers} {cluster.prefix}"

    def begin(self, topics: list[str]) -> Run:
        """Go on with the run that was cut off, or note a new one."""
        note = self._read()
        consumer = self._cluster.consumer(fetch_max_bytes=16 * 1024 * 1024)
        try:
            with guarded():
                if note is not None:
                    return Run(note.run, Sent(_left_by(consumer, note)))
                ends = {name: _ends(consumer, self._cluster.topic(name)) for name in topics}
        finally:
            consumer.close()
        note = _Note(self._where, uuid4().hex, {self._cluster.topic(n): e for n, e in ends.items()})
        write_whole(self._path, msgspec.json.encode(note))
        return Run(note.run, Sent())

    def end(self) -> None:
        """Forget the run: all of it is there."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> _Note | None:
        try:
            note = from_json(self._path.read_bytes(), _Note)
        except FileNotFoundError:
            return None
        return note if note.cluster == self._where else None


def _ends(consumer: Any, topic: str) -> list[int]:
    places = [
        TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))
    ]
    ends = consumer.end_offsets(places)
    return [ends[place] for place in places]


def _left_by(consumer: Any, note: _Note) -> "array[int]":
    """Read from where the run began to where the partitions end now."""
    digests = array("Q")
    for topic, starts in note.ends.items():
        places = {TopicPartition(topic, number): start for number, start in enumerate(starts)}
        ends = consumer.end_offsets(list(places))
        behind = {place for place, start in places.items() if start < ends[place]}
        consumer.assign(sorted(behind))
        for place in behind:
            consumer.seek(place, places[place])
        while behind:
            for records in consumer.poll(timeout_ms=1000).values():
                for record in records:
                    _add(digests, record, note.run)
            behind = {place for place in behind if consumer.position(place) < ends[place]}
    return digests


def _add(digests: "array[int]", record: Any, run: str) -> None:
    headers = dict(record.headers)
    if headers.get(RUN_HEADER) != run.encode():
        return
    source = headers[SOURCE_HEADER].decode()
    for line in record.value.splitlines(keepends=True):
        digests.append(_digest(source, line))


def _digest(source: str, line: bytes) -> int:
    data = source.encode() + b"\0" + line
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
