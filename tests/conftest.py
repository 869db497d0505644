"""Fixtures that several kinds of tests share."""

from contextlib import closing

import pytest
import redis
from hypothesis import settings

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.redis_store import RedisStore
from tests.kafka_server import KafkaServer
from tests.needs import need

USER = (
    "spendwatch", "on", ">s3cret", "~spendwatch:*", "resetchannels",
    "-@all", "+@read", "+@write", "+@scripting", "+@connection", "+time", "-@dangerous",
)  # fmt: skip
# How long an example takes is the machine's affair: no test may fail by the clock.
settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Show beside a failure what the broker said."""
    report = yield
    if report.failed and "kafka_server" in item.funcargs:
        report.sections.append(("Kafka's log", item.funcargs["kafka_server"].last_words))
    return report


@pytest.fixture(scope="session")
def store_server(tmp_path_factory):
    """A real Valkey server on a private socket, for the whole run."""
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="session")
def store_admin(store_server):
    """Who may do everything on that server."""
    with closing(redis.Redis.from_url(store_server.url)) as admin:
        admin.execute_command("ACL", "SETUSER", *USER)
        yield admin


@pytest.fixture
def store(store_server, store_admin):
    """An empty store on a real server, reached as one who may do what deploy/config.toml says."""
    store_admin.flushall()
    store = RedisStore.connect(store_server.url, username=USER[0], password=USER[2][1:])
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
