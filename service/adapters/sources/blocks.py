"""Blocks: a text file in whole lines of about a megabyte, for what is read in columns.

A block whose quotes and line ends stand where RFC 4180 puts them means the same to every reader of
CSV; only such a block is given to a fast one. All others are read line by line.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from service.adapters.sources.base import BrokenFileError
from service.adapters.sources.files import chunks
from service.core.events import MAX_LINE_BYTES

# No line of a block can be too long.
BLOCK_BYTES: Final = MAX_LINE_BYTES
# Python's csv module refuses cells of twice as much.
_LONGEST: Final = 65_536
_QUOTE, _LINE_END = ord('"'), ord("\n")
_Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
_TEXTS: Final = pa.dictionary(pa.int32(), pa.string())


class Blocks(Iterator[tuple[int, bytes]]):
    """A file's lines, numbered from 1, which may be taken as blocks in between.

    A line longer than MAX_LINE_BYTES comes cut to one byte more than that. BrokenFileError after
    the last whole line when the rest cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._pieces = chunks(path)
        self._held = b""
        self._at = 0
        self._error: BrokenFileError | None = None
        self.number = 0

    def block(self) -> bytes:
        """Return the next whole lines without taking them; nothing when there is none to be had."""
        self._fill(BLOCK_BYTES)
        end = self._held.rfind(b"\n", self._at, self._at + BLOCK_BYTES) + 1
        return self._held[self._at : end]

    def skip(self, block: bytes, lines: int) -> None:
        """Take a block that was returned, which has so many lines."""
        self._at += len(block)
        self.number += lines

    def __next__(self) -> tuple[int, bytes]:
        end = self._held.find(b"\n", self._at) + 1
        if not end:
            self._fill(MAX_LINE_BYTES + 1)
            end = self._held.find(b"\n", self._at) + 1
        if end and end - self._at <= MAX_LINE_BYTES:
            line = self._held[self._at : end]
            self._at = end
        else:
            line = self._last()
        self.number += 1
        return self.number, line

    def _last(self) -> bytes:
        """Return a last line without an end, or the first bytes of too long a line."""
        line = self._held[self._at : self._at + MAX_LINE_BYTES + 1]
        if len(line) <= MAX_LINE_BYTES:
            if self._error is not None:
                raise BrokenFileError(self.number, "file", self._error.flaw.reason)
            if not line:
                raise StopIteration
            self._at += len(line)
            return line
        while (end := self._held.find(b"\n", self._at) + 1) == 0 and self._at < len(self._held):
            self._at = len(self._held)
            self._fill(MAX_LINE_BYTES)
        self._at = end or self._at
        return line

    def _fill(self, size: int) -> None:
        """Hold so many bytes, or all that are left."""
        if len(self._held) - self._at >= size:
            return
        held = [self._held[self._at :]]
        missing = size - len(held[0])
        while missing > 0 and self._error is None:
            try:
                piece = next(self._pieces, b"")
            except BrokenFileError as error:
                self._error = error
                break
            if not piece:
                break
            held.append(piece)
            missing -= len(piece)
        self._held, self._at = b"".join(held), 0


def parsed(
    block: bytes, width: int, delimiter: str, places: Sequence[int]
) -> dict[int, pa.DictionaryArray] | None:
    """Return the columns at these places of a block's rows, or None: to be read line by line."""
    content = np.frombuffer(block, np.uint8)
    if not places or not _is_plain(block, content, ord(delimiter)):
        return None
    names = [str(at) for at in range(width)]
    wanted = [str(at) for at in places]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block),
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(block) + 1
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, _TEXTS),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    # Fewer rows than lines: some line is empty, or does not end its row.
    if table.num_rows != np.count_nonzero(content == _LINE_END):
        return None
    return {at: table.column(name).chunk(0) for at, name in zip(places, wanted, strict=True)}


def _is_plain(block: bytes, content: _Bytes, delimiter: int) -> bool:
    """Tell whether all readers of CSV read a block alike, once it has a row a line."""
    if b"\0" in block or (b"\r" in block and block.count(b"\r") != block.count(b"\r\n")):
        return False
    for start in range(0, len(block) - _LONGEST, _LONGEST):
        if block.find(b"\n", start, start + _LONGEST) < 0:
            return False
    if not block.isascii():
        try:
            block.decode()
        except UnicodeDecodeError:
            return False
    return b'"' not in block or _is_quoted_well(content, delimiter)


def _is_quoted_well(block: _Bytes, delimiter: int) -> bool:
    """Tell whether every quote begins or ends a cell, or is one of two within one."""
    quotes = np.flatnonzero(block == _QUOTE)
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    # Before the first byte stands the last one: a line's end.
    before, after = block[opening - 1], block[closing + 1]
    opens = (before == delimiter) | (before == _LINE_END) | (before == _QUOTE)
    closes = (after == delimiter) | (after == _LINE_END) | (after == _QUOTE) | (after == ord("\r"))
    return bool(opens.all() and closes.all())
