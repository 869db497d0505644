"""The topic `cost.intents`: everything a person did, under its id, in the order of arrival."""

import threading
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import structlog
from kafka import TopicPartition

from service.adapters.kafka_client import Cluster, guarded, read_all
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import INTENTS
from service.core.intents import Intent

_log = structlog.get_logger(__name__)


class Placed(NamedTuple):
    """An intent, and its offset in the topic."""

    place: int
    intent: Intent


class IntentBook:
    """Writes intents down, from any thread. Kafka is asked for with the first.

    LogUnavailableError when one may not be there.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._publisher: Publisher | None = None
        self._one_at_a_time = threading.Lock()

    def write(self, intent: Intent) -> None:
        """Return when an intent is acknowledged."""
        with self._one_at_a_time:
            if self._publisher is None:
                self._publisher = Publisher(self._cluster)
            self._publisher.send(INTENTS, msgspec.json.encode(intent), key=intent.intent_id)
            self._publisher.flush()

    def close(self) -> None:
        """Let go of the connection."""
        if self._publisher is not None:
            self._publisher.__exit__(None, None, None)


def write_missing(cluster: Cluster, publisher: Publisher, intents: Iterable[Intent]) -> None:
    """Write down those that the topic does not have, in their order."""
    there = {row.key for row in read_all(cluster, INTENTS)}
    for intent in intents:
        if intent.intent_id.encode() not in there:
            publisher.send(INTENTS, msgspec.json.encode(intent), key=intent.intent_id)
    publisher.flush()


class IntentReader:
    """Reads intents from a place on, as they come. For one thread at a time."""

    def __init__(self, cluster: Cluster, place: int) -> None:
        self._topic = TopicPartition(cluster.topic(INTENTS), 0)
        self._consumer = cluster.consumer()
        with guarded():
            self._consumer.assign([self._topic])
            self._consumer.seek(self._topic, place)

    def read(self) -> Iterator[Placed]:
        """Yield what has come since the last call; what cannot be read is left out, and said."""
        with guarded():
            rows = self._consumer.poll(timeout_ms=0).get(self._topic, ())
        for row in rows:
            try:
                yield Placed(row.offset, _DECODE(row.value))
            except msgspec.DecodeError as error:
                _log.error("intent unreadable", place=row.offset, error=str(error))

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


_DECODE: Final = msgspec.json.Decoder(Intent).decode
