"""The publisher: messages into Kafka, acknowledged, with a bound on what is under way."""

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from service.adapters.kafka_client import DELIVERS_WITHIN_MS, Cluster, guarded
from service.adapters.kafka_messages import SOURCE_HEADER, Message

# What is on its way and not acknowledged; with full messages some 16 MiB.
MOST_UNDER_WAY: Final = 128


class Publisher:
    """Sends messages in order, per partition exactly once while this object lives.

    LogUnavailableError when Kafka does not take a message for two minutes, or refuses it: what was
    sent since the last `flush` may or may not be there.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer = cluster.producer(linger_ms=5, batch_size=256 * 1024)
        self._under_way: deque[Any] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever leaves by an error has no time to wait for a broker that may be away.
        self._producer.close(None if error is None else 0)

    def abandon(self) -> None:
        """Let go of the connection at once; what is not acknowledged may or may not be there."""
        self._producer.close(0)

    def put(self, message: Message, headers: Mapping[str, str] | None = None) -> None:
        """Send a message of events; waits while too much is under way."""
        named = {SOURCE_HEADER: message.source, **(headers or {})}
        self.send(message.topic, message.value, partition=message.partition, headers=named)

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | None = None,
        partition: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send one record; waits while too much is under way."""
        with guarded():
            self._under_way.append(
                self._producer.send(
                    self._cluster.topic(topic),
                    value,
                    key=None if key is None else key.encode(),
                    partition=partition,
                    headers=[(name, text.encode()) for name, text in (headers or {}).items()],
                )
            )
            while len(self._under_way) > MOST_UNDER_WAY:
                self._settle()

    def flush(self) -> None:
        """Return when all that was sent is acknowledged."""
        with guarded():
            while self._under_way:
                self._settle()

    def _settle(self) -> None:
        self._under_way.popleft().get(timeout=DELIVERS_WITHIN_MS / 1000 + 5)
