"""Books: one series' cells by step, and the newest row, which describes it.

Of a cell the highest revision wins, rows of equal revision add up, the same identity counts once,
and corrections always add, outside revision.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeVar

import msgspec
import numpy as np

from detectors.base import DAY, start_of
from service.core import money
from service.core.events import CostEvent, SeriesKey
from service.core.state import ENCODE

Taken = Literal["new", "duplicate", "superseded", "too_late"]

_Identity = tuple[str, int]
_Key = TypeVar("_Key")
CellKey = tuple[datetime, datetime, str, str]
_Rank = tuple[bool, datetime, int, str]
_Steps = dict[int, "dict[CellKey, Cell] | Alone | msgspec.Raw"]


class Row(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """What is kept of a row."""

    cost: Decimal
    scored: bool
    quantity: Decimal = money.ZERO  # 0 when the row names none
    commitment: str = ""  # FOCUS' Used or Unused, of a commitment discount


class Cell:
    """All rows of one (charge period, SKU, category): those of the highest revision count."""

    __slots__ = ("corrections", "revision", "rows")

    def __init__(self) -> None:
        self.revision = -1
        self.rows: dict[str, Row] = {}
        self.corrections: dict[_Identity, Row] | None = None

    def take(self, event: CostEvent, row: Row) -> Taken:
        """Take in one row."""
        if event.is_correction:
            if self.corrections is None:
                self.corrections = {}
            return _put(self.corrections, (event.x_event_id, event.x_revision), row)
        if event.x_revision < self.revision:
            return "superseded"
        if event.x_revision > self.revision:
            self.revision = event.x_revision
            self.rows = {event.x_event_id: row}
            return "new"
        return _put(self.rows, event.x_event_id, row)

    def costs(self) -> Iterator[Row]:
        """Yield the rows that count."""
        yield from self.rows.values()
        if self.corrections is not None:
            yield from self.corrections.values()


class Alone(msgspec.Struct, frozen=True, gc=False):
    """The one row of a step, no correction: most steps have no other, and no need of a cell."""

    key: CellKey
    revision: int
    event_id: str
    row: Row

    def cells(self) -> dict[CellKey, Cell]:
        """Return the same as cells."""
        cell = Cell()
        cell.revision, cell.rows = self.revision, {self.event_id: self.row}
        return {self.key: cell}


def _put(rows: dict[_Key, Row], key: _Key, row: Row) -> Taken:
    # Two contents under one identity are a fault of the sender: the larger stays, so that the
    # order of arrival does not matter.
    known = rows.get(key)
    if known is not None and row <= known:
        return "duplicate"
    rows[key] = row
    return "new"


class Book:
    """One series: its cells by step, and the newest row, which describes the series.

    What was restored stays as it was saved until it is asked for: most of it never is.
    """

    __slots__ = ("_about", "_edge", "_head", "_kept", "_rank", "_saved", "_steps", "key", "number")

    def __init__(self, key: SeriesKey, number: int) -> None:
        self.key = key
        self.number = number
        self._steps: _Steps = {}
        self._saved: tuple[msgspec.Raw, ...] = ()
        self._edge = 0
        self._head: msgspec.Raw | None = None
        self._about: CostEvent | None = None
        self._kept: set[str] = set()
        self._rank: _Rank | None = None

    @property
    def steps(self) -> _Steps:
        """Return what is kept by step, in one of its forms: see `cells`."""
        if self._saved:
            for raw in self._saved:
                self._steps |= _STEPS(raw)
            self._saved = ()
            if not self._edge:
                gone = [step for step, cells in self._steps.items() if cells == _NOTHING]
                for step in gone:
                    del self._steps[step]
            self.drop_before(self._edge)
        return self._steps

    @property
    def about(self) -> CostEvent | None:
        """Return the newest row; None when there is none yet."""
        self._unpack()
        return self._about

    @property
    def kept(self) -> set[str]:
        """Return the SKUs that are paid by the month, such as disks."""
        self._unpack()
        return self._kept

    def _unpack(self) -> None:
        if self._head is not None:
            head, self._head = _HEAD(self._head), None
            self._about, self._kept = head.about, head.kept
            self._rank = _rank_of(head.about, is_usage=head.about.is_scored)

    def take(self, step: int, key: CellKey, event: CostEvent, row: Row) -> Taken:
        """Take in one row of a step."""
        known = self.steps.get(step)
        if known is None and not event.is_correction:
            self._steps[step] = Alone(key, event.x_revision, event.x_event_id, row)
            return "new"
        cells = self._steps[step] = self.cells(step) or {}
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell()
        return cell.take(event, row)

    def has_usage(self, step: int, key: CellKey) -> bool:
        """Tell whether plain usage is part of a cell."""
        known = self.steps.get(step)
        if known is None:
            return False
        if isinstance(known, Alone):
            return known.row.scored and known.key == key
        cell = self.cells(step).get(key)
        return cell is not None and any(row.scored for row in cell.rows.values())

    def cost(self, step: int) -> Decimal | None:
        """Return what plain usage costs in a step; None when there is no such row."""
        known = self.steps.get(step)
        if isinstance(known, Alone):
            return known.row.cost if known.row.scored else None
        return None if known is None else cost_of_cells(self.cells(step))

    def describe(self, event: CostEvent, *, is_usage: bool) -> None:
        """Let a row describe the series, if it is the newest; plain usage goes before the rest."""
        self._unpack()
        about, rank = self._about, _rank_of(event, is_usage=is_usage)
        if about is None or self._rank is None or rank > self._rank:
            self._about, self._rank = event, rank
        elif rank == self._rank and event != about:
            # One identity with two contents: the choice must not depend on the order of arrival.
            self._about = max(event, about, key=msgspec.msgpack.encode)

    def cells(self, step: int) -> dict[CellKey, Cell]:
        """Return a step's cells to be looked at, none when it has no row."""
        known = self.steps.get(step, NO_CELLS)
        if isinstance(known, msgspec.Raw):
            known = self._steps[step] = {cell.key: cell.unpacked() for cell in _CELLS(known)}
        return known.cells() if isinstance(known, Alone) else known

    def rows(self, step: int) -> list[tuple[CellKey, Row]]:
        """Return the rows that count in a step, each with the key of its cell."""
        known = self.steps.get(step)
        if isinstance(known, Alone):
            return [(known.key, known.row)]
        return [(key, row) for key, cell in self.cells(step).items() for row in cell.costs()]

    def drop_before(self, edge: int) -> int:
        """Let go of the steps before one; return the newest of them, -1 when there is none."""
        old = [step for step in self.steps if step < edge]
        for step in old:
            del self._steps[step]
        return max(old, default=-1)

    def drop_ended(self, before: datetime) -> dict[int, datetime]:
        """Let go of the cells whose periods ended before a time.

        Return the steps that lost one, each with the latest of these ends.
        """
        lost: dict[int, datetime] = {}
        for step in [step for step in self.steps if start_of(step, DAY) < before]:
            cells = self.cells(step)
            old = [key for key in cells if key[1] < before]
            if old:
                lost[step] = max(key[1] for key in old)
                self._steps[step] = {key: cell for key, cell in cells.items() if key[1] >= before}
            if len(old) == len(cells):
                del self._steps[step]
        return lost

    def pack(self, steps: Iterable[int] | None) -> tuple[msgspec.Raw, msgspec.Raw]:
        """Return what is saved of a book: what describes it, and some of its steps, or all."""
        head = self._head
        if head is None:
            head = msgspec.Raw(ENCODE((self._about, sorted(self._kept))))
        if steps is None and len(self._saved) == 1 and not self._edge:
            return head, self._saved[0]
        packed = {step: self._pack(step) for step in (self.steps if steps is None else steps)}
        return head, msgspec.Raw(ENCODE(packed))

    def _pack(self, step: int) -> object:
        known = self.steps.get(step)
        if isinstance(known, msgspec.Raw):
            return known
        return [_SavedCell.of(key, cell) for key, cell in self.cells(step).items()]

    def restore(self, head: msgspec.Raw, steps: msgspec.Raw, edge: int, *, anew: bool) -> None:
        """Take over what was saved, but for steps before `edge`.

        It goes on from what was saved before it, unless a book was begun `anew` since.
        """
        self._head, self._edge = head, edge
        self._saved = (steps,) if anew else (*self._saved, steps)


