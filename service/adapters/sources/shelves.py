"""Shelves: where the files of a delivery lie, on this disk or in a bucket."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from service.adapters.sources.base import label


class Shelf(Protocol):
    """Where files lie. A path names a file on it, and is where the file is while it is at hand."""

    def has(self, file: Path) -> bool:
        """Tell whether there is such a file; OSError or ValueError when no file can be so named."""
        ...

    def name(self, file: Path) -> str:
        """Name a file for a person."""
        ...

    def changed(self, file: Path) -> float:
        """Return when a file was last changed, in seconds since 1970; 0 when that is not known."""
        ...

    def at_hand(self, file: Path) -> AbstractContextManager[None]:
        """Have a file at its path for as long as it is read.

        BrokenFileError when it cannot be read at all, OSError when it cannot be read now.
        """
        ...


class Disk:
    """This machine's files."""

    def has(self, file: Path) -> bool:
        """Tell whether there is such a file."""
        return file.is_file()

    def name(self, file: Path) -> str:
        """Return the path."""
        return label(file)

    def changed(self, file: Path) -> float:
        """Return when a file was last changed."""
        try:
            return file.stat().st_mtime
        except OSError:
            return 0.0

    @contextmanager
    def at_hand(self, file: Path) -> Iterator[None]:  # noqa: ARG002 - it is there
        """Do nothing: a reader finds out what is wrong with a file."""
        yield


DISK: Final = Disk()
