"""The embedded log: every batch a single machine took in, in order, kept in one SQLite file.

What Kafka's topics are to the distributed service, this is to `spendwatch run`: state is rebuilt
from it, and a batch is in it before anything else happens with it.
"""

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from service.core.events import Arrival, CostEvent, GpuSample, Run
from service.core.intents import Intent


class Batch(msgspec.Struct, kw_only=True, frozen=True):
    """One record: what arrived by `now`, or what a person did then.

    `ends_backfill` names a source whose first look ended.
    """

    offset: int
    now: datetime
    arrivals: list[Arrival]
    ends_backfill: str | None = None
    intent: Intent | None = None


class _Stored(msgspec.Struct, array_like=True):
    costs: list[tuple[datetime, str, CostEvent]]
    samples: list[tuple[datetime, str, GpuSample]]
    intent: Intent | None = None
    runs: list[tuple[datetime, str, Run]] = []


class Log:
    """An append-only file; an append has reached the disk when it returns."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file; an old one reuses
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS log (offset INTEGER PRIMARY KEY, now TEXT NOT NULL,"
            " ends_backfill TEXT, data BLOB NOT NULL)"
        )

    @property
    def end(self) -> int:
        """Return the offset of the newest record, 0 when there is none."""
        return int(self._db.execute("SELECT coalesce(max(offset), 0) FROM log").fetchone()[0])

    @property
    def begin(self) -> int:
        """Return the offset of the oldest record, 1 when there is none."""
        return int(self._db.execute("SELECT coalesce(min(offset), 1) FROM log").fetchone()[0])

    def trim(self, until: int) -> None:
        """Let go of records up to an offset; the newest stays, for it says where the log is."""
        self._db.execute("DELETE FROM log WHERE offset <= ? AND offset < ?", (until, self.end))
        self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def append(
        self,
        now: datetime,
        arrivals: list[Arrival],
        ends_backfill: str | None = None,
        intent: Intent | None = None,
    ) -> Batch:
        """Add one record and return it with its offset."""
        batch = Batch(
            offset=self.end + 1,
            now=now,
            arrivals=arrivals,
            ends_backfill=ends_backfill,
            intent=intent,
        )
        stored = _Stored(
            costs=[(a.arrived_at, a.source, a.event) for a in arrivals
                   if isinstance(a.event, CostEvent)],
            samples=[(a.arrived_at, a.source, a.event) for a in arrivals
                     if isinstance(a.event, GpuSample)],
            intent=intent,
            runs=[(a.arrived_at, a.source, a.event) for a in arrivals if isinstance(a.event, Run)],
        )  # fmt: skip
        self._db.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?)",
            (batch.offset, now.isoformat(), ends_backfill, _ENCODER.encode(stored)),
        )
        return batch

    def read(self, after: int = 0) -> Iterator[Batch]:
        """Yield the records past an offset, in order."""
        rows = self._db.execute("SELECT * FROM log WHERE offset > ? ORDER BY offset", (after,))
        for offset, now, ends_backfill, data in rows:
            stored = _DECODER.decode(data)
            yield Batch(
                offset=offset,
                now=datetime.fromisoformat(now),
                arrivals=[
                    *(Arrival(*row) for row in stored.costs),
                    *(Arrival(*row) for row in stored.samples),
                    *(Arrival(*row) for row in stored.runs),
                ],
                ends_backfill=ends_backfill,
                intent=stored.intent,
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Stored)
