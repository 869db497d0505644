"""One machine: the pipeline, the senders and the web server side by side in one process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import structlog

from service.adapters.history import History
from service.bootstrap import build_rates, build_router
from service.config import Settings
from service.core.estimates import Gap
from service.core.experiments import RunBill
from service.core.ports import (
    Changes,
    Notifier,
    Posting,
    Saved,
    Store,
    as_maybe_sent,
    as_new,
)
from service.entrypoints import slack_app
from service.entrypoints.admin_token import local_of
from service.entrypoints.api.allocation import Allocated
from service.entrypoints.api.app import build_app
from service.entrypoints.api.feedback import Follow
from service.entrypoints.api.limits import Rates
from service.entrypoints.api.serve import serve
from service.entrypoints.api.spend_table import Hearing
from service.entrypoints.counting import Counting, tell_log
from service.entrypoints.insisting import insist
from service.entrypoints.notifier import LOOKS_AFTER, Sender
from service.entrypoints.ops import build_ops
from service.pipeline import Outcome
from service.telemetry import Metrics

CLOSES_WITHIN_SECONDS: Final = 0.2

_log = structlog.get_logger("machine")


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(tz=UTC)


class Parts(NamedTuple):
    """What the threads share."""

    settings: Settings
    store: Store
    history: History
    metrics: Metrics
    notifiers: Mapping[str, Notifier]


class Memory(NamedTuple):
    """What the API tells from memory: costs of runs, how far estimates were off, allocation."""

    runs: Callable[[], Sequence[RunBill]] = tuple
    gaps: Callable[[], Sequence[Gap]] = tuple
    allocated: Callable[[], Allocated] = Allocated


NO_MEMORY: Final = Memory()


class Machine:
    """Saves what the pipeline decided, and keeps senders and web server running meanwhile.

    `faults` says what is wrong elsewhere now, in sentences for the status. `follow` takes what
    people do, `token` is the admin's, and `memory` is what no store holds; `moment` turns a moment
    outside into one of the service's time. Events that are sent go to `posting`. What is not
    `is_live` is told at its own times, which are past: nothing of it is late.
    """

    def __init__(  # noqa: PLR0913  what all threads share
        self,
        parts: Parts,
        stop: threading.Event,
        clock: Callable[[], datetime] = utc_now,
        faults: Callable[[], Sequence[str]] = tuple,
        follow: Follow | None = None,
        token: str | None = None,
        memory: Memory = NO_MEMORY,
        *,
        moment: Callable[[datetime], datetime] = lambda at: at,
        posting: Posting | None = None,
        is_live: bool = True,
    ) -> None:
        self._parts = parts
        self.stop = stop
        self._clock = clock
        self.rebuilding = False
        self._elsewhere = faults
        self._follow = follow
        self._token = token
        self._memory = memory
        self._moment = moment
        self._posting = posting
        self._faults: list[str] = []
        self._is_live = is_live
        self._counting = Counting(parts.metrics)
        self.sender = Sender(
            parts.store,
            parts.notifiers,
            parts.metrics,
            utc_now,
            parts.settings.fallbacks,
            rates=build_rates(parts.settings) if is_live else None,
        )

    def save(self, outcome: Outcome) -> Saved:
        """Save one batch's outcome: the history first, which may hold a row twice unharmed."""
        changes, parts = outcome.changes, self._parts
        if outcome.ledger_rows and changes.offset > parts.history.reaches:
            parts.history.append(outcome.ledger_rows)
        saved = self._insist(changes)
        if saved == "gap":
            message = f"the store holds {parts.store.offset()}, the batch begins past it"
            raise OSError(message)
        if saved == "saved" or self.rebuilding:
            self.count(changes)
        if saved == "saved":
            tell_log(changes)
        return saved

    def count(self, changes: Changes) -> None:
        """Move the counters by what changed; while rebuilding that was counted by a run before."""
        self._counting.count(changes, is_news=not self.rebuilding)

    def _insist(self, changes: Changes) -> Saved:
        begin = as_maybe_sent if self.rebuilding else as_new
        save = self._parts.store.save
        return insist(lambda: save(changes, begin), self.stop.is_set, self.stop.wait, "machine")

    @contextmanager
    def serving(self, port: int | None = None) -> Iterator[str]:
        """Send what is due and serve the page; yields the page's address."""
        parts, settings = self._parts, self._parts.settings
        # One machine has one sender: what another had claimed, it can send no more.
        now = utc_now()
        parts.store.release(now, now + LOOKS_AFTER)
        app = build_app(
            store=parts.store,
            history=parts.history,
            metrics=parts.metrics,
            started_at=utc_now(),
            now=self._clock,
            settles_after=settings.settles_after,
            rebuilding=lambda: self.rebuilding,
            faults=self._wrong,
            hosts=_hosts(settings),
            follow=self._follow,
            local=local_of(settings, self._token),
            rates=Rates(settings.api.requests_per_second, settings.api.burst),
            link_keys=settings.api.link_keys,
            hearing=Hearing(build_router(settings), build_rates(settings)),
            runs=self._memory.runs,
            gaps=self._memory.gaps,
            allocated=self._memory.allocated,
            public_url=settings.api.public_url or "",
            posting=self._posting,
        )
        slack_app.mount(app, settings, parts.store, self._follow, self._moment)
        with ExitStack() as stack:
            address = stack.enter_context(
                serve(app, settings.api.host, settings.api.port if port is None else port)
            )
            stack.enter_context(self._sending())
            yield address

    @contextmanager
    def _sending(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def work() -> None:
            await asyncio.gather(self._send(stop), self._look(stop))

        thread = threading.Thread(
            target=loop.run_until_complete, args=(work(),), name="sender", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def _look(self, stop: asyncio.Event) -> None:
        parts = self._parts
        ops = build_ops(parts.settings, parts.store, utc_now, self._wrong)
        if self._is_live and ops is not None:
            await ops.run(stop)

    def _wrong(self) -> list[str]:
        return [*self._faults, *self._elsewhere(), *self.sender.faults()]

    async def _send(self, stop: asyncio.Event) -> None:
        try:
            await self.sender.run(stop)
        except Exception:  # noqa: BLE001 - told by the log and by the status
            # The page and the pipeline go on, and say that nothing is sent.
            _log.exception("sender ended")
            self._faults.append("The sender has ended: no notice is sent until a restart.")
        finally:
            # A signal asks for an end now; what only decorates a notice may then be left out.
            patience = CLOSES_WITHIN_SECONDS if self.stop.is_set() else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    for notifier in self._parts.notifiers.values():
                        await notifier.close()


def _hosts(settings: Settings) -> set[str]:
    """Return the names under which the page may be asked for; none, meaning any, if exposed."""
    api = settings.api
    try:
        is_local = api.host == "localhost" or ip_address(api.host).is_loopback
    except ValueError:  # a name of this machine: whoever gave it means it to be reached
        is_local = False
    if not is_local:
        return set()
    public = urlsplit(api.public_url or "").hostname
    return {"127.0.0.1", "localhost", "[::1]"} | ({public} if public else set())
