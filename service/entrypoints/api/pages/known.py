"""The incidents as lists need them: read once, and then what was saved since."""

import threading
from collections.abc import Sequence
from typing import Final

from service.core.incidents import Incident
from service.core.ports import IncidentFilter, Store
from service.decoding import from_json
from service.entrypoints.api.access import Access
from service.web.incidents import Row

MOST: Final = 20_000


class Known:
    """What the lists show of every incident. One read serves all readers.

    A store at an offset is a function of the log: all are read anew when the offset steps back, and
    when many more have come than are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reading = threading.Lock()
        self._offset = 0
        self._rows: dict[str, Row] = {}

    def rows(self, access: Access) -> Sequence[Row]:
        """Return what a reader may see."""
        with self._reading:
            offset = self._store.offset()
            if offset != self._offset:
                self._read(offset)
            rows = self._rows.values()
        return [row for row in rows if access.sees(row.owner)]

    def _read(self, offset: int) -> None:
        if 0 < self._offset < offset and len(self._rows) <= 2 * MOST:
            offset, saved = self._store.changed(self._offset)
            if offset > self._offset:
                some = [Row.of(from_json(one, Incident)) for one in saved]
                self._rows = self._rows | {row.incident_id: row for row in some}
                self._offset = offset
                return
        found = self._store.incidents(IncidentFilter(limit=MOST))
        self._rows = {one.incident_id: Row.of(one) for one in found}
        self._offset = offset
