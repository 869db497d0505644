"""Presence: which series had a row in a closed period, and whether their source was complete."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import I64

# A source is complete when this share of the series that it told of within a day are there.
COMPLETE: Final = 0.8
LOOKED_FOR_DAYS: Final = 8
NEVER: Final = -(2**40)


class Presence:
    """Remembers when each row was there last."""

    def __init__(self, steps_per_day: int) -> None:
        self._day = steps_per_day
        self._sources: dict[str, int] = {}
        self._source: list[int] = []
        self._seen: NDArray[np.int64] = np.empty(0, np.int64)

    def put(self, row: int, source: str) -> None:
        """Note that a row, the next one or a free one, is of a source from now on."""
        number = self._sources.setdefault(source, len(self._sources))
        if row == len(self._source):
            self._source.append(number)
        else:
            self._source[row] = number

    def drop(self, rows: I64) -> None:
        """Let go of rows: nobody looks for them any more."""
        self.seen[rows] = NEVER

    @property
    def seen(self) -> I64:
        """Return the step in which each row was there last, the state itself: it is saved."""
        count = len(self._source)
        if len(self._seen) < count:
            more = np.full(count - len(self._seen), NEVER, np.int64)
            self._seen = np.concatenate([self._seen, more])
        return self._seen

    def close(self, step: int, present: I64) -> I64:
        """Note who is there in a step that closed; return who is not though the source is complete.

        Rows that were not there for `LOOKED_FOR_DAYS` are no longer looked for.
        """
        count, seen = len(self._source), self.seen
        source = np.array(self._source, np.int64)
        here = np.zeros(count, bool)
        here[present] = True
        recent = seen >= step - self._day
        told = np.bincount(source[recent], minlength=len(self._sources))
        there = np.bincount(source[recent & here], minlength=len(self._sources))
        complete = (told > 0) & (there >= COMPLETE * told)
        seen[present] = np.maximum(seen[present], step)
        missing = ~here & complete[source] & (seen >= step - LOOKED_FOR_DAYS * self._day)
        return np.flatnonzero(missing & (seen < step)).astype(np.int64)
