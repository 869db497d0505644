"""Columns: for each row a number, and what the numbers stand for; each text is there once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import count, repeat
from operator import is_
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from service.adapters.sources.fields import AMOUNT, each, kind_of
from service.adapters.sources.values import NULLS

_WIDEST: Final = 2**62
_NULL: Final = b"null"

Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


class Varied(NamedTuple):
    """For each row a number, and what the numbers stand for; one thing is what all rows say."""

    numbers: Numbers
    cells: Sequence[Any]


class Column:
    """The texts under one name, or amounts or JSON; what is null is None."""

    def __init__(self, said: Varied, *, has_nulls: bool) -> None:
        self.said = said
        self._has_nulls = has_nulls
        self._each: dict[tuple[str, bool], Sequence[object]] = {}

    @classmethod
    def encoded(cls, array: pa.DictionaryArray) -> "Column":
        """Take texts as a table has them, some of which mean null."""
        texts: list[str | None] = array.dictionary.to_pylist()
        numbers = array.indices
        if numbers.null_count:
            texts.append(None)
            numbers = numbers.fill_null(len(texts) - 1)
        has_nulls = not NULLS.isdisjoint(texts)
        if has_nulls:
            texts = [None if text in NULLS else text for text in texts]
        return cls(Varied(numbers.to_numpy(), texts), has_nulls=has_nulls)

    @classmethod
    def of(cls, cells: Iterable[object]) -> "Column":
        """Take a cell of each row; what is null in JSON is null."""
        places: defaultdict[object, int] = defaultdict(count().__next__)
        numbers = np.fromiter(map(places.__getitem__, cells), np.int64)
        has_nulls = None in places or _NULL in places
        found = [None if cell == _NULL else cell for cell in places] if has_nulls else [*places]
        return cls(Varied(numbers, found), has_nulls=has_nulls)

    @classmethod
    def of_amounts(cls, amounts: Sequence[Decimal | None]) -> "Column":
        """Take amounts in range, one of each row."""
        numbers = np.arange(len(amounts))
        column = cls(Varied(numbers, amounts), has_nulls=any(map(is_, amounts, repeat(None))))
        column._each[AMOUNT, False] = amounts
        return column

    def presence(self) -> Varied:
        """Tell for each row whether it says anything."""
        numbers, texts = self.said
        if not self._has_nulls:
            return Varied(numbers, (True,))
        is_said = np.array([text is not None for text in texts])
        if not is_said.any():
            return Varied(numbers, (False,))
        return Varied(is_said[numbers].astype(np.int64), (False, True))

    def each(self, name: str, *, is_lower: bool) -> Sequence[object]:
        """Return what each text is as a field, in lower case; RefusedError when one is bad."""
        key = kind_of(name), is_lower
        found = self._each.get(key)
        if found is None:
            texts = [text for text in self.said.cells if text is not None]
            found = each(name, [*map(str.lower, texts)] if is_lower else texts)
            if self._has_nulls:
                values = iter(found)
                found = [None if text is None else next(values) for text in self.said.cells]
            self._each[key] = found
        return found


def together(columns: Sequence[Varied]) -> Varied:
    """Return what the columns say together, as tuples."""
    varied = [column for column in columns if len(column.cells) > 1]
    if not varied:
        return Varied(np.zeros(0, np.int64), [tuple(column.cells[0] for column in columns)])
    if len(varied) == 1:
        numbers, texts = varied[0]
        cells: list[Iterable[object]] = [
            column.cells if column is varied[0] else repeat(column.cells[0], len(texts))
            for column in columns
        ]
        return Varied(numbers, [*zip(*cells, strict=True)])
    numbers, first = _counted(_joined(varied))
    cells = [
        map(column.cells.__getitem__, column.numbers[first].tolist())
        if len(column.cells) > 1
        else repeat(column.cells[0], len(first))
        for column in columns
    ]
    return Varied(numbers, [*zip(*cells, strict=True)])


def _joined(columns: Sequence[Varied]) -> Numbers:
    """Return numbers that are the same where all the columns' are."""
    numbers, width = columns[0].numbers.astype(np.int64), len(columns[0].cells)
    for column in columns[1:]:
        if width * len(column.cells) >= _WIDEST:
            numbers, first = _counted(numbers)
            width = len(first)
        numbers = numbers * len(column.cells) + column.numbers
        width *= len(column.cells)
    return numbers


def _counted(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Number different numbers from 0, and return where each stands for the first time."""
    found: Numbers = pa.array(numbers).dictionary_encode().indices.to_numpy().astype(np.int64)
    first = np.zeros(int(found.max()) + 1, np.int64)
    first[found[::-1]] = np.arange(len(found) - 1, -1, -1)
    return found, first


def spread(column: Varied) -> Iterable[object]:
    """Return what each row has; for ever when all have the same."""
    numbers, cells = column
    if len(cells) == 1:
        return repeat(cells[0])
    pool = np.empty(len(cells), object)
    pool[:] = cells
    values: list[object] = pool[numbers].tolist()
    return values
