"""Tables: CSV and Parquet files as rows of text, so that one source reads both."""

import csv
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.compute

from service.adapters.sources.base import BrokenFileError, Flaw, FlawKind, Head, first_bytes, plain
from service.adapters.sources.blocks import Blocks, parsed
from service.adapters.sources.files import delimiter_of, parquet, parquet_columns
from service.adapters.sources.values import NULLS
from service.core.events import MAX_LINE_BYTES

MAX_LINES_OF_A_ROW: Final = 100
BATCH: Final = 2048
# DuckDB copies 2048 rows at a time, and a small file's dictionary can make each of them wide.
WIDEST_ROW: Final = 65_536
# Real bills take tens of bytes a row: a Parquet file with more rows than bytes is a bomb.
ROWS_PER_BYTE: Final = 1
ROWS_FREE: Final = 2048

Cells = tuple[int, Sequence[str | None]]


class Batch(NamedTuple):
    """Rows that nothing is wrong with as a table, in columns: the same text is there once.

    `first` is the number of the first of `size` rows, and the others follow it. `columns` has the
    wanted ones by their place; `rows` reads the same rows one by one.
    """

    first: int
    size: int
    columns: Mapping[int, pa.DictionaryArray]
    rows: Callable[[], Iterator[Cells | Flaw]]


class Table(NamedTuple):
    """The columns' names as `plain` writes them, and the rows: (number, cells) or what is wrong.

    `titles` are the names as the file writes them. `batches` has the same rows in columns where it
    can be, else one by one; either is read, not both.
    """

    columns: list[str]
    rows: Iterator[Cells | Flaw]
    titles: list[str]
    batches: Iterator[Batch | Cells | Flaw]


def read_table(path: Path, head: Head, wanted: Container[str]) -> Table:
    """Open a CSV or Parquet file. Of a Parquet file only the `wanted` columns are read.

    BrokenFileError when the header is not one, there or later when the rest cannot be read.
    """
    if head.form == "parquet":
        types = parquet_columns(path)
        _refuse_doubles([plain(name) for name in types])
        chosen = {name: kind for name, kind in types.items() if plain(name) in wanted}
        batches = _parquet_batches(path, _query(chosen))
        return Table([plain(name) for name in chosen], _singly(batches), list(chosen), batches)
    blocks = Blocks(path)
    feed = _Feed(blocks)
    header = feed.header()
    columns = [plain(cell) for cell in header]
    _refuse_doubles([name for name in columns if name])
    places = [at for at, name in enumerate(columns) if name in wanted]
    rows = _csv_rows(feed, len(columns))
    return Table(columns, rows, header, _csv_batches(feed, blocks, len(columns), places))


def texts_of(places: Iterable[tuple[int, str]], cells: Sequence[str | None]) -> dict[str, str]:
    """Return what is not null of a row's cells, by the names that go with their places."""
    return {name: cell for index, name in places if (cell := cells[index]) not in NULLS}  # type: ignore[misc]  # None is among the nulls


def named_rows(
    path: Path, head: Head, names: Mapping[str, str]
) -> Iterator[tuple[int, bytes, dict[str, str]] | Flaw]:
    """Yield each row's number, its beginning as text, and what is not null of it by new names.

    `names` has the columns that are wanted, by their plain names.
    """
    table = read_table(path, head, names)
    places = [(at, names[name]) for at, name in enumerate(table.columns) if name in names]
    for item in table.rows:
        if isinstance(item, Flaw):
            yield item
        else:
            number, cells = item
            yield number, ",".join(cell or "" for cell in cells).encode(), texts_of(places, cells)


def _refuse_doubles(columns: list[str]) -> None:
    for name, times in Counter(columns).items():
        if times > 1:
            raise BrokenFileError(1, "format", f"the header names {name[:80]!r} twice")


