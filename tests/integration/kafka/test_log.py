"""The log of a group on a real broker: every message, in order, by the broker's own batches."""

import asyncio
from itertools import chain

import pytest
from kafka import KafkaAdminClient, TopicPartition

from service.adapters.kafka_log import GroupLog
from service.adapters.kafka_topics import EVENTS, ensure
from service.bootstrap import build_topics
from service.core.ports import LogUnavailableError
from tests.integration.kafka.reading import batches

WITHIN_SECONDS = 60


@pytest.fixture
def topic(settings, cluster):
    """Name a topic of events; only its first partition is used."""
    ensure(cluster, build_topics(settings), -1)
    return cluster.topic(EVENTS)


def publish(cluster, topic, *groups, **given):
    """Publish groups of values, every one of which the broker takes in as one batch."""
    producer = cluster.producer(linger_ms=60_000, **given)
    is_transaction = "transactional_id" in given
    if is_transaction:
        producer.init_transactions()
    for group in groups:
        if is_transaction:
            producer.begin_transaction()
        for value in group:
            producer.send(topic, value, partition=0)
        producer.flush()
        if is_transaction:
            producer.commit_transaction()
    producer.close()


class Reader:
    """Reads until there is nothing more; `found` are the batches."""

    def __init__(self, cluster, start=0):
        self.log = GroupLog(cluster, "readers", (EVENTS,), self._starts)
        self._start, self.found = start, []

    async def _starts(self, ours, _ids):
        return dict.fromkeys(ours, self._start)

    async def read(self):
        stop = asyncio.Event()
        ending = asyncio.create_task(self._end(stop))
        async with asyncio.timeout(WITHIN_SECONDS):
            async for topic, partition, batch in self.log.batches(stop):
                assert (topic, partition) == (EVENTS, 0)
                self.found.append(list(batch))
            await ending
        return [[message.value for message in batch] for batch in self.found]

    async def _end(self, stop):
        while not self.log.is_read(EVENTS, 0):  # noqa: ASYNC110 - it tells when it is asked
            await asyncio.sleep(0.1)
        stop.set()


async def test_messages_come_as_the_broker_took_them_in(cluster, topic, kafka_server):
    groups = [[b"a", b"b", b"c"], [b"d"], [b"e", b"f"]]
    publish(cluster, topic, *groups)
    reader = Reader(cluster)
    assert await reader.read() == groups
    assert [(0, batch) for batch in reader.found] == [*batches(kafka_server.folder, topic)]


async def test_of_a_batch_in_which_it_begins_the_rest_comes(cluster, topic):
    publish(cluster, topic, [b"a", b"b", b"c"], [b"d"])
    assert await Reader(cluster, start=1).read() == [[b"b", b"c"], [b"d"]]


async def test_one_by_one_all_come_too(cluster, topic):
    publish(cluster, topic, [b"a", b"b", b"c"], [b"d"])
    reader, found, stop = Reader(cluster), [], asyncio.Event()
    async with asyncio.timeout(WITHIN_SECONDS):
        async for _, _, message in reader.log.messages(stop):
            found.append((message.value, reader.log.is_read(EVENTS, 0)))
            if len(found) == 4:
                stop.set()
    assert found == [(b"a", False), (b"b", False), (b"c", False), (b"d", True)]


async def test_the_marks_of_transactions_are_no_gaps(cluster, topic):
    groups = [[b"a", b"b"], [b"c"]]
    publish(cluster, topic, *groups, transactional_id=topic)
    reader = Reader(cluster)
    assert await reader.read() == groups
    offsets = [message.offset for message in chain.from_iterable(reader.found)]
    assert offsets == [0, 1, 3]


async def test_what_was_removed_while_it_was_due_is_missed(cluster, topic, settings):
    publish(cluster, topic, [b"a"], [b"b"], [b"c"])
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    admin.delete_records({TopicPartition(topic, 0): 2})
    admin.close()
    reader = Reader(cluster)

    async def assign(assigned):
        """Begin before what is left, as one does who was away while it was removed."""
        for place in assigned:
            reader.log._consumer.seek(place, 0)
            reader.log._next[place] = 0

    reader.log.assign = assign
    with pytest.raises(LogUnavailableError, match="0 was due, and the log begins at 2"):
        await reader.read()


async def test_who_cannot_be_made_ready_says_so_and_does_not_read_on(cluster, topic):
    publish(cluster, topic, [b"a"])

    async def starts(*_):
        raise LogUnavailableError("the line is cut")

    async with asyncio.timeout(WITHIN_SECONDS):
        with pytest.raises(LogUnavailableError, match="the line is cut"):
            async for _ in GroupLog(cluster, "readers", (EVENTS,), starts).batches(asyncio.Event()):
                pass
