"""The worker: scores the partitions that its group gives it, and says what changed.

A partition is read from where its saved state ends, else from its start: the state is a function
of the log. How far it was told stands in `cost.findings`. Whatever goes wrong ends the process: the
next start is exact.
"""

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final

import structlog

from service.adapters import kafka_letters, kafka_rollups
from service.adapters.kafka_client import ends_of
from service.adapters.kafka_findings import encode, ends
from service.adapters.kafka_log import GroupLog, Message
from service.adapters.kafka_messages import SOURCE_HEADER, TICK_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS, FINDINGS, ROLLUPS, SAMPLES, ensure
from service.adapters.log_folders import keep_to
from service.bootstrap import build_cluster, build_pipeline, build_topics
from service.config import ConfigError, Settings
from service.core.chain import BEGINNING
from service.core.ledger import LedgerRow
from service.core.ports import LogUnavailableError
from service.entrypoints.health import healthy
from service.entrypoints.machine import utc_now
from service.entrypoints.partition import Output, Partition, Place, TooManyBadError, steps
from service.entrypoints.recorder import FLUSHES_EVERY_SECONDS, Recorder
from service.entrypoints.shelf import Shelf
from service.telemetry import Metrics, configure_logging

GROUP: Final = "spendwatch-worker"
TICK: Final = timedelta(minutes=5)
# What takes as long to take in again is saved before another may have to.
WORTH_SAVING_SECONDS: Final = 5.0

_log = structlog.get_logger("worker")


