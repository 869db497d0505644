"""The router's keeper: its desk between runs, in a folder that one process at a time may use.

A desk that was saved spares reading the whole log again; without one, the log says the same.
"""

import fcntl
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO

import structlog

from service.adapters.checkpoints import Checkpoint, Checkpoints
from service.core.state import StateError
from service.entrypoints.desk_log import DeskLog

_log = structlog.get_logger("router")


class DeskKeeper:
    """Saves a desk every so often and restores it; `build` makes one that has taken nothing yet."""

    def __init__(self, folder: Path, build: Callable[[], DeskLog], every: timedelta) -> None:
        self._folder = folder
        self._build = build
        self._every = every.total_seconds()
        self._saved_at: float | None = None
        self._checkpoints: Checkpoints | None = None
        self._lock: IO[bytes] | None = None

    def restore(self, saved: int, end: int) -> DeskLog:
        """Return the newest desk that a store up to `saved` has, and a log up to `end` led to."""
        self.let_go()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self._folder / "lock").open("ab")
        with suppress(BlockingIOError):  # another's, who was paused, or has another store
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._checkpoints = Checkpoints(self._folder)
        if self._checkpoints is None:
            _log.warning("another process holds the saved state", folder=str(self._folder))
            return self._build()
        for checkpoint in self._checkpoints.newest_first():
            if checkpoint.offset <= saved:
                try:
                    return self._restored(self._checkpoints, checkpoint, end)
                except StateError as error:
                    _log.warning("saved state cannot be used", error=str(error))
        return self._build()

    def _restored(self, checkpoints: Checkpoints, checkpoint: Checkpoint, end: int) -> DeskLog:
        desk = self._build()
        with checkpoint.open() as read:
            desk.restore(read)
        if desk.next_offset > end:
            raise StateError(f"it has read {desk.next_offset} entries, and the log holds {end}")
        checkpoints.go_on_from(checkpoint, read)
        return desk

    def save(self, desk: DeskLog, now: float, *, at_once: bool = False) -> None:
        """Save when it is time (`now` in seconds); a full disk is said, and no end."""
        if self._saved_at is None:
            self._saved_at = now
        is_due = at_once or now - self._saved_at >= self._every
        if self._checkpoints is None or not is_due:
            return
        self._saved_at = now
        try:
            written = self._checkpoints.save(desk.offset, desk.save)
        except OSError as error:
            _log.error("state not saved", error=str(error))
        else:
            _log.info("state saved", offset=desk.offset, bytes=written)

    def let_go(self) -> None:
        """Let another process have the folder."""
        self._checkpoints = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
