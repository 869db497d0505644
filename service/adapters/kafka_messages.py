"""Messages of events: one event, or many as NDJSON, all of one feed and one partition.

The header `source` names the feed. Rows that must be seen together (all of one resource and one
charge period) are put one after the other, and a message is only cut between such groups while it
stays below MAX_MESSAGE_BYTES.
"""

from collections.abc import Iterator
from datetime import UTC
from typing import Final, NamedTuple

import msgspec

from service.adapters.kafka_client import MAX_MESSAGE_BYTES
from service.adapters.kafka_topics import EVENTS, SAMPLES
from service.core.events import Arrival, Event, GpuSample
from service.core.partitions import partition_of

# Large enough that what a message costs does not show, small enough to be scored at once.
FULL_BYTES: Final = 128 * 1024
SOURCE_HEADER: Final = "source"
# A message with this header holds no events: it lets time pass.
TICK_HEADER: Final = "tick"
# One with this header neither: it holds an order to the detectors.
ORDER_HEADER: Final = "order"
# Nor does one with this header: it says that a budget stands, or stands no more.
BUDGET_HEADER: Final = "budget"
# Nor this: it tells a partition of machines that its storage may be of.
MACHINES_HEADER: Final = "machines"


class Message(NamedTuple):
    """What is published at once."""

    topic: str
    partition: int
    source: str
    value: bytes
    rows: int


class _Open:
    """A message that is being filled."""

    __slots__ = ("group", "lines", "size")

    def __init__(self) -> None:
        self.group = ""
        self.lines: list[bytes] = []
        self.size = 0


class Packer:
    """Packs lines into messages, in the order in which they are put.

    `rest` hands out what is not full yet. A line longer than MAX_MESSAGE_BYTES is the caller's
    fault.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._open: dict[tuple[str, int, str], _Open] = {}

    def put(self, topic: str, source: str, key: str, line: bytes) -> Message | None:
        """Take one line; return the message that is full, if one is."""
        place = (topic, partition_of(key, self._partitions), source)
        filling = self._open.setdefault(place, _Open())
        full = None
        size = filling.size + len(line)
        if size > MAX_MESSAGE_BYTES or (filling.size >= FULL_BYTES and filling.group != key):
            full = self._close(place)
            filling = self._open[place] = _Open()
        filling.group = key
        filling.lines.append(line)
        filling.size += len(line)
        return full

    def rest(self) -> Iterator[Message]:
        """Hand out every message that holds anything."""
        for place in sorted(self._open):
            yield self._close(place)

    def _close(self, place: tuple[str, int, str]) -> Message:
        lines = self._open.pop(place).lines
        topic, partition, source = place
        return Message(topic, partition, source, b"".join(lines), len(lines))


def topic_of(event: Event) -> str:
    """Name the topic for a kind of event."""
    return SAMPLES if isinstance(event, GpuSample) else EVENTS


def stamped(arrival: Arrival) -> Event:
    """Return the event, saying itself when it arrived."""
    at = arrival.arrived_at.astimezone(UTC)
    return msgspec.structs.replace(arrival.event, x_arrived_at=at)


def line_of(event: Event) -> bytes:
    """Write an event as one line."""
    return msgspec.json.encode(event) + b"\n"