class Worker:
    """One process of the group.

    `skip_bad_until` names messages, as TOPIC/PARTITION/OFFSET: up to there it does not stop at too
    many bad lines in a row. ConfigError for what is no message of the input. `health` is where it
    says how it is, if anywhere.
    """

    def __init__(
        self, settings: Settings, skip_bad_until: Sequence[str] = (), health: str | None = None
    ) -> None:
        self._settings = settings
        self._health = health
        self._not_ready: str | None = "not in the group yet"
        self._skips = dict(map(_place_of, skip_bad_until))
        self._cluster = build_cluster(settings)
        self._partitions: dict[tuple[str, int], Partition] = {}
        self._shelves: dict[tuple[str, int], Shelf] = {}
        self._recorders: dict[tuple[str, int], Recorder] = {}
        self._save_at: dict[tuple[str, int], float] = {}
        self._taken_at: dict[tuple[str, int], float] = {}
        # Seconds that it took since the last save.
        self._unsaved: defaultdict[tuple[str, int], float] = defaultdict(float)
        self._moving = asyncio.Lock()  # what is done with a partition, one at a time
        self._publishing = asyncio.Lock()  # a publisher serves one thread at a time
        self._metrics = Metrics(version("spendwatch"))

    def run(self) -> None:
        """Work until SIGTERM or Ctrl-C.

        LogUnavailableError when Kafka is away or its topics are wrong, OSError when there is too
        much in them that cannot be read.
        """
        configure_logging(self._settings.log_level)
        ensure(self._cluster, build_topics(self._settings), self._settings.kafka.replication)
        health = healthy(self._health, self._metrics, self._why_not_ready)
        with health, Publisher(self._cluster) as publisher:
            try:
                asyncio.run(self._work(publisher))
            except TooManyBadError as error:
                raise OSError(str(error)) from None

    def _why_not_ready(self) -> str | None:
        faults = [one.fault for one in list(self._recorders.values()) if one.fault]
        return self._not_ready or next(iter(faults), None)

    async def _work(self, publisher: Publisher) -> None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        log = GroupLog(self._cluster, GROUP, (EVENTS, SAMPLES), self._starts, self._gives_up)
        self._metrics.lag.set_function(log.behind)
        ticking = asyncio.create_task(self._tick(log, publisher))
        ticking.add_done_callback(lambda _: stop.set())
        try:
            async for topic, number, batch in log.batches(stop):
                turn = log.turn
                for step in steps(batch):
                    async with self._moving:
                        if log.turn == turn:  # else it is handed out again, to whoever has it now
                            await self._take(topic, number, step, publisher)
                    await self._keep(topic, number)
        finally:
            ticking.cancel()
            for recorder in self._recorders.values():
                recorder.close()
            for shelf in self._shelves.values():
                shelf.close()
        if ticking.done() and not ticking.cancelled():
            ticking.result()

    async def _take(
        self, topic: str, number: int, step: Sequence[Message], publisher: Publisher
    ) -> None:
        """Take in a step and say what it changed, before its partition is kept."""
        at, began = (topic, number), time.monotonic()
        with self._metrics.batch_seconds.time():
            output = self._partitions[at].take(*step)
        self._taken_at[at] = time.monotonic()
        self._unsaved[at] += self._taken_at[at] - began
        if output.rows:
            await self._record(self._recorders[at], output.rows)
        if output.is_any:
            async with self._publishing:
                await asyncio.to_thread(_say, publisher, output)

    async def _record(self, recorder: Recorder, rows: Sequence[LedgerRow]) -> None:
        if recorder.has_room(len(rows)):
            recorder.take(rows)
        else:
            await asyncio.to_thread(recorder.take, rows)

    async def _gives_up(self, for_good: bool) -> None:
        """Save what another would have to take in again for long, at the end all of it."""
        async with self._moving:
            for at in list(self._partitions):
                if for_good or self._unsaved[at] >= WORTH_SAVING_SECONDS:
                    await asyncio.to_thread(self._save, at)
                if for_good:
                    await asyncio.to_thread(self._let_go, at)

    async def _starts(
        self, ours: Collection[tuple[str, int]], logs: Mapping[str, str]
    ) -> Mapping[tuple[str, int], int]:
        """Make ready what is ours now, and let go of what is not any more."""
        async with self._moving:
            for at in self._partitions.keys() - set(ours):
                await asyncio.to_thread(self._let_go, at)
            new = [at for at in ours if at not in self._partitions]
            for at in new:
                await asyncio.to_thread(self._make_ready, at, logs[at[0]])
            # After what is kept was read: who had it before us may have said and kept more since.
            told = await asyncio.to_thread(self._told, new) if new else {}
            for at in new:
                self._partitions[at].note_told(told.get(at, BEGINNING))
        self._metrics.partitions.set(len(ours))
        self._not_ready = None
        _log.info("assigned", partitions=len(ours))
        return {at: one.next_offset for at, one in self._partitions.items()}

    def _told(self, new: Collection[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Return how far partitions were told; LogUnavailableError when that is of other topics."""
        told, last = ends(self._cluster), ends_of(self._cluster, new)
        for at in new:
            if told.get(at, BEGINNING) >= last[at]:
                raise LogUnavailableError(
                    f"{at[0]}/{at[1]} ends at {last[at]}, and {FINDINGS} tells of it up to "
                    f"{told[at]}: it was made anew, and what comes would count as told. Delete "
                    f"{FINDINGS} and {ROLLUPS}, too, and start one router with --new-log"
                )
        return told

    def _let_go(self, at: tuple[str, int]) -> None:
        del self._partitions[at]
        if at in self._recorders:
            self._recorders.pop(at).close()
        self._shelves.pop(at).close()

    def _make_ready(self, at: tuple[str, int], log: str) -> None:
        """Go on from what is kept of a partition, if anything is, and if it is of that log."""
        shelf = Shelf(keep_to(self._settings.data_dir / "worker" / f"{at[0]}-{at[1]}", log))

        def make() -> Partition:
            return self._partition(*at)

        self._partitions[at] = shelf.restore(make)
        self._taken_at[at] = time.monotonic()
        self._shelves[at] = shelf
        topic, number = at
        if topic == EVENTS:
            self._recorders[at] = Recorder(
                keep_to(self._settings.history / topic / str(number), log)
            )
        self._saves_after(at)

    async def _keep(self, topic: str, number: int) -> None:
        """Save a partition's state now and then, if it still is ours."""
        async with self._moving:
            at = (topic, number)
            if at in self._partitions and time.monotonic() >= self._save_at[at]:
                await asyncio.to_thread(self._save, at)

    def _save(self, at: tuple[str, int]) -> None:
        """Keep a partition's state: all that it says of it has been published, and written."""
        if at not in self._recorders or self._recorders[at].flush():
            self._shelves[at].save(self._partitions[at])
        self._saves_after(at)

    def _saves_after(self, at: tuple[str, int]) -> None:
        self._save_at[at] = time.monotonic() + 60 * self._settings.save_every_minutes
        self._unsaved[at] = 0.0

    def _partition(self, topic: str, number: int) -> Partition:
        settings = self._settings
        metrics = {name: one.metric for name, one in settings.sources.items() if one.metric}
        is_bill = topic == EVENTS
        # Sums of resources, and what is new in an account, cross partitions: an adder judges them.
        pipeline = build_pipeline(
            settings, metrics, tells_history=False, keeps_history=is_bill, is_part=True
        )
        place = Place(topic, number, settings.kafka.partitions)
        most_bad = settings.kafka.bad_lines_in_a_row
        skip = self._skips.get((topic, number), BEGINNING)
        every = timedelta(seconds=settings.kafka.sums_every_seconds) if is_bill else None
        return Partition(place, pipeline, BEGINNING, most_bad, skip, every)

    async def _tick(self, log: GroupLog, publisher: Publisher) -> None:
        """Write histories; look after partitions where nothing comes: keep them, let time pass."""
        every = self._settings.kafka.sums_every_seconds
        while True:
            await asyncio.sleep(min(FLUSHES_EVERY_SECONDS, every))
            for recorder in list(self._recorders.values()):
                await asyncio.to_thread(recorder.flush)
            for at in list(self._partitions):
                await self._keep(*at)
            async with self._moving:
                quiet = [
                    one
                    for at, one in self._partitions.items()
                    if one.is_quiet(self._now_in(at), TICK) and log.is_read(*at)
                ]
            if quiet:
                async with self._publishing:
                    await asyncio.to_thread(_publish_ticks, publisher, quiet)

    def _now_in(self, at: tuple[str, int]) -> datetime:
        """Return what the broker's time may be: this machine's clock may be behind it."""
        now, reached = utc_now(), self._partitions[at].now
        if reached is None:
            return now
        return max(now, reached + timedelta(seconds=time.monotonic() - self._taken_at[at]))


def _place_of(name: str) -> tuple[tuple[str, int], int]:
    """Read `billing.events/3/1234`, as the worker names where it stopped."""
    topic, *numbers = name.split("/")
    if topic not in (EVENTS, SAMPLES) or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        raise ConfigError(f"--skip-bad-until {name!r} is not like {EVENTS}/3/1234")
    partition, offset = map(int, numbers)
    return (topic, partition), offset


def _say(publisher: Publisher, output: Output) -> None:
    """Publish what one step changed, its record last: it says that the rest is there."""
    for letter in output.letters:
        kafka_letters.send(publisher, letter)
    for stray in output.strays:
        headers = {SOURCE_HEADER: stray.source}
        publisher.send(stray.topic, stray.line, partition=stray.partition, headers=headers)
    for report in output.reports:
        for value in kafka_rollups.encode(report):
            publisher.send(ROLLUPS, value, partition=0)
    publisher.flush()
    if output.record is not None:
        for value in encode(output.record):
            publisher.send(FINDINGS, value, partition=0)
        publisher.flush()


def _publish_ticks(publisher: Publisher, quiet: Collection[Partition]) -> None:
    for one in quiet:
        publisher.send(one.topic, b"", partition=one.number, headers={TICK_HEADER: "1"})
    publisher.flush()
