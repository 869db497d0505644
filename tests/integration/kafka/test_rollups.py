"""Sums over all partitions on a real broker: what they show is what one process would have seen."""

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest

from service.adapters.kafka_findings import chained
from service.adapters.kafka_findings import records as findings
from service.adapters.kafka_messages import Packer, line_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, ROLLUPS, ensure
from service.adapters.sources import events
from service.bootstrap import build_adder, build_pipeline, build_topics
from service.core.chain import BEGINNING
from service.core.events import EARLIEST, Arrival
from service.core.partitions import partition_key
from service.entrypoints.rollup_log import RollupLog
from tests.crossing import ENDS, HOUR, rows, sums
from tests.integration.kafka.processes import Processes
from tests.integration.kafka.reading import message_of, records

EVERY = timedelta(seconds=1)
PARTITIONS = 4


@pytest.fixture
def processes(config, tmp_path):
    config.write_text(config.read_text() + "sums_every_seconds = 1\n")
    found = Processes(config, tmp_path)
    yield found
    for run in list(found.running):
        found.kill(run)


def publish(settings, cluster):
    """Publish rows that end now, in messages of many resources."""
    ensure(cluster, build_topics(settings), -1)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    packer = Packer(PARTITIONS)
    with Publisher(cluster) as publisher:
        for arrival in rows(now - ENDS * HOUR):
            event = arrival.event
            full = packer.put(EVENTS, "aws", partition_key(event), line_of(event))
            if full is not None:
                publisher.put(full)
        for message in packer.rest():
            publisher.put(message)
        publisher.flush()


def at_of(record):
    return message_of(record).at


def one_alone(settings, cluster):
    """Run the rows of all partitions through one pipeline, as they came by the second."""
    pipeline = build_pipeline(settings, {}, tells_history=False, keeps_history=False)

    def mark(record):
        return at_of(record) - (at_of(record) - EARLIEST) % EVERY + EVERY

    found = {}
    came = sorted((r for r in records(cluster, EVENTS)), key=lambda r: r.timestamp)
    for offset, (now, some) in enumerate(groupby(came, mark), 1):
        batch = [
            Arrival(at_of(record), "aws", events.parse(1, line, {}).event)
            for record in some
            for line in record.value.splitlines()
        ]
        found |= {
            m.finding.finding_id: m.finding for m in pipeline.find(batch, now, offset).members
        }
    return sums(found.values())


def one_reader(settings, cluster):
    """Return what one undisturbed reader of the reports says."""
    log = RollupLog(build_adder(settings), PARTITIONS, BEGINNING)
    said = (log.take(message_of(record)) for record in records(cluster, ROLLUPS))
    return [one for one in said if one is not None]


def said(cluster):
    return [record for record in chained(findings(cluster)) if record.topic == ROLLUPS]


def newest(said_records):
    return sums({t.finding.finding_id: t.finding for r in said_records for t in r.told}.values())


def told(found):
    """Return what does not hang on when it is asked: with time findings settle and end."""
    names = ("status", "settled_until", "ended_at", "reason")
    return {
        name: {field: getattr(one, field) for field in one.__struct_fields__ if field not in names}
        for name, one in found.items()
    }


@pytest.mark.timeout(300)
def test_killed_again_and_again_the_rollups_say_what_one_process_would_and_nothing_twice(
    settings, cluster, processes
):
    publish(settings, cluster)
    wanted = told(one_alone(settings, cluster))
    # What else is raised hangs on how the seconds of the broker's clock cut the rows.
    assert "new_spend" in {one["detector"] for one in wanted.values()}
    processes.start("worker")
    running = processes.start("rollups")
    worker = processes.running[0]
    rand = random.Random(5)  # noqa: S311 - chance that can be had again
    for _ in range(3):
        time.sleep(rand.uniform(1, 4))
        processes.kill(running)
        running = processes.start("rollups")
    processes.kill(worker)
    processes.start("worker")
    processes.start("rollups")
    processes.until(lambda: told(newest(said(cluster))) == wanted, 150)
    for record, wants in zip(said(cluster), one_reader(settings, cluster), strict=False):
        assert record == wants
