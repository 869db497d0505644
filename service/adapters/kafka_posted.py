"""Posted events into Kafka, in the partitions of their series, acknowledged by all replicas."""

import threading
from collections.abc import Callable, Sequence

from service.adapters.kafka_letters import refused
from service.adapters.kafka_messages import Message, Packer
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, REFUSED
from service.core.events import CostEvent, Rejected, content_hash
from service.core.partitions import partition_key
from service.core.ports import LogUnavailableError


class PostedMessages:
    """`Posting` through one producer, made when it is first needed, and anew when it failed.

    `count` is told feed and number of what was refused.
    """

    def __init__(
        self,
        feeds: Sequence[str],
        partitions: int,
        connect: Callable[[], Publisher],
        count: Callable[[str, int], None],
    ) -> None:
        self.feeds = sorted(feeds)
        self.partitions = partitions
        self.count = count
        self._connect = connect
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None

    def open(self, feed: str) -> "PostedBatch":
        """Begin a batch."""
        return PostedBatch(feed, self)

    def publish(self, send: Callable[[Publisher], None]) -> None:
        """Let something be sent, and return when all of it is acknowledged; one at a time."""
        with self._lock:
            if self._publisher is None:
                self._publisher = self._connect()
            try:
                send(self._publisher)
                self._publisher.flush()
            except LogUnavailableError:
                failed, self._publisher = self._publisher, None
                failed.abandon()
                raise

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            if self._publisher is not None:
                self._publisher.abandon()
                self._publisher = None


class PostedBatch:
    """One batch, published when it is saved: what is dropped was never sent."""

    def __init__(self, feed: str, posted: PostedMessages) -> None:
        self._feed = feed
        self._posted = posted
        self._packer = Packer(posted.partitions)
        self._full: list[Message] = []
        self._letters: list[Rejected] = []

    def put(self, event: CostEvent, line: bytes) -> None:
        """Take one event, written as a line."""
        full = self._packer.put(EVENTS, self._feed, partition_key(event), line)
        if full is not None:
            self._full.append(full)

    def refuse(self, rejected: Rejected) -> None:
        """Take a line that was refused."""
        self._letters.append(rejected)

    def save(self) -> None:
        """Return once all of it is acknowledged; LogUnavailableError when it may not be."""
        self._posted.publish(self._send)
        self._posted.count(self._feed, len(self._letters))

    def drop(self) -> None:
        """Forget the batch."""
        self._full.clear()

    def _send(self, publisher: Publisher) -> None:
        for letter in map(refused, self._letters):
            publisher.send(REFUSED, letter, key=content_hash(letter))
        for message in (*self._full, *self._packer.rest()):
            publisher.put(message)