def _rank_of(event: CostEvent, *, is_usage: bool) -> _Rank:
    return is_usage, event.charge_period_start, event.x_revision, event.x_event_id


class _SavedCell(msgspec.Struct, array_like=True):
    key: CellKey
    revision: int
    rows: dict[str, Row]
    corrections: list[tuple[str, int, Row]] | None

    @classmethod
    def of(cls, key: CellKey, cell: Cell) -> "_SavedCell":
        corrections = None
        if cell.corrections is not None:
            corrections = [(*name, row) for name, row in cell.corrections.items()]
        return cls(key, cell.revision, cell.rows, corrections)

    def unpacked(self) -> Cell:
        cell = Cell()
        cell.revision, cell.rows = self.revision, self.rows
        if self.corrections is not None:
            cell.corrections = {(name, revision): row for name, revision, row in self.corrections}
        return cell


class _Head(msgspec.Struct, array_like=True):
    about: CostEvent
    kept: set[str]


class SavedBooks(msgspec.Struct, array_like=True):
    """Some books: their numbers as a raw column, and what is saved of each.

    `begun` are those that took over a number: what was saved under it before is of another series.
    """

    numbers: bytes
    heads: list[msgspec.Raw]
    steps: list[msgspec.Raw]
    begun: set[int]

    @classmethod
    def of(
        cls, books: Iterable[tuple[Book, Iterable[int] | None]], begun: set[int]
    ) -> "SavedBooks":
        """Pack books, of each some steps, or all for None."""
        known = list(books)
        packed = [book.pack(steps) for book, steps in known]
        numbers = np.array([book.number for book, _ in known], "<i4").tobytes()
        heads, steps = [head for head, _ in packed], [steps for _, steps in packed]
        return cls(numbers, heads, steps, begun.intersection(book.number for book, _ in known))


def cost_of_cells(cells: Mapping[CellKey, Cell]) -> Decimal | None:
    """Return what plain usage costs; None when there is no such row."""
    total: Decimal | None = None
    for cell in cells.values():
        for row in cell.rows.values():
            if row.scored:
                total = row.cost if total is None else money.add(total, row.cost)
    return total


NO_CELLS: Final[dict[CellKey, Cell]] = {}
_NOTHING: Final = msgspec.Raw(ENCODE([]))  # a step that lost all its cells
_HEAD: Final = msgspec.msgpack.Decoder(_Head).decode
_CELLS: Final = msgspec.msgpack.Decoder(list[_SavedCell]).decode
_STEPS: Final = msgspec.msgpack.Decoder(dict[int, msgspec.Raw]).decode
SAVED_BOOKS: Final = msgspec.msgpack.Decoder(SavedBooks).decode
