from datetime import timedelta

import pytest

from service.adapters.kafka_topics import Topic, ensure, topics
from service.core.ports import LogUnavailableError

REMEMBERS = timedelta(days=62)
DAY_MS = 86_400_000


@pytest.fixture
def admin(cluster):
    admin = cluster.admin()
    yield admin
    admin.close()


def make(admin, cluster, name, partitions=1, **config):
    named = {key.replace("_", "."): str(value) for key, value in config.items()}
    how = {"num_partitions": partitions, "replication_factor": 1, "configs": named}
    admin.create_topics({cluster.topic(name): how}, wait_for_metadata=True)


def test_every_topic_is_created_and_then_found_to_be_right(cluster, admin):
    wanted = topics(3, REMEMBERS)
    ensure(cluster, wanted, -1)
    ensure(cluster, wanted, -1)
    found = admin.describe_topics([cluster.topic(name) for name in wanted])
    assert {row["name"]: len(row["partitions"]) for row in found} == {
        cluster.topic(name): topic.partitions for name, topic in wanted.items()
    }


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"retention_ms": 7 * DAY_MS}, "retention.ms is 7 days, and rows count for 62"),
        ({"retention_ms": -1, "retention_bytes": 10**9}, "retention.bytes is set"),
        ({"cleanup_policy": "compact"}, "cleanup.policy is compact, not delete"),
        ({"retention_ms": -1, "max_message_bytes": 1000}, "max.message.bytes is below 1000000"),
    ],
)
def test_an_existing_topic_that_would_lose_rows_is_refused(cluster, admin, config, says):
    make(admin, cluster, "billing.events", **config)
    wanted = {"billing.events": Topic(1, REMEMBERS, REMEMBERS)}
    with pytest.raises(LogUnavailableError) as error:
        ensure(cluster, wanted, -1)
    assert f"topic {cluster.topic('billing.events')}: {says}" in str(error.value)


def test_a_topic_that_should_keep_the_newest_of_each_key_must_be_compacted(cluster, admin):
    make(admin, cluster, "cost.intents")
    with pytest.raises(LogUnavailableError, match=r"cleanup.policy is delete, not compact"):
        ensure(cluster, topics(1, REMEMBERS), -1)


def test_the_number_of_partitions_and_whose_clock_stamps_are_checked(cluster, admin):
    make(admin, cluster, "billing.events", partitions=2, retention_ms=-1)
    with pytest.raises(LogUnavailableError) as error:
        ensure(cluster, topics(4, REMEMBERS), -1)
    assert "has 2 partitions, not 4" in str(error.value)
    assert "message.timestamp.type is not LogAppendTime" in str(error.value)


def test_a_topic_that_keeps_for_ever_is_right(cluster, admin):
    make(admin, cluster, "billing.events", retention_ms=-1)
    ensure(cluster, {"billing.events": Topic(1, REMEMBERS, REMEMBERS)}, -1)
