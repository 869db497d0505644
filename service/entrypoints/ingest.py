"""Ingest: exports into Kafka, each row once, however often it is cut off and started again."""

import fcntl
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from service.adapters.dead_letters import DeadLetters
from service.adapters.kafka_client import MAX_MESSAGE_BYTES
from service.adapters.kafka_letters import refused
from service.adapters.kafka_messages import Message, Packer, line_of, stamped, topic_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_resume import RUN_HEADER, RunNote, Sent
from service.adapters.kafka_topics import EVENTS, REFUSED, SAMPLES, ensure
from service.adapters.sources import SOURCES, Address, Delivery, Reader, SnapshotBook, deliveries
from service.adapters.spool import Spool
from service.bootstrap import (
    bucket_settings,
    build_cluster,
    build_hosts,
    build_shelf,
    build_token_prices,
    build_topics,
)
from service.config import FEED, ConfigError, Settings
from service.core.events import Arrival, CostEvent, Rejected, Run, content_hash
from service.core.partitions import partition_key
from service.entrypoints.machine import utc_now

SHOWN_EVERY: Final = 5000


class Order(NamedTuple):
    """What to ingest. Without `letters`, what is refused goes to the topic `ingest.dlq`."""

    inputs: Sequence[Path]
    source: str | None = None
    feed: str | None = None
    letters: Path | None = None


class Report:
    """What became of the input: `rows` by topic and partition, `known` from a run cut off."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, int]] = Counter()
        self.known = 0
        self.messages = 0
        self.value_bytes = 0
        self.read = 0
        self.rejected = 0

    @property
    def published(self) -> int:
        """How many rows were sent by this run."""
        return self.rows.total()

    def count(self, message: Message) -> None:
        """Count one message."""
        self.rows[message.topic, message.partition] += message.rows
        self.messages += 1
        self.value_bytes += len(message.value)


class Ingest:
    """Reads exports and publishes what is news, in order of time.

    What is news of a snapshot is told by the book in `data_dir`; rows that stand for themselves are
    published once for each content of their file. `rejected` and `notes` say what was left out.
    """

    def __init__(
        self,
        settings: Settings,
        on_progress: Callable[[str, int, int], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._progress = on_progress
        self._clock = clock
        self._folder = settings.data_dir / "ingest"
        self._report = Report()
        self.rejected: list[Rejected] = []
        self.notes: list[str] = []

    def publish(self, order: Order) -> Report:
        """Publish what is news; after a LogUnavailableError the same call goes on from there."""
        settings, cluster = self._settings, build_cluster(self._settings)
        _check(order)
        ensure(cluster, build_topics(settings), settings.kafka.replication)
        with self._locked(), SnapshotBook(self._folder) as book, _spool() as spool:
            reader = self._read(order, book, spool)
            note = RunNote(self._folder / "run.json", cluster)
            run = note.begin([EVENTS, SAMPLES])
            with Publisher(cluster) as publisher:
                for message in self._messages(spool, run.sent):
                    publisher.put(message, {RUN_HEADER: run.name})
                self._bury(publisher, order.letters)
                publisher.flush()
            reader.acknowledge()
            note.end()
        return self._report

    def rehearse(self, order: Order) -> Report:
        """Do everything but publish and remember; Kafka is not asked."""
        _check(order)
        with SnapshotBook.copy(self._folder) as book, _spool() as spool:
            self._read(order, book, spool)
            for _ in self._messages(spool, Sent()):
                pass
        return self._report

    def _read(self, order: Order, book: SnapshotBook, spool: Spool) -> Reader:
        found: list[Delivery] = []
        for path in order.inputs:
            found += self._new(path, book)
        feed = self._settings.sources.get(order.feed or "")
        shares = feed is not None and feed.shares_accounts
        reader = Reader(
            found,
            snapshots=book,
            reject=self.rejected.append,
            source=order.source,
            feed=order.feed,
            mode="live",
            now=self._clock,
            beside=None if shares else (),
            hosts=build_hosts(self._settings),
            token_prices=build_token_prices(self._settings),
        )
        for arrival in reader:
            spool.put(
                Arrival(_when(arrival), arrival.source, stamped(arrival)),
                group=partition_key(arrival.event),
            )
            if len(spool) % SHOWN_EVERY == 0:
                self._progress("reading", len(spool), 0)
        self.notes += reader.notes
        self._report.read, self._report.rejected = reader.read, reader.rejected
        return reader

    def _new(self, path: Path, book: SnapshotBook) -> list[Delivery]:
        now, note = self._clock(), self.notes.append
        shelf = build_shelf(path, self._folder / "buckets", bucket_settings(self._settings, path))
        if shelf is None:
            return deliveries(path, book=book, now=now, note=note, quiet=timedelta())
        shelf.show(shelf.look())
        return shelf.deliveries(book=book, now=now, note=note)

    def _messages(self, spool: Spool, sent: Sent) -> Iterator[Message]:
        report = self._report
        packer = Packer(self._settings.kafka.partitions)
        for done, (_, source, event) in enumerate(spool, 1):
            line = line_of(event)
            if isinstance(event, Run):
                self._refuse(source, line, "runs of experiments are taken by run and replay alone")
            elif sent.has(source, line):
                report.known += 1
            elif len(line) > MAX_MESSAGE_BYTES:
                self._refuse(source, line, f"longer than {MAX_MESSAGE_BYTES} bytes as a message")
            else:
                full = packer.put(topic_of(event), source, partition_key(event), line)
                if full is not None:
                    report.count(full)
                    yield full
            if done % SHOWN_EVERY == 0:
                self._progress("publishing", done, len(spool))
        for message in packer.rest():
            report.count(message)
            yield message

    def _refuse(self, source: str, line: bytes, reason: str) -> None:
        self.rejected.append(Rejected(source, 0, reason, line[:200]))
        self._report.rejected += 1

    def _bury(self, publisher: Publisher, letters: Path | None) -> None:
        """Keep what was refused. The topic's keys are of content: a letter sent twice is one."""
        if letters is not None:
            dead = DeadLetters(letters)
            for rejected in self.rejected:
                dead.put(rejected)
            dead.flush()
            return
        for letter in map(refused, self.rejected):
            publisher.send(REFUSED, letter, key=content_hash(letter))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._folder / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                message = f"{self._folder} is in use by another ingest; wait for it or set data_dir"
                raise OSError(message) from None
            yield


def _check(order: Order) -> None:
    if order.source is not None and order.source not in SOURCES:
        raise ConfigError(f"no source {order.source!r}; there are {', '.join(SOURCES)}")
    if order.feed is not None and not re.match(FEED, order.feed):
        raise ConfigError(f"--feed {order.feed!r}: letters, digits, '.', '_' and '-' only")
    for path in order.inputs:
        if Address.of(path) is None and not path.exists():
            raise OSError(f"{path}: no such file or folder")


@contextmanager
def _spool() -> Iterator[Spool]:
    spool = Spool()
    try:
        yield spool
    finally:
        spool.close()


def _when(arrival: Arrival) -> datetime:
    event = arrival.event
    return event.charge_period_start if isinstance(event, CostEvent) else event.timestamp
