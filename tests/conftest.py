"""Fixtures that several kinds of tests share."""

import pytest
from hypothesis import settings

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.redis_store import RedisStore
from tests.kafka_server import KafkaServer
from tests.needs import need

# How long an example takes is the machine's affair: no test may fail by the clock.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def store_server(tmp_path_factory):
    """A real Valkey server on a private socket, for the whole run."""
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture
def store(store_server):
    """An empty store on a real server."""
    store = RedisStore.connect(store_server.url)
    store._redis.flushall()
    yield store
    store.close()


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory):
    """A real Apache Kafka broker, for the whole run; whoever stops it starts it again."""
    need("java")
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    if not server.is_fetched:
        need("mvn")
    server.start()
    yield server
    server.stop()