class _BadLineError(Exception):
    def __init__(self, kind: FlawKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class _Feed:
    """Hands lines to the csv module, and takes them back when they were not a row after all.

    So a quote that is never closed costs the row it stands in, not the rest of the file.
    """

    def __init__(self, lines: Iterator[tuple[int, bytes]]) -> None:
        self._lines = lines
        self._back: list[tuple[int, bytes]] = []
        self._taken: list[tuple[int, bytes]] = []
        self._size = 0
        self.delimiter = ","

    def header(self) -> list[str]:
        for number, line in self._lines:
            try:
                text = line.decode("utf-8-sig")
                if text.strip():
                    self.delimiter = delimiter_of(text)
                    return next(csv.reader([text], delimiter=self.delimiter))
            except (UnicodeDecodeError, csv.Error):
                raise BrokenFileError(number, "format", "the header cannot be read") from None
        raise BrokenFileError(0, "format", "the file is empty")

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        item = self._back.pop() if self._back else next(self._lines)
        self._taken.append(item)
        line = item[1]
        self._size += len(line)
        if self._size > MAX_LINE_BYTES:
            raise _BadLineError("size", f"longer than {MAX_LINE_BYTES} bytes")
        if len(self._taken) > MAX_LINES_OF_A_ROW:
            raise _BadLineError("format", f"no end within {MAX_LINES_OF_A_ROW} lines")
        if b"\0" in line:
            raise _BadLineError("encoding", "holds a NUL byte")
        try:
            return line.decode()
        except UnicodeDecodeError:
            raise _BadLineError("encoding", "is not UTF-8") from None

    @property
    def number(self) -> int:
        return self._taken[0][0] if self._taken else 0

    @property
    def has_back(self) -> bool:
        """Whether lines were taken back that no row has had yet."""
        return bool(self._back)

    @property
    def is_cut(self) -> bool:
        """Whether the row ended because the file did, in the middle of a line."""
        return not self._taken[-1][1].endswith(b"\n") and not self._back

    def begin(self) -> None:
        self._taken.clear()
        self._size = 0

    def give_up(self, kind: FlawKind, reason: str) -> Flaw:
        """Refuse the first line of what was taken, and take back the others."""
        number, line = self._taken[0]
        self._back.extend(reversed(self._taken[1:]))
        return Flaw(number, kind, reason, first_bytes(line))


def _csv_rows(feed: _Feed, width: int) -> Iterator[Cells | Flaw]:
    reader = csv.reader(feed, delimiter=feed.delimiter)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield feed.give_up("format", str(error))
            continue
        except _BadLineError as error:
            yield feed.give_up(error.kind, str(error))
            continue
        if not any(cells):
            continue
        if len(cells) == width or (len(cells) > width and not any(cells[width:])):
            yield feed.number, cells
        elif len(cells) < width and feed.is_cut:
            raise BrokenFileError(feed.number, "file", "the file ends in the middle of a row")
        else:
            yield feed.give_up("format", f"{len(cells)} cells where the header has {width}")


def _csv_batches(
    feed: _Feed, blocks: Blocks, width: int, places: Sequence[int]
) -> Iterator[Batch | Cells | Flaw]:
    """Read what can be in columns, and the rest row by row."""
    while True:
        block = blocks.block() if not feed.has_back else b""
        columns = parsed(block, width, feed.delimiter, places) if block else None
        if columns is not None:
            size = len(next(iter(columns.values())))
            rows = partial(_rows_of_block, feed, blocks, block)
            yield Batch(blocks.number + 1, size, columns, rows)
            blocks.skip(block, size)
            continue
        last = blocks.number + block.count(b"\n")
        for item in _csv_rows(feed, width):
            yield item
            if block and not feed.has_back and blocks.number >= last:
                break
        else:
            return


def _rows_of_block(feed: _Feed, blocks: Blocks, block: bytes) -> Iterator[Cells | Flaw]:
    """Read a block that could be read in columns row by row; it has a row a line."""
    lines = block.decode().split("\n")[:-1]
    reader = csv.reader(lines, delimiter=feed.delimiter)
    for number, cells in enumerate(reader, blocks.number + 1):
        if any(cells):
            yield number, cells


def _singly(batches: Iterable[Batch | Cells | Flaw]) -> Iterator[Cells | Flaw]:
    for item in batches:
        if isinstance(item, Batch):
            yield from item.rows()
        else:
            yield item


def _parquet_batches(path: Path, query: str) -> Iterator[Batch | Cells | Flaw]:
    number = 0
    try:
        with parquet(path) as db:
            most = ROWS_FREE + ROWS_PER_BYTE * path.stat().st_size
            for found in db.sql(query).to_arrow_reader(BATCH):
                wide, *columns = found.columns
                rows = partial(_rows_of_columns, number + 1, wide, columns)
                if pa.compute.any(wide).as_py():
                    yield from rows()
                else:
                    texts = {at: column.dictionary_encode() for at, column in enumerate(columns)}
                    yield Batch(number + 1, found.num_rows, texts, rows)
                number += found.num_rows
                if number > most:
                    _refuse_bomb(number)
    except BrokenFileError as error:
        raise BrokenFileError(number, error.flaw.kind, error.flaw.reason) from None
    except OSError as error:
        raise BrokenFileError(number, "file", f"cannot be read: {error.strerror}") from None


def _rows_of_columns(
    first: int, wide: pa.BooleanArray, columns: Sequence[pa.StringArray]
) -> Iterator[Cells | Flaw]:
    rows = zip(wide.to_pylist(), *(column.to_pylist() for column in columns), strict=True)
    for number, (is_wide, *cells) in enumerate(rows, first):
        if is_wide:
            yield Flaw(number, "size", f"longer than {WIDEST_ROW} bytes")
        else:
            yield number, cells


def parquet_objects(path: Path, wanted: Container[str]) -> Iterator[Batch | Cells | Flaw]:
    """Read the wanted columns of a Parquet file, each row as one JSON object in its one column."""
    types = parquet_columns(path)
    _refuse_doubles([plain(name) for name in types])
    chosen = {name: kind for name, kind in types.items() if plain(name) in wanted}
    fields = ", ".join(
        f"{_exactly(name, kind)} AS {_quoted(name)}" for name, kind in chosen.items()
    )
    found = f"SELECT to_json(line) AS c0 FROM (SELECT {fields or '1'} FROM file) AS line"  # noqa: S608 - names are quoted
    return _parquet_batches(path, _fitting(found, 1))


def _refuse_bomb(number: int) -> NoReturn:
    raise BrokenFileError(number, "size", "Parquet with more rows than bytes is not read")


def _query(chosen: dict[str, str]) -> str:
    texts = [f"CAST({_exactly(name, kind)} AS VARCHAR)" for name, kind in chosen.items()]
    cells = ", ".join(f"{text} AS c{at}" for at, text in enumerate(texts))
    return _fitting(f"SELECT {cells or '1'} FROM file", len(texts))  # noqa: S608 - names are quoted


def _fitting(found: str, cells: int) -> str:
    """Ask for whether a row is too wide, and for its cells c0, c1, …: none of one that is."""
    width = " + ".join(f"coalesce(strlen(c{at}), 0)" for at in range(cells)) or "0"
    fit = "".join(f", CASE WHEN width <= {WIDEST_ROW} THEN c{at} END" for at in range(cells))
    return (
        f"SELECT width > {WIDEST_ROW}{fit} FROM "  # noqa: S608 - names are quoted
        f"(SELECT *, {width} AS width FROM ({found}))"
    )


def _exactly(name: str, kind: str) -> str:
    """Write a column so that its text loses nothing: shortest exact decimals, UTC times, JSON."""
    column = _quoted(name)
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({column}))"
    if kind.endswith("]") or kind.startswith(("MAP", "STRUCT")):
        return f"to_json({column})"
    return column


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
