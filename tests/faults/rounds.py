"""Rounds: a load, while faults come at random times from a seed, and what came of it."""

import asyncio
import random
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import NamedTuple
from uuid import uuid4

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_deliveries import ReceiptBook
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import ensure
from service.adapters.redis_store import RedisStore
from service.bootstrap import build_notifiers, build_topics
from service.config_file import load as load_settings
from service.core.ports import IncidentFilter, StoreUnavailableError
from service.entrypoints.local_slack import build_app
from service.entrypoints.local_slack import serve as serve_slack
from service.entrypoints.local_slack_workspace import Fault
from service.entrypoints.machine import utc_now
from service.entrypoints.notifier import LEASE, Sender
from service.telemetry import Metrics
from tests.faults.checker import ALL, Expected, is_said_as_without_faults, state_of, told_in
from tests.faults.crew import USUAL, Crew
from tests.faults.load import Load
from tests.faults.mail import MailServer
from tests.faults.wires import Wires
from tests.ports import free_port

PAUSE_SECONDS = 12  # past the session of 10 s: another takes over meanwhile
FULL_SECONDS = 3
LINE_SECONDS = (2, 20)  # shorter and longer than a session
SENDS_WITHIN_SECONDS = 5
MOST_FILE_BYTES = 2000
ALLOWED_SECONDS = 240.0  # a lease, a look after it, and the kills meanwhile
STARTS_WITHIN_SECONDS = 120
ENDS_WITHIN_SECONDS = 400
# It takes a message and thinks before it says so: whoever is killed then does not know.
ALWAYS_SLOW = Fault("chat.postMessage", slow_seconds=0.3, times=1_000_000)
SLACK_FAULTS = (
    Fault("chat.postMessage", status=429, retry_after=1),
    Fault("chat.postMessage", status=500),
    Fault("chat.postMessage", slow_seconds=3.0),
    Fault("chat.postMessage", lost=True),
    Fault("chat.postMessage", dropped=True),
    Fault("chat.postMessage", garbage=True),
    Fault("chat.postMessage", error="internal_error"),
    Fault("chat.update", lost=True),
    Fault("conversations.history", status=500),
)


class Spec(NamedTuple):
    """A round: how many of which fault, in random order, while `incidents` come about.

    They come within `seconds`; with `ahead` as fast as they are told instead, and at most so many
    before that, however slow the machine is. A process may end by itself with `may_exit` alone.
    When it is `wired`, processes of number 1 talk to all others over lines that may fail.
    """

    name: str
    faults: dict
    incidents: int = 60
    seconds: float = 20.0
    processes: tuple = USUAL
    by_mail: bool = False
    ahead: int | None = None
    may_exit: bool = False
    wired: bool = False


class Outcome(NamedTuple):
    """What came of a round."""

    spec: Spec
    seed: int
    kills: int
    ended: list
    told: object
    messages: int
    messages_due: int
    as_found: bool
    as_kept: bool
    seconds: float

    @property
    def flaws(self):
        """Say what is wrong, if anything."""
        told = self.told
        found = {
            "lost": told.lost,
            "doubled": told.doubled,
            "wrong": told.wrong,
            "late": [s for s in told.seconds if s > ALLOWED_SECONDS],
            "lines lost or doubled": self.messages != self.messages_due,
            "findings not those of a run without faults": not self.as_found,
            "store not that of a run without faults": not self.as_kept,
            "ended by itself": self.ended if not self.spec.may_exit else [],
        }
        return {name: what for name, what in found.items() if what}


def run_round(spec, seed, kafka, store_server, folder, *, waits):
    """Run one; with `waits` the notifiers' leases run out in their own time, else at the end."""
    folder.mkdir(parents=True)
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with ExitStack() as stack:
        url = stack.enter_context(serve_slack(app))
        chance = random.Random(seed)  # noqa: S311 - a fault must come again
        mail = stack.enter_context(MailServer(chance)) if spec.by_mail else None
        store_server.empty()
        config = _config(folder, kafka, store_server, url, mail)
        settings = load_settings(config, {})
        prefix = settings.kafka.topic_prefix
        wires = (
            stack.enter_context(_wires(kafka, store_server, url, chance)) if spec.wired else None
        )
        cluster = Cluster(kafka.address, prefix, {})
        ensure(cluster, build_topics(settings), -1)
        behind = wires and _behind(wires, config, kafka, store_server, url)
        crew = Crew(config, folder, behind, has_clocks="clock" in spec.faults)
        stack.callback(crew.end)
        publisher = stack.enter_context(Publisher(cluster))
        for name in spec.processes:
            crew.start(name)
        load = Load(publisher, settings.kafka.partitions, spec.incidents)
        load.past()
        slack = app.state.slack
        slack.faults.append(ALWAYS_SLOW)

        def told():
            return mail.messages if mail else slack.channel("spend").messages

        _until_told(crew, told, load)
        faults = Faults(crew, kafka, store_server, slack, chance, wires)
        began = time.monotonic()
        _disturb(spec, faults, load, told)
        store = RedisStore.connect(store_server.url)
        stack.callback(store.close)
        slack.faults.clear()
        if mail:
            mail.drops = mail.busy = 0
        _settle(crew, store, load, settings, cluster, waits=waits)
        expected = Expected(settings, cluster)
        messages = told()
        return Outcome(
            spec, seed, crew.kills, crew.ended, told_in(messages, load.asked), len(messages),
            expected.actions["post"] + expected.actions["thread"],
            is_said_as_without_faults(settings, cluster, kafka.folder),
            state_of(store) == expected.state,
            time.monotonic() - began,
        )  # fmt: skip


