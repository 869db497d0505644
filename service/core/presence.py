"""Presence: which series had a row in a closed period, and whether their source was complete."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import I64

# A source is complete when this share of the series that it told of within a day are there.
COMPLETE: Final = 0.8
LOOKED_FOR_DAYS: Final = 8
NEVER: Final = -(2**40)
NOBODY: Final = np.empty(0, np.int64)


class Presence:
    """Remembers when each row was there last."""

    def __init__(self, steps_per_day: int) -> None:
        self._day = steps_per_day
        self._sources: dict[str, int] = {}
        self._count = 0
        self._source: NDArray[np.int64] = np.empty(0, np.int64)
        self._seen: NDArray[np.int64] = np.empty(0, np.int64)
        # By source, how many rows were there last in which step; None when it is to be counted.
        self._last: dict[int, Counter[int]] | None = None

    def put(self, row: int, source: str) -> None:
        """Note that a row, the next one or a free one, is of a source from now on."""
        number = self._sources.setdefault(source, len(self._sources))
        if row < self._count:
            self._last = None
        elif row == len(self._source):
            more = max(64, row // 4)
            self._source = np.concatenate([self._source, np.zeros(more, np.int64)])
            self._seen = np.concatenate([self._seen, np.full(more, NEVER, np.int64)])
        self._source[row] = number
        self._count = max(self._count, row + 1)
        if self._last is not None:
            self._last.setdefault(number, Counter())[NEVER] += 1

    def begin(self, sources: Sequence[str]) -> None:
        """Note of which source each row is, of which nothing else is known yet."""
        for source in sources:
            self._sources.setdefault(source, len(self._sources))
        self._count, self._last = len(sources), None
        self._source = np.array([self._sources[source] for source in sources], np.int64)
        self._seen = np.full(len(sources), NEVER, np.int64)

    def drop(self, rows: I64) -> None:
        """Let go of rows: nobody looks for them any more."""
        self._seen[rows] = NEVER
        self._last = None

    @property
    def seen(self) -> I64:
        """Return the step in which each row was there last, the state itself.

        It is saved, and filled again before any step is closed.
        """
        return self._seen[: self._count]

    def close(self, step: int, present: I64) -> I64:
        """Note who is there in a step that closed; return who is not though the source is complete.

        Rows that were not there for `LOOKED_FOR_DAYS` are no longer looked for.
        """
        sources, seen = self._source[present].tolist(), self._seen[present].tolist()
        recent = step - self._day
        last, there = self._counted(), dict.fromkeys(sources, 0)
        for one, at in zip(sources, seen, strict=True):
            there[one] += at >= recent
        complete = [
            one
            for one, count in there.items()
            if count
            and count >= COMPLETE * sum(rows for at, rows in last[one].items() if at >= recent)
        ]
        absent = self._absent(step, present, complete) if complete else NOBODY
        for row, one, at in zip(present.tolist(), sources, seen, strict=True):
            if at < step:
                self._seen[row] = step
                last[one][step] += 1
                last[one][at] -= 1
                if not last[one][at]:
                    del last[one][at]
        return absent

    def _absent(self, step: int, present: I64, complete: Sequence[int]) -> I64:
        """Return which rows of complete sources are looked for in a step and not there."""
        found = []
        for one in complete:
            seen = self._seen[: self._count]
            missing = self._source[: self._count] == one
            missing &= (seen >= step - LOOKED_FOR_DAYS * self._day) & (seen < step)
            missing[present] = False
            found.append(missing.nonzero()[0])
        return np.sort(np.concatenate(found))

    def _counted(self) -> dict[int, Counter[int]]:
        if self._last is None:
            self._last = {}
            for one in self._sources.values():
                mine = self.seen[self._source[: self._count] == one]
                steps, counts = np.unique(mine, return_counts=True)
                self._last[one] = Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))
        return self._last
