"""What a worker makes of a message, beside bare loops that only decode: events a second and core.

    python -m tests.benchmarks.pipeline [EVENTS]

Apache Kafka on this machine, one partition, each reader a process of its own that reads the same
messages from first to last. Ours scores every row, learns it, and publishes what it finds; the
others decode JSON and forget it. Seconds are of the reader's processor time from its first message
to its last, so that what else runs here shows less.
"""

import argparse
import asyncio
import csv
import gzip
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from kafka import TopicPartition

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_log import GroupLog
from service.adapters.kafka_messages import SOURCE_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, ensure, topics
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.chain import BEGINNING
from service.entrypoints.partition import Partition, Place
from service.entrypoints.worker import _say
from service.sample.estate import HERE
from tests.kafka_server import KafkaServer

SERIES = 1000
BATCH_ROWS = 250
SHORT = [
    "BilledCost",
    "EffectiveCost",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeFrequency",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ResourceId",
    "RegionId",
    "ServiceName",
    "SkuId",
    "SubAccountId",
]
LEFT_OUT = ("Tags", "BillingAccountName", "PublisherName")  # of the full row: to 1.35 kB


def rows(kind, number):
    """Yield rows of hours one after the other, of every series in each, as JSON lines."""
    path = min((HERE / "export/aws-focus/data").glob("*2026-08/*/*.csv.gz"))
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        full = {name: value for name, value in next(csv.DictReader(file)).items() if value}
    names = SHORT if kind == "short" else [name for name in full if name not in LEFT_OUT]
    row = {name: full[name] for name in names} | {"ServiceName": "Amazon EC2"}
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first -= timedelta(hours=number // SERIES + 1)
    for at in range(number):
        hour, series = divmod(at, SERIES)
        start = first + timedelta(hours=hour)
        cost = f"{10 + (at * 7919 % 101) / 100:.2f}"
        row |= {
            "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "ChargePeriodEnd": f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            "ResourceId": f"i-{series:017x}", "BilledCost": cost, "EffectiveCost": cost,
        }  # fmt: skip
        yield json.dumps(row, separators=(",", ":")).encode() + b"\n"


def fill(cluster, kind, batch, number):
    """Publish rows, `batch` of them in a message; return the mean length of a row."""
    ensure(cluster, topics(1, timedelta(days=62)), -1)
    size = 0
    with Publisher(cluster) as publisher:
        some = []
        for line in rows(kind, number):
            size += len(line)
            some.append(line)
            if len(some) == batch:
                headers = {SOURCE_HEADER: "aws"}
                publisher.send(EVENTS, b"".join(some), partition=0, headers=headers)
                some.clear()
        publisher.flush()
    return size / number


class Meter:
    """Counts rows until all are there; the clock starts after the first message."""

    def __init__(self, rows):
        self._rows, self._seen, self._first = rows, 0, 0
        self.seconds = None

    def count(self, rows):
        """Count some; True when that was all."""
        if not self._seen:
            self._first, self._began = rows, time.process_time()
        self._seen += rows
        if self._seen >= self._rows:
            self.seconds = time.process_time() - self._began
        return self.seconds is not None

    @property
    def rate(self):
        return (self._rows - self._first) / self.seconds


def decode(value):
    lines = value.splitlines()
    for line in lines:
        msgspec.json.decode(line)
    return len(lines)


def read_by_kafka_python(cluster, meter):
    consumer = cluster.consumer()
    place = TopicPartition(cluster.topic(EVENTS), 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    for record in consumer:
        if meter.count(decode(record.value)):
            break
    consumer.close()


def read_by_aiokafka(cluster, meter):
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - only one reader in a process

    async def read():
        consumer = AIOKafkaConsumer(
            cluster.topic(EVENTS), bootstrap_servers=cluster.servers, auto_offset_reset="earliest"
        )
        await consumer.start()
        while meter.seconds is None:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    meter.count(decode(record.value))
        await consumer.stop()

    asyncio.run(read())


def read_by_faust(cluster, meter):
    import faust  # noqa: PLC0415 - only one reader in a process

    app = faust.App(
        f"bare-{os.getpid()}", broker=f"kafka://{cluster.servers[0]}", web_enabled=False,
        consumer_auto_offset_reset="earliest", topic_allow_declare=False, topic_disable_leader=True,
        datadir=tempfile.mkdtemp(),
    )  # fmt: skip
    topic = app.topic(cluster.topic(EVENTS), value_type=bytes, value_serializer="raw")

    @app.agent(topic)
    async def agent(stream):
        async for value in stream:
            if meter.count(decode(value)):
                report(meter)
                os._exit(0)

    sys.argv = ["faust", "worker", "--without-web", "--loglevel", "error"]
    app.main()


def read_by_spendwatch(cluster, meter):
    pipeline = build_pipeline(
        Settings(), {}, tells_history=False, keeps_history=False, is_part=True
    )
    place, every = Place(EVENTS, 0, 1), timedelta(minutes=1)
    partition = Partition(place, pipeline, BEGINNING, 100, sums_every=every)

    async def starts(ours):
        return dict.fromkeys(ours, 0)

    async def read(publisher):
        stop = asyncio.Event()
        log = GroupLog(cluster, "bench", (EVENTS,), starts)
        async for _, _, message in log.messages(stop):
            output = partition.take(message)
            if output.is_any:
                _say(publisher, output)
            if meter.count(message.value.count(b"\n")):
                stop.set()
                break

    with Publisher(cluster) as publisher:
        asyncio.run(read(publisher))


READERS = {
    "kafka-python": read_by_kafka_python,
    "aiokafka": read_by_aiokafka,
    "faust": read_by_faust,
    "spendwatch": read_by_spendwatch,
}


def report(meter):
    os.write(1, f"\n{meter.rate}\n".encode())  # Faust has its own idea of sys.stdout


def read(reader, cluster, number):
    """Run one reader in a process of its own; return rows a second of its processor."""
    run = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "tests.benchmarks.pipeline", str(number),
            "--reader", reader, "--servers", cluster.bootstrap_servers, "--prefix", cluster.prefix,
        ],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    return float(run.stdout.strip().splitlines()[-1])


def compare(number):
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka").start()
        try:
            print(f"{'rows':22} {'a message':>10} " + " ".join(f"{r:>13}" for r in READERS))
            for kind in ("short", "full"):
                for batch in (1, BATCH_ROWS):
                    cluster = Cluster(kafka.address, f"{kind}{batch}.", {})
                    many = number if batch > 1 else number // 4
                    length = fill(cluster, kind, batch, many)
                    rates = [read(reader, cluster, many) for reader in READERS]
                    cells = " ".join(f"{rate:13,.0f}" for rate in rates)
                    print(f"{many:,} of {length:.0f} bytes".ljust(22), f"{batch:10}", cells)
        finally:
            kafka.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", type=int, nargs="?", default=200_000)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    if asked.reader is None:
        compare(asked.events)
        return
    warnings.simplefilter("ignore")
    meter = Meter(asked.events)
    cluster = Cluster(asked.servers, asked.prefix, {})
    READERS[asked.reader](cluster, meter)
    report(meter)


if __name__ == "__main__":
    main()
