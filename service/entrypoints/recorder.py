"""The recorder: the history of one partition, a function of its log whoever writes it.

A row's version is the offset after the message that it is of. So rows that a worker writes again,
after one that was killed or beside one that was paused, are the same rows, and count once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from service.adapters.history import History
from service.core.ledger import LedgerRow

# How long what was spent may take to be seen.
FLUSHES_EVERY_SECONDS: Final = 10.0

_log = structlog.get_logger("recorder")


class Recorder:
    """Takes the rows of one message after the other; `fault` says why they are not written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history = History(folder)
        self.fault: str | None = None

    def has_room(self, rows: int) -> bool:
        """Tell whether `take` only notes so many rows; else it writes, which takes a while."""
        return self._history.has_room(rows)

    def take(self, rows: Sequence[LedgerRow]) -> None:
        """Take in what one step changed; OSError when too much waits for a full disk."""
        if rows and rows[0].version > self._history.reaches:
            self._history.append(rows)

    def flush(self) -> bool:
        """Write what waits; False, said, when it cannot be, and it waits on."""
        try:
            self._history.flush()
        except OSError as error:
            self.fault = f"the history cannot be written: {error}"
            _log.error("history not written", folder=str(self._folder), error=str(error))
            return False
        self.fault = None
        return True

    def close(self) -> None:
        """Write what can be written, and let go: who is next writes the rest again."""
        if self.flush():
            self._history.close()
