"""The book of what was delivered, per scope.

A provider delivers a billing period again and again, each time whole. Rows of a delivery are staged
on disk; only when it proves complete are they compared with the book (`restatements`), and what is
news comes out. The book is an SQLite file: memory does not grow with what is delivered.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from service.adapters.sources.base import label
from service.adapters.sources.snapshots import (
    DECODE,
    ENCODE,
    Bill,
    Part,
    Snapshot,
    digest_of,
    micros,
    moment_of,
    scope_of,
)
from service.core.events import Arrival, CostEvent, series_of

BATCH: Final = 1000
FILE: Final = "snapshots.sqlite"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS scope (id INTEGER PRIMARY KEY, feed TEXT, account TEXT, start INTEGER,
    first INTEGER, last INTEGER, UNIQUE (feed, account, start));
CREATE TABLE IF NOT EXISTS segment (id INTEGER PRIMARY KEY, scope INTEGER, start INTEGER,
    end INTEGER, at INTEGER, name TEXT);
CREATE INDEX IF NOT EXISTS segment_of_scope ON segment (scope);
CREATE TABLE IF NOT EXISTS kind (kind BLOB PRIMARY KEY, start INTEGER, body BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cell (kind BLOB, start INTEGER, end INTEGER, scope INTEGER,
    segment INTEGER, digest BLOB, revision INTEGER, billed TEXT, effective TEXT,
    PRIMARY KEY (kind, start, end, scope)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cell_of_segment ON cell (segment);
CREATE TABLE IF NOT EXISTS correction (scope INTEGER, id BLOB, segment INTEGER, revision INTEGER,
    body BLOB, PRIMARY KEY (scope, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (file TEXT PRIMARY KEY, id TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER,
    digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, arrived INTEGER, source TEXT,
    body BLOB);
CREATE TABLE IF NOT EXISTS bill (account TEXT, sub_account TEXT, month INTEGER, feed TEXT,
    PRIMARY KEY (account, sub_account, month)) WITHOUT ROWID;
CREATE TEMP TABLE staged (part INTEGER, bill INTEGER, kind BLOB, start INTEGER, end INTEGER,
    correction INTEGER, digest BLOB, named INTEGER, body BLOB);
CREATE TEMP TABLE seen (kind BLOB, start INTEGER, end INTEGER,
    PRIMARY KEY (kind, start, end)) WITHOUT ROWID;
"""


class StagedRow(NamedTuple):
    """A row as it is staged; `named` rows brought their own identity.

    `bill` is the number of what it is a bill of, 0 when that is not known.
    """

    part: int
    bill: int
    kind: bytes
    start: int
    end: int
    correction: bool
    digest: bytes
    named: bool
    body: bytes


