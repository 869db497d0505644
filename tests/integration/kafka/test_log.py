"""The log of a group on a real broker: every message, in order, by the broker's own batches."""

import asyncio
from collections import defaultdict
from itertools import chain

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.structs import OffsetAndMetadata

from service.adapters import kafka_log
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


async def read_on(log, stop):
    async for _ in log.batches(stop):
        pass


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

    def assign(assigned):
        """Begin before what is left, as one does who was away while it was removed."""
        for place in assigned:
            reader.log._consumer.seek(place, 0)
            reader.log._next[place] = 0

    reader.log.assign = assign
    with pytest.raises(LogUnavailableError, match="0 was due, and the log begins at 2"):
        await reader.read()


async def test_while_there_is_more_to_read_others_have_their_turn(cluster, topic):
    publish(cluster, topic, *([b"a"] for _ in range(20)))
    reader, turns, seen = Reader(cluster), 0, []

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    stop, other = asyncio.Event(), None
    async with asyncio.timeout(WITHIN_SECONDS):
        async for _ in reader.log.batches(stop):
            other = other or asyncio.create_task(take_turns())
            seen.append(turns)
            if len(seen) == 20:
                stop.set()
    other.cancel()
    assert len(set(seen)) == 20


async def test_before_partitions_may_be_anothers_they_are_put_in_order(cluster, topic):
    publish(cluster, topic, [b"a"])
    order, first_is_in, stop = [], asyncio.Event(), asyncio.Event()

    async def starts(ours, _ids):
        order.append(len(ours))
        first_is_in.set()
        if len(order) > 1 and order[-2] == "given up":
            stop.set()
        return dict.fromkeys(ours, 0)

    async def gives_up(for_good):
        if order:
            order.append("over" if for_good else "given up")

    async with asyncio.timeout(WITHIN_SECONDS):
        log = GroupLog(cluster, "readers", (EVENTS,), starts, gives_up)
        one = asyncio.create_task(read_on(log, stop))
        await first_is_in.wait()
        await asyncio.gather(one, read_on(Reader(cluster).log, stop))
    assert order == [4, "given up", 2, "over"]


async def test_partitions_may_be_made_ready_for_longer_than_a_session(cluster, topic, monkeypatch):
    monkeypatch.setattr(kafka_log, "SESSION_SECONDS", 6)  # the least that a broker takes
    publish(cluster, topic, [b"a"])
    begun, stop = [], asyncio.Event()

    async def starts(ours, _ids):
        begun.append(len(ours))
        await asyncio.sleep(8)
        return dict.fromkeys(ours, 0)

    log = GroupLog(cluster, "readers", (EVENTS,), starts)
    async with asyncio.timeout(WITHIN_SECONDS):
        async for _ in log.batches(stop):
            asyncio.get_running_loop().call_later(
                3, stop.set
            )  # a heartbeat later it is a member yet
    assert begun == [4]


async def test_what_is_fetched_while_partitions_are_made_ready_is_read_again(cluster, topic):
    many, places = 200, range(4)
    producer = cluster.producer(linger_ms=0, batch_size=1)
    for number in range(4 * many):
        producer.send(topic, b"a", partition=number % 4)
    producer.flush()
    producer.close()
    half = OffsetAndMetadata(many // 2, "", -1)
    consumer = cluster.consumer(group_id=cluster.prefix + "readers")
    consumer.commit({TopicPartition(topic, place): half for place in places})
    consumer.close()
    stop, found = asyncio.Event(), defaultdict(list)

    async def starts(ours, _ids):
        await asyncio.sleep(1)
        return dict.fromkeys(ours, 0)

    async with asyncio.timeout(WITHIN_SECONDS):
        log = GroupLog(cluster, "readers", (EVENTS,), starts)
        async for _, place, batch in log.batches(stop):
            found[place] += [message.offset for message in batch]
            if all(found[one][-1:] == [many - 1] for one in places):
                stop.set()
    assert found == {place: [*range(many)] for place in places}


async def test_what_cannot_be_put_in_order_ends_the_reader(cluster, topic):
    async def gives_up(_for_good):
        raise LogUnavailableError("no")

    async def starts(ours, _ids):
        return dict.fromkeys(ours, 0)

    log = GroupLog(cluster, "readers", (EVENTS,), starts, gives_up)
    with pytest.raises(LogUnavailableError, match="no"):
        await asyncio.wait_for(read_on(log, asyncio.Event()), WITHIN_SECONDS)


async def test_who_cannot_be_made_ready_says_so_and_does_not_read_on(cluster, topic):
    publish(cluster, topic, [b"a"])

    async def starts(*_):
        raise LogUnavailableError("the line is cut")

    async with asyncio.timeout(WITHIN_SECONDS):
        with pytest.raises(LogUnavailableError, match="the line is cut"):
            async for _ in GroupLog(cluster, "readers", (EVENTS,), starts).batches(asyncio.Event()):
                pass
