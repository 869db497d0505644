"""Ops: looks at the service itself, and has those who run it told what is wrong with it.

Several may look, in one process or many, on one store: each trouble is told once.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog

from service.config import Settings
from service.core.health import Reason, reasons_of
from service.core.phrases import moment
from service.core.ports import Store, StoreUnavailableError
from service.core.troubles import Known, Rising, Watch, begun, counts_of, ended, rising

LOOKS_EVERY_SECONDS: Final = 30.0
_log = structlog.get_logger("ops")
_KNOWN: Final = msgspec.json.Decoder(Known)


class Ops:
    """Tells `destinations`; `faults` is what this process knows, `parts` who has to be heard of."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        destinations: Sequence[str],
        faults: Callable[[], Sequence[str]],
        parts: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._destinations = destinations
        self._faults = faults
        self._parts = parts
        self._began = clock()
        self._watch = Watch()
        self._rising = Rising()

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.look)
            except StoreUnavailableError as error:
                _log.warning("cannot look", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOKS_EVERY_SECONDS)

    def look(self) -> None:
        """Look once, and put what is to be told into the outbox."""
        now, store = self._clock(), self._store
        known = [_KNOWN.decode(one) for one in store.troubles()]
        begins, ends = self._watch.look(self._wrong(now), known, now)
        for one in begins:
            notices = begun(one, self._destinations, now)
            if store.note_trouble(one.key, msgspec.json.encode(one), notices, now):
                _log.warning("trouble", what=one.text)
        for one in ends:
            if store.note_trouble(one.key, b"", ended(one, self._destinations, now), now):
                _log.info("trouble is over", what=one.text)

    def _wrong(self, now: datetime) -> list[Reason]:
        store = self._store
        sources, beats = store.sources(), store.beats()
        heard = [fault for until, faults in beats.values() if until > now for fault in faults]
        # What was rejected once stands in the status for good; here it counts while it rises.
        found = [
            reason
            for reason in reasons_of(sources, store.next_due(), now, [*self._faults(), *heard])
            if not reason.key.startswith(("error of ", "rejected of "))
        ]
        found += rising(self._rising.note(counts_of(sources, store.delivery_counts()), now))
        for part in self._parts:
            until = beats[part][0] if part in beats else self._began
            if until <= now:
                text = f"The {part} has stopped: nothing is heard of it since {moment(until)}."
                found.append(Reason(f"{part} stopped", text))
        return found


def build_ops(
    settings: Settings,
    store: Store,
    clock: Callable[[], datetime],
    faults: Callable[[], Sequence[str]],
    parts: Sequence[str] = (),
) -> Ops | None:
    """Return who looks; None when the config names nobody to be told."""
    receiver = settings.ops.receiver
    if receiver is None:
        return None
    return Ops(store, clock, settings.receivers[receiver], faults, parts)
