"""Movers: what each resource cost by day, so that one can see who moved a sum."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from detectors.base import I64
from service.core.events import SeriesKey
from service.core.slots import NUMBERS, Rows
from service.core.state import Chunk, Saved, Sign, StateError, Streams, keep_all

# A month and the one before it.
KEPT_DAYS: Final = 64
# Whole millionths add up alike in any order; what is larger than a hundred billion is cut.
UNITS: Final = 1_000_000
LARGEST: Final = Decimal(10**11)


class SeriesDays:
    """What series cost in each of the last days, and a number that its owner gives to each."""

    def __init__(self) -> None:
        self._rows: Rows[SeriesKey] = Rows(NUMBERS)
        self._code = np.zeros(0, np.int64)
        self._days = np.zeros((0, KEPT_DAYS), np.int64)
        self._newest = 0

    def __contains__(self, series: SeriesKey) -> bool:
        return series in self._rows

    def add(self, series: SeriesKey) -> None:
        """Begin to keep a series."""
        row = self._rows.give(series)
        if row >= len(self._code):
            more = max(row, 64)
            self._code = np.concatenate([self._code, np.zeros(more, np.int64)])
            self._days = np.concatenate([self._days, np.zeros((more, KEPT_DAYS), np.int64)])

    def drop(self, series: SeriesKey) -> None:
        """Keep a series no more."""
        row = self._rows.free(series)
        self._code[row] = self._days[row] = 0

    def code(self, series: SeriesKey) -> int:
        """Return the number of a series."""
        return int(self._code[self._rows[series]])

    def set_code(self, series: SeriesKey, code: int) -> None:
        """Give a series a number."""
        self._code[self._rows[series]] = code

    def advance(self, day: int) -> None:
        """Make room up to a day, letting go of the oldest."""
        if day > self._newest:
            for one in range(max(self._newest + 1, day - KEPT_DAYS + 1), day + 1):
                self._days[:, one % KEPT_DAYS] = 0
            self._newest = day

    def move(self, series: SeriesKey, day: int, was: Decimal, now: Decimal) -> None:
        """Replace one part of what a series cost on a day."""
        if self._newest - KEPT_DAYS < day <= self._newest:
            self._days[self._rows[series], day % KEPT_DAYS] += _units(now) - _units(was)

    def top(
        self, codes: Sequence[int], span: range, before: range, count: int
    ) -> list[tuple[SeriesKey, Decimal, Decimal]]:
        """Return which series of these numbers cost most more in a span than in one before.

        Each with how much more, and what it cost. Where nothing was spent before, or nothing costs
        more, they are those that cost most, and no more than before.
        """
        rows = np.flatnonzero(np.isin(self._code[: len(self._rows)], codes))
        cost, old = self._sum(rows, span), self._sum(rows, before)
        more = np.maximum(cost - old, 0) if old.any() else np.zeros_like(cost)
        rank = more if more.any() else cost
        least = np.sort(rank)[-count:].min(initial=1)
        best = [
            (-int(rank[at]), self._rows.key(rows[at]), _money(more[at]), _money(cost[at]))
            for at in np.flatnonzero((rank >= least) & (rank > 0))
        ]
        return [found[1:] for found in sorted(best)[:count]]

    def sums(self, span: range) -> dict[int, tuple[Decimal, int]]:
        """Return what the series of each number cost in a span, and how many cost something."""
        rows = np.arange(len(self._rows))
        cost = self._sum(rows, span)
        codes, places = np.unique(self._code[: len(rows)], return_inverse=True)
        total, count = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        np.add.at(total, places, cost)
        np.add.at(count, places, cost > 0)
        found = zip(codes.tolist(), total.tolist(), count.tolist(), strict=True)
        return {code: (_money(units), some) for code, units, some in found if some}

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(self._rows)

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        count = len(self._rows)
        yield from self._rows.save(streams, f"{name}/series")
        columns = {"code": self._code[:count], "days": self._days[:count]}
        yield from streams.columns(name, columns, sign)
        yield from streams.values(f"{name}/newest", [("", self._newest)])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        to = self._rows.restore(saved, f"{name}/series", SeriesKey, keep_all)
        self._newest = saved.values(f"{name}/newest", int).get("", 0)
        self._code = np.zeros(len(to), np.int64)
        self._days = np.zeros((len(to), KEPT_DAYS), np.int64)
        flaws = saved.columns(name, {"code": self._code, "days": self._days}, to)
        if flaws:
            raise StateError(min(flaws.values()))

    def _sum(self, rows: I64, span: range) -> I64:
        kept = [day % KEPT_DAYS for day in span if self._newest - KEPT_DAYS < day <= self._newest]
        return np.asarray(self._days[np.ix_(rows, np.array(kept, np.int64))].sum(axis=1))


def _units(cost: Decimal) -> int:
    return int(max(-LARGEST, min(cost, LARGEST)) * UNITS)


def _money(units: int) -> Decimal:
    return Decimal(int(units)) / UNITS
