"""Snapshots: deliveries of a bill while they are read, and the book of what was delivered.

A provider delivers a billing period again and again, each time whole. Rows of a delivery are staged
on disk; only when it proves complete are they compared with the book (`restatements`), and what is
news comes out. The book is an SQLite file: memory does not grow with what is delivered.
"""

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from service.core.events import Arrival, CostEvent, series_of

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000
BATCH: Final = 1000
FILE: Final = "snapshots.sqlite"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS scope (id INTEGER PRIMARY KEY, feed TEXT, account TEXT, start INTEGER,
    UNIQUE (feed, account, start));
CREATE TABLE IF NOT EXISTS segment (id INTEGER PRIMARY KEY, scope INTEGER, start INTEGER,
    end INTEGER, at INTEGER, name TEXT);
CREATE INDEX IF NOT EXISTS segment_of_scope ON segment (scope);
CREATE TABLE IF NOT EXISTS kind (kind BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cell (kind BLOB, start INTEGER, end INTEGER, scope INTEGER,
    segment INTEGER, digest BLOB, revision INTEGER, billed TEXT, effective TEXT,
    PRIMARY KEY (kind, start, end, scope)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cell_of_segment ON cell (segment);
CREATE TABLE IF NOT EXISTS correction (scope INTEGER, id BLOB, segment INTEGER, revision INTEGER,
    body BLOB, PRIMARY KEY (scope, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS file (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER,
    digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY, arrived INTEGER, source TEXT,
    body BLOB);
CREATE TEMP TABLE staged (part INTEGER, kind BLOB, start INTEGER, end INTEGER,
    correction INTEGER, digest BLOB, named INTEGER, body BLOB);
CREATE TEMP TABLE seen (kind BLOB, start INTEGER, end INTEGER,
    PRIMARY KEY (kind, start, end)) WITHOUT ROWID;
"""


class Span:
    """From the earliest start to the latest end of some charge periods, in microseconds."""

    def __init__(self) -> None:
        self.start = 2**62
        self.end = 0

    def include(self, start: int, end: int) -> None:
        """Grow to hold a charge period."""
        self.start = min(self.start, start)
        self.end = max(self.end, end)


class Part:
    """What one snapshot says of one scope: (feed, billing account, start of the billing period)."""

    def __init__(self, number: int, account: str, period: int) -> None:
        self.number = number
        self.account = account
        self.period = period
        self._fine = Span()
        self._coarse = Span()

    def include(self, start: int, end: int) -> None:
        """Take note of a row's charge period."""
        (self._fine if end - start <= DAY else self._coarse).include(start, end)

    @property
    def span(self) -> Span:
        """How far the data reach: rows of at most a day say it, if any; a monthly fee does not."""
        return self._fine if self._fine.end else self._coarse


class Snapshot:
    """One delivery while it is read.

    `at` is when the sender says it was made, None when nobody says so; `arrives` is when its rows
    arrive, None in replay, where they arrive as their time passes. A `whole` one supersedes all of
    its scope; others only what overlaps them in time, for a provider that delivers day by day does
    not mean to take back yesterday. It is `sound` while no row of it was refused: what is missing
    from an unsound one is not believed to have vanished.
    """

    def __init__(
        self, feed: str, name: str, at: datetime | None, arrives: datetime | None, *, whole: bool
    ) -> None:
        self.feed = feed
        self.name = name
        self.at = at
        self.arrives = arrives
        self.whole = whole
        self.sound = True
        self.rows = 0
        self.parts: dict[tuple[str, int], Part] = {}


class StagedRow(NamedTuple):
    """A row as it is staged; `named` rows brought their own identity."""

    part: int
    kind: bytes
    start: int
    end: int
    correction: bool
    digest: bytes
    named: bool
    body: bytes


class SnapshotBook:
    """What was delivered, per scope, in one folder. One process at a time may hold it.

    Nothing is remembered before `commit`; what is on its way out stays in an outbox until
    `acknowledge`, so that a run that was cut off tells it again under the same identities.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.db = sqlite3.connect(folder / FILE, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536",
                       "temp.cache_size=-65536", "temp_store=FILE"):  # fmt: skip
            self.db.execute(f"PRAGMA {pragma}")
        self.db.executescript(_SCHEMA)
        self._buffer: list[StagedRow] = []
        self._parts = 0
        self._home: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def temporary(cls) -> Self:
        """Return a book that is forgotten when it is closed."""
        home = tempfile.TemporaryDirectory(prefix="spendwatch-")
        book = cls(Path(home.name))
        book.db.execute("PRAGMA journal_mode=OFF")
        book.db.execute("PRAGMA synchronous=OFF")
        book._home = home
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
        if self._home is not None:
            self._home.cleanup()

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

    def stage(self, snapshot: Snapshot, event: CostEvent) -> None:
        """Put one row of a delivery aside."""
        start, end = micros(event.charge_period_start), micros(event.charge_period_end)
        key = (event.billing_account_id, _period_of(event))
        part = snapshot.parts.get(key)
        if part is None:
            self._parts += 1
            part = snapshot.parts[key] = Part(self._parts, *key)
        part.include(start, end)
        snapshot.rows += 1
        if event.x_snapshot_id is not None:
            event = msgspec.structs.replace(event, x_snapshot_id=None)
        body = content = ENCODE(event)
        if event.x_arrived_at is not None:
            content = ENCODE(msgspec.structs.replace(event, x_arrived_at=None))
        self._buffer.append(
            StagedRow(
                part.number,
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

    def flush(self) -> None:
        """Write what is still in memory."""
        self.db.executemany("INSERT INTO temp.staged VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self._buffer)
        self._buffer.clear()

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Put what is to be told into the outbox."""
        self.db.executemany(
            "INSERT INTO outbox (arrived, source, body) VALUES (?, ?, ?)",
            ((micros(a.arrived_at), a.source, ENCODE(a.event)) for a in arrivals),
        )

    def outbox(self, after: int = 0) -> Iterator[tuple[int, Arrival]]:
        """Yield what was not acknowledged, in order: (position, arrival)."""
        found = self.db.execute("SELECT * FROM outbox WHERE seq > ? ORDER BY seq", (after,))
        for seq, arrived, source, body in found:
            yield seq, Arrival(moment_of(arrived), source, DECODE(body))

    def acknowledge(self, deliveries: Iterable[str]) -> None:
        """Empty the outbox, and remember the deliveries that are done with."""
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM outbox")
        self.db.executemany(
            "INSERT OR IGNORE INTO delivery VALUES (?)", ((name,) for name in deliveries if name)
        )
        self.db.execute("COMMIT")

    def knows(self, delivery_id: str) -> bool:
        """Whether a delivery was acknowledged."""
        found = self.db.execute("SELECT 1 FROM delivery WHERE id = ?", (delivery_id,))
        return found.fetchone() is not None


@lru_cache(maxsize=65_536)
def micros(at: datetime) -> int:
    """Count microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def moment_of(count: int) -> datetime:
    """Turn microseconds since 1970 into a time."""
    return EPOCH + timedelta(microseconds=count)


def digest_of(content: bytes) -> bytes:
    """Hash to 16 bytes."""
    return hashlib.blake2b(content, digest_size=16).digest()


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


ENCODE: Final = msgspec.msgpack.Encoder().encode
DECODE: Final = msgspec.msgpack.Decoder(CostEvent).decode
