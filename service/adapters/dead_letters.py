"""Dead letters: refused input, kept in one file with the reason, so that nothing is lost."""

import os
from pathlib import Path
from typing import Final

import msgspec

from service.core.events import Arrival, CostEvent, Rejected

MOST_WAITING: Final = 1000


def line_of(rejected: Rejected) -> bytes:
    """Write one refused row as a line."""
    raw = rejected.raw.decode("utf-8", "replace")
    return msgspec.json.encode(rejected._asdict() | {"raw": raw}) + b"\n"


def too_late(arrival: Arrival) -> Rejected:
    """Say of a good row that its period is older than the ledger remembers."""
    event = arrival.event
    assert isinstance(event, CostEvent)  # noqa: S101 - samples are never too late for the ledger
    reason = f"its period {event.charge_period_start:%Y-%m-%d} is older than remember_days"
    return Rejected(arrival.source, 0, reason, msgspec.json.encode(event))


class DeadLetters:
    """An append-only file; letters have reached the disk when `flush` returns.

    `count` says how many were taken. At most MOST_WAITING are kept in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[bytes] = []
        self.count = 0
        self.last_reason: str | None = None

    def put(self, rejected: Rejected) -> None:
        """Take one refused row."""
        self.last_reason = f"{rejected.file}:{rejected.row}: {rejected.reason}"
        self.count += 1
        self._waiting.append(line_of(rejected))
        if len(self._waiting) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        if not self._waiting:
            return
        # One write at the end of the file: others append to it at the same time.
        with self._path.open("ab", buffering=0) as file:
            file.write(b"".join(self._waiting))
            os.fsync(file.fileno())
        self._waiting.clear()
