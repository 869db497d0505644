"""Seconds from a row in the broker to its notice, and to catch up: make bench-latency.

    python -m tests.benchmarks.latency [--seconds 120] [--rate 1000] [--away 600]

The whole service as processes on Apache Kafka and Valkey, before a local Slack. `--rate` rows a
second come, and one in each second costs a hundred times as much as it used to: the clock of its
notice starts when the broker has acknowledged it. Then all workers are away while rows of `--away`
seconds come, with the times that they would have had, and are started again.
"""

import argparse
import logging
import os
import re
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_messages import SOURCE_HEADER, line_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, FINDINGS, ensure
from service.bootstrap import build_topics
from service.config_file import load as load_settings
from service.core.partitions import partition_key, partition_of
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.worker import GROUP
from tests.factories import make_event
from tests.faults.checker import told_in
from tests.faults.crew import USUAL, Crew
from tests.faults.load import FEED, HOUR, LIVE_HOURS, Load, is_first
from tests.integration.kafka.reading import ends, records
from tests.kafka_server import KafkaServer
from tests.store_server import StoreServer

TICKS = 10  # a second: so often rows are sent, as many messages as there are partitions
ENDS_WITHIN_SECONDS = 900
NAME = re.compile(rb"Service (\d+)\b")
OTHER = 1_000_000  # a service of its own, of which nothing is asked


class Rows:
    """Rows in which nothing is odd, of enough resources that their hours are the last ones."""

    def __init__(self, cluster, partitions, many):
        self._cluster, self._partitions = cluster, partitions
        self._producer = cluster.producer(linger_ms=5, batch_size=256 * 1024)
        self._resources = many // LIVE_HOURS + 1
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        self._starts_at = now - LIVE_HOURS * HOUR
        self._next = 0

    def make(self, many):
        """Return the next rows as messages, one for each partition."""
        lines = defaultdict(list)
        for at in range(self._next, self._next + many):
            hour, resource = divmod(at, self._resources)
            start = self._starts_at + hour % LIVE_HOURS * HOUR
            cost = Decimal(100 + at * 7919 % 7) / 1000
            event = make_event(
                charge_period_start=start, charge_period_end=start + HOUR,
                resource_id=f"b{hour // LIVE_HOURS}-{resource}", service_name=f"Service {OTHER}",
                sub_account_id="all", billed_cost=cost, effective_cost=cost, x_event_id=f"b{at}",
            )  # fmt: skip
            lines[partition_of(partition_key(event), self._partitions)].append(line_of(event))
        self._next += many
        return [(place, b"".join(some)) for place, some in lines.items()]

    def send(self, messages, at=None):
        """Send messages, as of some time if any is given."""
        for place, value in messages:
            self._producer.send(
                self._cluster.topic(EVENTS), value, partition=place,
                timestamp_ms=None if at is None else int(at * 1000),
                headers=[(SOURCE_HEADER, FEED.encode())],
            )  # fmt: skip

    def flush(self):
        self._producer.flush()


def configured(folder, kafka, store, slack):
    path = folder / "spendwatch.toml"
    path.write_text(f"""
data_dir = "{folder}/var"
log_level = "warning"
[detection]
group_by = []
[kafka]
bootstrap_servers = "{kafka.address}"
partitions = 4
[store]
url = "{store.url}"
[api]
port = 0
admin_token = "{"t" * 32}"
[route]
receiver = "all"
min_impact = "10"
max_posts_per_hour = 10000
[receivers]
all = ["slack:#spend"]
[notifiers.slack]
token = "xoxb-1"
base_url = "{slack}/api/"
""")
    return path


def until(is_so, crew):
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, crew.logs
        crew.tend()
        time.sleep(0.2)


def worked(crew):
    """Return the seconds of a core that each process has had, by name."""
    found = {}
    for name, run in crew._running.items():
        fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def percentiles(seconds):
    found = sorted(seconds)
    return [found[int(part * (len(found) - 1))] for part in (0.5, 0.95, 1)]


