"""The shelf: where a worker keeps the state of a partition, as of an offset of its log.

Whoever owns the partition next and finds it here goes on from it; whoever does not reads the log
from its start, and says the same. One process at a time writes there: another that comes too early,
or wakes too late, keeps nothing.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import structlog

from service.adapters.checkpoints import Checkpoints
from service.core.state import StateError
from service.entrypoints.partition import Partition

WAITS_SECONDS: Final = 2.0

_log = structlog.get_logger("worker")


class Shelf:
    """The checkpoints of one partition."""

    def __init__(self, folder: Path, waits_seconds: float = WAITS_SECONDS) -> None:
        self._checkpoints = Checkpoints(folder)
        self._lock = _locked(folder / "lock", waits_seconds)
        self._saved = 0
        if self._lock is None:
            _log.warning("state is another process's", folder=str(folder))

    def restore(self, make: Callable[[], Partition]) -> Partition:
        """Return a partition with the newest state that can be used, or as it is made."""
        made = make()
        for checkpoint in self._checkpoints.newest_first():
            try:
                with checkpoint.open() as saved:
                    flaws = made.restore(saved)
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

    def save(self, partition: Partition) -> None:
        """Keep a partition's state; a full disk is said, and the log is still there."""
        if self._lock is None or partition.next_offset == self._saved:
            return
        try:
            written = self._checkpoints.save(partition.next_offset, partition.save)
        except OSError as error:
            _log.error("state not saved", place=partition.name, error=str(error))
            return
        self._saved = partition.next_offset
        _log.info("saved", place=partition.name, offset=partition.next_offset, bytes=written)

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
