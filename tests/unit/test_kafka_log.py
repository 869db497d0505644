"""The log of a group between what was ours and what will be."""

from aiokafka import TopicPartition

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_log import GroupLog
from service.adapters.kafka_topics import EVENTS


async def test_of_a_partition_that_is_being_taken_away_it_is_not_known_whether_it_is_read():
    log = GroupLog(Cluster("127.0.0.1:9", "", {}), "group", (EVENTS,), dict.fromkeys)
    log._consumer.subscribe([EVENTS])
    log._next[TopicPartition(EVENTS, 0)] = 7
    assert not log.is_read(EVENTS, 0)
    assert log.behind() == 0
    await log._consumer.stop()
