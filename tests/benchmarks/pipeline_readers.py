"""Those that read what the pipeline benchmark has published, each in a process of its own.

Seconds are of the reader's processor time, all its threads together, so that what else runs here
shows less.
"""

import asyncio
import math
import os
import sys
import tempfile
import time
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import msgspec
from kafka import TopicPartition

from service.adapters.kafka_log import GroupLog
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.chain import BEGINNING
from service.entrypoints.partition import Partition, Place, steps
from service.entrypoints.recorder import FLUSHES_EVERY_SECONDS, Recorder
from service.entrypoints.worker import _say


class Meter:
    """Counts `rows` after the first `before`; the clock starts at the call that has those whole."""

    def __init__(self, rows, before=0):
        self._rows, self._before, self._seen = rows, before, 0
        self._first = None
        self.seconds = None

    def count(self, rows):
        """Count some; True when that was all."""
        self._seen += rows
        if self._first is None:
            if self._seen >= self._before:
                self._first, self._began = self._seen, time.process_time()
        elif self._seen >= self._before + self._rows:
            self.seconds = time.process_time() - self._began
        return self.seconds is not None

    @property
    def rate(self):
        return (self._seen - self._first) / self.seconds


def report(meter):
    os.write(1, f"\n{meter.rate}\n".encode())  # Faust has its own idea of sys.stdout


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
                    if meter.count(decode(record.value)):
                        break
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


def read_by_bytewax(cluster, meter):
    """Score each row by its distance from the mean of its series, kept in Bytewax's state.

    Nothing is kept on disk, which is in its favour: a worker's checkpoints are not counted either.
    """
    import bytewax.operators as op  # noqa: PLC0415 - only one reader in a process
    from bytewax.connectors.kafka import KafkaSource  # noqa: PLC0415
    from bytewax.connectors.stdio import StdOutSink  # noqa: PLC0415
    from bytewax.dataflow import Dataflow  # noqa: PLC0415
    from bytewax.testing import run_main  # noqa: PLC0415

    def costs(message):
        meter.count(0)  # it decodes a thousand messages before it scores the first
        for line in message.value.splitlines():
            row = msgspec.json.decode(line)
            yield row["ResourceId"], float(row["EffectiveCost"])

    def score(state, cost):
        count, mean, squares = state or (0, 0.0, 0.0)
        spread = math.sqrt(squares / count) if count else 0.0
        is_odd = spread > 0 and abs(cost - mean) / spread > 6
        step = cost - mean
        mean += step / (count + 1)
        if meter.count(1):
            report(meter)
            os._exit(0)
        return (count + 1, mean, squares + step * (cost - mean)), is_odd

    flow = Dataflow("bench")
    messages = op.input("in", flow, KafkaSource(cluster.servers, [cluster.topic(EVENTS)]))
    scored = op.stateful_map("score", op.flat_map("costs", messages, costs), score)
    odd = op.filter("odd", scored, lambda one: one[1])
    op.output("out", op.map("said", odd, str), StdOutSink())
    run_main(flow)


def read_by_spendwatch(cluster, meter):
    pipeline = build_pipeline(Settings(), {}, tells_history=False, keeps_history=True, is_part=True)
    place, every = Place(EVENTS, 0, 1), timedelta(minutes=1)
    partition = Partition(place, pipeline, BEGINNING, 100, sums_every=every)
    recorder = Recorder(Path(tempfile.mkdtemp()))

    async def starts(ours, _):
        return dict.fromkeys(ours, 0)

    async def read(publisher):
        stop = asyncio.Event()
        log = GroupLog(cluster, "bench", (EVENTS,), starts)
        flush_at = time.monotonic() + FLUSHES_EVERY_SECONDS
        async for _, _, batch in log.batches(stop):
            for step in steps(batch):
                output = partition.take(*step)
                recorder.take(output.rows)
                if output.is_any:
                    _say(publisher, output)
            if time.monotonic() >= flush_at:
                recorder.flush()
                flush_at = time.monotonic() + FLUSHES_EVERY_SECONDS
            if meter.count(sum(message.value.count(b"\n") for message in batch)):
                stop.set()
                break

    with Publisher(cluster) as publisher:
        asyncio.run(read(publisher))


READERS = {
    "kafka-python": read_by_kafka_python,
    "aiokafka": read_by_aiokafka,
    "faust": read_by_faust,
    "bytewax": read_by_bytewax,
    "spendwatch": read_by_spendwatch,
}


def able():
    """Name the readers that are installed: Bytewax comes with the extra `bench`."""
    return [name for name in READERS if name != "bytewax" or find_spec(name)]
