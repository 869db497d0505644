"""Router and notifiers as processes, on a real broker and a real store, before a local Slack.

What is expected is what the log of findings says when it is run through a desk in this process.
"""

import asyncio
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from service.adapters.kafka_deliveries import ReceiptBook, receipts
from service.adapters.kafka_findings import Record, decode, encode, told
from service.adapters.kafka_intents import IntentBook
from service.adapters.kafka_messages import Message, line_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, FINDINGS, ensure
from service.bootstrap import build_desk_parts, build_notifiers, build_topics
from service.config_file import load
from service.core.chain import BEGINNING
from service.core.drivers import Member
from service.core.findings import OddPoint
from service.core.intents import Feedback
from service.core.partitions import partition_key, partition_of
from service.core.ports import DeliveryFilter, IncidentFilter, SourceStatus
from service.entrypoints.asking import Asker
from service.entrypoints.desk_log import DeskLog
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.local_slack_workspace import Fault
from service.entrypoints.machine import utc_now
from service.entrypoints.notifier import LEASE, Sender
from service.telemetry import Metrics
from tests.factories import STARTS_AT, make_chart, make_event, make_finding
from tests.integration.kafka.processes import Processes
from tests.integration.kafka.reading import records
from tests.ports import free_port

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def slack_server():
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with serve(app) as url:
        yield url, app.state.slack


@pytest.fixture
def slack(slack_server):
    slack_server[1].channel("spend").messages.clear()
    slack_server[1].faults.clear()
    return slack_server[1]


@pytest.fixture
def router_config(config, slack_server, store_server, store):
    """Add to the config where the store is, and whom to tell."""
    config.write_text(f"""{config.read_text()}
[store]
url = "{store_server.url}"
[api]
port = 0
[route]
receiver = "all"
min_impact = "10"
max_posts_per_hour = 10000
[receivers]
all = ["slack:#spend"]
[notifiers.slack]
token = "xoxb-1"
base_url = "{slack_server[0]}/api/"
timeout_seconds = 2
""")
    return config


@pytest.fixture
def system(router_config, tmp_path, cluster):
    """Return the processes over topics that are there."""
    ensure(cluster, build_topics(load(router_config, {})), -1)
    found = Processes(router_config, tmp_path)
    yield found
    for run in list(found.running):
        found.kill(run)


class Partition:
    """Says what an owner of a partition would say."""

    def __init__(self, publisher, number=0):
        self._publisher, self._number = publisher, number
        self._end, self._told = BEGINNING, {}

    def say(self, *numbers, hours=1):
        """Tell of findings that they go on, each about a service of its own."""
        members = [self._member(number, hours) for number in numbers]
        chart = {m.finding.finding_id: make_chart() for m in members if len(m.points) == hours}
        record = Record(
            topic=EVENTS, partition=self._number, previous=self._end, offset=self._end + 1,
            now=STARTS_AT, told=told(members, chart), sources=[SourceStatus(source="aws")],
        )  # fmt: skip
        self._end += 1
        for value in encode(record):
            self._publisher.send(FINDINGS, value, partition=0)
        self._publisher.flush()

    def _member(self, number, hours):
        points = self._told.setdefault(number, {})
        begin = len(points)
        for step in range(begin, begin + hours):
            cost, normal = Decimal(100), Decimal(10)
            points[step] = OddPoint(cost, normal, normal, normal, 9.0)
        finding = make_finding(
            finding_id=f"f{number}", series=f"aws/acme/i-{number}/USD/hour",
            resource_id=f"i-{number}", service_name=f"Service {number}",
            actual=100 * Decimal(len(points)), expected=10 * Decimal(len(points)),
            impact=90 * Decimal(len(points)), run_rate_per_day=Decimal(2160),
            charge_period_start=STARTS_AT, charge_period_end=STARTS_AT + len(points) * HOUR,
            ended_at=None, backfill=False,
        )  # fmt: skip
        return Member(finding, dict(points), 1, set(range(begin, begin + hours)), len(points) - 1)


@pytest.fixture
def partition(system, cluster):
    with Publisher(cluster) as publisher:
        yield Partition(publisher)


def expected(config, cluster):
    """Run the log through a desk: return incidents by id, and what is told, in order."""
    settings = load(config, {})
    parts = build_desk_parts(settings)
    desk = DeskLog(parts, settings.detection.detectors, timedelta(days=62), 4)
    incidents, notices = {}, []
    for record in records(cluster, FINDINGS):
        at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=record.timestamp)
        changes = desk.take(record.offset, at, decode(record.value))
        if changes is not None:
            incidents |= {one.incident_id: one for one in changes.incidents}
            notices += changes.notices
    return incidents, notices


