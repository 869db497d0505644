"""Cell sums: what each part says of each step of each cell, packed by the day.

There are as many values as cells, parts and hours that may still change: they are kept as bytes,
and only the days that a batch is about are open.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from detectors.base import DAY, step_of
from service.core.events import SeriesKey
from service.core.ledger import STEP_HOURS
from service.core.rollups import Rollup
from service.core.state import Chunk, Saved, Streams

_Day = dict[int, dict[str, Rollup]]


class CellSums:
    """All steps of cells that may still change, by part. After a batch, `close` what it opened."""

    def __init__(self) -> None:
        self._packed: dict[SeriesKey, dict[int, bytes]] = {}
        self._open: dict[tuple[SeriesKey, int], _Day] = {}
        self._changed: dict[tuple[SeriesKey, int], None] = {}
        self._touched: dict[SeriesKey, set[int]] | None = None  # since the last save

    def put(self, cell: SeriesKey, step: int, part: str, rollup: Rollup) -> bool:
        """Set what a part knows of a step; tell whether that changed anything."""
        day = self._day_of(cell, step)
        of_day = self._opened(cell, day)
        parts = of_day.get(step, {})
        if parts.get(part, Rollup()) == rollup:
            return False
        if rollup.members or rollup.told:
            of_day.setdefault(step, {})[part] = rollup
        else:
            del parts[part]
            if not parts:
                del of_day[step]
        self._changed[cell, day] = None
        return True

    def at(self, cell: SeriesKey, step: int) -> Rollup:
        """Return the whole of a step."""
        whole: Rollup | None = None
        for rollup in self._opened(cell, self._day_of(cell, step)).get(step, {}).values():
            whole = rollup if whole is None else whole.join(rollup)
        return whole or Rollup()

    def point(self, cell: SeriesKey, step: int) -> Decimal | None:
        """Return what a cell costs in one step; None when none of its series has a row."""
        whole = self.at(cell, step)
        return whole.cost if whole.members else None

    def steps(self, cell: SeriesKey) -> list[int]:
        """Return the steps of which anything is known, in order."""
        days = {*self._packed.get(cell, ()), *(day for one, day in self._open if one == cell)}
        return [step for day in sorted(days) for step in sorted(self._opened(cell, day))]

    def close(self) -> None:
        """Pack the days that were open."""
        for cell, day in self._changed:
            of_day = self._open[cell, day]
            days = self._packed.setdefault(cell, {})
            if of_day:
                days[day] = _PACK(of_day)
            else:
                days.pop(day, None)
            self._touch(cell, day)
        self._changed.clear()
        self._open.clear()

    def forget(self, before: datetime) -> list[SeriesKey]:
        """Let go of days that began before a time; return the cells that have none left."""
        self.close()
        edge = step_of(before, DAY)
        for cell, days in self._packed.items():
            for day in [day for day in days if day < edge]:
                del days[day]
                self._touch(cell, day)
        return [cell for cell, days in self._packed.items() if not days]

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of cells without days; one that comes back is new."""
        for cell in gone:
            self._packed.pop(cell, None)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        self.close()
        touched, self._touched = self._touched, {}
        if touched is None or streams.wants_whole(name):
            yield streams.chunk(name, list(self._packed.items()), whole=True)
        elif touched:
            some = [
                (cell, {day: self._packed.get(cell, {}).get(day, b"") for day in sorted(days)})
                for cell, days in touched.items()
            ]
            yield streams.chunk(name, some, whole=False)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved; cells that are gone since may come back, to be forgotten."""
        for data in saved.chunks(name):
            for cell, days in _SAVED(data):
                known = self._packed.setdefault(cell, {})
                for day, packed in days.items():
                    if packed:
                        known[day] = packed
                    else:
                        known.pop(day, None)
        self._touched = {}

    def _opened(self, cell: SeriesKey, day: int) -> _Day:
        found = self._open.get((cell, day))
        if found is None:
            packed = self._packed.get(cell, {}).get(day)
            found = self._open[cell, day] = {} if packed is None else _UNPACK(packed)
        return found

    def _touch(self, cell: SeriesKey, day: int) -> None:
        if self._touched is not None:
            self._touched.setdefault(cell, set()).add(day)

    def _day_of(self, cell: SeriesKey, step: int) -> int:
        return step * STEP_HOURS[cell.grain] // DAY


_PACK: Final = msgspec.msgpack.Encoder().encode
_UNPACK: Final = msgspec.msgpack.Decoder(_Day).decode
_SAVED: Final = msgspec.msgpack.Decoder(list[tuple[SeriesKey, dict[int, bytes]]]).decode
