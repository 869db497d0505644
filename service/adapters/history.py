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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from service.adapters.whole_files import sync_folder, write_whole
from service.core import money
from service.core.ledger import LedgerRow

BUFFERED_ROWS: Final = 50_000
SMALL_BYTES: Final = 64 * 1024 * 1024
MOST_SMALL: Final = 16
REACHES: Final = "reaches"

Columns = Mapping[str, NDArray[Any]]
_Cell = tuple[datetime, datetime, str]
_NEWEST: Final = """
    SELECT * FROM read_parquet($files) WHERE {where}
    QUALIFY row_number() OVER (
        PARTITION BY series, charge_period_start, charge_period_end, charge_category
        ORDER BY version DESC, cost DESC) = 1
    ORDER BY series, charge_period_start, charge_period_end, charge_category
"""
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

    One process appends; any number of threads and processes read meanwhile. `append` holds rows in
    memory until `flush`, or until there are `BUFFERED_ROWS` of them: whoever records how far the
    log is dealt with flushes first. Rows that wait are read like the others. `reaches` is the
    version up to which all rows are on disk, if they come in order of version.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._duckdb = duckdb.connect(config={**_DUCKDB, "temp_directory": str(folder / ".spill")})
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[_Cell, LedgerRow]] = {}
        self._waiting_rows = 0
        mark = folder / REACHES
        self.reaches = int(mark.read_text("ascii")) if mark.exists() else 0

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Take in versions of cells, in any order; the same version twice is one."""
        with self._lock:
            for row in rows:
                cells = self._waiting.setdefault(row.series, {})
                known = cells.get(row[1:4])
                if known is None or row.version >= known.version:
                    cells[row[1:4]] = row
                    self._waiting_rows += known is None
            full = self._waiting_rows >= BUFFERED_ROWS
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what waits: on return it is on disk. OSError when it cannot be, and it waits on."""
        with self._writing:
            with self._lock:
                rows = [row for cells in self._waiting.values() for row in cells.values()]
            for name, part in _by_month(rows).items():
                month = self._folder / name
                if not month.exists():
                    month.mkdir()
                    sync_folder(self._folder)
                self._write(month, "SELECT * FROM waiting ORDER BY ALL", waiting=_columns(part))
                self._forget(part)
                if len(self._small(month)) > MOST_SMALL:
                    self._merge(month)
            if rows:
                self._mark(max(self.reaches, *(row.version for row in rows)))

    def series(self, key: str, since: datetime, until: datetime) -> list[LedgerRow]:
        """Return the newest version of each cell that began in `since <= start < until`, by time.

        Charge categories of one period are rows of their own. OSError when it cannot be read.
        """
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        with self._lock:
            waiting = dict(self._waiting.get(key, {}))
        cells: dict[_Cell, LedgerRow] = {}
        for row in self._stored(key, since, until):
            cells[row[1:4]] = row
        for cell, row in waiting.items():
            known = cells.get(cell)
            if since <= cell[0] < until and (known is None or row.version >= known.version):
                cells[cell] = row
        return [cells[cell] for cell in sorted(cells)]

    def compact(self) -> None:
        """Merge the small segments of each month into one, leaving out versions that lost."""
        with self._writing:
            for month in sorted(self._folder.glob("????-??")):
                if len(self._small(month)) > 1:
                    self._merge(month)

    def close(self) -> None:
        """Write what waits and let go of the database."""
        self.flush()
        self._duckdb.close()

    def _mark(self, version: int) -> None:
        """Note how far all months are written: a crash before this writes some of them again."""
        write_whole(self._folder / REACHES, str(version).encode())
        self.reaches = version

    def _stored(self, key: str, since: datetime, until: datetime) -> list[LedgerRow]:
        first, last = f"{since:%Y-%m}", f"{until:%Y-%m}"
        where = "series = $key AND charge_period_start >= $since AND charge_period_start < $until"
        with _locked(self._folder, fcntl.LOCK_SH):
            files = [
                str(file)
                for month in self._folder.glob("????-??")
                if first <= month.name <= last
                for file in month.glob("*.parquet")
            ]
            if not files:
                return []
            found = self._ask(
                _NEWEST.format(where=where),
                files=files,
                key=key,
                since=since.replace(tzinfo=None),
                until=until.replace(tzinfo=None),
            )
        return [
            LedgerRow(
                series,
                start.replace(tzinfo=UTC),
                end.replace(tzinfo=UTC),
                category,
                Decimal(cost),
                version,
            )
            for series, start, end, category, cost, version in found
        ]

    def _write(
        self, month: Path, query: str, waiting: Columns | None = None, **parameters: object
    ) -> Path:
        """Write a query's rows as a segment named after its content."""
        temporary = month / "segment.tmp"
        path = str(temporary).replace("'", "''")
        self._ask(f"COPY ({query}) TO '{path}' {_SEGMENT}", waiting, **parameters)
        with temporary.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            os.fsync(file.fileno())
        segment = temporary.rename(month / f"{name}.parquet")
        sync_folder(month)
        return segment

    def _merge(self, month: Path) -> None:
        small = self._small(month)
        merged = self._write(month, _NEWEST.format(where="true"), files=[str(f) for f in small])
        # Readers hold the lock from listing the segments to having read them.
        with _locked(self._folder, fcntl.LOCK_EX):
            for segment in small:
                if segment != merged:
                    segment.unlink()

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

    def _forget(self, rows: Iterable[LedgerRow]) -> None:
        with self._lock:
            for row in rows:
                cells = self._waiting[row.series]
                if cells.get(row[1:4]) is row:
                    del cells[row[1:4]]
                    self._waiting_rows -= 1
                if not cells:
                    del self._waiting[row.series]


def _columns(rows: Sequence[LedgerRow]) -> Columns:
    series, starts, ends, categories, costs, versions = zip(*rows, strict=True)
    return {
        "series": np.array(series, dtype=object),
        "charge_period_start": _times(starts),
        "charge_period_end": _times(ends),
        "charge_category": np.array(categories, dtype=object),
        "cost": np.array([money.text(cost) for cost in costs], dtype=object),
        "version": np.array(versions, dtype=np.int64),
    }


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


def _by_month(rows: Iterable[LedgerRow]) -> dict[str, list[LedgerRow]]:
    months: dict[tuple[int, int], list[LedgerRow]] = {}
    for row in rows:
        start = row.charge_period_start
        months.setdefault((start.year, start.month), []).append(row)
    return {f"{year:04}-{month:02}": part for (year, month), part in months.items()}


def _times(times: Sequence[datetime]) -> NDArray[np.datetime64]:
    seconds = np.array([at.timestamp() for at in times])
    return np.rint(seconds * 1e6).astype(np.int64).view("datetime64[us]")
