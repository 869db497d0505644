"""The clock of the store, by which all who share it say how long what they claimed is theirs.

A machine's own clock may be wrong, or be put right while it runs: what another had claimed would
seem to have run out.
"""

import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from service.core.ports import Store, StoreUnavailableError
from service.entrypoints.machine import utc_now

LOOKS_EVERY_SECONDS: Final = 10.0


class StoreClock:
    """Tells the store's time, carried on between looks; before the first, the machine's own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._zero = utc_now() - timedelta(seconds=time.monotonic())
        self._look_at = 0.0

    def __call__(self) -> datetime:
        """Return the time."""
        before = time.monotonic()
        if before >= self._look_at:
            self._look_at = before + LOOKS_EVERY_SECONDS
            with suppress(StoreUnavailableError):  # it goes on from what it was
                at = self._store.time()
                self._zero = at - timedelta(seconds=(before + time.monotonic()) / 2)
        return self._zero + timedelta(seconds=time.monotonic())
