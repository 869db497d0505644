"""Kafka loses everything it had, and the store and the folders of the workers do not."""

import subprocess
import time
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_intents import IntentBook
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import INTENTS, ensure
from service.bootstrap import build_topics
from service.config_file import load
from service.core.intents import Put
from service.core.tokens import Token
from service.entrypoints.local_slack import build_app, serve
from tests.faults.checker import SERVICE
from tests.faults.crew import SPENDWATCH, Crew
from tests.faults.load import Load
from tests.faults.rounds import _config
from tests.integration.kafka.reading import records
from tests.kafka_server import KafkaServer
from tests.needs import need
from tests.store_server import StoreServer

WITHIN_SECONDS = 200
PARTS = ("worker-1", "rollups-1", "notifier-1")


@pytest.fixture
def servers(tmp_path):
    """A broker and a store of its own: what is lost here is nobody else's."""
    need("java")
    with ExitStack() as stack:
        kafka = KafkaServer(tmp_path / "kafka").start()
        stack.callback(kafka.kill)
        store = StoreServer(tmp_path / "store").start()
        stack.callback(store.kill)
        yield kafka, store


class Rig:
    """A crew that is kept up, a router that is not, and the Slack that they tell."""

    def __init__(self, folder, servers, url, slack):
        self.config = _config(folder, *servers, url, None)
        self.settings = load(self.config, {})
        self.cluster = Cluster(servers[0].address, self.settings.kafka.topic_prefix, {})
        self.crew, self._slack, self._folder = Crew(self.config, folder), slack, folder
        self.router = None

    def route(self, *options):
        with (self._folder / "router.log").open("ab") as log:
            command = [SPENDWATCH, "router", "--config", self.config, *options]
            self.router = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def said(self):
        return (self._folder / "router.log").read_text()

    @property
    def told(self):
        """Name the services that were told of, each as often as it was."""
        posts = [m for m in self._slack.channel("spend").messages if m.get("thread_ts") is None]
        return [int(SERVICE.search(str(post["blocks"])).group(1)) for post in posts]

    def until(self, condition):
        deadline = time.monotonic() + WITHIN_SECONDS
        while not condition():
            self.crew.tend()
            assert time.monotonic() < deadline, f"{self.said[-3000:]}\n{self.crew.logs}"
            time.sleep(0.2)

    def end(self):
        self.crew.end()
        self.router.kill()
        self.router.wait()


@pytest.fixture
def rig(tmp_path, servers):
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with serve(app) as url:
        found = Rig(tmp_path, servers, url, app.state.slack)
        ensure(found.cluster, build_topics(found.settings), -1)
        found.route()
        for name in PARTS:
            found.crew.start(name)
        yield found
        found.end()


@pytest.mark.timeout(900)
def test_a_person_says_so_and_then_all_goes_on_and_nothing_is_told_again(rig, servers, tmp_path):
    token = Token(name="ana", sha256="0" * 64, teams=["ml"], role="viewer")
    put = Put(at=datetime.now(UTC), who="ana", via="cli", why="first set-up", thing=token)
    with Publisher(rig.cluster) as publisher:
        load = Load(publisher, rig.settings.kafka.partitions, 4)
        load.past()
        load.costly_hour(0)
    book = IntentBook(rig.cluster)
    book.write(put)
    book.close()
    rig.until(lambda: rig.told == [0])

    servers[0].lose()
    rig.until(lambda: rig.router.poll() is not None)
    rig.route()
    rig.until(lambda: rig.router.poll() is not None)
    assert "start one router with --new-log" in rig.said.splitlines()[-1]
    assert records(rig.cluster, INTENTS) == []

    rig.route("--new-log")
    with Publisher(rig.cluster) as publisher:
        load._publisher = publisher
        load.past()
        load.costly_hour(0)
        load.costly_hour(2)
    rig.until(lambda: 2 in rig.told)
    assert rig.told == [0, 2]
    assert [row.key.decode() for row in records(rig.cluster, INTENTS)] == [put.intent_id]
    history = tmp_path / "var" / "history" / "billing.events"
    assert any(".of-" in path.name for path in history.iterdir())
