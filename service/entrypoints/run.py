"""The service on one machine: watches folders, scores what comes, tells people, serves the page."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec
import structlog

from service.adapters.checkpoints import Checkpoints
from service.adapters.dead_letters import DeadLetters, too_late
from service.adapters.history import History
from service.adapters.log import Batch, Log
from service.adapters.posted_files import PostedFiles
from service.adapters.sources import (
    QUIET,
    BucketError,
    Delivery,
    Lookout,
    Reader,
    SnapshotBook,
    deliveries,
)
from service.bootstrap import (
    build_hosts,
    build_notifiers,
    build_pipeline,
    build_shelf,
    build_token_prices,
    check_paths,
    open_store,
)
from service.config import ConfigError, Settings
from service.core.estimates import Gap
from service.core.events import Arrival, CostEvent
from service.core.experiments import RunBill
from service.core.intents import Intent
from service.core.ledger import Metric, metric_of
from service.core.phrases import moment
from service.core.ports import IncidentFilter, SourceStatus, Store
from service.entrypoints.admin_token import FILE, make_token
from service.entrypoints.api.allocation import Allocated
from service.entrypoints.inbox import Inbox
from service.entrypoints.keeper import Keeper, Notes
from service.entrypoints.machine import Machine, Memory, Parts, utc_now
from service.entrypoints.stopping import Interrupted, Stop
from service.pipeline import Outcome, Pipeline
from service.telemetry import Metrics, configure_logging

# How a note ends on a delivery that is not whole, and from when on that is worth saying.
INCOMPLETE: Final = ("not there yet: left alone", "written: left alone", "or cut: left alone")
INCOMPLETE_AFTER: Final = timedelta(hours=1)
POLL_SECONDS: Final = 2.0
LISTENS_EVERY_SECONDS: Final = 0.2
TICK: Final = timedelta(minutes=5)
BATCH_ROWS: Final = 20_000
LETTERS: Final = "dead_letters.ndjson"

_log = structlog.get_logger("run")


class Service:
    """Runs until SIGTERM or Ctrl-C.

    Everything that comes is in the log before anything else happens with it. At start the state is
    restored, and the log since then run through the pipeline again: the store refuses what it
    already has, so nothing is said twice.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        if not settings.sources:
            raise ConfigError("nothing to watch: name at least one feed under [sources]")
        check_paths(settings)
        self._settings = settings
        self._say = say
        self._clock = clock
        self._saved = 0
        self._notes = Notes()
        self._inbox = Inbox()
        self._refused: SimpleQueue[tuple[str, int, str]] = SimpleQueue()
        self._runs: Sequence[RunBill] = ()
        self._gaps: Sequence[Gap] = ()
        self._allocated = Allocated()
        self._hosts = build_hosts(settings)
        self._lookouts: dict[str, Lookout] = {}
        self._left_alone: dict[str, dict[str, datetime]] = {}

    def run(self) -> None:
        """Serve until told to stop."""
        settings, folder = self._settings, self._settings.data_dir
        stop = self._stop = Stop()
        configure_logging(settings.log_level)
        _make_private(folder)
        with suppress(Interrupted), ExitStack() as stack:
            store = stack.enter_context(open_store(settings))
            log = Log(folder / "log.sqlite")
            stack.callback(log.close)
            history = History(settings.history)
            stack.callback(history.close)
            books = self._books = {
                name: stack.enter_context(SnapshotBook(folder / "snapshots" / name))
                for name in settings.sources
            }
            metrics = Metrics(version("spendwatch"))
            notifiers = build_notifiers(settings)
            self._dead = DeadLetters(folder / LETTERS)
            every = timedelta(minutes=settings.save_every_minutes)
            keeper = Keeper(log, Checkpoints(folder / "state"), self._build, every)
            self._machine = Machine(
                Parts(settings, store, history, metrics, notifiers),
                stop,
                faults=lambda: [*keeper.faults, *self._out_of_sight()],
                follow=self._inbox.ask,
                token=make_token(settings),
                memory=Memory(lambda: self._runs, lambda: self._gaps, lambda: self._allocated),
                posting=self._posting(),
            )
            self._machine.rebuilding = True
            address = stack.enter_context(self._machine.serving())
            self._say(f"page and API: {address}")
            if settings.api.admin_token is None:
                self._say(f"the admin's token is in {folder / FILE}")
            self._rebuild(log, store, keeper)
            self._look_up()
            self._look_out(stack)
            self._say(f"watching {', '.join(settings.sources)}; Ctrl-C stops")
            while not stop.is_set():
                took = [self._watch(name, books[name], log) for name in settings.sources]
                self._tick(log)
                if any(took):
                    self._look_up()
                self._note_refused(log)
                self._inbox.drain(lambda intent: self._follow(intent, log))
                history.flush()
                if keeper.is_due(self._pipeline, self._clock()):
                    keeper.save(self._pipeline, self._notes, self._clock())
                if not any(took):
                    self._rest(stop)
            history.flush()
            keeper.save(self._pipeline, self._notes, self._clock())

    def _look_up(self) -> None:
        """Take from the pipeline what the API tells from memory: it may not touch it itself."""
        self._runs = self._pipeline.runs(self._clock())
        self._gaps = self._pipeline.gaps()
        now = self._clock()
        found = self._pipeline.unallocated(now), self._pipeline.unit_bills(now)
        self._allocated = Allocated(*found)

    def _rest(self, stop: Stop) -> None:
        """Wait until the feeds are to be looked at again, or someone says something."""
        for _ in range(int(POLL_SECONDS / LISTENS_EVERY_SECONDS)):
            if self._inbox.has_any or stop.wait(LISTENS_EVERY_SECONDS):
                return

    def _follow(self, intent: Intent, log: Log) -> str | None:
        """Follow what a person says, in the log first; return why it was refused, or None."""
        refused = self._pipeline.refusal(intent)
        if refused is None:
            self._take(log.append(self._clock(), [], intent=intent))
        return refused

    def _build(self, metrics: dict[str, Metric]) -> Pipeline:
        """Build a pipeline; the metric that the config names goes before the one that was found."""
        for name, source in self._settings.sources.items():
            if source.metric:
                metrics[name] = source.metric
        return build_pipeline(self._settings, metrics, tells_history=False)

    def _rebuild(self, log: Log, store: Store, keeper: Keeper) -> None:
        saved = self._saved = store.offset()
        if saved > log.end:
            raise OSError(
                f"the store knows {saved} batches and the log only {log.end}: "
                f"{self._settings.data_dir} is not the one this store belongs to"
            )
        resumed = keeper.resume(saved)
        self._pipeline, self._notes = resumed.pipeline, resumed.notes
        if saved < resumed.offset:
            self._machine.save(Outcome(self._pipeline.everything(), [], []))
        for source in store.sources():  # what was refused is in no log
            known = self._pipeline.statuses.get(source.source, SourceStatus(source=source.source))
            count = max(0, source.rejected - known.rejected)
            self._pipeline.note_rejected(source.source, count, source.last_error)
        self._machine.count(self._pipeline.everything())
        for batch in log.read(resumed.offset):
            self._take(batch)
            self._notes.ticked_at = batch.now
        if not resumed.is_whole:
            self._close_unknown(log, store)
        self._machine.rebuilding = False

    def _close_unknown(self, log: Log, store: Store) -> None:
        """End what the store still calls firing, and nobody remembers what it was about."""
        batch = log.append(self._clock(), [])
        outcome = self._pipeline.step([], batch.now, batch.offset)
        firing = store.incidents(IncidentFilter(state="firing", limit=sys.maxsize))
        for incident in firing:
            if not self._pipeline.knows(incident.incident_id):
                over = {"state": "resolved", "ends_at": batch.now, "updated_at": batch.now}
                closed = msgspec.structs.replace(incident, **over)
                outcome.changes.incidents = [*outcome.changes.incidents, closed]
        self._machine.save(outcome)

    def _watch(self, name: str, book: SnapshotBook, log: Log) -> bool:
        """Take in what is new and complete of one feed; tell whether there was anything."""
        source = self._settings.sources[name]
        with self._stop.interruptible():
            new = self._new(name, book)
        if not new and not book.has_untold:
            return False
        reader = Reader(
            new,
            snapshots=book,
            reject=self._dead.put,
            source=source.kind,
            feed=name,
            mode="live",
            now=self._clock,
            beside=self._beside(name),
            hosts=self._hosts,
            token_prices=build_token_prices(self._settings),
        )
        try:
            with self._stop.interruptible():
                arrivals = sorted(reader, key=_when)
        except BucketError as error:
            self._lookouts[name].failed(error)
            return False
        for rows in _in_order(arrivals):
            self._take(log.append(self._clock(), rows))
        self._dead.flush()
        if reader.read and name not in self._notes.summed:
            self._take(log.append(self._clock(), [], ends_backfill=name))
        reader.acknowledge()
        if source.posted:
            for delivery in new:
                _remove(delivery, book)
        self._pipeline.note_rejected(name, reader.rejected, self._dead.last_reason)
        for note in reader.notes:
            _log.warning("input", source=name, note=note)
        _log.info("delivery read", source=name, rows=reader.read, rejected=reader.rejected)
        return True

    def _new(self, name: str, book: SnapshotBook) -> list[Delivery]:
        """Return what is new and complete of one feed; of a bucket, once it was looked at."""
        now, lookout = self._clock(), self._lookouts.get(name)
        notes: list[str] = []
        if lookout is not None:
            found = lookout.deliveries(book=book, now=now, note=notes.append)
        else:
            source = self._settings.sources[name]
            quiet = timedelta() if source.posted else QUIET
            found = deliveries(source.path, book=book, now=now, note=notes.append, quiet=quiet)
        for note in notes:
            _log.debug("left alone", note=note)
        if found or notes or lookout is None:  # a bucket is only looked at now and then
            known = self._left_alone.get(name, {})
            parts = [note for note in notes if note.endswith(INCOMPLETE)]
            self._left_alone[name] = {note: known.get(note, now) for note in parts}
        return found

    def _look_out(self, stack: ExitStack) -> None:
        """Begin to look at the feeds that lie in buckets."""
        for name, source in self._settings.sources.items():
            folder = self._settings.data_dir / "buckets" / name
            shelf = build_shelf(source.path, folder, source.bucket)
            if shelf is not None:
                lookout = self._lookouts[name] = Lookout(shelf, source.bucket.every_seconds)
                stack.callback(lookout.close)

    def _posting(self) -> PostedFiles:
        """Return where events go that are sent: into the folders of the feeds that take them."""
        sources = self._settings.sources.items()
        folders = {name: source.path for name, source in sources if source.posted}
        letters = self._settings.data_dir / LETTERS
        return PostedFiles(folders, letters, lambda *refused: self._refused.put(refused))

    def _note_refused(self, log: Log) -> None:
        """Count what was refused of what was sent: the pipeline is this thread's alone."""
        if self._refused.empty():
            return
        while not self._refused.empty():
            self._pipeline.note_rejected(*self._refused.get())
        self._take(log.append(self._clock(), []))

    def _out_of_sight(self) -> list[str]:
        faults = {name: lookout.fault for name, lookout in self._lookouts.items()}
        said = [f"Source {name}: {fault}." for name, fault in faults.items() if fault]
        return [*said, *self._incomplete()]

    def _incomplete(self) -> Iterator[str]:
        """Say what lies there for long and is not whole."""
        now = self._clock()
        for name, notes in self._left_alone.copy().items():
            for note, since in notes.items():
                if now - since >= INCOMPLETE_AFTER:
                    yield f"Source {name}: {note}, since {moment(since)}."

    def _beside(self, name: str) -> list[SnapshotBook] | None:
        """Return the books of the feeds that might bill the same accounts."""
        if self._settings.sources[name].shares_accounts:
            return None
        return [
            book
            for other, book in self._books.items()
            if other != name and not self._settings.sources[other].shares_accounts
        ]

    def _tick(self, log: Log) -> None:
        """Let time pass in the log too, so that what only time decides is the same again."""
        now, due = self._clock(), self._pipeline.due
        is_due = due is not None and due <= now
        if is_due or self._notes.ticked_at is None or now - self._notes.ticked_at >= TICK:
            self._take(log.append(now, []))
            self._notes.ticked_at = now

    def _take(self, batch: Batch) -> None:
        for arrival in batch.arrivals:
            if arrival.source not in self._notes.metrics and isinstance(arrival.event, CostEvent):
                self._notes.metrics[arrival.source] = metric_of(
                    a.event
                    for a in batch.arrivals
                    if a.source == arrival.source and isinstance(a.event, CostEvent)
                )
        with self._stop.interruptible():
            if batch.intent is None:
                outcome = self._pipeline.step(
                    batch.arrivals, batch.now, batch.offset, ends_backfill=batch.ends_backfill
                )
            else:
                outcome = self._pipeline.intent(batch.intent, batch.now, batch.offset)
        if batch.ends_backfill is not None:
            self._notes.summed.add(batch.ends_backfill)
        if batch.offset > self._saved:
            # Before it is saved: what is cut off in between is written twice rather than never.
            for arrival in outcome.too_late:
                self._dead.put(too_late(arrival))
            self._dead.flush()
        self._machine.save(outcome)


def _make_private(folder: Path) -> None:
    """Keep bills and what is said of them from other users of this machine."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    is_ours = (folder / "store").is_dir() or not any(folder.iterdir())
    if is_ours:
        with suppress(PermissionError):  # another's folder that we may write in
            folder.chmod(0o700)


def _remove(delivery: Delivery, book: SnapshotBook) -> None:
    """Remove what is in the log; cut off in between, it is read again and counted once."""
    for file in delivery.files:
        book.forget(file)
        file.unlink(missing_ok=True)


def _in_order(arrivals: list[Arrival]) -> Iterator[list[Arrival]]:
    """Cut what was read, sorted, into batches along time: a long history is learnt in order.

    Rows of one charge period stay together: half a period would look like a drop.
    """
    batch: list[Arrival] = []
    for _, rows in groupby(arrivals, key=lambda a: _when(a)[0]):
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
        batch += rows
    if batch:
        yield batch


def _when(arrival: Arrival) -> tuple[datetime, datetime]:
    event = arrival.event
    began = event.charge_period_start if isinstance(event, CostEvent) else event.timestamp
    return began, arrival.arrived_at
