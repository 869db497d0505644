"""What every user of Kafka shares: how to reach the cluster, and what its failures are called."""

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from service.core.ports import LogUnavailableError
from service.core.secret import Secret

# Below the broker's own limit of 1 MiB, with room for headers and the record's frame.
MAX_MESSAGE_BYTES: Final = 1_000_000
ANSWERS_WITHIN_MS: Final = 10_000
DELIVERS_WITHIN_MS: Final = 120_000


class Cluster(NamedTuple):
    """Where Kafka is, what its topics' names begin with, and kafka-python's security settings."""

    bootstrap_servers: str
    prefix: str
    security: Mapping[str, Any]

    @property
    def servers(self) -> list[str]:
        """Return the servers, host:port each."""
        return [server.strip() for server in self.bootstrap_servers.split(",")]

    def topic(self, name: str) -> str:
        """Return the full name of one of our topics."""
        return self.prefix + name

    def admin(self) -> "KafkaAdminClient":
        """Connect for questions about topics."""
        with guarded():
            return KafkaAdminClient(**self._connection())

    def producer(self, **settings: Any) -> "KafkaProducer":
        """Connect an idempotent producer: acknowledged by all replicas, in order, compressed."""
        with guarded():
            return KafkaProducer(
                **self._connection(),
                enable_idempotence=True,
                acks="all",
                compression_type="zstd",
                allow_auto_create_topics=False,
                max_request_size=MAX_MESSAGE_BYTES + 10_000,
                delivery_timeout_ms=DELIVERS_WITHIN_MS,
                max_block_ms=DELIVERS_WITHIN_MS,
                **settings,
            )

    def consumer(self, **settings: Any) -> "KafkaConsumer":
        """Connect a consumer without a group, which remembers nothing for itself."""
        with guarded():
            return KafkaConsumer(
                **self._connection(),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                **settings,
            )

    def _connection(self) -> dict[str, Any]:
        _reach(self.servers)
        return {
            "bootstrap_servers": self.servers,
            "bootstrap_timeout_ms": ANSWERS_WITHIN_MS,
            "client_id": "spendwatch",
            **{
                name: value.reveal() if isinstance(value, Secret) else value
                for name, value in self.security.items()
            },
        }


def read_all(cluster: Cluster, topic: str, **settings: Any) -> Iterator[Any]:
    """Yield what is in partition 0 of one of our topics now, from first to last.

    `settings` are the consumer's; LogUnavailableError when Kafka is away.
    """
    consumer = cluster.consumer(**settings)
    try:
        with guarded():
            place = TopicPartition(cluster.topic(topic), 0)
            end = consumer.end_offsets([place])[place]
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            while consumer.position(place) < end:
                yield from consumer.poll(timeout_ms=1000).get(place, ())
    finally:
        consumer.close()


def bounds(cluster: Cluster, topic: str) -> tuple[int, int]:
    """Return the offsets at which partition 0 of one of our topics begins and ends."""
    consumer = cluster.consumer()
    try:
        with guarded():
            place = TopicPartition(cluster.topic(topic), 0)
            first = consumer.beginning_offsets([place])[place]
            return first, consumer.end_offsets([place])[place]
    finally:
        consumer.close()


def ends_of(cluster: Cluster, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the offsets at which partitions of our topics end."""
    consumer = cluster.consumer()
    try:
        with guarded():
            named = {TopicPartition(cluster.topic(topic), n): (topic, n) for topic, n in places}
            found = consumer.end_offsets([*named])
            return {named[place]: end for place, end in found.items()}
    finally:
        consumer.close()


def _reach(servers: Sequence[str]) -> None:
    """Return when one of the servers takes connections.

    The client would try for long, say less, and leave threads behind that tried.
    """
    why = "no server is named"
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except ValueError:
            why = f"{server!r} is not host:port"
        except OSError as error:
            why = f"{server}: {error.strerror or error}"
        else:
            return
    raise LogUnavailableError(f"Kafka does not answer: {why}")


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what the client raises when the cluster is away or refuses into the port's error."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        what = str(error) or type(error).__name__
        raise LogUnavailableError(f"Kafka does not answer: {what}") from error