def stored(store):
    found = store.incidents(IncidentFilter(limit=10_000))
    return {one.incident_id: one for one in found}


def posts(slack):
    """Return the first messages of conversations."""
    return [m for m in slack.channel("spend").messages if m.get("thread_ts") is None]


def all_is_told(config, cluster, store, slack):
    """Tell whether the store is what the log says, and Slack has every message once."""
    incidents, notices = expected(config, cluster)
    counts = store.delivery_counts()
    if stored(store) != incidents or counts["ready"] + counts["sending"] + counts["unknown"]:
        return False
    assert counts["dead"] == 0
    told = Counter(notice.action for notice in notices)
    assert len(posts(slack)) <= told["post"]
    assert len(slack.channel("spend").messages) <= told["post"] + told["thread"]
    return len(slack.channel("spend").messages) == told["post"] + told["thread"]


def test_what_is_found_is_told_once_by_router_and_notifier(
    system, partition, router_config, cluster, store, slack
):
    system.start("router")
    system.start("notifier")
    partition.say(1, 2, 3)
    partition.say(2, hours=30)
    system.until(lambda: stored(store) and all_is_told(router_config, cluster, store, slack))
    assert len(list(receipts(cluster))) >= 3
    until, faults = store.beats()["router"]  # for those who look whether it works
    assert (until > datetime.now(UTC), faults) == (True, [])


def publish(cluster, publisher, *, until, days=35):
    """Publish what one machine cost up to an hour, and in that a hundred times as much."""
    rows = []
    for back in range(days * 24, -1, -1):
        start = until - back * HOUR
        cost = Decimal(100 if back == 0 else 1) + Decimal(back % 7) / 50
        rows.append(
            make_event(
                charge_period_start=start, charge_period_end=start + HOUR, resource_id="i-1",
                billed_cost=cost, effective_cost=cost, x_event_id=f"e{back}",
            )
        )  # fmt: skip
    place = partition_of(partition_key(rows[0]), 4)
    for some in (rows[:-1], rows[-1:]):
        publisher.put(Message(EVENTS, place, "aws", b"".join(map(line_of, some)), len(some)))
    publisher.flush()


def test_rows_in_the_broker_are_a_notice_in_slack(system, router_config, cluster, store, slack):
    for command in ("worker", "router", "notifier"):
        system.start(command)
    last_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
    with Publisher(cluster) as publisher:
        publish(cluster, publisher, until=last_hour)
    system.until(lambda: posts(slack))
    system.until(lambda: all_is_told(router_config, cluster, store, slack))
    (incident,) = stored(store).values()
    assert (incident.kind, incident.drivers[0].resource) == ("spike", "i-1")
    assert store.latest_notice(incident.incident_id).chart is not None
    assert [source.source for source in store.sources()] == ["aws"]
    assert store.finding(incident.finding_ids[0]).ended_at is None
    said = Feedback(
        at=datetime.now(UTC), incident_id=incident.incident_id, verdict="new_level", who="ana",
        via="api", why="more shops",
    )  # fmt: skip
    book = IntentBook(cluster)
    assert Asker(book.write, store).ask(said, 15.0) is None
    book.close()
    system.until(lambda: store.finding(incident.finding_ids[0]).ended_at is not None)


def sent_late(router_config, cluster, store):
    """Send what is due a lease from now: what a notifier that was killed had claimed."""
    settings = load(router_config, {})

    async def send():
        notifiers = build_notifiers(settings)
        with Publisher(cluster) as publisher:
            sender = Sender(
                store, notifiers, Metrics("test"), lambda: utc_now() + LEASE + HOUR,
                ReceiptBook(publisher).keep,
            )  # fmt: skip
            await sender.drain()
        for notifier in notifiers.values():
            await notifier.close()

    asyncio.run(send())


def is_followed(router_config, cluster, store):
    """Tell whether the store is what the log says."""
    return stored(store) == expected(router_config, cluster)[0]


def test_a_router_and_a_notifier_that_are_killed_lose_nothing_and_say_nothing_twice(
    system, partition, router_config, cluster, store, slack
):
    router, notifier = system.start("router"), system.start("notifier")
    # Longer than the notifier waits for an answer, so that it does not know for a while.
    slack.faults += [Fault("chat.postMessage", slow_seconds=5, times=6)]
    partition.say(*range(6))
    system.until(lambda: len(posts(slack)) >= 2)
    system.kill(notifier)  # Slack has taken what the store does not know to be sent
    slack.faults.clear()
    counts = store.delivery_counts()
    assert counts["sending"] + counts["unknown"] >= 1
    for batch in range(20):
        partition.say(10 + batch, 30 + batch)
    system.kill(router)
    partition.say(*range(60, 90))
    system.start("router")
    notifier = system.start("notifier")
    system.until(lambda: is_followed(router_config, cluster, store))
    system.until(lambda: len(posts(slack)) > 40)
    system.kill(notifier)
    time.sleep(2)  # longer than Slack takes over what it has been sent
    sent_late(router_config, cluster, store)
    assert all_is_told(router_config, cluster, store, slack)
    assert len(posts(slack)) == 76


