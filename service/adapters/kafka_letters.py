"""Dead letters in Kafka: lines of messages that a worker refused, whole, with the reason.

A letter's key is where its line stood, so that a letter that was written twice is one. What
`ingest` refused lies in a topic of its own: its rows never were in a message, and are mended at
their file.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from service.adapters.kafka_client import Cluster, read_all
from service.adapters.kafka_messages import SOURCE_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import DEAD_LETTERS, REFUSED
from service.core.events import Rejected
from service.decoding import from_json


class Letter(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One line that was refused, where it stood in the log, and why."""

    topic: str
    partition: int
    offset: int
    line: int
    source: str
    reason: str
    raw: bytes

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.line}"


class Refused(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One row that `ingest` refused: its file, its line there, why, and its first bytes."""

    file: str
    row: int
    reason: str
    raw: str

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        return f"{self.file}:{self.row}"


def send(publisher: Publisher, letter: Letter) -> None:
    """Put a letter into its topic."""
    value = msgspec.json.encode(letter)
    publisher.send(DEAD_LETTERS[letter.topic], value, key=letter.name)


def letters(cluster: Cluster) -> Iterator[Letter | Refused]:
    """Yield every letter once, topic by topic, in the order in which they came."""
    for topic in (*DEAD_LETTERS.values(), REFUSED):
        kind: type[Letter | Refused] = Refused if topic == REFUSED else Letter
        seen: set[bytes] = set()
        for row in read_all(cluster, topic):
            if row.key not in seen:
                seen.add(row.key)
                yield from_json(row.value, kind)


def replay(publisher: Publisher, letter: Letter) -> None:
    """Put a letter's line back where it stood, at the end of the log."""
    publisher.send(
        letter.topic,
        letter.raw + b"\n",
        partition=letter.partition,
        headers={SOURCE_HEADER: letter.source},
    )


def refused(rejected: Rejected) -> bytes:
    """Write down what `ingest` refused."""
    raw = rejected.raw.decode("utf-8", "replace")
    return msgspec.json.encode(
        Refused(file=rejected.file, row=rejected.row, reason=rejected.reason, raw=raw)
    )


NEVER_IN_A_MESSAGE: Final = "was never in a message: mend it in its file, and ingest that again"
