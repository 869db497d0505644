"""The router: tells people what the workers find, as the one owner of `cost.findings`.

Others stand by and take over. Everything that it tells is a function of that log, so whoever takes
over says the same, one that was paused and wakes does no harm, and a store that lost what it had is
filled anew. It saves first; the notifiers send after.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final, TypeVar

import msgspec
import structlog

from service.adapters.kafka_client import Cluster, bounds
from service.adapters.kafka_deliveries import receipts
from service.adapters.kafka_findings import (
    Entry,
    Followed,
    Ordered,
    Tick,
    decode,
    encode,
    has_router,
)
from service.adapters.kafka_intents import IntentReader, write_missing
from service.adapters.kafka_log import GroupLog, Message
from service.adapters.kafka_messages import BUDGET_HEADER, ORDER_HEADER
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import FINDINGS, ensure
from service.adapters.log_folders import keep_to
from service.bootstrap import build_cluster, build_desk_parts, build_topics, open_store
from service.config import ConfigError, Settings
from service.core.ports import (
    Begin,
    Changes,
    IntentFilter,
    Saved,
    Store,
    StoreUnavailableError,
    as_new,
)
from service.core.receipts import Receipts
from service.core.state import StateError
from service.entrypoints.counting import Counting, tell_log
from service.entrypoints.desk_log import DeskLog
from service.entrypoints.health import healthy
from service.entrypoints.insisting import insist
from service.entrypoints.shelf import Shelf
from service.entrypoints.store_clock import StoreClock
from service.telemetry import Metrics, configure_logging

GROUP: Final = "spendwatch-router"
LOOKS_EVERY_SECONDS: Final = 0.1
ASKS_STORE_EVERY_SECONDS: Final = 1.0
TICK_SECONDS: Final = 60.0
EVERY_INTENT: Final = IntentFilter(limit=sys.maxsize)
BEATS_FOR: Final = timedelta(minutes=2)
# What a notifier was sending when the store lost it must have had time to arrive.
LOOKS_AFTER_LOSS: Final = timedelta(seconds=30)

_T = TypeVar("_T")
_log = structlog.get_logger("router")


class Router:
    """One process of the group; `health` is where it says how it is, if anywhere.

    With `takes_new_log` it goes on although the log was lost, and another is in its place.
    """

    def __init__(
        self, settings: Settings, health: str | None = None, *, takes_new_log: bool = False
    ) -> None:
        if settings.store.url is None:
            raise ConfigError("router needs [store] url: notifiers and API share the store")
        self._settings = settings
        self._takes_new_log = takes_new_log
        self._cluster = build_cluster(settings)
        self._health = health
        self._metrics = Metrics(version("spendwatch"))

    def run(self) -> None:
        """Tell until SIGTERM or Ctrl-C.

        LogUnavailableError when Kafka is away or its topics are wrong, OSError when log and store
        do not belong together.
        """
        configure_logging(self._settings.log_level)
        ensure(self._cluster, build_topics(self._settings), self._settings.kafka.replication)
        with ExitStack() as stack:
            store = stack.enter_context(open_store(self._settings))
            publisher = stack.enter_context(Publisher(self._cluster))
            asyncio.run(self._work(store, publisher))

    async def _work(self, store: Store, publisher: Publisher) -> None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        owner = Owner(self._settings, self._cluster, store, publisher, stop, self._metrics)
        owner.takes_new_log = self._takes_new_log
        with healthy(self._health, self._metrics, owner.why_not_ready):
            await self._own(owner, stop)

    async def _own(self, owner: "Owner", stop: asyncio.Event) -> None:
        log = GroupLog(self._cluster, GROUP, (FINDINGS,), owner.starts)
        self._metrics.lag.set_function(log.behind)
        minding = asyncio.create_task(owner.mind(log))
        minding.add_done_callback(lambda _: stop.set())
        try:
            async for _, _, message in log.messages(stop):
                await owner.take(message, log)
            await minding
            owner.end()
        finally:
            stop.set()
            await minding
            owner.let_go()


class Owner:
    """The state of a router while the log is its own, and what it does with it."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        store: Store,
        publisher: Publisher,
        stop: asyncio.Event,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._store = store
        self._publisher = publisher
        self._stop = stop
        self._metrics = metrics
        self._counting = Counting(metrics)
        self._one_at_a_time = asyncio.Lock()
        self._shelf: Shelf | None = None
        self._save_at = 0.0
        self._clock = StoreClock(store)
        self._beat_at = 0.0
        self._log_id = ""
        self.takes_new_log = False
        self._standing: str | None = "not in the group yet"
        self._desk: DeskLog | None = None
        self._intents: IntentReader | None = None

    async def starts(
        self, ours: Collection[tuple[str, int]], logs: Mapping[str, str]
    ) -> Mapping[tuple[str, int], int]:
        """Make ready when the log is ours, and let go when it is not."""
        async with self._one_at_a_time:
            if not ours:
                self.let_go()
                self._standing = None
                _log.info("standing by")
            elif self._desk is None:
                self._log_id = logs[FINDINGS]
                await asyncio.to_thread(self._resume)
            return dict.fromkeys(ours, self._next) if ours else {}

    async def take(self, message: Message, log: GroupLog) -> None:
        """Take in the next entry of the log, and save what it changes."""
        turn = log.turn
        async with self._one_at_a_time:
            if self._desk is None or log.turn != turn:
                return  # it is not due any more
            if await asyncio.to_thread(self._take, self._desk, message) == "gap":
                await self._begin_anew(log)

    async def mind(self, log: GroupLog) -> None:
        """See to what no entry asks for: orders, intents, time, and a store that lost something."""
        ask_at = 0.0
        while not self._stop.is_set():
            await asyncio.sleep(LOOKS_EVERY_SECONDS)
            async with self._one_at_a_time:
                if self._desk is None:
                    continue
                if time.monotonic() >= ask_at:
                    ask_at = time.monotonic() + ASKS_STORE_EVERY_SECONDS
                    if await asyncio.to_thread(self._has_lost, self._desk):
                        await self._begin_anew(log)
                        continue
                if log.is_read(FINDINGS, 0) and self._next >= self._told_until:
                    await asyncio.to_thread(self._write_down, self._desk)
                    if time.monotonic() >= self._beat_at:
                        await asyncio.to_thread(self._beat, self._desk)
                    if time.monotonic() >= self._save_at:
                        await asyncio.to_thread(self._keep, self._desk)

    def _beat(self, desk: DeskLog) -> None:
        """Say, for those who look, that the router works, and who does not."""
        self._beat_at = time.monotonic() + TICK_SECONDS / 2
        until = self._clock() + BEATS_FOR
        self._insist_on(lambda: self._store.beat("router", desk.silent(), until))

    def why_not_ready(self) -> str | None:
        """Say what is wrong, if anything is; to stand by is right."""
        try:
            self._store.ping()
        except StoreUnavailableError as error:
            return str(error)
        return self._standing if self._desk is None else None

    def let_go(self) -> None:
        """Forget the state: the log is another's, or this is the end."""
        self._desk = None
        self._metrics.is_router.set(0)
        if self._shelf is not None:
            self._shelf.close()
            self._shelf = None
        if self._intents is not None:
            self._intents.close()
            self._intents = None

    def end(self) -> None:
        """Save the state, if the log is ours, and let go."""
        if self._desk is not None:
            self._keep(self._desk)
        self.let_go()

    def _keep(self, desk: DeskLog) -> None:
        if self._shelf is not None:
            self._shelf.save(desk)
        self._save_at = time.monotonic() + 60 * self._settings.save_every_minutes

    def _build(self) -> DeskLog:
        detection = self._settings.detection
        remembers = timedelta(days=self._settings.remember_days)
        parts, partitions = build_desk_parts(self._settings), self._settings.kafka.partitions
        return DeskLog(parts, detection.detectors, remembers, partitions)

    def _resume(self) -> None:
        """Begin where the store ends, with the state that is a function of the log up to there."""
        self.let_go()
        begin, end = bounds(self._cluster, FINDINGS)
        saved = self._insist_on(self._store.offset)
        if begin > 0:
            raise OSError(f"{FINDINGS} begins at {begin}: what was told before is not known")
        saved = self._of_this_log(saved, end)

        def check(desk: DeskLog) -> None:
            if desk.offset > saved or desk.next_offset > end:
                raise StateError(
                    f"it stands for {desk.offset} entries: the store or the log lacks some"
                )

        self._shelf = Shelf(keep_to(self._settings.data_dir / "router", self._log_id))
        self._desk = self._shelf.restore(self._build, check)
        self._save_at = time.monotonic() + 60 * self._settings.save_every_minutes
        self._next, self._told_until = self._desk.next_offset, end
        if saved == 0 and not has_router(self._cluster):
            self._append(Tick())  # from here on, what an empty store lacks may have been told
            self._publisher.flush()
            self._told_until = end = 0
        self._moved_at = time.monotonic()
        self._is_rebuilding = end > 0 and (
            saved == 0 or self._insist_on(self._store.rebuilding) is not None
        )
        self._marked_at = 0.0
        self._metrics.is_router.set(1)
        if self._is_rebuilding:
            self._metrics.rebuilds.inc()
        self._receipts: Receipts | None = None
        self._ordered: set[str] = set()
        self._intents = IntentReader(self._cluster, self._desk.next_intent)
        self._written = self._desk.next_intent
        _log.info("owner", begins_at=self._next, log_ends_at=end, store_holds=saved)

    def _of_this_log(self, saved: int, end: int) -> int:
        """Return how much of this very log the store has; OSError when it is of another."""
        known = self._insist_on(self._store.log)
        if saved and (known not in (None, self._log_id) or saved > end):
            if not self.takes_new_log:
                raise OSError(
                    f"the store is of another {FINDINGS}: it knows {saved} entries, and this one "
                    f"has {end}. If bootstrap_servers and topic_prefix are right, the topics were "
                    "lost and made anew. To go on with them, telling nothing again that the store "
                    "knows: start one router with --new-log"
                )
            told = self._insist_on(lambda: self._store.intents(EVERY_INTENT))
            write_missing(self._cluster, self._publisher, reversed(told))
            _log.warning("going on with a new log", store_held=saved, intents=len(told))
            saved, known = 0, None
        if known != self._log_id:
            self._insist_on(lambda: self._store.follow(self._log_id, saved))
        return saved

    async def _begin_anew(self, log: GroupLog) -> None:
        _log.warning("the store has lost what it had: filling it anew")
        await asyncio.to_thread(self._resume)
        log.rewind(FINDINGS, 0, self._next)

    def _take(self, desk: DeskLog, message: Message) -> Saved:
        """Save what an entry changes; `gap` when the store has lost what was saved before."""
        if self._is_rebuilding and time.monotonic() >= self._marked_at + ASKS_STORE_EVERY_SECONDS:
            self._mark(desk.now)
        try:
            entry = decode(message.value)
        except msgspec.DecodeError as error:
            raise OSError(f"{FINDINGS}: entry {message.offset} cannot be read: {error}") from None
        changes = desk.take(message.offset, message.at, entry)
        self._next = message.offset + 1
        self._moved_at = time.monotonic()
        if changes is not None and self._save(changes, self._begin_for(changes)) == "gap":
            return "gap"
        if self._is_rebuilding and self._next >= self._told_until:
            self._is_rebuilding = False
            self._mark(None)
            _log.info("the store is whole again", offset=desk.offset)
        return "saved"

    def _begin_for(self, changes: Changes) -> Begin:
        """Say how deliveries begin: what the log held before we came may have been sent."""
        self._metrics.offset.set(changes.offset)
        if self._next > self._told_until or not changes.notices:
            return as_new
        if self._receipts is None:
            wait = LOOKS_AFTER_LOSS if self._is_rebuilding else timedelta()
            self._receipts = Receipts(receipts(self._cluster), self._clock() + wait)
        return self._receipts.begin

    def _save(self, changes: Changes, begin: Begin) -> Saved:
        saved = self._insist_on(lambda: self._store.save(changes, begin))
        is_news = saved == "saved" and not self._is_rebuilding
        self._counting.count(changes, is_news=is_news)
        if is_news:
            tell_log(changes)
        return saved

    def _mark(self, until: datetime | None) -> None:
        self._marked_at = time.monotonic()
        self._insist_on(lambda: self._store.mark_rebuilding(until))

    def _insist_on(self, ask: Callable[[], _T]) -> _T:
        return insist(ask, self._stop.is_set, time.sleep, "router")

    def _has_lost(self, desk: DeskLog) -> bool:
        try:
            return self._store.offset() < desk.offset
        except StoreUnavailableError:
            return False

    def _write_down(self, desk: DeskLog) -> None:
        """Put into the log, and into the input, what is due and is not there yet."""
        for handed in desk.orders:
            intent_id = handed.intent_id
            if intent_id not in self._ordered:
                self._ordered.add(intent_id)
                value = msgspec.json.encode(handed.order or handed.budget)
                headers = {BUDGET_HEADER if handed.order is None else ORDER_HEADER: "1"}
                for topic, partition in handed.places:
                    self._publisher.send(topic, value, partition=partition, headers=headers)
                self._publisher.flush()
                self._append(Ordered(intent_id=intent_id))
        if self._intents is not None:
            for place, intent in self._intents.read():
                if place >= self._written:
                    self._written = place + 1
                    self._append(Followed(place=place, intent=intent))
        if time.monotonic() - self._moved_at >= TICK_SECONDS:
            self._moved_at = time.monotonic()
            self._append(Tick())
        self._publisher.flush()

    def _append(self, entry: Entry) -> None:
        for value in encode(entry):
            self._publisher.send(FINDINGS, value, partition=0)