def test_a_store_that_is_emptied_is_filled_anew_and_nothing_is_said_again(
    system, partition, router_config, cluster, store, store_admin, slack
):
    system.start("router")
    notifier = system.start("notifier")
    partition.say(1, 2, 3)
    partition.say(2, hours=30)
    system.until(lambda: stored(store) and all_is_told(router_config, cluster, store, slack))
    before = state(store)
    store_admin.flushall()
    system.until(lambda: stored(store) and all_is_told(router_config, cluster, store, slack))
    assert state(store) == before
    # Emptied again while much is under way; what is not known to be sent is looked for later.
    for batch in range(20):
        partition.say(10 + batch, 30 + batch)
    system.until(lambda: len(posts(slack)) > 6)
    store_admin.flushall()
    partition.say(1, hours=40)
    system.until(lambda: is_followed(router_config, cluster, store))
    system.until(lambda: store.rebuilding() is None)
    system.kill(notifier)
    sent_late(router_config, cluster, store)
    assert all_is_told(router_config, cluster, store, slack)


def state(store):
    """Return all that the store says to anybody, but for when it was written."""
    deliveries = {
        one.notice.delivery_id: (one.notice, one.state, one.ref, one.parent)
        for one in store.deliveries(DeliveryFilter(limit=1000))
    }
    return stored(store), deliveries, store.sources(), store.offset()


def test_a_router_that_was_paused_past_its_session_does_no_harm(
    system, partition, router_config, cluster, store, slack
):
    first = system.start("router")
    system.start("notifier")
    partition.say(1, 2)
    system.until(lambda: len(posts(slack)) == 2)
    first.send_signal(signal.SIGSTOP)
    system.start("router")
    partition.say(3, 4)
    partition.say(1, hours=30)
    system.until(lambda: all_is_told(router_config, cluster, store, slack))
    first.send_signal(signal.SIGCONT)
    for number in range(10, 20):
        partition.say(number)
    system.until(lambda: all_is_told(router_config, cluster, store, slack))
    assert len(posts(slack)) == 14


def test_what_is_said_through_the_api_is_followed_or_refused_with_the_reason(
    system, partition, router_config, cluster, store, store_admin
):
    system.start("router")
    system.start("api")
    partition.say(1)
    system.until(lambda: stored(store) and "page and API" in system.log("api"))
    url = system.log("api").split("page and API: ")[1].split()[0]
    (name,) = stored(store)
    path = f"{url}/v1/incidents/{name}/feedback"
    said = {"verdict": "expected", "why": "load test"}
    token = (router_config.parent / "var" / "admin-token").read_text()
    http = httpx.Client(headers={"Authorization": f"Bearer {token}"})
    assert http.post(path, json=said).json()["state"] == "expected"
    answer = http.post(path, json=said | {"verdict": "undo"})
    assert answer.json()["state"] == "firing"
    answer = http.post(path, json=said | {"verdict": "undo"})
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "Nothing has changed: there is nothing to take back.",
    )  # fmt: skip
    http.close()
    assert [intent.verdict for intent in store.intents()] == ["undo", "expected"]
    assert is_followed(router_config, cluster, store)
    store_admin.flushall()
    assert httpx.get(f"{url}/readyz").status_code in (200, 503)
    system.until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
    assert [intent.verdict for intent in store.intents()] == ["undo", "expected"]
    assert is_followed(router_config, cluster, store)


def test_a_router_that_was_stopped_goes_on_from_its_saved_state(
    system, partition, router_config, cluster, store
):
    port = free_port()
    router = system.start("router", "--health", f":{port}")
    partition.say(1, 2)
    system.until(lambda: len(stored(store)) == 2)
    assert httpx.get(f"http://127.0.0.1:{port}/readyz").text == "ok\n"
    counted = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert 'spendwatch_findings_total{detector="shift"' in counted
    router.terminate()
    assert router.wait(timeout=30) == 0
    system.running.remove(router)
    assert '"event": "saved"' in system.log("router")
    partition.say(1, 3, hours=30)
    system.start("router")
    system.until(lambda: is_followed(router_config, cluster, store))
    assert '"begins_at": 0,' not in system.log("router").split('"event": "saved"')[1]
    assert len(stored(store)) == 3
