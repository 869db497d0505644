"""The book's pages: what each scope was told to have in a ledger cell, and its corrections."""

import sqlite3
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from service.adapters.sources.book import BATCH
from service.adapters.sources.snapshots import (
    DECODE,
    ENCODE,
    account_of,
    digest_of,
    moment_of,
)
from service.core import money
from service.core.events import CostEvent

AMOUNTS: Final = (
    "billed_cost", "effective_cost", "list_cost", "contracted_cost", "pricing_quantity",
    "consumed_quantity",
)  # fmt: skip

Key = tuple[bytes, int, int]
_KNOWN: Final = """SELECT scope, digest, revision, billed, effective FROM cell
    WHERE kind = ? AND start = ? AND end = ?"""
_NEIGHBOURS: Final = """SELECT first, last FROM scope
    WHERE id <> ?1 AND feed = (SELECT feed FROM scope WHERE id = ?1)"""
_DESCRIBE: Final = """INSERT INTO kind VALUES (?, ?, ?) ON CONFLICT DO UPDATE
    SET start = excluded.start, body = excluded.body WHERE excluded.start >= start"""
_LIFT: Final = """UPDATE cell SET revision = ?
    WHERE kind = ? AND start = ? AND end = ? AND scope = ?"""
_BURY: Final = """UPDATE cell SET digest = NULL, revision = ?
    WHERE kind = ? AND start = ? AND end = ? AND scope = ?"""
_UNSEEN: Final = """SELECT cell.kind, cell.start, cell.end FROM cell LEFT JOIN temp.seen
    ON seen.kind = cell.kind AND seen.start = cell.start AND seen.end = cell.end
    WHERE cell.segment = ? AND cell.digest IS NOT NULL AND seen.kind IS NULL
    ORDER BY 1, 2, 3"""


class Known(NamedTuple):
    """What one scope was told to have in a cell; no digest when it vanished."""

    scope: int
    digest: bytes | None
    revision: int
    billed: str
    effective: str | None


class Cells:
    """The cells of one segment of one scope. A key is (kind, start, end).

    What is `put` is written at the latest by `flush`. A segment that `is_new` has no cells yet.
    """

    def __init__(self, db: sqlite3.Connection, scope: int, segment: int, *, is_new: bool) -> None:
        self._db = db
        self._scope = scope
        self._segment = segment
        self._is_new = is_new
        self._neighbours: list[tuple[int, int]] = db.execute(_NEIGHBOURS, (scope,)).fetchall()
        self._newest: tuple[bytes, int, CostEvent] | None = None
        self._buffer: list[tuple[object, ...]] = []

    def known(self, key: Key) -> dict[int, Known]:
        """Return what each scope was told to have in a cell, by scope."""
        _, start, end = key
        if self._is_new and not any(a < end and b > start for a, b in self._neighbours):
            return {}
        return {row[0]: Known(*row) for row in self._db.execute(_KNOWN, key)}

    def put(self, key: Key, digest: bytes, events: list[CostEvent]) -> None:
        """Remember what is told of a cell: all its rows, of one revision."""
        if self._newest is not None and self._newest[0] != key[0]:
            self._describe()
        self._newest = (key[0], key[1], events[0])
        self._buffer.append(
            (*key, self._scope, self._segment, digest, events[0].x_revision, *_sums(events))
        )
        if len(self._buffer) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is still in memory."""
        self._db.executemany(
            "INSERT OR REPLACE INTO cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._buffer
        )
        self._buffer.clear()
        self._describe()

    def _describe(self) -> None:
        """Remember what rows of a kind look like: as the newest does."""
        if self._newest is not None:
            kind, start, event = self._newest
            self._db.execute(_DESCRIBE, (kind, start, ENCODE(event)))
            self._newest = None

    def lift(self, key: Key, scope: int, revision: int) -> None:
        """Remember that what a scope has in a cell was told again at a higher revision."""
        self._db.execute(_LIFT, (revision, *key, scope))

    def bury(self, key: Key, revision: int) -> None:
        """Remember that the cell vanished from this scope."""
        self._db.execute(_BURY, (revision, *key, self._scope))

    def unseen(self) -> list[Key]:
        """Return the segment's cells that are not in temp.seen, in order."""
        return self._db.execute(_UNSEEN, (self._segment,)).fetchall()

    def likeness(
        self, key: Key, scope: int, costs: tuple[str, str | None], revision: int
    ) -> CostEvent:
        """Write what a scope has in a cell as one row: its (billed, effective) sums."""
        kind, start, end = key
        body = self._db.execute("SELECT body FROM kind WHERE kind = ?", (kind,)).fetchone()[0]
        account, period = self._db.execute(
            "SELECT account, start FROM scope WHERE id = ?", (scope,)
        ).fetchone()
        name = digest_of(f"{kind.hex()} {start} {end} {account} {period}".encode()).hex()
        billed, effective = costs
        values: dict[str, object] = dict.fromkeys(AMOUNTS)
        values |= {
            "x_event_id": f"{name}-cell",
            "x_revision": revision,
            "x_arrived_at": None,
            "charge_period_start": moment_of(start),
            "charge_period_end": moment_of(end),
            "billing_account_id": account_of(account),
            "billing_period_start": moment_of(period),
            "billing_period_end": None,
            "billed_cost": Decimal(billed),
            "effective_cost": None if effective is None else Decimal(effective),
        }
        return msgspec.structs.replace(DECODE(body), **values)


