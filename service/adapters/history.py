"""The ledger's history: Parquet segments in a folder, one sub-folder a month, read with DuckDB.

A segment is written whole or not at all and never changed. Rows are versions of a cell (series,
charge period, category): the highest version counts, so a segment that is written twice, or that a
crash left beside its replacement, changes no answer. Money is text, because a ledger sum may need
more digits than any Parquet decimal has. Times are UTC.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import duckdb

from service.adapters.days import remove, write_days
from service.adapters.unwritten import Cell, Columns, Unwritten, by_month, newest
from service.adapters.versions import CELL, IN_ORDER, STORED, Told
from service.adapters.whole_files import sync_folder, write_whole
from service.core import money
from service.core.ledger import LedgerRow

BUFFERED_ROWS: Final = 50_000
SMALL_BYTES: Final = 64 * 1024 * 1024
MOST_SMALL: Final = 16
REACHES: Final = "reaches"
ALONE: Final = "alone"
UNFINISHED: Final = ".tmp"
LEFT_AFTER_SECONDS: Final = 3600

_SEGMENT: Final = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)"
# An extension that is not there must be an error, never a download; input is only ever our own.
_DUCKDB: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "threads": "1",
    "memory_limit": "512MB",
}


class History:
    """What every series cost in every period, as last told.

    One process appends, and another that was paused while it did may do so still, of the same log;
    any number of threads and processes read meanwhile. `append` holds rows in
    memory until `flush`, or until there are `BUFFERED_ROWS` of them: whoever records how far the
    log is dealt with flushes first. Rows that wait are read like the others. `reaches` is the
    version up to which all rows are on disk, if they come in order of version.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._duckdb = duckdb.connect(config={**_DUCKDB, "temp_directory": str(folder / ".spill")})
        self._writing = threading.Lock()
        self._waiting = Unwritten()
        mark = folder / REACHES
        self.reaches = int(mark.read_text("ascii")) if mark.exists() else 0

    def has_room(self, rows: int) -> bool:
        """Tell whether so many more could wait."""
        return len(self._waiting) + rows < BUFFERED_ROWS

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Take in versions of cells, in any order; the same version twice is one."""
        self._waiting.append(rows)
        if not self.has_room(0):
            self.flush()

    def flush(self) -> None:
        """Write what waits: on return it is on disk. OSError when it cannot be, and it waits on."""
        with self._writing:
            waiting = self._waiting.columns()
            versions = waiting["version"]
            if not len(versions):
                return
            months = by_month(newest(waiting))
            for name, part in months.items():
                month = self._folder / name
                if not month.exists():
                    month.mkdir()
                    sync_folder(self._folder)
                self._write(month, "SELECT * FROM waiting", waiting=part)
            self._waiting.forget(len(versions))
            for name in months:
                self._merge_if_more(self._folder / name, MOST_SMALL)
            self._mark(max(self.reaches, int(versions.max())))

    def series(self, key: str, since: datetime, until: datetime) -> list[LedgerRow]:
        """Return what each charge category of each period costs that began in the window, by time.

        The window is `since <= start < until`. OSError when it cannot be read.
        """
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        waiting = self._waiting.cells(key)
        cells: dict[Cell, list[LedgerRow]] = {}
        for row in self._stored(key, since, until):
            cells.setdefault(row[1:4], []).append(row)
        for cell, rows in waiting.items():
            known = cells.get(cell)
            if since <= cell[0] < until and (known is None or rows[0].version >= known[0].version):
                cells[cell] = rows
        return [
            LedgerRow(
                key,
                *cell,
                money.total(row.cost for row in rows),
                rows[0].version,
                estimated=any(row.estimated for row in rows),
            )
            for cell, rows in sorted(cells.items())
        ]

    def ask(
        self,
        queries: Sequence[str],
        since: datetime,
        until: datetime,
        tables: Mapping[str, Columns],
        **values: Any,
    ) -> list[list[tuple[Any, ...]]]:
        """Return the answers to queries over `told`: all versions that began in a window, in UTC.

        The queries may name `tables`, and `values` as parameters; `newest` is `told` without the
        versions that lost, and `costs` what counts of them, by day where days are asked for. A
        query that answers nothing, such as one that makes a temporary table, is an empty list.
        OSError when it cannot be read.
        """
        window = {"since": naive(since), "until": naive(until)}
        waiting = self._waiting.columns()
        with self._reading() as folders, closing(self._duckdb.cursor()) as cursor:
            try:
                for name, columns in {"waiting": waiting, **tables}.items():
                    cursor.register(name, columns)
                told = Told(
                    _months(folders, since, until), has_waiting=bool(len(waiting["version"]))
                )
                return [told.answer(cursor, query, window | values) for query in queries]
            except duckdb.Error as error:
                raise OSError(f"the history in {self._folder}: {error}") from error

    def compact(self) -> None:
        """Merge the small segments of each month into one, leaving out versions that lost."""
        with self._writing:
            for month in sorted(self._folder.glob("????-??")):
                self._merge_if_more(month, 1)

    def sum_days(self, segment: Path) -> None:
        """Write what a segment comes to by day beside it; OSError when that cannot be."""
        write_days(
            segment, lambda query, **values: self._ask(query, Unwritten().columns(), **values)
        )

    def close(self) -> None:
        """Write what waits and let go of the database."""
        self.flush()
        self._duckdb.close()

    def _mark(self, version: int) -> None:
        """Note how far all months are written: a crash before this writes some of them again."""
        with _alone(self._folder) as is_alone:
            if is_alone:
                write_whole(self._folder / REACHES, str(version).encode())
        self.reaches = version

    def _stored(self, key: str, since: datetime, until: datetime) -> list[LedgerRow]:
        where = "series = $key AND charge_period_start >= $since AND charge_period_start < $until"
        with self._reading() as folders:
            files = [str(file) for month in _months(folders, since, until) for file in month]
            if not files:
                return []
            columns, stored = (
                f"{CELL}, cost, version, coalesce(estimated, false)",
                STORED.format("$files"),
            )
            found = self._ask(
                f"SELECT {columns} FROM ({IN_ORDER.format(told=stored, where=where)})",
                files=files,
                key=key,
                since=naive(since),
                until=naive(until),
            )
        return [
            LedgerRow(
                series,
                start.replace(tzinfo=UTC),
                end.replace(tzinfo=UTC),
                category,
                Decimal(cost),
                version,
                estimated=estimated,
            )
            for series, start, end, category, cost, version, estimated in found
        ]

    def _write(
        self, month: Path, query: str, waiting: Columns | None = None, **parameters: object
    ) -> Path:
        """Write a query's rows as a segment named after its content."""
        temporary = month / f"{uuid4().hex}{UNFINISHED}"
        path = str(temporary).replace("'", "''")
        self._ask(f"COPY ({query}) TO '{path}' {_SEGMENT}", waiting, **parameters)
        with temporary.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            os.fsync(file.fileno())
        segment = temporary.rename(month / f"{name}.parquet")
        sync_folder(month)
        return segment

    def _merge_if_more(self, month: Path, most: int) -> None:
        """Merge the small segments of a month if there are more, and nobody else is at it."""
        if len(self._small(month)) > most:
            with _alone(self._folder) as is_alone:
                if is_alone:
                    self._merge(month)

    def _merge(self, month: Path) -> None:
        _remove_unfinished(month)
        small = self._small(month)
        merged = self._write(
            month,
            IN_ORDER.format(told=STORED.format("$files"), where="true"),
            files=[str(f) for f in small],
        )
        with suppress(OSError):  # what has no days is read by the hour
            self.sum_days(merged)
        # Readers hold the lock from listing the segments to having read them.
        with _locked(self._folder, fcntl.LOCK_EX):
            for segment in small:
                if segment != merged:
                    remove(segment)

    @contextmanager
    def _reading(self) -> Iterator[list[Path]]:
        """Hold what is read as it is; yields the folders that months are in."""
        with ExitStack() as stack:
            folders = self._folders()
            for folder in folders:
                stack.enter_context(_locked(folder, fcntl.LOCK_SH))
            yield folders

    def _folders(self) -> list[Path]:
        return [self._folder]

    def _ask(
        self, query: str, waiting: Columns | None = None, **parameters: Any
    ) -> list[tuple[Any, ...]]:
        with closing(self._duckdb.cursor()) as cursor:
            if waiting is not None:
                cursor.register("waiting", waiting)
            try:
                return cursor.execute(query, parameters).fetchall()
            except duckdb.Error as error:
                raise OSError(f"the history in {self._folder}: {error}") from error

    def _small(self, month: Path) -> list[Path]:
        return sorted(f for f in month.glob("*.parquet") if f.stat().st_size < SMALL_BYTES)


def naive(at: datetime) -> datetime:
    """Return a time as segments hold it."""
    return at.astimezone(UTC).replace(tzinfo=None)


def _months(folders: Iterable[Path], since: datetime, until: datetime) -> list[list[Path]]:
    """Return the segments of each month of a window; hold the lock until they are read."""
    first, last = f"{since.astimezone(UTC):%Y-%m}", f"{until.astimezone(UTC):%Y-%m}"
    months = (month for folder in folders for month in folder.glob("????-??"))
    return [sorted(month.glob("*.parquet")) for month in months if first <= month.name <= last]


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Tell whether nobody else merges or marks here, and see to that while within.

    Who does not wait cannot be held up by one that was stopped in the middle of it.
    """
    with (folder / ALONE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove_unfinished(month: Path) -> None:
    """Remove what was being written when somebody was killed."""
    for file in month.glob(f"*{UNFINISHED}"):
        with suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > LEFT_AFTER_SECONDS:
                file.unlink()


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)
