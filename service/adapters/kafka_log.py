"""The input's log, as one member of a group that shares its partitions."""

import asyncio
import ssl
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from service.adapters.kafka_batches import batch_of
from service.adapters.kafka_client import Cluster
from service.adapters.kafka_topics import ids
from service.core.ports import LogUnavailableError

SESSION_SECONDS: Final = 10
MAY_TAKE_SECONDS: Final = 600  # to make partitions ready, and to take in what was fetched
POLL_SECONDS: Final = 0.5
COMMITS_EVERY_SECONDS: Final = 5.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Starts = Callable[
    [Collection[tuple[str, int]], Mapping[str, str]], Awaitable[Mapping[tuple[str, int], int]]
]
GivesUp = Callable[[bool], Awaitable[None]]


class Message(NamedTuple):
    """One message of the input, as the broker has it."""

    offset: int
    at: datetime
    headers: Mapping[str, bytes]
    value: bytes


class GroupLog:
    """Messages of the topics, each partition's in order and without a gap.

    `starts` is told which partitions are now ours, and the ids of the topics, whenever that
    changes, and says where each is to begin; it may take its time. Before partitions may be
    another's `gives_up` is waited for, while nobody else has them unless our session is over; it is
    told whether this is the end. What is committed is for those who watch the lag: it is never
    read.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Collection[str],
        starts: Starts,
        gives_up: GivesUp | None = None,
    ) -> None:
        self._cluster = cluster
        self._names = {cluster.topic(name): name for name in topics}
        self._starts = starts
        self._gives_up = gives_up
        self._next: dict[TopicPartition, int] = {}
        self._turn = 0
        self._ids: dict[str, str] = {}
        self._given: Collection[TopicPartition] | None = None
        self._failed: Exception | None = None
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

        LogUnavailableError when messages are missing: they were removed while they were due, or
        their topic was made anew.
        """
        async with aclosing(self.batches(stop)) as batches:
            async for topic, partition, batch in batches:
                turn = self._turn
                place = TopicPartition(self._cluster.topic(topic), partition)
                for message in batch:
                    if self._turn != turn:
                        break
                    self._next[place] = message.offset + 1
                    yield topic, partition, message

    async def batches(
        self, stop: asyncio.Event
    ) -> AsyncGenerator[tuple[str, int, Sequence[Message]], None]:
        """Yield (topic, partition, messages), those together that the broker took in as one.

        What of a batch is not due is left out. Otherwise as `messages`.
        """
        self._consumer.subscribe(list(self._names), listener=_Listener(self))
        try:
            await self._consumer.start()
            while not stop.is_set():
                if self._given is not None:
                    await self._begin(self._given)
                fetched = await self._consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
                if self._failed is not None:
                    raise self._failed
                if self._given is not None:
                    continue  # fetched is what follows the last commit
                turn = self._turn
                for place, records in _each(fetched):
                    if self._turn != turn or stop.is_set():
                        break  # it is fetched again from where each partition begins now
                    due = [
                        _message(one) for one in records if await self._is_due(place, one.offset)
                    ]
                    if due and self._turn == turn:
                        yield self._names[place.topic], place.partition, due
                    # Nothing else may wait: the group is to hear of us all the same.
                    await asyncio.sleep(0)
                    await self._commit()
                else:
                    await self._pass_marks()
                await self._commit()
            if self._gives_up is not None:
                await self._gives_up(True)
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

    async def _is_due(self, place: TopicPartition, offset: int) -> bool:
        """Move on by one message; False for one that was fetched before the partitions changed."""
        due = self._next.get(place)
        if due is None or offset < due:
            return False
        return await self._move(place, due, offset, offset + 1)

    async def _pass_marks(self) -> None:
        """Move on past what follows the last message and is none."""
        turn = self._turn
        for place, due in [*self._next.items()]:
            if place in self._consumer.assignment():
                position = await self._consumer.position(place)
                if self._turn != turn:
                    return
                await self._move(place, due, position, position)

    async def _move(self, place: TopicPartition, due: int, offset: int, then: int) -> bool:
        """Say what is due next; False when that was said anew meanwhile.

        Marks of transactions take offsets too. Of a log that still has what was due, it was one.
        """
        if offset > due:
            turn = self._turn
            first = (await self._consumer.beginning_offsets([place]))[place]
            if self._turn != turn:
                return False
            if first > due:
                raise LogUnavailableError(
                    f"{place.topic}/{place.partition}: {due} was due, and the log begins at {first}"
                )
        self._next[place] = then
        return True

    async def revoke(self) -> None:
        """Let partitions be put in order that may be another's soon."""
        try:
            if self._gives_up is not None:
                await self._gives_up(False)
        except Exception as error:  # noqa: BLE001 - the client would log it, and go on
            self._failed = error

    def assign(self, assigned: Collection[TopicPartition]) -> None:
        """Note which partitions are ours now: what was read so far is not due any more."""
        self._turn += 1
        self._next.clear()
        self._given = assigned

    async def _begin(self, assigned: Collection[TopicPartition]) -> None:
        """Begin with the partitions that are ours now.

        That is the reader's own work: no heartbeat goes out while the client hands partitions over,
        and what it fetches meanwhile is of no turn.
        """
        self._given, turn = None, self._turn
        ours = {(self._names[place.topic], place.partition): place for place in assigned}
        known = await asyncio.to_thread(ids, self._cluster, self._names.values())
        if self._ids and known != self._ids:
            raise LogUnavailableError("topics were made anew: what was read is of another log")
        self._ids = known
        wanted = await self._starts(ours, known)
        first = await self._consumer.beginning_offsets(list(assigned)) if assigned else {}
        if self._turn != turn:
            return  # they were handed out anew
        for key, place in ours.items():
            start = max(wanted[key], first[place])
            self._consumer.seek(place, start)
            self._next[place] = start

    async def _commit(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._commit_at or not self._next:
            return
        self._commit_at = now + COMMITS_EVERY_SECONDS
        # Of a topic that is gone the client would try for ever; the next one will do.
        with suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(COMMITS_EVERY_SECONDS):
                await self._consumer.commit(dict(self._next))


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types for it
    def __init__(self, log: GroupLog) -> None:
        self._log = log

    async def on_partitions_revoked(self, _revoked: Collection[TopicPartition]) -> None:
        """Put them in order; nobody is given them before this returns."""
        await self._log.revoke()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin anew."""
        self._log.assign(assigned)


def _each(
    fetched: Mapping[TopicPartition, Collection[Any]],
) -> Iterator[tuple[TopicPartition, Iterator[Any]]]:
    """Yield batches; an answer of the broker ends with the end of one."""
    for place, records in fetched.items():
        for _, batch in groupby(records, batch_of):
            yield place, batch


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
