"""Rollups: what each group of series costs in each step, added up from parts.

A part is what one holder of series (a partition, a process) knows of a group. It replaces what it
said before, so that upserts may come in any order between parts, and again.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from detectors.base import step_of
from service.core import money
from service.core.events import SeriesKey
from service.core.ledger import STEP_HOURS
from service.core.state import Chunk, Saved, Streams

# A few new members are how a group grows.
FEW: Final = 3


class Rollup(NamedTuple):
    """The members that have a cost in one step: its sum, their number, and the largest of them.

    Where members are elsewhere, also the costs of the largest few that are new, and what members'
    own findings tell of the step (actual, expected, low, high), if anything.
    """

    cost: Decimal = money.ZERO
    members: int = 0
    largest: Decimal = money.ZERO
    new: tuple[Decimal, ...] = ()
    told: tuple[Decimal, ...] = ()

    def join(self, other: "Rollup") -> "Rollup":
        """Add what another part knows."""
        both = self.told and other.told
        # The largest of nobody is no amount: costs may be below 0.
        paid = [one.largest for one in (self, other) if one.members]
        return Rollup(
            money.add(self.cost, other.cost),
            self.members + other.members,
            max(paid, default=money.ZERO),
            few(*self.new, *other.new),
            tuple(map(money.add, self.told, other.told)) if both else self.told or other.told,
        )


def few(*costs: Decimal) -> tuple[Decimal, ...]:
    """Return the largest few."""
    return tuple(sorted(costs, reverse=True)[:FEW])


class Rollups:
    """All groups' steps that may still change."""

    def __init__(self) -> None:
        self._steps: dict[SeriesKey, dict[int, dict[str, Rollup]]] = {}
        self._widest: dict[SeriesKey, int] = {}
        self._touched: dict[SeriesKey, set[int]] | None = None  # since the last save

    def put(self, group: SeriesKey, step: int, part: str, rollup: Rollup) -> bool:
        """Set what a part knows of a step; tell whether that changed anything."""
        steps = self._steps.setdefault(group, {})
        parts = steps.get(step)
        if not rollup.members and not rollup.told:
            if parts is None or parts.pop(part, None) is None:
                return False
            if not parts:
                del steps[step]
            self._touch(group, step)
            return True
        if parts is None:
            parts = steps[step] = {}
        elif parts.get(part) == rollup:
            return False
        parts[part] = rollup
        self._touch(group, step)
        count = rollup.members
        if len(parts) > 1:
            count = self.at(group, step).members
        if count > self._widest.get(group, 0):
            self._widest[group] = count
        return True

    def part(self, group: SeriesKey, step: int, part: str) -> Rollup:
        """Return what one part knows of a step."""
        return self._steps.get(group, {}).get(step, {}).get(part, Rollup())

    def at(self, group: SeriesKey, step: int) -> Rollup:
        """Return the whole of a step."""
        whole = Rollup()
        for part, rollup in enumerate(self._steps.get(group, {}).get(step, {}).values()):
            whole = whole.join(rollup) if part else rollup
        return whole

    def steps(self, series: SeriesKey) -> list[int]:
        """Return the steps of which anything is known, in order."""
        return sorted(self._steps.get(series, ()))

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what a group costs in one step; None when no member has a row."""
        whole = self.at(series, step)
        return whole.cost if whole.members else None

    def offset(self, series: SeriesKey, step: int) -> timedelta:
        """Return how long after a step begins a group's periods do: its days are those of UTC."""
        del series, step
        return timedelta(0)

    def widest(self, group: SeriesKey) -> int:
        """Return the largest number of members that ever had a cost in one step."""
        return self._widest.get(group, 0)

    def groups(self) -> Iterator[SeriesKey]:
        """Yield every group."""
        yield from self._steps

    def forget(self, before: datetime) -> list[SeriesKey]:
        """Let go of steps that began before a time; return the groups that have none left."""
        for group, steps in self._steps.items():
            edge = step_of(before, STEP_HOURS[group.grain])
            for step in [step for step in steps if step < edge]:
                del steps[step]
        return [group for group, steps in self._steps.items() if not steps]

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of groups; one that comes back is new."""
        for group in gone:
            del self._steps[group]
            self._widest.pop(group, None)
            if self._touched is not None:
                self._touched[group] = set()

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        touched, self._touched = self._touched, {}
        whole = touched is None or streams.wants_whole(name)
        if whole:
            every = [self._pack(group, steps) for group, steps in self._steps.items()]
            yield streams.chunk(name, every, whole=True)
        elif touched:
            some = [self._pack(group, sorted(steps)) for group, steps in touched.items()]
            yield streams.chunk(name, some, whole=False)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved; what was forgotten since may come back, to be forgotten."""
        for data in saved.chunks(name):
            for packed in _SAVED(data):
                if not packed.widest:
                    self._steps.pop(packed.group, None)
                    self._widest.pop(packed.group, None)
                    continue
                self._widest[packed.group] = packed.widest
                known = self._steps.setdefault(packed.group, {})
                for step, parts in packed.steps.items():
                    if parts:
                        known[step] = parts
                    else:
                        known.pop(step, None)
        self._touched = {}

    def _touch(self, group: SeriesKey, step: int) -> None:
        if self._touched is not None:
            self._touched.setdefault(group, set()).add(step)

    def _pack(self, group: SeriesKey, steps: Iterable[int]) -> "_SavedGroup":
        known = self._steps.get(group, {})
        packed = {step: known.get(step, {}) for step in steps}
        return _SavedGroup(group, self._widest.get(group, 0), packed)


class _SavedGroup(msgspec.Struct, array_like=True):
    """Some steps of a group, by part; none of a step that nobody has a row in any more.

    A group that was let go of was never so wide as one.
    """

    group: SeriesKey
    widest: int
    steps: dict[int, dict[str, Rollup]]


_SAVED: Final = msgspec.msgpack.Decoder(list[_SavedGroup]).decode
