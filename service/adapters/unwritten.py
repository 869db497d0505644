"""Unwritten rows of the history: a list of each field, and the columns that DuckDB reads.

A row is no object here: of tens of thousands that wait, the garbage collector would walk each.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.core import money
from service.core.ledger import Expected, Labels, LedgerRow

Columns = Mapping[str, NDArray[Any]]
Cell = tuple[datetime, datetime, str]
NO_LABELS: Final = Labels(*[""] * len(Labels._fields))
_UNKNOWN: Final = Expected(*[float("nan")] * 3)
_NUMBERS: Final = attrgetter("cost", "low", "high")
_EXPECTED: Final = ("expected", "expected_low", "expected_high")
_FIELDS: Final = (*LedgerRow._fields[:-1], *_EXPECTED)
_TEXTS: Final = ("series", "charge_category", "sku_id", "commitment")


class Unwritten:
    """Versions of cells in the order in which they came, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: list[list[Any]] = [[] for _ in _FIELDS]

    def __len__(self) -> int:
        return len(self._lists[-1])

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Take in rows."""
        if not rows:
            return
        *told, expected = zip(*rows, strict=True)
        told += zip(*(_NUMBERS(one or _UNKNOWN) for one in expected), strict=True)
        with self._lock:
            for known, more in zip(self._lists, told, strict=True):
                known.extend(more)

    def forget(self, count: int) -> None:
        """Let go of so many rows that came first."""
        with self._lock:
            for known in self._lists:
                del known[:count]

    def cells(self, series: str) -> dict[Cell, list[LedgerRow]]:
        """Return what counts of a series' cells, by SKU and commitment; without labels."""
        own = self._lists[: LedgerRow._fields.index("labels")]
        with self._lock:
            places = [place for place, one in enumerate(own[0]) if one == series]
            rows = [LedgerRow(*(known[place] for known in own)) for place in places]
        cells: dict[Cell, dict[tuple[str, str], LedgerRow]] = {}
        for row in sorted(rows, key=lambda row: (row.version, money.text(row.cost))):
            parts = cells.setdefault(row[1:4], {})
            if parts and next(iter(parts.values())).version < row.version:
                parts.clear()
            parts[row.sku_id, row.commitment] = row
        return {cell: list(parts.values()) for cell, parts in cells.items()}

    def columns(self) -> Columns:
        """Return all rows as segments hold them; labels that rows share are looked at once."""
        with self._lock:
            row = dict(zip(_FIELDS, [known.copy() for known in self._lists], strict=True))
        labels, places = _numbered([one or NO_LABELS for one in row["labels"]])
        return {
            **{name: text_column(row[name]) for name in _TEXTS},
            **{name: _times(row[name]) for name in ("charge_period_start", "charge_period_end")},
            **{name: text_column([*map(money.text, row[name])]) for name in ("cost", "quantity")},
            **{name: np.array(row[name], dtype=bool) for name in ("estimated", "scored")},
            "version": np.array(row["version"], dtype=np.int64),
            **{name: np.array(row[name], dtype=np.float32) for name in _EXPECTED},
            **{
                name: text_column([one[place] for one in labels])[places]
                for place, name in enumerate(Labels._fields)
            },
        }


def newest(columns: Columns) -> Columns:
    """Return the newest version of each cell, once, by cell, SKU and commitment in order."""
    series, category, *part = (_ranks(columns[name]) for name in _TEXTS)
    cell = series, columns["charge_period_start"], columns["charge_period_end"], category
    version = columns["version"]
    keys = [*part[::-1], -version, *cell[::-1]]
    order = np.lexsort(keys)
    is_other = _differs(order, keys)
    if not is_other.all():  # of two contents the same as among segments
        order = np.lexsort([-_ranks(columns["cost"]), *keys])
    begins = np.where(_differs(order, cell), np.arange(len(order)), 0)
    is_newest = version[order] == version[order[np.maximum.accumulate(begins)]]
    kept = order[is_newest & is_other]
    return {name: column[kept] for name, column in columns.items()}


def by_month(columns: Columns) -> dict[str, Columns]:
    """Return the rows of each month, such as 2026-03, in which a charge period begins."""
    months = columns["charge_period_start"].astype("datetime64[M]")
    return {
        str(month): {name: column[months == month] for name, column in columns.items()}
        for month in np.unique(months)
    }


def text_column(values: Sequence[str]) -> NDArray[Any]:
    """Return text as a column that DuckDB reads."""
    return np.array(values, dtype=object)


def _differs(order: NDArray[np.int64], keys: Iterable[NDArray[Any]]) -> NDArray[np.bool_]:
    """Tell of each row, in order, whether any of its keys is not that of the row before."""
    found = np.ones(len(order), dtype=bool)
    found[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    return found


def _ranks(texts: NDArray[Any]) -> NDArray[np.int64]:
    """Return which of the different texts, in order, stands where."""
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([ranks[text] for text in texts], np.int64)


def _numbered(labels: Sequence[Labels]) -> tuple[list[Labels], NDArray[np.int64]]:
    """Return each object once, and which of them stands where."""
    once = {id(one): one for one in labels}
    places = dict(zip(once, range(len(once)), strict=True))
    return [*once.values()], np.array([places[id(one)] for one in labels], np.int64)


def _times(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    seconds = np.array([at.timestamp() for at in times], np.float64)
    return np.rint(seconds * 1e6).astype(np.int64).view("datetime64[us]")