def _sums(events: list[CostEvent]) -> tuple[str, str | None]:
    billed, effective = money.ZERO, None
    for event in events:
        billed = money.add(billed, event.billed_cost)
        if event.effective_cost is not None:
            effective = money.add(effective or money.ZERO, event.effective_cost)
    return str(billed), None if effective is None else str(effective)


class Corrections:
    """The corrections of one segment of one scope. One that is told has an even revision."""

    def __init__(self, db: sqlite3.Connection, scope: int, segment: int) -> None:
        self._db = db
        self._scope = scope
        self._segment = segment
        self._seen: set[bytes] = set()

    def take(self, event: CostEvent) -> CostEvent | None:
        """Return a correction as it is to be told, None when it is told already."""
        name = digest_of(event.x_event_id.encode())
        if name in self._seen:
            return None
        self._seen.add(name)
        found = self._db.execute(
            "SELECT revision FROM correction WHERE scope = ? AND id = ?", (self._scope, name)
        ).fetchone()
        if found is not None and found[0] % 2 == 0:
            return None
        told = msgspec.structs.replace(event, x_revision=0 if found is None else found[0] + 1)
        self._db.execute(
            "INSERT OR REPLACE INTO correction VALUES (?, ?, ?, ?, ?)",
            (self._scope, name, self._segment, told.x_revision, ENCODE(told)),
        )
        return told

    def vanished(self) -> list[CostEvent]:
        """Return the negative of each correction that was told and not taken since."""
        found = self._db.execute(
            "SELECT id, revision, body FROM correction WHERE segment = ? AND revision % 2 = 0"
            " ORDER BY id",
            (self._segment,),
        ).fetchall()
        negatives = []
        for name, revision, body in found:
            if name in self._seen:
                continue
            self._db.execute(
                "UPDATE correction SET revision = ? WHERE scope = ? AND id = ?",
                (revision + 1, self._scope, name),
            )
            negatives.append(_negative(DECODE(body), revision + 1))
        return negatives


def _negative(event: CostEvent, revision: int) -> CostEvent:
    values: dict[str, object] = {"x_revision": revision, "x_arrived_at": None}
    for field in AMOUNTS:
        amount = getattr(event, field)
        if amount is not None:
            values[field] = amount.copy_negate()
    return msgspec.structs.replace(event, **values)