def _wires(kafka, store_server, slack, chance):
    """Return lines to all servers, of which the broker knows its own."""
    behind = free_port()
    ports = {"kafka": behind, "store": store_server.port, "slack": int(slack.rpartition(":")[2])}
    wires = Wires(ports, chance)
    kafka.stop()
    kafka.listen_behind(behind, wires.ports["kafka"])
    kafka.start()
    return wires


def _behind(wires, config, kafka, store_server, slack):
    """Write a config for who talks over those lines."""
    text = config.read_text()
    ports = {"kafka": kafka.port, "store": store_server.port, "slack": slack.rpartition(":")[2]}
    for name, port in ports.items():
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{wires.ports[name]}")
    path = config.with_name("wired.toml")
    path.write_text(text)
    return path


def _config(folder, kafka, store_server, slack, mail):
    path = folder / "spendwatch.toml"
    path.write_text(f"""
data_dir = "{folder}/var"
log_level = "warning"
save_every_minutes = 0.05
[detection]
group_by = []
new_spend_from = {{ USD = 50 }}
[detection.detectors.spike]
[kafka]
bootstrap_servers = "{kafka.address}"
topic_prefix = "t{uuid4().hex[:8]}."
partitions = 4
sums_every_seconds = 1
[store]
url = "{store_server.url}"
[api]
port = 0
admin_token = "{"t" * 32}"
[route]
receiver = "all"
min_impact = "10"
max_posts_per_hour = 10000
[receivers]
all = ["{"email:finops@example.com" if mail else "slack:#spend"}"]
[notifiers.email]
host = "127.0.0.1"
port = {mail.port if mail else 25}
sender = "spendwatch@example.com"
tls = "none"
[notifiers.slack]
token = "xoxb-1"
base_url = "{slack}/api/"
timeout_seconds = 2
""")
    return path


class Faults:
    """What can happen, and when it is over: `mend` undoes it then."""

    def __init__(self, crew, kafka, store_server, slack, chance, wires=None):
        self.crew, self._kafka, self._store = crew, kafka, store_server
        self._slack, self.chance, self._wires = slack, chance, wires
        self._failing = set()
        self._later = []

    def do(self, name):
        """Let one fault happen: a method of this class, or the end of a process by its command."""
        method = getattr(self, name, None)
        if method is not None:
            method()
            return
        up = [one for one in self.crew.names if one.startswith(f"{name}-")]
        if not up:
            self._after(0.5, lambda: self.do(name))
            return
        victim = self.chance.choice(up)
        self.crew.kill(victim)
        self._after(self.chance.uniform(0, 1), lambda: self.crew.start(victim))

    @property
    def pending(self):
        """Whether anything is still to be undone."""
        return bool(self._later)

    def sending(self):
        """Kill a notifier when Slack has just taken a message and not yet said so."""
        messages = self._slack.channel("spend").messages
        before, deadline = len(messages), time.monotonic() + SENDS_WITHIN_SECONDS
        while len(messages) == before and time.monotonic() < deadline:
            self.crew.tend()
            time.sleep(0.005)
        self.do("notifier")

    def mend(self):
        """Undo what is over by now."""
        now = time.monotonic()
        due = [undo for at, undo in self._later if at <= now]
        self._later = [(at, undo) for at, undo in self._later if at > now]
        for undo in due:
            undo()

    def paused(self):
        """Stop the router and a worker for longer than their sessions last."""
        for name in ("router-1", "worker-1"):
            if name in self.crew.names:
                self.crew.pause(name)
        self._after(PAUSE_SECONDS, self.crew.resume)

    def clock(self):
        """Put somebody's clock forward or back, a little or a lot, for a while or for good."""
        name = self.chance.choice(self.crew.names)
        self.crew.put_clock(name, self.chance.choice((-3600, -40, 40, 3600, 86_400)))
        if self.chance.random() < 0.7:
            self._after(self.chance.uniform(2, 15), lambda: self.crew.put_clock(name, 0))

    def joined(self):
        """Let one more worker and router come and go: everybody's partitions move twice."""
        for name in ("worker-9", "router-9"):
            if name not in self.crew.names:
                self.crew.start(name)
                self._after(self.chance.uniform(2, 8), lambda name=name: self.crew.kill(name))

    def disk_full(self):
        """Let a router that follows find no room for its checkpoints."""
        if "router-1" in self.crew.names:
            self.crew.kill("router-1")
            self.crew.start("router-1", most_file_bytes=MOST_FILE_BYTES)
            self._after(FULL_SECONDS * 4, lambda: self.crew.kill("router-1"))
            self._after(FULL_SECONDS * 4, lambda: self.crew.start("router-1"))

    def broker(self):
        self._kafka.kill()
        self._kafka.start()

    def store(self):
        self._store.restart()

    def wiped(self):
        self._store.wipe()

    def emptied(self):
        """Forget everything while the router writes."""
        before, deadline = self._store.offset(), time.monotonic() + SENDS_WITHIN_SECONDS
        while self._store.offset() == before and time.monotonic() < deadline:
            time.sleep(0.002)
        self._store.empty()

    def torn(self):
        """Cut the power of the store while it writes."""
        self._store.tear()

    def store_disk(self):
        self._store.fill_disk(full=True)
        self._after(FULL_SECONDS, lambda: self._store.fill_disk(full=False))

    def full(self):
        self._store.limit(1)
        self._after(FULL_SECONDS, lambda: self._store.limit(0))

    def slack(self):
        fault = self.chance.choice(SLACK_FAULTS)
        self._slack.faults.insert(0, fault._replace(times=self.chance.randint(1, 3)))

    def cut_kafka(self):
        self._fail("kafka", "cut", "silent", "deaf")

    def cut_store(self):
        self._fail("store", "cut", "silent", "deaf")

    def cut_slack(self):
        self._fail("slack", "cut", "silent", "deaf")

    def lossy(self):
        self._fail(self.chance.choice(("kafka", "store", "slack")), "slow")

    def _fail(self, line, *modes):
        """Let a line of those of number 1 fail for a while, once it is whole."""
        if line in self._failing:
            self._after(0.5, lambda: self._fail(line, *modes))
            return
        self._failing.add(line)
        self._wires.turn(line, self.chance.choice(modes))
        self._after(self.chance.uniform(*LINE_SECONDS), lambda: self._heal(line))

    def _heal(self, line):
        self._wires.turn(line, "whole")
        self._failing.discard(line)

    def _after(self, seconds, undo):
        self._later.append((time.monotonic() + seconds, undo))


