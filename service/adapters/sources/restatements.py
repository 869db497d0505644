"""Restatements: what of a delivery is news, compared with the book.

By ledger cell (series, charge period, SKU, charge category): a new cell is told as it is, a changed
one again and whole at a higher revision, one that vanished as a row of cost 0 at a higher revision,
an unchanged one not at all. Rows of ChargeClass=Correction stand outside revisions: the same one is
told once, and one that vanished is told as its negative.

Rows of two scopes can meet in one cell (last month's late hour on this month's bill). A revision
replaces a cell as a whole, so what the other scopes say of it is told again with it, as one sum.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from service.adapters.sources.book import SnapshotBook, StagedRow
from service.adapters.sources.cells import Cells, Corrections, Key, Known
from service.adapters.sources.snapshots import (
    DECODE,
    Part,
    Snapshot,
    digest_of,
    micros,
    moment_of,
)
from service.core.events import Arrival, CostEvent

# What an event can hold: a sender that starts there has used revisions up.
MAX_REVISION: Final = 2**53
_CELL: Final = itemgetter(2, 3, 4)


def settle(
    book: SnapshotBook, snapshots: Iterable[Snapshot], note: Callable[[str], None]
) -> Iterator[Arrival]:
    """Yield the news of complete snapshots, oldest first in each scope, and take it into the book.

    `note` is told of a snapshot that something newer has superseded already. Nothing is committed.
    """
    book.flush()
    book.db.execute(
        "CREATE INDEX temp.staged_parts ON staged (part, kind, start, end, correction, digest)"
    )
    parts = [(snapshot, part) for snapshot in snapshots for part in snapshot.parts.values()]
    for snapshot, part in sorted(parts, key=_order):
        if snapshot.adds:
            yield from _added(book, snapshot, part)
            continue
        segment = _supersede(book, snapshot, part)
        if segment is None:
            period = moment_of(part.period)
            note(f"{snapshot.name}: older than what was delivered of {period:%Y-%m}: not used")
        else:
            yield from _Comparison(book, snapshot, part, *segment).changes()
    book.db.execute("DROP INDEX temp.staged_parts")


def _added(book: SnapshotBook, snapshot: Snapshot, part: Part) -> Iterator[Arrival]:
    """Yield the rows of a delivery that adds to what came before, whatever that was.

    The same row has the same name in every delivery, so the ledger counts it once; equal rows of
    one delivery are numbered. In replay they arrive when the provider says that it wrote them.
    """
    rows = book.db.execute(
        "SELECT * FROM temp.staged WHERE part = ? ORDER BY digest", (part.number,)
    )
    for event in _named(map(StagedRow._make, rows)):
        at = snapshot.arrives or event.x_arrived_at or passes(event)
        yield Arrival(at, snapshot.feed, event)


def _order(item: tuple[Snapshot, Part]) -> tuple[Any, ...]:
    snapshot, part = item
    return snapshot.feed, part.account, part.period, *_age(snapshot, part)


def _age(snapshot: Snapshot, part: Part) -> tuple[int, str]:
    """Say when a snapshot was made: as its sender says, else by its newest row; else by name."""
    return part.span.end if snapshot.at is None else micros(snapshot.at), snapshot.name


def _supersede(
    book: SnapshotBook, snapshot: Snapshot, part: Part
) -> tuple[int, int, int | None] | None:
    """Make one segment of a part and all that it supersedes: (scope, segment, end of the old).

    No end when it supersedes nothing; None when something newer was delivered already.
    """
    db, span = book.db, part.span
    (scope,) = db.execute(
        "INSERT INTO scope (feed, account, start, first, last) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET first = min(first, excluded.first),"
        " last = max(last, excluded.last) RETURNING id",
        (snapshot.feed, part.account, part.period, part.all.start, part.all.end),
    ).fetchone()
    at, name = _age(snapshot, part)
    old = [
        (identity, start, end, (made, called))
        for identity, start, end, made, called in db.execute(
            "SELECT id, start, end, at, name FROM segment WHERE scope = ?", (scope,)
        )
        if snapshot.whole or (start < span.end and end > span.start)
    ]
    if any(age > (at, name) for *_, age in old):
        return None
    start = min([span.start, *(found[1] for found in old)])
    end = max([span.end, *(found[2] for found in old)])
    inserted = db.execute(
        "INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?, ?, ?)",
        (old[0][0] if old else None, scope, start, end, at, name),
    )
    segment = int(inserted.lastrowid or 0)
    for identity, *_ in old[1:]:
        db.execute("UPDATE cell SET segment = ? WHERE segment = ?", (segment, identity))
        db.execute("UPDATE correction SET segment = ? WHERE segment = ?", (segment, identity))
        db.execute("DELETE FROM segment WHERE id = ?", (identity,))
    return scope, segment, max((found[2] for found in old), default=None)


class _Comparison:
    """One scope's part of one snapshot against the book."""

    def __init__(
        self,
        book: SnapshotBook,
        snapshot: Snapshot,
        part: Part,
        scope: int,
        segment: int,
        told_until: int | None,
    ) -> None:
        self._db = book.db
        self._snapshot = snapshot
        self._part = part
        self._scope = scope
        self._told_until = told_until
        self._cells = Cells(book.db, scope, segment, is_new=told_until is None)
        self._corrections = Corrections(book.db, scope, segment)

    def changes(self) -> Iterator[Arrival]:
        """Yield what is news, cell by cell, then what vanished."""
        self._db.execute("DELETE FROM temp.seen")
        rows = self._db.execute(
            "SELECT * FROM temp.staged WHERE part = ?"
            " ORDER BY kind, start, end, correction, digest",
            (self._part.number,),
        )
        for key, group in groupby(map(StagedRow._make, rows), key=_CELL):
            members = list(group)
            plain = [row for row in members if not row.correction]
            if plain:
                yield from self._cell(key, plain)
            if len(plain) < len(members):
                yield from self._correct(members[len(plain) :])
        self._cells.flush()
        if self._snapshot.sound and self._told_until is not None:
            yield from self._vanished()

    def _cell(self, key: Key, rows: list[StagedRow]) -> Iterator[Arrival]:
        if self._told_until is not None:
            self._db.execute("INSERT INTO temp.seen VALUES (?, ?, ?)", key)
        digest = digest_of(b"".join(row.digest for row in rows))
        known = self._cells.known(key)
        mine = known.pop(self._scope, None)
        if mine is not None and mine.digest == digest:
            return
        events = list(_named(rows))
        own = max(event.x_revision for event in events)
        others = max((cell.revision for cell in known.values()), default=-1)
        revision = max(own, others) if mine is None else max(own, others + 1, mine.revision + 1)
        revision = min(revision, MAX_REVISION)
        told = [_revised(event, revision) for event in events if event.x_revision == own]
        self._cells.put(key, digest, told)
        late = mine is not None or key[2] <= (self._told_until or 0)
        for event in told:
            yield self._arrival(event, late=late)
        if revision > others:
            yield from self._others(key, known, revision)

    def _others(self, key: Key, known: dict[int, Known], revision: int) -> Iterator[Arrival]:
        """Tell again what other scopes say of a cell whose revision rises."""
        for scope, cell in sorted(known.items()):
            if cell.digest is not None:
                costs = (cell.billed, cell.effective)
                event = self._cells.likeness(key, scope, costs, revision)
                yield self._arrival(event, late=True)
            self._cells.lift(key, scope, revision)

    def _correct(self, rows: list[StagedRow]) -> Iterator[Arrival]:
        for event in _named(rows):
            told = self._corrections.take(event)
            if told is not None:
                yield self._arrival(told, late=self._told_until is not None)

    def _vanished(self) -> Iterator[Arrival]:
        for key in self._cells.unseen():
            known = self._cells.known(key)
            revision = min(max(cell.revision for cell in known.values()) + 1, MAX_REVISION)
            mine = known.pop(self._scope)
            nothing = ("0", None if mine.effective is None else "0")
            event = self._cells.likeness(key, self._scope, nothing, revision)
            self._cells.bury(key, revision)
            yield self._arrival(event, late=True)
            yield from self._others(key, known, revision)
        for event in self._corrections.vanished():
            yield self._arrival(event, late=True)

    def _arrival(self, event: CostEvent, *, late: bool) -> Arrival:
        """Say when a row arrives; in replay, a `late` one comes with the snapshot's newest row."""
        at = event.x_arrived_at or self._snapshot.arrives
        if at is None and late and self._told_until is not None:
            at = moment_of(max(self._part.span.end, self._told_until))
        return Arrival(at or passes(event), self._snapshot.feed, event)


def passes(event: CostEvent) -> datetime:
    """Say when a row arrives in replay: when its charge period ends, while it is being billed.

    A year paid in advance arrives when its billing period ends, a correction of an old period not
    before the bill that it stands in begins.
    """
    at = event.charge_period_end
    if event.grain == "other" and event.billing_period_end is not None:
        at = max(event.charge_period_start, min(at, event.billing_period_end))
    if event.is_correction and event.billing_period_start is not None:
        at = max(at, event.billing_period_start)
    return at


def _revised(event: CostEvent, revision: int) -> CostEvent:
    if event.x_revision == revision:
        return event
    return msgspec.structs.replace(event, x_revision=revision)


def _named(rows: Iterable[StagedRow]) -> Iterator[CostEvent]:
    """Decode rows, which are sorted by content, and name those without a name.

    A row that brought its name and is there twice counts once.
    """
    occurrence, last = 0, b""
    for row in rows:
        occurrence = occurrence + 1 if row.digest == last else 0
        last = row.digest
        event = DECODE(row.body)
        if not row.named:
            yield msgspec.structs.replace(event, x_event_id=f"{row.digest.hex()}-{occurrence}")
        elif occurrence == 0:
            yield event
