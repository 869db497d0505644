"""Arrivals: how much of a period has come, of what usually comes of one, by source.

What is counted is series with a row, which providers deliver piece by piece. Usual is the median of
the same hour of the seven days before, or of the seven days before: it is learnt, and needs three.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from statistics import median
from typing import Final

import msgspec

from detectors.base import DAY, start_of, step_of
from service.core.ports import SourceStatus
from service.core.state import Chunk, Saved, Streams

DAYS: Final = 7
LEAST: Final = 3
BUCKET: Final = 300  # seconds
BUCKETS: Final = 12  # of the last hour


class _Source(msgspec.Struct):
    """Series by step, for hours and for days, and rows by five minutes of the arrival clock."""

    steps: dict[int, dict[int, int]] = {}
    rows: dict[int, int] = {}


class Arrivals:
    """Counts what arrives."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def note_rows(self, source: str, arrived_at: datetime, count: int) -> None:
        """Count rows, or samples, that arrived together."""
        rows = self._of(source).rows
        bucket = int(arrived_at.timestamp()) // BUCKET
        rows[bucket] = rows.get(bucket, 0) + count
        if len(rows) > 2 * BUCKETS:
            for old in sorted(rows)[:-BUCKETS]:
                del rows[old]

    def note_series(self, source: str, step_hours: int, step: int, count: int) -> None:
        """Count series of which the first row in one step came."""
        steps = self._of(source).steps.setdefault(step_hours, {})
        steps[step] = steps.get(step, 0) + count
        kept = (DAYS + 1) * DAY // step_hours + 1
        if len(steps) > 2 * kept:
            for old in sorted(steps)[:-kept]:
                del steps[old]

    def describe(self, statuses: Iterable[SourceStatus], now: datetime) -> None:
        """Write into statuses how much came in the last hour, and of the newest period."""
        for status in statuses:
            known = self._sources.get(status.source, _Source())
            first = int(now.timestamp()) // BUCKET - BUCKETS
            status.rows_last_hour = sum(n for at, n in known.rows.items() if at > first)
            found = [_newest(steps, hours, now) for hours, steps in known.steps.items()]
            newest = max((one for one in found if one is not None), default=None)
            if newest is not None:
                status.period_end, status.series_arrived, status.series_usual = newest

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._sources.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._sources = saved.values(name, _Source)

    def _of(self, source: str) -> _Source:
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = _Source()
        return known


def _newest(
    steps: Mapping[int, int], hours: int, now: datetime
) -> tuple[datetime, int, int] | None:
    """Return the end of the newest step that is over, how many series came of it, and come."""
    step = max((step for step in steps if step < step_of(now, hours)), default=None)
    if step is None:
        return None
    day = DAY // hours
    before = [steps[at] for at in range(step - DAYS * day, step, day) if at in steps]
    usual = round(median(before)) if len(before) >= LEAST else 0
    return start_of(step + 1, hours), steps[step], usual
