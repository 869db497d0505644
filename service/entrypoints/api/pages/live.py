"""Signals: which parts of the pages changed, as server-sent events, and nothing else.

See https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable, Mapping
from typing import Final, NamedTuple

from fastapi import HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from service.core.intents import Drop, Put
from service.core.ports import IncidentFilter, IntentFilter, Store, StoreUnavailableError
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.problems import RETRY_LATER

MOST: Final = 200
LOOKS_EVERY_SECONDS: Final = 1.0
BEATS_EVERY_SECONDS: Final = 15.0
# Then the browser asks again, and so who was let in is asked again.
LASTS_SECONDS: Final = 60.0
NEWEST: Final = 100
_BEAT: Final = b": still here\n\n"
_Part = tuple[str, str | None]


class _Signal(NamedTuple):
    """What is said to a page, and of which part of it."""

    event: str
    part: str


LOST: Final = _Signal("lost", "store")
FOUND: Final = _Signal("found", "store")


class Seen(NamedTuple):
    """How the store was: for each part and whose it is, None for everyone's, what names it."""

    moved: Hashable
    parts: Mapping[_Part, Hashable]


class Live:
    """Looks at the store once a second while anybody listens, and tells each what they may see.

    What changes before it `has_looked` is no news: whoever listens has just read it. When the store
    does not answer all are told so, once, and once more when it does again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: dict[asyncio.Queue[_Signal | None], Access] = {}
        self._is_lost = False
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = False
        self.has_looked = False

    async def signals(self, request: Request) -> Response:
        """Tell which parts changed: incidents, budgets, status, things. Ends after a minute."""
        if self._is_over or len(self._listeners) >= MOST:
            raise HTTPException(503, "As many listen as may.", RETRY_LATER)
        queue: asyncio.Queue[_Signal | None] = asyncio.Queue(maxsize=64)
        if self._is_lost:
            queue.put_nowait(LOST)
        self._listeners[queue] = access_of(request)
        self._loop = asyncio.get_running_loop()
        if self._watching is None or self._watching.done():
            self._watching = self._loop.create_task(self._watch())
        return StreamingResponse(
            self._said(queue),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},  # or a proxy waits until it has more
        )

    def end(self) -> None:
        """End all signals, so that a server that stops need not wait for them. From any thread."""
        self._is_over = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for queue in self._listeners:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)
        if self._watching is not None:
            self._watching.cancel()

    async def _said(self, queue: "asyncio.Queue[_Signal | None]") -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + LASTS_SECONDS
        try:
            yield b"retry: 1000\n\n"
            while (left := ends_at - loop.time()) > 0:
                try:
                    wait = min(BEATS_EVERY_SECONDS, left)
                    signal = await asyncio.wait_for(queue.get(), wait)
                except TimeoutError:
                    yield _BEAT
                    continue
                if signal is None:
                    return
                yield f"event: {signal.event}\ndata: {signal.part}\n\n".encode()
        finally:
            del self._listeners[queue]

    async def _watch(self) -> None:
        seen: Seen | None = None
        while self._listeners:
            try:
                now = await run_in_threadpool(look, self._store, seen)
            except StoreUnavailableError:  # it is looked at again in a second
                self._say_to_all(LOST)
            else:
                self._say_to_all(FOUND)
                if seen is not None and now is not seen:
                    self._tell(seen, now)
                seen, self.has_looked = now, True
            await asyncio.sleep(LOOKS_EVERY_SECONDS)

    def _say_to_all(self, signal: _Signal) -> None:
        if self._is_lost != (signal is LOST):
            self._is_lost = signal is LOST
            for queue in self._listeners:
                _say(queue, signal)

    def _tell(self, before: Seen, now: Seen) -> None:
        changed = {
            key
            for key in before.parts.keys() | now.parts.keys()
            if before.parts.get(key) != now.parts.get(key)
        }
        for queue, access in self._listeners.items():
            for part in sorted({p for p, owner in changed if owner is None or access.sees(owner)}):
                _say(queue, _Signal("changed", part))


def _say(queue: "asyncio.Queue[_Signal | None]", signal: _Signal) -> None:
    with contextlib.suppress(asyncio.QueueFull):  # who does not listen looks again later
        queue.put_nowait(signal)


def look(store: Store, before: Seen | None) -> Seen:
    """Return how the store is now; the same again when it has not moved."""
    seen = store.glance()
    moved = seen.offset, *seen.deliveries.values()
    if before is not None and before.moved == moved:
        return before
    parts: dict[_Part, Hashable] = {}
    _add(parts, "status", None, (moved[1:], repr(seen.sources)))
    for incident in store.incidents(IncidentFilter(limit=NEWEST)):
        _add(parts, "incidents", incident.owner, (incident.incident_id, repr(incident)))
    for budget in store.budgets():
        _add(parts, "budgets", budget.owner, repr(budget))
    for intent in store.intents(IntentFilter(limit=NEWEST)):
        if isinstance(intent, Put):
            owners: list[str | None] = [*intent.thing.owners] or [None]
            for owner in owners:
                _add(parts, "things", owner, intent.intent_id)
        elif isinstance(intent, Drop):
            _add(parts, "things", None, intent.intent_id)
    return Seen(moved, parts)


def _add(parts: dict[_Part, Hashable], part: str, owner: str | None, what: Hashable) -> None:
    parts[part, owner] = hash((parts.get((part, owner)), what))
