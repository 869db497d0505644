"""Workers on a real broker: what they say is what one process alone would have said."""

import json
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from service.adapters.histories import Histories
from service.adapters.history import History
from service.adapters.kafka_findings import chained
from service.adapters.kafka_findings import records as findings
from service.adapters.kafka_log import Message as Seen
from service.adapters.kafka_messages import Message, line_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import ensure
from service.bootstrap import build_pipeline, build_topics
from service.config import ConfigError, Settings
from service.core.chain import BEGINNING
from service.core.partitions import partition_key, partition_of
from service.entrypoints.partition import Partition, Place, steps
from service.entrypoints.shelf import Shelf
from service.entrypoints.worker import Worker
from tests.factories import make_event
from tests.integration.kafka.reading import batches, records

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
EVENTS = "billing.events"
START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def publish(settings, cluster, resources=8, hours=24 * 38):
    """Publish a message a day for each resource; every resource has a spike of its own."""
    ensure(cluster, build_topics(settings), -1)
    rand = random.Random(7)  # noqa: S311 - chance that can be had again
    with Publisher(cluster) as publisher:
        for day in range(hours // 24):
            for number in range(resources):
                rows = []
                for hour in range(day * 24, day * 24 + 24):
                    spike = hour == 24 * 33 + 7 * number
                    cost = Decimal(90 if spike else 1) + Decimal(rand.randrange(20)) / 100
                    start = START + hour * HOUR
                    rows.append(
                        make_event(
                            charge_period_start=start, charge_period_end=start + HOUR,
                            resource_id=f"i-{number}", billed_cost=cost, effective_cost=cost,
                            x_event_id=f"{number}-{hour}",
                        )
                    )  # fmt: skip
                place = partition_of(partition_key(rows[0]), 4)
                value = b"".join(map(line_of, rows))
                publisher.put(Message(EVENTS, place, "aws", value, len(rows)))
        publisher.flush()


def expected(settings, cluster, broker, history=None):
    """Run every message through partitions in this process, and what was spent into a history."""
    every = timedelta(seconds=settings.kafka.sums_every_seconds)
    partitions, found = {}, {}
    for number, batch in batches(broker.folder, cluster.topic(EVENTS)):
        if number not in partitions:
            pipeline = build_pipeline(
                settings, {}, tells_history=False, keeps_history=history is not None, is_part=True
            )
            place = Place(EVENTS, number, 4)
            partitions[number] = Partition(place, pipeline, BEGINNING, 100, sums_every=every)
        for step in steps(batch):
            out = partitions[number].take(*step)
            if history is not None:
                history.append(out.rows)
            if out.record is not None:
                found.setdefault(number, []).append(out.record)
    return found


def said(cluster):
    """Return what was said, each link once, by partition."""
    found = {}
    for record in chained(findings(cluster)):
        assert record.topic == EVENTS
        found.setdefault(record.partition, []).append(record)
    return found


def spent(history):
    """Return what all series cost in each period, with what was expected of it."""
    query = """{told} SELECT series, charge_period_start, cost, expected, owner, count(*) OVER ()
        FROM newest ORDER BY ALL"""
    try:
        (rows,) = history.ask([query], START, START + timedelta(days=400), {})
    except OSError:  # no worker has come to it yet
        return []
    return rows


class Workers:
    def __init__(self, config, folder):
        self._config, self._folder = config, folder
        self.running = []

    def start(self, *options, program=(SPENDWATCH,)):
        with (self._folder / "worker.log").open("ab") as log:
            command = [*program, "worker", "--config", self._config, *options]
            run = subprocess.Popen(command, stdout=log, stderr=log)
        self.running.append(run)
        return run

    def end(self, run):
        self.running.remove(run)
        run.kill()
        run.wait()

    @property
    def log(self):
        return (self._folder / "worker.log").read_text()


@pytest.fixture
def workers(config, tmp_path):
    found = Workers(config, tmp_path)
    yield found
    for run in list(found.running):
        found.end(run)


def wait_until(condition, workers, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert any(run.poll() is None for run in workers.running), workers.log[-4000:]
        assert time.monotonic() < deadline, workers.log[-4000:]
        time.sleep(0.2)


@pytest.mark.timeout(300)
def test_killed_again_and_again_workers_say_all_of_it_and_nothing_twice(
    settings, cluster, kafka_server, workers, tmp_path
):
    publish(settings, cluster)
    whole, written = History(tmp_path / "whole"), Histories(settings.history / EVENTS)
    wanted = expected(settings, cluster, kafka_server, whole)
    assert sum(map(len, wanted.values())) >= 8
    assert len(spent(whole)) == 8 * 38 * 24
    workers.start()
    workers.start()
    rand = random.Random(3)  # noqa: S311 - chance that can be had again
    for _ in range(3):
        time.sleep(rand.uniform(2, 6))
        workers.end(rand.choice(workers.running))
        workers.start()
    wait_until(lambda: said(cluster) == wanted, workers)
    wait_until(lambda: spent(written) == spent(whole), workers)
    whole.close()


@pytest.mark.timeout(300)
def test_a_worker_that_was_paused_past_its_session_does_no_harm(
    settings, cluster, kafka_server, workers, tmp_path
):
    publish(settings, cluster)
    whole, written = History(tmp_path / "whole"), Histories(settings.history / EVENTS)
    wanted = expected(settings, cluster, kafka_server, whole)
    first = workers.start()
    wait_until(lambda: "assigned" in workers.log, workers)
    first.send_signal(signal.SIGSTOP)
    workers.start()
    wait_until(lambda: said(cluster) == wanted, workers)
    wait_until(lambda: spent(written) == spent(whole), workers)
    first.send_signal(signal.SIGCONT)
    time.sleep(5)
    assert said(cluster) == wanted
    assert spent(written) == spent(whole)
    whole.close()


@pytest.mark.timeout(300)
def test_bad_lines_are_letters_and_too_many_in_a_row_stop_the_worker(settings, cluster, workers):
    ensure(cluster, build_topics(settings), -1)
    run = workers.start()
    with Publisher(cluster) as publisher:
        publisher.put(Message(EVENTS, 0, "aws", b"not json\n", 1))
        publisher.flush()
        wait_until(lambda: records(cluster, "billing.events.dlq"), workers)
        publisher.put(Message(EVENTS, 0, "aws", b"not json\n" * 100, 100))
        publisher.flush()
    assert run.wait(timeout=60) == 1
    assert "100 bad lines in a row" in workers.log
    (letter,) = [json.loads(record.value) for record in records(cluster, "billing.events.dlq")]
    assert letter["reason"].startswith("is not JSON")
    skip = workers.log.strip().rpartition("spendwatch worker ")[2].split()
    assert skip == ["--skip-bad-until", "billing.events/0/1"]
    skipping = workers.start(*skip)
    wait_until(lambda: len(records(cluster, "billing.events.dlq")) == 101, workers)
    skipping.terminate()
    assert skipping.wait(timeout=60) == 0
    later = workers.start()
    with Publisher(cluster) as publisher:
        publisher.put(Message(EVENTS, 0, "aws", b"not json\n", 1))
        publisher.flush()
    wait_until(lambda: len(records(cluster, "billing.events.dlq")) == 102, workers)
    later.terminate()
    assert later.wait(timeout=60) == 0


@pytest.mark.parametrize("name", ["nowhere/0/1", "billing.events/0", "billing.events/a/1"])
def test_what_is_no_message_cannot_be_skipped(settings, name):
    with pytest.raises(ConfigError, match=r"is not like billing\.events/3/1234"):
        Worker(settings, [name])


def test_a_worker_listens_nowhere_and_ends_when_told_to(settings, cluster, workers):
    run = workers.start()
    wait_until(lambda: "assigned" in workers.log, workers)
    mine = {link.readlink().name for link in Path(f"/proc/{run.pid}/fd").iterdir()}
    tables = (Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [row.split() for table in tables for row in table.splitlines()]
    listening = [row[9] for row in rows if row[3] == "0A"]
    assert mine.isdisjoint(f"socket:[{inode}]" for inode in listening)
    run.terminate()
    assert run.wait(timeout=60) == 0


def test_a_worker_goes_on_from_the_state_that_it_kept(settings, cluster, kafka_server, workers):
    publish(settings, cluster, resources=3, hours=24 * 34)
    first = workers.start()
    wait_until(lambda: said(cluster), workers)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    workers.running.remove(first)
    publish(settings, cluster, resources=3, hours=24 * 36)
    wanted = expected(settings, cluster, kafka_server)
    workers.start()
    wait_until(lambda: said(cluster) == wanted, workers)
    begun = [json.loads(line) for line in workers.log.splitlines() if '"restored"' in line]
    assert begun
    assert all(one["offset"] > 0 and one["flaws"] == [] for one in begun)


@pytest.mark.timeout(300)
def test_another_worker_goes_on_from_what_was_saved_for_it(
    settings, cluster, kafka_server, workers
):
    publish(settings, cluster)
    saves_all = (
        "from service.entrypoints import cli, worker; worker.WORTH_SAVING_SECONDS = 0.0; cli.main()"
    )
    wanted = expected(settings, cluster, kafka_server)
    workers.start(program=(sys.executable, "-c", saves_all))
    wait_until(lambda: said(cluster) == wanted, workers)
    workers.start()
    wait_until(lambda: '"restored"' in workers.log, workers)
    wait_until(lambda: workers.log.count('"assigned"') == 3, workers)
    begun = [json.loads(line) for line in workers.log.splitlines() if '"restored"' in line]
    assert all(one["offset"] > 0 for one in begun)
    assert said(cluster) == wanted


@pytest.mark.timeout(300)
def test_a_worker_keeps_its_state_although_no_more_messages_come(
    settings, cluster, config, workers
):
    text = config.read_text()
    config.write_text(text.replace("[kafka]", "save_every_minutes = 0.05\n[kafka]", 1))
    publish(settings, cluster, resources=1, hours=24)
    workers.start()
    wait_until(lambda: '"event": "saved"' in workers.log, workers)


def test_one_process_keeps_the_state_of_a_partition_at_a_time(tmp_path):
    one, other = Shelf(tmp_path), Shelf(tmp_path, waits_seconds=0)
    pipeline = build_pipeline(Settings(), {}, tells_history=False, keeps_history=False)
    partition = Partition(Place(EVENTS, 0, 1), pipeline, BEGINNING, 100)
    partition.take(Seen(0, START, {}, b""))
    other.save(partition)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]
    one.save(partition)
    assert "manifest-000000000001.json" in {path.name for path in tmp_path.iterdir()}
    one.close()
    partition.take(Seen(1, START, {}, b""))
    other.save(partition)
    assert "manifest-000000000002.json" in {path.name for path in tmp_path.iterdir()}
    other.close()
