"""The incidents as lists need them, read again only when the store has moved on."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from service.core.ports import IncidentFilter, Store
from service.entrypoints.api.access import Access
from service.web.incidents import Row

MOST: Final = 20_000
NEWEST: Final = 500
# What changes of an incident without a change of its time is seen after so long.
WHOLE_EVERY_SECONDS: Final = 60.0


class Known:
    """What the lists show of every incident. One read serves all readers of one offset.

    Of what changed since the last read the newest are read, unless there may be more of them.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._reading = threading.Lock()
        self._offset = -1
        self._until = datetime.max.replace(tzinfo=UTC)
        self._whole_at = float("-inf")
        self._rows: dict[str, Row] = {}

    def rows(self, access: Access) -> Sequence[Row]:
        """Return what a reader may see."""
        with self._reading:
            offset = self._store.offset()
            if offset != self._offset:
                self._rows = self._renewed(offset)
                self._until = max((row.updated_at for row in self._rows.values()), default=_NEVER)
                self._offset = offset
            rows = self._rows.values()
        return [row for row in rows if access.sees(row.owner)]

    def _renewed(self, offset: int) -> dict[str, Row]:
        now = self._clock()
        if offset > self._offset >= 0 and now - self._whole_at < WHOLE_EVERY_SECONDS:
            newest = self._store.incidents(IncidentFilter(limit=NEWEST))
            if len(newest) < NEWEST or newest[-1].updated_at < self._until:
                return self._rows | {one.incident_id: Row.of(one) for one in newest}
        self._whole_at = now
        found = self._store.incidents(IncidentFilter(limit=MOST))
        return {one.incident_id: Row.of(one) for one in found}


_NEVER: Final = datetime.min.replace(tzinfo=UTC)