def _until_told(crew, told, load):
    """See the first incident told before anything happens: all is up then."""
    load.costly_hour(0)
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while not told():
        assert time.monotonic() < deadline, crew.logs
        crew.tend()
        time.sleep(0.1)
    # It waited for the start, which is no delay.
    load.asked[0] = float(told()[0]["ts"])


class Pace:
    """How far a round is, from 0 to 1, and how many incidents may have come about by now."""

    def __init__(self, spec, told):
        self._spec, self._told = spec, told
        self._began = self._moved = time.monotonic()
        self._heard = 0

    def look(self):
        """Return both. Where nothing is told any more, the round is over: something is lost."""
        spec, now = self._spec, time.monotonic()
        if spec.ahead is None:
            passed = (now - self._began) / spec.seconds
            return passed, int(passed * spec.incidents) + 1
        heard = sum(message.get("thread_ts") is None for message in self._told())
        if heard > self._heard:
            self._heard, self._moved = heard, now
        if now - self._moved > ALLOWED_SECONDS:
            return 1.0, spec.incidents
        return heard / spec.incidents, heard + spec.ahead


def _disturb(spec, faults, load, told):
    """Let the costly hours come one after the other, and the faults at random among them."""
    due = [name for name, times in spec.faults.items() for _ in range(times)]
    faults.chance.shuffle(due)
    at = sorted(faults.chance.uniform(0.05, 1) for _ in due)
    number, pace = 1, Pace(spec, told)
    while number < spec.incidents or due or faults.pending:
        faults.mend()
        faults.crew.tend()
        passed, may_come = pace.look()
        if due and passed >= at[-len(due)]:
            faults.do(due.pop(0))
        elif number < min(spec.incidents, may_come):
            load.costly_hour(number)
            number += 1
        else:
            time.sleep(0.02)


def _settle(crew, store, load, settings, cluster, *, waits):
    """Wait until the store is what the log says and nothing is left to be sent."""
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        crew.tend()
        time.sleep(1)
        with suppress(StoreUnavailableError):  # it has been slow, too
            if (
                not (waits and _waiting(store))
                and store.rebuilding() is None
                and len(store.incidents(IncidentFilter(limit=ALL))) >= len(load.asked)
                and state_of(store) == Expected(settings, cluster).state
            ):
                break
    if not waits:
        crew.stop("notifier")
        time.sleep(2)  # longer than Slack takes over what it has been sent
        asyncio.run(_send_late(settings, cluster, store))


def _waiting(store):
    counts = store.delivery_counts()
    return counts["ready"] + counts["sending"] + counts["unknown"]


async def _send_late(settings, cluster, store):
    """Send what is due a lease from now: what a notifier that was killed had claimed."""
    notifiers = build_notifiers(settings)
    with Publisher(cluster) as publisher:
        sender = Sender(
            store, notifiers, Metrics("test"), lambda: utc_now() + LEASE + timedelta(hours=1),
            settings.fallbacks, ReceiptBook(publisher).keep,
        )  # fmt: skip
        await sender.drain()
    for notifier in notifiers.values():
        await notifier.close()
