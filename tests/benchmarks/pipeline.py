"""What a worker makes of a message, beside bare loops that only decode: events a second and core.

    python -m tests.benchmarks.pipeline [EVENTS]
    python -m tests.benchmarks.pipeline --growth 10000 100000 1000000 [EVENTS]

Apache Kafka on this machine, one partition, each reader a process of its own that reads the same
messages from first to last. Ours scores every row, learns it, and publishes what it finds; Bytewax
scores by a mean and a spread of each series; the others decode JSON and forget it. With `--growth`
ours reads at least as many rows, in whole hours, once it knows so many series.
"""

import argparse
import csv
import gzip
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.adapters.kafka_client import Cluster
from service.adapters.kafka_messages import SOURCE_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, ensure, topics
from service.sample.estate import HERE
from tests.benchmarks.pipeline_readers import READERS, Meter, able, report
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


def rows(kind, number, many):
    """Yield rows of hours one after the other, of every one of `many` series, as JSON lines."""
    path = min((HERE / "export/aws-focus/data").glob("*2026-08/*/*.csv.gz"))
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        full = {name: value for name, value in next(csv.DictReader(file)).items() if value}
    names = SHORT if kind == "short" else [name for name in full if name not in LEFT_OUT]
    row = {name: full[name] for name in names} | {"ServiceName": "Amazon EC2"}
    first = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first -= timedelta(hours=number // many + 5)  # all are over, whoever reads when
    for at in range(number):
        hour, series = divmod(at, many)
        start = first + timedelta(hours=hour)
        cost = f"{10 + (at * 7919 % 101) / 100:.2f}"
        row |= {
            "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "ChargePeriodEnd": f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
            "ResourceId": f"i-{series:017x}", "BilledCost": cost, "EffectiveCost": cost,
        }  # fmt: skip
        yield json.dumps(row, separators=(",", ":")).encode() + b"\n"


def fill(cluster, kind, batch, number, many=SERIES):
    """Publish rows, `batch` of them in a message; return the mean length of a row."""
    ensure(cluster, topics(1, timedelta(days=62)), -1)
    size = 0
    with Publisher(cluster) as publisher:
        some = []
        for line in rows(kind, number, many):
            size += len(line)
            some.append(line)
            if len(some) == batch:
                headers = {SOURCE_HEADER: "aws"}
                publisher.send(EVENTS, b"".join(some), partition=0, headers=headers)
                some.clear()
        publisher.flush()
    return size / number


def read(reader, cluster, number, before=0):
    """Run one reader in a process of its own; return rows a second of its processor."""
    run = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "tests.benchmarks.pipeline", str(number),
            "--before", str(before), "--reader", reader, "--servers", cluster.bootstrap_servers,
            "--prefix", cluster.prefix,
        ],
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    return float(run.stdout.strip().splitlines()[-1])


def compare(kafka, number):
    """Print rows a second of each reader, for each kind of row and message."""
    names = able()
    print(f"{'rows':24} {'a message':>9} " + " ".join(f"{name:>13}" for name in names))
    for kind in ("short", "full"):
        for batch in (1, BATCH_ROWS):
            cluster = Cluster(kafka.address, f"{kind}{batch}.", {})
            many = number if batch > 1 else number // 4
            length = fill(cluster, kind, batch, many)
            rates = " ".join(f"{read(name, cluster, many):13,.0f}" for name in names)
            print(f"{many:,} of {length:.0f} bytes".ljust(24), f"{batch:9}", rates, flush=True)


def grow(kafka, number, sizes):
    """Print what a row costs once so many series are known: whole hours, for each is learnt."""
    for size in sizes:
        cluster = Cluster(kafka.address, f"grow{size}.", {})
        many = -(-number // size) * size
        fill(cluster, "short", BATCH_ROWS, size + many, size)
        rate = read("spendwatch", cluster, many, before=size)
        print(f"{size:,} series: {1e6 / rate:,.1f} us a row, {rate:,.0f} rows a second", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", type=int, nargs="?", default=200_000)
    parser.add_argument("--growth", type=int, nargs="+", default=(), help="so many series each")
    parser.add_argument("--before", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--reader", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    parser.add_argument("--prefix", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    if asked.reader is not None:
        warnings.simplefilter("ignore")
        meter = Meter(asked.events, asked.before)
        READERS[asked.reader](Cluster(asked.servers, asked.prefix, {}), meter)
        report(meter)
        return
    with tempfile.TemporaryDirectory() as folder:
        kafka = KafkaServer(Path(folder) / "kafka").start()
        try:
            if asked.growth:
                grow(kafka, asked.events, asked.growth)
            else:
                compare(kafka, asked.events)
        finally:
            kafka.stop()


if __name__ == "__main__":
    main()
