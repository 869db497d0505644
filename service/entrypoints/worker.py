"""The worker: scores the partitions that the group gives it, and says what changed.

Faust carries the group, the partitions and the timers; how far a partition was told stands in
`cost.findings`. A partition is read from its start, since the pipeline's state is a function of the
log. Nothing is ever acknowledged, so that Faust commits nothing and always begins there: a seek of
ours would race with what it has read ahead (it then waits for ever), and its commits have been
found beyond what was done. Whatever goes wrong ends the process.
"""

import asyncio
import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import faust
import structlog
from faust.types import TP
from faust.types.auth import CredentialsT

from service.adapters import kafka_letters
from service.adapters.kafka_findings import encode, ends
from service.adapters.kafka_messages import SOURCE_HEADER, TICK_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, FINDINGS, SAMPLES, ensure
from service.bootstrap import build_cluster, build_pipeline, build_topics
from service.config import KafkaSettings, Settings
from service.core.chain import BEGINNING
from service.entrypoints.machine import utc_now
from service.entrypoints.partition import Message, Output, Partition, Place
from service.telemetry import configure_logging

GROUP: Final = "spendwatch-worker"
TICK: Final = timedelta(minutes=5)
LOOKS_EVERY_SECONDS: Final = 30.0
STALLED_SECONDS: Final = 60.0
NEVER: Final = 1e9  # Faust complains when nothing is committed for so long
FAILED: Final = 1
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger("worker")


class Worker:
    """One process of the group. LogUnavailableError when Kafka is away or its topics are wrong."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = build_cluster(settings)
        self._topics = {self._cluster.topic(name): name for name in (EVENTS, SAMPLES)}
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._out_of_turn: dict[tuple[str, int], float] = {}

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C; ends the process."""
        configure_logging(self._settings.log_level)
        ensure(self._cluster, build_topics(self._settings), self._settings.kafka.replication)
        self._publisher = Publisher(self._cluster)
        worker = faust.Worker(
            self.build_app(), override_logging=False, redirect_stdouts=False, quiet=True
        )
        worker.execute_from_commandline()

    def build_app(self) -> faust.App:
        """Wire the app; it connects to nothing before it is started."""
        settings, kafka = self._settings, self._settings.kafka
        folder = settings.data_dir / "worker"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        app = faust.App(
            kafka.topic_prefix + GROUP,
            broker=[f"kafka://{server}" for server in self._cluster.servers],
            broker_credentials=_credentials(kafka),
            consumer_auto_offset_reset="earliest",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            datadir=str(folder),
            broker_session_timeout=10.0,
            broker_heartbeat_interval=3.0,
            broker_max_poll_interval=600.0,
            broker_commit_livelock_soft_timeout=NEVER,
            stream_buffer_maxsize=64,
            stream_wait_empty=False,
        )
        self._app = app
        source = app.topic(
            *self._topics, key_serializer="raw", value_serializer="raw", value_type=bytes
        )
        app.on_rebalance_complete.connect(self._assigned)
        app.agent(source, concurrency=1, name="score")(self._score)
        app.timer(LOOKS_EVERY_SECONDS, name="tick")(self._tick)
        return app

    async def _assigned(self, *_: Any, **__: Any) -> None:
        """Make ready what is ours now, and let go of what is not any more."""
        try:
            mine = {tp for tp in self._app.consumer.assignment() if tp.topic in self._topics}
            kept = {(tp.topic, tp.partition) for tp in mine}
            self._partitions = {at: one for at, one in self._partitions.items() if at in kept}
            self._out_of_turn.clear()
            told = await asyncio.to_thread(ends, self._cluster)
            earliest = await self._app.consumer.earliest_offsets(*mine)
            for tp in sorted(mine):
                at = (tp.topic, tp.partition)
                if at not in self._partitions:
                    name = self._topics[tp.topic]
                    until = told.get((name, tp.partition), BEGINNING)
                    self._partitions[at] = self._partition(name, tp.partition, until)
                one = self._partitions[at]
                one.next_offset = max(one.next_offset, earliest.get(tp) or 0)
            _log.info("assigned", partitions=len(mine))
        except Exception as error:  # noqa: BLE001 - whatever it is, another start is the cure
            _leave(error)

    def _partition(self, topic: str, number: int, told_until: int) -> Partition:
        settings = self._settings
        metrics = {name: one.metric for name, one in settings.sources.items() if one.metric}
        pipeline = build_pipeline(settings, metrics, tells_history=False, keeps_history=False)
        place = Place(topic, number, settings.kafka.partitions)
        return Partition(place, pipeline, told_until, settings.kafka.bad_lines_in_a_row)

    async def _score(self, stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await self._take(event.message)
            except Exception as error:  # noqa: BLE001 - whatever it is, another start is the cure
                _leave(error)

    async def _take(self, message: Any) -> None:
        """Take in one message if it is its turn; those before are known, those after come again."""
        at = (message.topic, message.partition)
        partition = self._partitions.get(at)
        if partition is None or message.offset < partition.next_offset:
            return
        if message.offset > partition.next_offset:
            since = self._out_of_turn.setdefault(at, time.monotonic())
            if time.monotonic() - since > STALLED_SECONDS:
                raise RuntimeError(f"{at}: offset {partition.next_offset} does not come")
            return
        self._out_of_turn.pop(at, None)
        seen = Message(
            message.offset,
            EPOCH + timedelta(milliseconds=round(message.timestamp * 1000)),
            dict(message.headers or {}),
            message.value or b"",
        )
        output = partition.take(seen)
        if output.record is not None:
            await asyncio.to_thread(self._say, partition, output)

    def _say(self, partition: Partition, output: Output) -> None:
        """Publish what one message changed, its record last: it says that the rest is there."""
        publisher = self._publisher
        for letter in output.letters:
            kafka_letters.send(publisher, letter)
        for stray in output.strays:
            headers = {SOURCE_HEADER: stray.source}
            publisher.send(partition.topic, stray.line, partition=stray.partition, headers=headers)
        publisher.flush()
        if output.record is not None:
            for value in encode(output.record):
                publisher.send(FINDINGS, value, partition=0)
            publisher.flush()

    async def _tick(self) -> None:
        """Let time pass in the log of a partition where nothing has come for a while."""
        late = utc_now() - TICK
        quiet = [
            partition
            for (topic, number), partition in self._partitions.items()
            if partition.now is not None
            and partition.now < late
            and partition.next_offset >= self._app.consumer.highwater(TP(topic, number))
        ]
        if quiet:
            await asyncio.to_thread(self._publish_ticks, quiet)

    def _publish_ticks(self, quiet: list[Partition]) -> None:
        for one in quiet:
            self._publisher.send(one.topic, b"", partition=one.number, headers={TICK_HEADER: "1"})
        self._publisher.flush()


def _credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Say who we are in Faust's words, which knows its protocol by what it is given."""
    context = None
    if kafka.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=kafka.ca_file)
        if kafka.certificate_file is not None:
            context.load_cert_chain(kafka.certificate_file, kafka.key_file)
    if kafka.password is not None:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.reveal(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return None if context is None else faust.SSLCredentials(context)


def _leave(error: Exception) -> None:
    """End at once: a graceful end would commit what Faust believes was done."""
    _log.error("leaving", error=f"{type(error).__name__}: {error}", exc_info=error)
    os._exit(FAILED)
