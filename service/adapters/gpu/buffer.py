"""The agent's buffer: samples that Kafka does not have yet, in one file with a bound."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Kept(NamedTuple):
    """One line, under the key that chooses its partition."""

    seq: int
    key: str
    line: bytes


class Buffer:
    """A queue on disk. When it is full the oldest lines make room; `dropped` counts them.

    A line has reached the disk when `put` returns. OSError when the file cannot be used.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._max_bytes = max_bytes
        self.dropped = 0
        with self._guarded():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "auto_vacuum=INCREMENTAL"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS line"
                " (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, line BLOB NOT NULL)"
            )
            self.size, self.lines = self._db.execute(
                "SELECT coalesce(sum(length(line)), 0), count(*) FROM line"
            ).fetchone()

    def put(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Add lines at the end."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            for key, line in rows:
                self._db.execute("INSERT INTO line (key, line) VALUES (?, ?)", (key, line))
                self.size += len(line)
                self.lines += 1
            while self.size > self._max_bytes:
                (length,) = self._db.execute(
                    "DELETE FROM line WHERE seq = (SELECT min(seq) FROM line)"
                    " RETURNING length(line)"
                ).fetchone()
                self.size -= length
                self.lines -= 1
                self.dropped += 1
            self._db.execute("COMMIT")

    def first(self, count: int) -> list[Kept]:
        """Return the oldest lines; they stay."""
        query = "SELECT seq, key, line FROM line ORDER BY seq LIMIT ?"
        with self._guarded():
            return [Kept(*row) for row in self._db.execute(query, (count,))]

    def forget(self, until: int) -> None:
        """Remove the lines up to one: Kafka has them."""
        with self._guarded():
            size, lines = self._db.execute(
                "SELECT coalesce(sum(length(line)), 0), count(*) FROM line WHERE seq <= ?", (until,)
            ).fetchone()
            self._db.execute("DELETE FROM line WHERE seq <= ?", (until,))
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
        self.size -= size
        self.lines -= lines

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(f"{self._path}: {error}") from error
