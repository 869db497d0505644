"""The ledger: what each (series, charge period, kind of charge) costs now.

Whatever the order of arrival, however often a row comes and however the rows are split, the same
rows give the same ledger: the highest revision of a cell wins, rows of equal revision add up, the
same identity counts once, and corrections always add, outside revision.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np

from detectors.base import DAY, start_of, step_of
from service.core import money
from service.core.books import (
    NO_CELLS,
    SAVED_BOOKS,
    Book,
    Row,
    SavedBooks,
    Taken,
)
from service.core.events import (
    DAILY,
    UNSCORED,
    CostEvent,
    Grain,
    SeriesKey,
    cost_of,
    quantity_of,
    series_of,
)
from service.core.slots import Slots
from service.core.state import BLOCK, Chunk, Saved, Streams

Metric = Literal["effective", "billed"]

STEP_HOURS: Final[Mapping[Grain, int]] = {"hour": 1, "day": 24, "other": 24}

# Plain usage; what comes beside it, such as a month's fee or a purchase; and what FOCUS names so.
Charge = Literal["usage", "fee", "adjustment", "tax", "credit"]

# A charge's period, start and end, category, SKU and commitment.
Kind = tuple[datetime, datetime, str, str, str]


class Labels(NamedTuple):
    """Names of one series; empty text where its newest row has none.

    `owner` is what the chain says of that row. `tags` is a JSON object of text by plain key, as
    routes and groups compare keys.
    """

    source: str
    owner: str
    billing_account_id: str
    sub_account_id: str
    sub_account_name: str
    service_category: str
    service_name: str
    region_id: str
    resource_id: str
    resource_name: str
    resource_type: str
    billing_currency: str
    grain: str
    tags: str


class Expected(msgspec.Struct, frozen=True, gc=False):
    """What a step was expected to cost when it was judged, and its range."""

    cost: float
    low: float
    high: float


class LedgerRow(NamedTuple):
    """What one kind of charge of one period of one series costs, as of `version` (a log offset).

    All of a period and category is told together: what the newest version does not name is no more.
    `commitment` is FOCUS' Used or Unused of a discount that was committed to. What the usage of a
    step was `expected` to cost stands with one of the rows that are `scored`.
    """

    series: str
    charge_period_start: datetime
    charge_period_end: datetime
    charge_category: str
    cost: Decimal
    version: int
    sku_id: str = ""
    commitment: str = ""
    quantity: Decimal = money.ZERO
    estimated: bool = False
    labels: Labels | None = None
    scored: bool = False
    expected: Expected | None = None


class Change(NamedTuple):
    """What taking in one row did.

    `is_usage` tells that the row is plain usage, `scored` that such is, or was, part of the cell.
    """

    taken: Taken
    series: SeriesKey
    step: int
    is_usage: bool = False
    scored: bool = False


class Ledger:
    """All cells that may still change. `metrics` names each source's cost metric."""

    def __init__(self, metrics: Mapping[str, Metric], otherwise: Metric = "effective") -> None:
        self._metrics = metrics
        self._otherwise = otherwise
        self._slots: Slots[SeriesKey] = Slots()
        # By number; one that was restored and not asked for yet is in `_unread`, with its block.
        self._books: list[Book | None] = []
        self._unread: dict[int, Sequence[memoryview]] = {}
        self._edges: dict[tuple[str, Grain], int] = {}  # what was forgotten of these
        self.met = 0  # series, those that are gone too
        self._begun: set[int] = set()  # numbers that were given since the last save
        self._forgotten_before: dict[tuple[str, Grain], int] = {}
        self._touched: dict[Book, set[int]] | None = None  # since the last save, if there was one

    def __len__(self) -> int:
        return self._slots.used

    def __contains__(self, series: object) -> bool:
        return series in self._slots

    def take(
        self,
        source: str,
        event: CostEvent,
        before: dict[tuple[SeriesKey, int], Decimal | None] | None = None,
        charged: dict[tuple[SeriesKey, int], dict[Charge, Decimal]] | None = None,
    ) -> Change:
        """Take in one row.

        In `before` is noted, once for each step, what plain usage cost until then, None when there
        was none; in `charged` what all of it did, by kind of charge.
        """
        key = series_of(source, event)
        start, end = event.charge_period_start, event.charge_period_end
        step = _step_of(key.grain, start, end)
        age = step_of(end, DAY) if key.grain == UNSCORED else step
        if age < self._forgotten_before.get((source, key.grain), 0):
            return Change("too_late", key, step)
        book = self._book(key) or self._begin(key)
        key = book.key  # the same object for all rows: others know it again at once
        if self._touched is not None:
            self._touched.setdefault(book, set()).add(step)
        cost = cost_of(event, self._metrics.get(source, self._otherwise))
        row = Row(cost, event.is_scored, quantity_of(event), event.commitment_discount_status or "")
        cell = (start, end, event.sku_id or "", event.charge_category)
        scored = row.scored or (not event.is_correction and book.has_usage(step, cell))
        if before is not None and (key, step) not in before:
            before[key, step] = book.cost(step)
        if charged is not None and (key, step) not in charged:
            charged[key, step] = self.charges(key, step)
        taken = book.take(step, cell, event, row)
        book.describe(event, is_usage=row.scored)
        if "month" in (event.pricing_unit or event.consumed_unit or "").lower():
            book.kept.add(event.sku_id or "")
        return Change(taken, key, step, row.scored, scored)

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what plain usage costs in one step; None when the step has no such row."""
        book = self._book(series)
        return None if book is None else book.cost(step)

    def kept(self, series: SeriesKey, step: int) -> Decimal:
        """Return what of a step's plain usage is priced by the month: stopping does not save it."""
        book = self._at(self._slots[series])
        rows = (row for key, row in book.rows(step) if key[2] in book.kept)
        return money.total(row.cost for row in rows if row.scored)

    def offset(self, series: SeriesKey, step: int) -> timedelta:
        """Return how long after a step begins its charge periods do: a local day is not UTC's."""
        cells = self._at(self._slots[series]).cells(step)
        about = self.about(series)
        period = about.charge_period_start, about.charge_period_end
        start, end = min(key[:2] for key in cells) if cells else period
        return start - start_of(_step_of(series.grain, start, end), STEP_HOURS[series.grain])

    def usage(self, series: SeriesKey, step: int) -> dict[str, tuple[Decimal, Decimal]]:
        """Return the cost and the quantity of plain usage in one step, by SKU."""
        found: dict[str, tuple[Decimal, Decimal]] = {}
        book = self._book(series)
        for key, row in book.rows(step) if book else ():
            if row.scored:
                cost, quantity = found.get(key[2], _NOTHING)
                found[key[2]] = money.add(cost, row.cost), money.add(quantity, row.quantity)
        return found

    def of_resource(self, resource: str) -> list[SeriesKey]:
        """Return the series of a resource: all are looked at."""
        return [series for series in self._slots if series.resource == resource]

    def charges(self, series: SeriesKey, step: int) -> dict[Charge, Decimal]:
        """Return what a step costs by kind of charge, corrections with what they correct."""
        found: dict[Charge, Decimal] = {}
        book = self._book(series)
        for key, cell in (book.cells(step) if book else NO_CELLS).items():
            otherwise = _CHARGES.get(key[3], "adjustment")
            for row in cell.rows.values():
                charge = "usage" if row.scored else otherwise
                found[charge] = money.add(found.get(charge, money.ZERO), row.cost)
            for row in (cell.corrections or {}).values():
                charge = "usage" if key[3] == "Usage" and series.grain != UNSCORED else otherwise
                found[charge] = money.add(found.get(charge, money.ZERO), row.cost)
        return found

    def steps(self, series: SeriesKey) -> list[int]:
        """Return the steps in which a series has rows, in order."""
        book = self._book(series)
        return [] if book is None else sorted(book.steps)

    def newest(self, series: SeriesKey) -> int | None:
        """Return the newest step with plain usage; None when no step has any."""
        book = self._book(series)
        if book is None or not book.steps:
            return None
        last = max(book.steps)
        if book.cost(last) is not None:
            return last
        return max((step for step in [*book.steps] if book.cost(step) is not None), default=None)

    def about(self, series: SeriesKey) -> CostEvent:
        """Return the newest row of a series: its names, owner tags and place."""
        about = self._at(self._slots[series]).about
        if about is None:
            message = f"no row of {series} was taken in"
            raise KeyError(message)
        return about

    def rows(self, series: SeriesKey, step: int, version: int) -> Iterator[LedgerRow]:
        """Yield what a step of a series costs now, by period, category, SKU and commitment."""
        name = str(series)
        for (start, end, category, sku, commitment), cost, quantity in self.kinds(series, step):
            yield LedgerRow(name, start, end, category, cost, version, sku, commitment, quantity)

    def kinds(self, series: SeriesKey, step: int) -> list[tuple[Kind, Decimal, Decimal]]:
        """Return the cost and quantity of each kind of charge in a step of a series, in order."""
        book = self._book(series)
        found = [
            ((start, end, category, sku, row.commitment), row.cost, row.quantity)
            for (start, end, sku, category), row in (book.rows(step) if book else ())
        ]
        if len(found) <= 1:  # nothing to add up, as of most steps
            return found
        sums: dict[Kind, tuple[Decimal, Decimal]] = {}
        for kind, cost, quantity in found:
            known = sums.get(kind, _NOTHING)
            sums[kind] = money.add(known[0], cost), money.add(known[1], quantity)
        return [(kind, *sums[kind]) for kind in sorted(sums)]

    def series(self) -> Iterator[SeriesKey]:
        """Yield every series."""
        yield from self._slots

    def forget(self, before: datetime) -> list[SeriesKey]:
        """Let go of periods that began before a time; rows for them are too late from then on.

        Only for sources that had such periods: one that is added later may bring its whole past.
        Rows of periods longer than a day come long after they began: these go by their end.
        Returns the series that have no period left, to be dropped when nothing else holds them.
        """
        for key, book in self._all():
            if key.grain == UNSCORED:
                lost = book.drop_ended(before)
                if lost and self._touched is not None:
                    self._touched.setdefault(book, set()).update(lost)
                newest = step_of(max(lost.values()), DAY) if lost else -1
            else:
                newest = book.drop_before(step_of(before, STEP_HOURS[key.grain]))
            feed = (key.source, key.grain)
            self._forgotten_before[feed] = max(self._forgotten_before.get(feed, 0), newest + 1)
        return [key for key, book in self._all() if not book.steps]

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of series; what comes back is new."""
        for key in gone:
            book = self._at(self._slots[key])
            self._books[book.number] = None
            self._begun.discard(self._slots.free(key))
            if self._touched is not None:
                self._touched.pop(book, None)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save, in blocks of series."""
        touched, self._touched = self._touched, {}
        begun, self._begun = self._begun, set()
        if streams.wants_whole(f"{name}/series"):
            touched = None
        edge = [("", list(self._forgotten_before.items()))]
        yield from self._slots.save(streams, f"{name}/series")
        yield from streams.values(f"{name}/forgotten", edge)
        yield from streams.values(f"{name}/met", [("", self.met)])
        changed: dict[int, list[Book]] = {}
        for book in (book for _, book in self._all()) if touched is None else touched:
            changed.setdefault(book.number // BLOCK, []).append(book)
        for block in sorted(changed):
            stream = f"{name}/books/{block}"
            whole = touched is None or streams.wants_whole(stream)
            some: Iterable[tuple[Book, Iterable[int] | None]]
            if touched is None or whole:
                some = ((book, None) for book in self._between(block * BLOCK, (block + 1) * BLOCK))
            else:
                some = ((book, sorted(touched[book])) for book in changed[block])
            books = SavedBooks.of(some, set() if whole else begun)
            yield streams.chunk(stream, books, whole=whole)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept."""
        forgotten = saved.values(f"{name}/forgotten", list[tuple[tuple[str, Grain], int]])
        self._forgotten_before = dict(forgotten.get("", ()))
        self._edges = dict(self._forgotten_before)
        self.met = saved.values(f"{name}/met", int).get("", 0)
        to = self._slots.restore(saved, f"{name}/series", SeriesKey, keep)
        self._books = [None] * len(self._slots)
        is_part = bool((to < 0).any())
        if is_part:
            self.met = self._slots.used  # the others, and those that are gone, are another's
        for stream in saved.names_of(f"{name}/books/"):
            block = int(stream.rpartition("/")[2])
            self._unread[block] = saved.chunks(stream)
            if is_part:
                numbers = to[block * BLOCK : (block + 1) * BLOCK].tolist()
                self._read(block, numbers)
        self._touched = {}

    def _book(self, series: SeriesKey) -> Book | None:
        number = self._slots.get(series)
        return None if number is None else self._at(number)

    def _at(self, number: int) -> Book:
        book = self._books[number]
        if book is None:
            first = number // BLOCK * BLOCK
            self._read(first // BLOCK, range(first, first + BLOCK))
            book = self._books[number]
            assert book is not None  # noqa: S101 - each number that is given has its book
        return book

    def _begin(self, key: SeriesKey) -> Book:
        number = self._slots.give(key)
        self._books += [None] * (number + 1 - len(self._books))
        book = self._books[number] = Book(key, number)
        self._begun.add(number)
        self.met += 1
        return book

    def _all(self) -> Iterator[tuple[SeriesKey, Book]]:
        return ((key, self._at(self._slots[key])) for key in self._slots)

    def _between(self, first: int, last: int) -> Iterator[Book]:
        keys = self._slots.numbered()[first:last]
        return (self._at(number) for number, key in enumerate(keys, first) if key is not None)

    def _read(self, block: int, to: Sequence[int]) -> None:
        """Restore the books of a block, but for numbers that were given again since."""
        keys, fresh = self._slots.numbered(), dict[int, tuple[Book, int]]()
        for old, number in enumerate(to, block * BLOCK):
            key = keys[number] if 0 <= number < len(keys) else None
            if key is not None and self._books[number] is None:
                book = self._books[number] = Book(key, number)
                # Longer periods go by their end: what was saved of them is as it is.
                grain = key.grain
                edge = 0 if grain == UNSCORED else self._edges.get((key.source, grain), 0)
                fresh[old] = book, edge
        for data in self._unread.pop(block, ()):
            packed = SAVED_BOOKS(data)
            numbers = np.frombuffer(packed.numbers, "<i4").tolist()
            for old, head, steps in zip(numbers, packed.heads, packed.steps, strict=True):
                if (known := fresh.get(old)) is not None:
                    known[0].restore(head, steps, known[1], anew=old in packed.begun)

    def digest(self) -> list[tuple[str, datetime, datetime, str, str, Decimal]]:
        """Return the whole ledger in a fixed order: equal ledgers have equal digests."""
        return sorted(
            (*row[:4], f"{row.sku_id} {row.commitment}", row.cost)
            for key, book in self._all()
            for step in tuple(book.steps)
            for row in self.rows(key, step, 0)
        )


def _step_of(grain: Grain, start: datetime, end: datetime) -> int:
    """Return the step of a charge period.

    A day's is the UTC date at its middle: days that begin at midnight of another time zone then
    follow one another, whichever way its clocks are put.
    """
    at = start + (end - start) / 2 if grain == DAILY else start
    return step_of(at, STEP_HOURS[grain])


def metric_of(events: Iterable[CostEvent]) -> Metric:
    """Choose a source's cost metric from its rows: the effective cost when any row fills it."""
    return "effective" if any(event.effective_cost for event in events) else "billed"


def period_of(series: SeriesKey, step: int) -> tuple[datetime, datetime]:
    """Return a step's charge period, start and end."""
    hours = STEP_HOURS[series.grain]
    return start_of(step, hours), start_of(step + 1, hours)


_NOTHING: Final = (money.ZERO, money.ZERO)
_CHARGES: Final[Mapping[str, Charge]] = {
    "Usage": "fee",
    "Purchase": "fee",
    "Tax": "tax",
    "Credit": "credit",
}
