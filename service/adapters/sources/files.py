"""Files as they lie on disk: plain or gzipped, whole or cut, honest or made to hurt."""

import csv
import gzip
import io
import os.path
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import duckdb
import msgspec

from service.adapters.sources.base import BrokenFileError, Head, plain
from service.core.events import MAX_LINE_BYTES

HEAD_BYTES: Final = 65_536
CHUNK_BYTES: Final = 1 << 18
DELIMITERS: Final = ",;\t|"
# Deflate shrinks at most 1029-fold, and real exports 10 to 50-fold: what passes both is a bomb.
BOMB_BYTES: Final = 64 * 1024 * 1024
BOMB_RATIO: Final = 200
# A line that ends so is no whole object: the document goes on.
_GOES_ON: Final = (b"{", b"[", b",", b":")
_KEY: Final = re.compile(rb'"([^"\\]{1,80})"\s*:')
READ_ERRORS: Final = (OSError, EOFError, ValueError, zlib.error)


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of a text file, numbered from 1.

    A line longer than MAX_LINE_BYTES comes cut to one byte more than that. BrokenFileError where
    the file ends early, cannot be read, or expands like a bomb.
    """
    number = 0
    try:
        with _opened(path) as file:
            readline = partial(file.readline, MAX_LINE_BYTES + 1)
            while line := readline():
                number += 1
                yield number, line
                if len(line) > MAX_LINE_BYTES:
                    while line and not line.endswith(b"\n"):
                        line = readline()
    except READ_ERRORS as error:
        raise BrokenFileError(number, "file", _why(error)) from None


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file's content in pieces; BrokenFileError as `lines`."""
    try:
        with _opened(path) as file:
            while piece := file.read1(CHUNK_BYTES):
                yield piece
    except READ_ERRORS as error:
        raise BrokenFileError(0, "file", _why(error)) from None


def look(path: Path) -> Head:
    """Look at a file's first bytes; BrokenFileError when there are none to be had."""
    # Path.exists raises for names that are too long.
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise BrokenFileError(0, "file", "is not a regular file")
    try:
        with _opened(path) as file:
            start = _first(file)
    except READ_ERRORS as error:
        raise BrokenFileError(0, "file", _why(error)) from None
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"PAR1"):
        return Head("parquet", frozenset(map(plain, parquet_columns(path))))
    if not text:
        return Head("empty", frozenset())
    if text.startswith((b"{", b"[")):
        return _json_head(text)
    return _csv_head(text)


def parquet_columns(path: Path) -> dict[str, str]:
    """Return a Parquet file's columns and their types."""
    with parquet(path) as db:
        found = db.execute("DESCRIBE SELECT * FROM file").fetchall()
    return {str(row[0]): str(row[1]) for row in found}


@contextmanager
def parquet(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a Parquet file as the view `file`; BrokenFileError when it is not sound."""
    name = "".join(f"[{c}]" if c in "*?[" else c for c in str(path.absolute())).replace("'", "''")
    try:
        with duckdb.connect(
            config={"threads": 1, "memory_limit": "1GB", "autoinstall_known_extensions": False}
        ) as db:
            db.execute(
                f"CREATE VIEW file AS SELECT * FROM read_parquet('{name}', "  # noqa: S608 - quoted
                "hive_partitioning = false, binary_as_string = true)"
            )
            yield db
    except (duckdb.Error, UnicodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BrokenFileError(0, "file", f"not a sound Parquet file: {reason}") from None


@contextmanager
def _opened(path: Path) -> "Iterator[io.BufferedReader[Any]]":
    with io.BufferedReader(path.open("rb", buffering=0), 1 << 18) as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield io.BufferedReader(_Guarded(unzipped, file), 1 << 18)


class _Guarded(io.RawIOBase):
    """A gzip stream that refuses to go on when it turns out to be a bomb."""

    def __init__(self, unzipped: gzip.GzipFile, file: BinaryIO) -> None:
        self._unzipped = unzipped
        self._file = file
        self._out = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        data = self._unzipped.read1(len(buffer))
        self._out += len(data)
        if self._out > BOMB_BYTES and self._out > BOMB_RATIO * self._file.tell():
            raise OSError(f"gzip that expands more than {BOMB_RATIO}-fold is not read")
        buffer[: len(data)] = data
        return len(data)


def _first(file: "io.BufferedReader[Any]") -> bytes:
    """Read up to HEAD_BYTES; what comes before a break is enough."""
    start = b""
    try:
        while len(start) < HEAD_BYTES and (more := file.read1(HEAD_BYTES)):
            start += more
    except READ_ERRORS:
        if not start:
            raise
    return start[:HEAD_BYTES]


def _why(error: BaseException) -> str:
    if isinstance(error, (EOFError, gzip.BadGzipFile, zlib.error)):
        return f"the gzip data is cut or damaged ({error})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return str(error)


def _json_head(text: bytes) -> Head:
    """Tell one document from one object a line, whose keys are the first sound one's."""
    inner = frozenset(plain(key.decode("utf-8", "replace")) for key in _KEY.findall(text))
    lines = text.splitlines()[:50]
    if not lines[0].rstrip().endswith(_GOES_ON):
        for line in lines:
            try:
                found = _ANY.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(found, dict):
                return Head("ndjson", frozenset(map(plain, found)), inner)
    return Head("json", frozenset(), inner)


def _csv_head(text: bytes) -> Head:
    line = text.splitlines()[0]
    try:
        header = line.decode()
    except UnicodeDecodeError:
        return Head("unknown", frozenset())
    if "\0" in header:
        return Head("unknown", frozenset())
    try:
        cells = next(csv.reader([header], delimiter=delimiter_of(header)))
    except csv.Error:
        return Head("unknown", frozenset())
    return Head("csv", frozenset(map(plain, cells)))


def delimiter_of(header: str) -> str:
    """Return the delimiter that a header uses most."""
    return max(DELIMITERS, key=header.count)


_ANY: Final = msgspec.json.Decoder(float_hook=str)
