"""A lookout: asks a bucket now and then what is there, so that one that hangs holds up nothing."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.bucket_shelf import BucketShelf, Listing
from service.adapters.sources.inputs import Delivery

# After a failure it waits twice as long each time, up to this many times.
PATIENCE: Final = 16


class Lookout:
    """Looks every so many seconds, in a thread of its own."""

    def __init__(self, shelf: BucketShelf, every_seconds: float) -> None:
        self._shelf = shelf
        self._every = every_seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._seen: Listing | None = None
        self._blind: str | None = None
        self._failed: str | None = None
        self._thread = threading.Thread(target=self._watch, name="lookout", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more. A look that hangs is not waited for."""
        self._stop.set()

    @property
    def fault(self) -> str | None:
        """Say in one line why nothing can be seen or read there; None while all is well."""
        return self._blind or self._failed

    def failed(self, error: OSError) -> None:
        """Take note that what was seen could not be read; it is seen again at the next look."""
        self._failed = str(error)

    def deliveries(
        self, *, book: SnapshotBook, now: datetime, note: Callable[[str], None]
    ) -> list[Delivery]:
        """Return what a reader should read now: nothing until there has been another look."""
        with self._lock:
            seen, self._seen = self._seen, None
        if seen is None:
            return []
        self._failed = None
        self._shelf.show(seen)
        return self._shelf.deliveries(book=book, now=now, note=note)

    def _watch(self) -> None:
        turns = 1
        while not self._stop.is_set():
            try:
                seen = self._shelf.look()
            except OSError as error:
                self._blind = str(error)
                turns = min(2 * turns, PATIENCE)
            else:
                self._blind = None
                turns = 1
                with self._lock:
                    self._seen = seen
            self._stop.wait(turns * self._every)
