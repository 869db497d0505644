"""The rollups: adds up what all partitions say, and says what is odd over all of them.

As the one owner of `cost.rollups`; others stand by and take over. Everything it says is a function
of that log, and stands in `cost.findings` as what a worker says does. Whatever goes wrong ends the
process: the next start is exact.
"""

import asyncio
import signal
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Final

import msgspec
import structlog

from service.adapters.kafka_findings import Record, encode, ends
from service.adapters.kafka_log import GroupLog, Message
from service.adapters.kafka_messages import MACHINES_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, FINDINGS, ROLLUPS, ensure
from service.adapters.log_folders import keep_to
from service.bootstrap import build_adder, build_cluster, build_topics
from service.config import Settings
from service.core.chain import BEGINNING
from service.core.machines import Word
from service.entrypoints.allocated_file import write_allocated
from service.entrypoints.api.allocation import Allocated
from service.entrypoints.health import healthy
from service.entrypoints.rollup_log import RollupLog
from service.entrypoints.shelf import Shelf
from service.telemetry import Metrics, configure_logging

GROUP: Final = "spendwatch-rollups"
LOOKS_EVERY_SECONDS: Final = 30.0

_log = structlog.get_logger("rollups")


class Rollups:
    """One process of the group; `health` is where it says how it is, if anywhere."""

    def __init__(self, settings: Settings, health: str | None = None) -> None:
        self._settings = settings
        self._cluster = build_cluster(settings)
        self._health = health
        self._metrics = Metrics(version("spendwatch"))
        self._not_ready: str | None = "not in the group yet"
        self._one_at_a_time = asyncio.Lock()
        self._sums: RollupLog | None = None
        self._shelf: Shelf | None = None
        self._save_at = 0.0
        self._shown: datetime | None = None

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C.

        LogUnavailableError when Kafka is away or its topics are wrong, OSError when there is
        something in them that cannot be read.
        """
        configure_logging(self._settings.log_level)
        ensure(self._cluster, build_topics(self._settings), self._settings.kafka.replication)
        health = healthy(self._health, self._metrics, lambda: self._not_ready)
        with health, Publisher(self._cluster) as publisher:
            asyncio.run(self._work(publisher))

    async def _work(self, publisher: Publisher) -> None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        log = GroupLog(self._cluster, GROUP, (ROLLUPS,), self._starts)
        self._metrics.lag.set_function(log.behind)
        minding = asyncio.create_task(self._mind())
        minding.add_done_callback(lambda _: stop.set())
        try:
            async for _, _, message in log.messages(stop):
                turn = log.turn
                async with self._one_at_a_time:
                    if self._sums is not None and log.turn == turn:  # else it is not due any more
                        await asyncio.to_thread(self._take, self._sums, message, publisher)
            async with self._one_at_a_time:
                if self._sums is not None:
                    await asyncio.to_thread(self._save, self._sums)
        finally:
            minding.cancel()
            self._let_go()
        if minding.done() and not minding.cancelled():
            minding.result()

    async def _starts(
        self, ours: Collection[tuple[str, int]], logs: Mapping[str, str]
    ) -> Mapping[tuple[str, int], int]:
        """Make ready when the log is ours, and let go when it is not."""
        async with self._one_at_a_time:
            self._not_ready = None
            if not ours:
                self._let_go()
                _log.info("standing by")
                return {}
            if self._sums is None:
                await asyncio.to_thread(self._make_ready, logs[ROLLUPS])
            assert self._sums is not None  # noqa: S101 - it was made ready
            return dict.fromkeys(ours, self._sums.next_offset)

    def _make_ready(self, log: str) -> None:
        partitions = self._settings.kafka.partitions
        self._shelf = Shelf(keep_to(self._settings.data_dir / "rollups", log))
        self._sums = self._shelf.restore(
            lambda: RollupLog(build_adder(self._settings), partitions, BEGINNING)
        )
        # After what is kept was read: who had it before us may have said and kept more since.
        told_until = ends(self._cluster).get((ROLLUPS, 0), BEGINNING)
        self._sums.note_told(told_until)
        self._saves_after()
        self._metrics.is_rollups.set(1)
        _log.info("owner", begins_at=self._sums.next_offset, told_until=told_until)

    def _let_go(self) -> None:
        self._sums = None
        self._metrics.is_rollups.set(0)
        if self._shelf is not None:
            self._shelf.close()
            self._shelf = None

    def _take(self, sums: RollupLog, message: Message, publisher: Publisher) -> None:
        try:
            with self._metrics.batch_seconds.time():
                record = sums.take(message)
        except ValueError as error:
            raise OSError(f"{ROLLUPS}: message {message.offset}: {error}") from None
        if sums.now is not None:
            self._metrics.judged_until.set(sums.now.timestamp())
        _say(publisher, sums.words, record)
        if sums.looked_at != self._shown:
            self._show(sums)
        if time.monotonic() >= self._save_at:
            self._save(sums)

    async def _mind(self) -> None:
        """Keep the state though no more messages come."""
        while True:
            await asyncio.sleep(LOOKS_EVERY_SECONDS)
            async with self._one_at_a_time:
                if self._sums is not None and time.monotonic() >= self._save_at:
                    await asyncio.to_thread(self._save, self._sums)

    def _show(self, sums: RollupLog) -> None:
        """Have the API show what is known of allocation; what cannot be written now is soon."""
        self._shown = sums.looked_at
        try:
            write_allocated(self._settings.history, Allocated(*sums.allocated()))
        except OSError as error:
            _log.error("allocation not written", error=str(error))

    def _save(self, sums: RollupLog) -> None:
        """Keep the state: all that it says has been published."""
        if self._shelf is not None:
            self._shelf.save(sums)
        self._saves_after()

    def _saves_after(self) -> None:
        self._save_at = time.monotonic() + 60 * self._settings.save_every_minutes


def _say(publisher: Publisher, words: Collection[tuple[int, Word]], record: Record | None) -> None:
    """Publish what one report changed, the record last: it says that the rest is there."""
    for partition, word in words:
        value, headers = msgspec.json.encode(word), {MACHINES_HEADER: "1"}
        publisher.send(EVENTS, value, partition=partition, headers=headers)
    if words:
        publisher.flush()
    if record is not None:
        for value in encode(record):
            publisher.send(FINDINGS, value, partition=0)
        publisher.flush()
