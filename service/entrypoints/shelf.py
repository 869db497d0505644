"""The shelf: where the state of a partition, or the router's, is kept as of an offset of its log.

Whoever owns the log next and finds it here goes on from it; whoever does not reads the log
from its start, and says the same. One process at a time writes there: another that comes too early,
or wakes too late, keeps nothing until that one has let go.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

import structlog

from service.adapters.checkpoints import Checkpoints
from service.core.state import Chunk, Saved, StateError, Streams

WAITS_SECONDS: Final = 2.0

_log = structlog.get_logger("shelf")


class Kept(Protocol):
    """What is kept: all that its log up to `next_offset` led to."""

    @property
    def name(self) -> str:
        """Name it among all."""
        ...

    @property
    def next_offset(self) -> int:
        """Return the offset of what it would take in next."""
        ...

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        ...

    def restore(self, saved: Saved) -> list[str]:
        """Take over what was saved; return what could not be used. StateError spoils it."""
        ...


_K = TypeVar("_K", bound=Kept)


def _anything(_: Kept) -> None:
    pass


class Shelf:
    """The checkpoints of one log's state."""

    def __init__(self, folder: Path, waits_seconds: float = WAITS_SECONDS) -> None:
        self._checkpoints = Checkpoints(folder)
        self._lock_file = folder / "lock"
        self._lock = _locked(self._lock_file, waits_seconds)
        self._saved = 0
        if self._lock is None:
            _log.warning("state is another process's", folder=str(folder))

    def restore(self, make: Callable[[], _K], check: Callable[[_K], None] = _anything) -> _K:
        """Return one with the newest state that can be used, or as it is made.

        `check` raises StateError for one that does not fit.
        """
        made = make()
        for checkpoint in self._checkpoints.newest_first():
            try:
                with checkpoint.open() as saved:
                    flaws = made.restore(saved)
                check(made)
            except StateError as error:
                _log.warning("saved state refused", reason=str(error))
                made = make()  # that one is spoilt
                continue
            self._checkpoints.go_on_from(checkpoint, saved)
            self._saved = made.next_offset
            _log.info("restored", place=made.name, offset=made.next_offset, flaws=flaws)
            return made
        for note in self._checkpoints.notes:
            _log.warning("saved state refused", reason=note)
        return made

    def save(self, kept: Kept) -> None:
        """Keep a state; a full disk is said, and the log is still there."""
        if kept.next_offset == self._saved:
            return
        self._lock = self._lock or _locked(self._lock_file, 0.0)
        if self._lock is None:
            return
        try:
            written = self._checkpoints.save(kept.next_offset, kept.save)
        except OSError as error:
            _log.error("state not saved", place=kept.name, error=str(error))
            return
        self._saved = kept.next_offset
        _log.info("saved", place=kept.name, offset=kept.next_offset, bytes=written)

    def close(self) -> None:
        """Let another process write there."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _locked(path: Path, waits_seconds: float) -> IO[str] | None:
    """Return the locked file, None when another process holds it all the while."""
    file = path.open("a")
    until = time.monotonic() + waits_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                file.close()
                return None
            time.sleep(0.1)
        else:
            return file
