"""The input's log, as one member of a group that shares its partitions."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from service.adapters.kafka_client import Cluster
from service.core.ports import LogUnavailableError

SESSION_SECONDS: Final = 10
MAY_TAKE_SECONDS: Final = 600  # to make partitions ready, and to take in what was fetched
AT_ONCE: Final = 100
POLL_SECONDS: Final = 0.5
COMMITS_EVERY_SECONDS: Final = 5.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Starts = Callable[[Collection[tuple[str, int]]], Awaitable[Mapping[tuple[str, int], int]]]


class Message(NamedTuple):
    """One message of the input, as the broker has it."""

    offset: int
    at: datetime
    headers: Mapping[str, bytes]
    value: bytes


class GroupLog:
    """Messages of the topics, each partition's in order and without a gap.

    `starts` is told which partitions are now ours, whenever that changes, and says where each is to
    begin. What is committed is for those who watch the lag: it is never read.
    """

    def __init__(
        self, cluster: Cluster, group: str, topics: Collection[str], starts: Starts
    ) -> None:
        self._cluster = cluster
        self._names = {cluster.topic(name): name for name in topics}
        self._starts = starts
        self._next: dict[TopicPartition, int] = {}
        self._turn = 0
        self._commit_at = 0.0
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=cluster.servers,
            group_id=cluster.prefix + group,
            client_id="spendwatch",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_SECONDS * 1000,
            heartbeat_interval_ms=SESSION_SECONDS * 1000 // 4,
            max_poll_interval_ms=MAY_TAKE_SECONDS * 1000,
            rebalance_timeout_ms=MAY_TAKE_SECONDS * 1000,
            **_security(cluster.security),
        )

    async def messages(self, stop: asyncio.Event) -> AsyncIterator[tuple[str, int, Message]]:
        """Yield (topic, partition, message) until told to stop.

        LogUnavailableError when messages are missing: they were removed while they were due.
        """
        self._consumer.subscribe(list(self._names), listener=_Listener(self))
        try:
            await self._consumer.start()
            while not stop.is_set():
                fetched = await self._consumer.getmany(
                    timeout_ms=int(POLL_SECONDS * 1000), max_records=AT_ONCE
                )
                turn = self._turn
                for place, record in _each(fetched):
                    if self._turn != turn:
                        break  # it is fetched again from where each partition begins now
                    if self._is_due(place, record.offset):
                        yield self._names[place.topic], place.partition, _message(record)
                await self._commit()
        except KafkaError as error:
            raise LogUnavailableError(f"Kafka does not answer: {error!r}") from error
        finally:
            await self._consumer.stop()

    @property
    def turn(self) -> int:
        """Count how often it was said anew where partitions begin: what came before is not due."""
        return self._turn

    def rewind(self, topic: str, partition: int, offset: int) -> None:
        """Go on with another message of a partition that is ours; else nothing is done."""
        place = TopicPartition(self._cluster.topic(topic), partition)
        if place in self._next:
            self._turn += 1
            self._consumer.seek(place, offset)
            self._next[place] = offset

    def is_read(self, topic: str, partition: int) -> bool:
        """Tell whether all that a partition holds has been handed out."""
        place = TopicPartition(self._cluster.topic(topic), partition)
        end = self._end(place) if place in self._next else None
        return end is not None and self._next[place] >= end

    def behind(self) -> int:
        """Return how many messages wait in the partitions that are ours, as far as is known."""
        ends = ((self._end(place), due) for place, due in [*self._next.items()])
        return sum(end - due for end, due in ends if end is not None and end > due)

    def _end(self, place: TopicPartition) -> int | None:
        """Return where a partition ends; None when that is not known, or it is being taken away."""
        if place not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(place)
        return end

    def _is_due(self, place: TopicPartition, offset: int) -> bool:
        """Move on by one message; False for one that was fetched before the partitions changed."""
        due = self._next.get(place)
        if due is None or offset < due:
            return False
        if offset > due:
            raise LogUnavailableError(
                f"{place.topic}/{place.partition}: {offset} came where {due} was due"
            )
        self._next[place] = offset + 1
        return True

    async def assign(self, assigned: Collection[TopicPartition]) -> None:
        """Begin with the partitions that are ours now."""
        self._turn += 1
        self._next.clear()
        ours = {(self._names[place.topic], place.partition): place for place in assigned}
        wanted = await self._starts(ours)
        first = await self._consumer.beginning_offsets(list(assigned)) if assigned else {}
        for key, place in ours.items():
            start = max(wanted[key], first[place])
            self._consumer.seek(place, start)
            self._next[place] = start

    async def _commit(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._commit_at or not self._next:
            return
        self._commit_at = now + COMMITS_EVERY_SECONDS
        try:
            await self._consumer.commit(dict(self._next))
        except KafkaError:  # the next one will do
            return


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types for it
    def __init__(self, log: GroupLog) -> None:
        self._log = log

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Wait for word of what is ours."""

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin anew; nothing is fetched before this returns."""
        await self._log.assign(assigned)


def _each(fetched: Mapping[TopicPartition, Collection[Any]]) -> Iterator[tuple[Any, Any]]:
    return ((place, record) for place, records in fetched.items() for record in records)


def _message(record: Any) -> Message:
    at = EPOCH + timedelta(milliseconds=record.timestamp)
    return Message(record.offset, at, dict(record.headers), record.value or b"")


def _security(given: Mapping[str, Any]) -> dict[str, Any]:
    """Say in aiokafka's words what the cluster knows in kafka-python's."""
    named = {
        name: value
        for name, value in given.items()
        if name.startswith("sasl") or name == "security_protocol"
    }
    if str(given.get("security_protocol", "")).endswith("SSL"):
        context = ssl.create_default_context(cafile=given.get("ssl_cafile"))
        if "ssl_certfile" in given:
            context.load_cert_chain(given["ssl_certfile"], given["ssl_keyfile"])
        named["ssl_context"] = context
    if "sasl_plain_password" in named:
        named["sasl_plain_password"] = named["sasl_plain_password"].reveal()
    return named