def find_latency(crew, slack, load, rows, asked, cluster):
    """Let rows come at their rate and print how long after the odd ones their notices were."""
    odd = [number for number in range(asked.seconds * 2) if not is_first(number)]
    load.costly_hour(odd[0])
    until(lambda: slack.channel("spend").messages, crew)
    ticks = [rows.make(asked.rate // TICKS) for _ in range(asked.seconds * TICKS)]
    load.asked.clear()
    before, began = worked(crew), time.monotonic()
    for tick, messages in enumerate(ticks):
        time.sleep(max(0, began + tick / TICKS - time.monotonic()))
        rows.send(messages)
        if tick % TICKS == 5:
            load.costly_hour(odd[1 + tick // TICKS])
    rows.flush()
    sent = time.monotonic() - began
    until(lambda: not told_in(posts(slack), load.asked).lost, crew)
    after = worked(crew)
    cores = ", ".join(f"{name} {(after[name] - before[name]) / sent:.2f}" for name in sorted(after))
    found = {}
    for record in records(cluster, FINDINGS):
        for number in map(int, NAME.findall(record.value)):
            found.setdefault(number, record.timestamp / 1000)
    first = {}
    for message in posts(slack):
        number = int(NAME.search(str(message["blocks"]).encode()).group(1))
        first.setdefault(number, float(message["ts"]))
    asked_at = load.asked
    print(f"{asked.seconds * asked.rate:,} rows and {len(asked_at)} odd ones in {sent:.0f} s")
    print(f"of a core meanwhile: {cores}")
    for what, since, by in (
        ("row in the broker to finding in the log", asked_at, found),
        ("finding in the log to notice taken by Slack", found, first),
        ("row in the broker to notice taken by Slack", asked_at, first),
    ):
        took = percentiles([by[number] - since[number] for number in asked_at])
        print(f"{what:42} p50 {took[0]:.2f} s, p95 {took[1]:.2f} s, at most {took[2]:.2f} s")


def posts(slack):
    return [one for one in slack.channel("spend").messages if NAME.search(str(one).encode())]


def catch_up(crew, rows, asked, cluster):
    """Let rows come while no worker is there, and print how long those need for them."""
    workers = [name for name in USUAL if name.startswith("worker")]
    lag = Lag(cluster)
    until(lambda: lag.read() == 0, crew)
    crew.stop("worker")
    now = time.time()
    for tick in range(asked.away * TICKS):
        rows.send(rows.make(asked.rate // TICKS), now - asked.away + tick / TICKS)
    rows.flush()
    messages, began = lag.read(), time.monotonic()
    for name in workers:
        crew.start(name)
    until(lambda: lag.read() == 0, crew)
    took = time.monotonic() - began
    print(
        f"{asked.away * asked.rate:,} rows in {messages:,} messages: caught up {took:.0f} s after "
        f"the start of {len(workers)} workers (their offsets show it 5 s late at most)"
    )


class Lag:
    """How many messages the workers have not said to have taken in."""

    def __init__(self, cluster):
        self._cluster, self._admin = cluster, cluster.admin()

    def read(self):
        group = self._cluster.prefix + GROUP
        said = self._admin.list_group_offsets(group)[group]
        name = self._cluster.topic(EVENTS)
        done = sum(one.offset for place, one in said.items() if place.topic == name)
        return sum(ends(self._cluster, EVENTS)) - done


def run(asked, folder):
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with ExitStack() as stack:
        url = stack.enter_context(serve(app))
        kafka = KafkaServer(folder / "kafka").start()
        stack.callback(kafka.stop)
        store = StoreServer(folder / "store").start()
        stack.callback(store.kill)
        config = configured(folder, kafka, store, url)
        settings = load_settings(config, {})
        cluster = Cluster(kafka.address, settings.kafka.topic_prefix, {})
        ensure(cluster, build_topics(settings), -1)
        crew = Crew(config, folder)
        stack.callback(crew.end)
        publisher = stack.enter_context(Publisher(cluster))
        load = Load(publisher, settings.kafka.partitions, asked.seconds * 2)
        load.past()
        for name in USUAL:
            crew.start(name)
        rows = Rows(cluster, settings.kafka.partitions, (asked.seconds + asked.away) * asked.rate)
        find_latency(crew, app.state.slack, load, rows, asked, cluster)
        if asked.away:
            catch_up(crew, rows, asked, cluster)
    print(f"load average {os.getloadavg()[0]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rate", type=int, default=1000, help="rows a second")
    parser.add_argument("--away", type=int, default=600, help="seconds without workers; 0 for none")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="spendwatch-latency-") as folder:
        run(asked, Path(folder))


if __name__ == "__main__":
    main()