class SnapshotBook:
    """What was delivered, per scope. One process at a time may hold a folder's book.

    Nothing is remembered before `commit`; what is on its way out stays in an outbox until
    `acknowledge`, so that a run that was cut off tells it again under the same identities.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite keeps a database without a name in memory and on disk, and deletes it when closed.
        name = "" if folder is None else folder / FILE
        self.db = sqlite3.connect(name, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536",
                       "temp.cache_size=-65536", "temp_store=FILE"):  # fmt: skip
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_SCHEMA)
        self._buffer: list[StagedRow] = []
        self._parts = 0
        self._bills = 0

    @classmethod
    def temporary(cls) -> Self:
        """Return a book that is forgotten when it is closed."""
        return cls(None)

    @classmethod
    def copy(cls, folder: Path) -> Self:
        """Return a book that begins as a folder's, if it has one, and is forgotten when closed."""
        book = cls(None)
        if (folder / FILE).exists():
            with closing(
                sqlite3.connect(f"{(folder / FILE).absolute().as_uri()}?mode=ro", uri=True)
            ) as kept:
                kept.backup(book.db)
        return book

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; what was not committed is forgotten."""
        self.db.close()

    def begin(self) -> None:
        """Start anew: forget whatever was staged and not committed."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self._buffer.clear()
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM temp.staged")

    def commit(self) -> None:
        """Remember."""
        self.db.execute("COMMIT")

    def stage(self, snapshot: Snapshot, event: CostEvent, dataset: str = "") -> None:
        """Put one row of a delivery aside."""
        start, end = micros(event.charge_period_start), micros(event.charge_period_end)
        key = (scope_of(event.billing_account_id, dataset), _period_of(event))
        part = snapshot.parts.get(key)
        if part is None:
            self._parts += 1
            part = snapshot.parts[key] = Part(self._parts, *key)
        part.include(start, end)
        snapshot.rows += 1
        if event.x_snapshot_id is not None:
            event = msgspec.structs.replace(event, x_snapshot_id=None)
        body = content = ENCODE(event)
        if event.x_arrived_at is not None and not snapshot.adds:
            content = ENCODE(msgspec.structs.replace(event, x_arrived_at=None))
        self._buffer.append(
            StagedRow(
                part.number,
                self._bill_of(snapshot, event),
                _kind_of(snapshot.feed, event),
                start,
                end,
                event.is_correction,
                digest_of(content),
                bool(event.x_event_id),
                body,
            )
        )
        if len(self._buffer) >= BATCH:
            self.flush()

    def _bill_of(self, snapshot: Snapshot, event: CostEvent) -> int:
        """Number what a row is a bill of; 0 when it does not say whose."""
        account, sub_account = event.billing_account_id, event.sub_account_id
        if not account or not sub_account:
            return 0
        bill = Bill(account, sub_account, micros(_month_of(event.charge_period_start)))
        number = snapshot.bills.get(bill)
        if number is None:
            self._bills += 1
            number = snapshot.bills[bill] = self._bills
        return number

    def biller(self, bill: Bill) -> str | None:
        """Return the feed that bills this."""
        found = self.db.execute(
            "SELECT feed FROM bill WHERE account = ? AND sub_account = ? AND month = ?", bill
        )
        return next((str(row[0]) for row in found), None)

    def claim(self, bill: Bill, feed: str) -> None:
        """Remember that a feed bills this."""
        self.db.execute("INSERT OR IGNORE INTO bill VALUES (?, ?, ?, ?)", (*bill, feed))

    def drop(self, bills: Iterable[int]) -> None:
        """Take staged rows back, by the number of what they are bills of."""
        self.db.execute(
            "DELETE FROM temp.staged WHERE bill IN (SELECT value FROM json_each(?))",
            (json.dumps(list(bills)),),
        )

    def flush(self) -> None:
        """Write what is still in memory."""
        self.db.executemany(
            "INSERT INTO temp.staged VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._buffer
        )
        self._buffer.clear()

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Put what is to be told into the outbox."""
        self.db.executemany(
            "INSERT INTO outbox (arrived, source, body) VALUES (?, ?, ?)",
            ((micros(a.arrived_at), a.source, ENCODE(a.event)) for a in arrivals),
        )

    @property
    def has_untold(self) -> bool:
        """Whether a reading was cut off before it was acknowledged: a reader tells it again."""
        return self.db.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is not None

    def outbox(self, after: int = 0) -> Iterator[tuple[int, Arrival]]:
        """Yield what was not acknowledged, in order: (position, arrival)."""
        found = self.db.execute("SELECT * FROM outbox WHERE seq > ? ORDER BY seq", (after,))
        for seq, arrived, source, body in found:
            yield seq, Arrival(moment_of(arrived), source, DECODE(body))

    def acknowledge(self, done: Iterable[tuple[Path, str]]) -> None:
        """Empty the outbox, and remember deliveries by their first file and their content."""
        rows = [(label(file.absolute()), delivery_id) for file, delivery_id in done]
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM outbox")
        self.db.executemany("INSERT OR REPLACE INTO delivery VALUES (?, ?)", rows)
        self.db.execute("COMMIT")

    def acknowledged(self, file: Path) -> str | None:
        """Return the content of the delivery that was last acknowledged for a first file."""
        found = self.db.execute("SELECT id FROM delivery WHERE file = ?", (label(file.absolute()),))
        return next((str(row[0]) for row in found), None)

    def forget(self, file: Path) -> None:
        """Know nothing more of a file that goes away."""
        name = (label(file.absolute()),)
        self.db.execute("DELETE FROM delivery WHERE file = ?", name)
        self.db.execute("DELETE FROM file WHERE path = ?", name)

    def digest(self, file: Path, size: int, changed: int) -> str | None:
        """Return what was remembered of a file that has not changed since."""
        key = (label(file.absolute()), size, changed)
        found = self.db.execute(
            "SELECT digest FROM file WHERE path = ? AND size = ? AND changed = ?", key
        )
        return next((str(row[0]) for row in found), None)

    def remember(self, file: Path, size: int, changed: int, digest: str) -> None:
        """Remember a file's content, so that it is not read again while it does not change."""
        row = (label(file.absolute()), size, changed, digest)
        self.db.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", row)


def _kind_of(feed: str, event: CostEvent) -> bytes:
    """Hash what a ledger cell has beside its charge period."""
    parts = (*series_of(feed, event), event.sku_id or "", event.charge_category)
    return digest_of("\0".join(parts).encode())


def _period_of(event: CostEvent) -> int:
    """Return when the row's billing period starts; without one, the month of the charge."""
    if event.billing_period_start is not None:
        return micros(event.billing_period_start)
    return micros(_month_of(event.charge_period_start))


@lru_cache(maxsize=65_536)
def _month_of(at: datetime) -> datetime:
    return at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
