"""Partials: what one part of all series adds to sums over all, for whoever judges the sums.

Every value replaces the one that was said before of the same cell and step, so that saying it again
changes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from detectors.base import start_of
from service.core import money
from service.core.cells import Cells
from service.core.events import CELL_MARK, EARLIEST, SeriesKey
from service.core.findings import Stretch
from service.core.ledger import STEP_HOURS, Ledger
from service.core.overrides import Level
from service.core.places import movers_of
from service.core.rollups import Rollup, Rollups, few
from service.core.scoring import Scoring
from service.core.state import Chunk, Saved, Streams
from service.core.told import Told

# Who moved a sum is asked of steps that may be told yet, where the cell itself moved so much.
MOVERS_FOR: Final = timedelta(days=3)
MOVED: Final = Decimal("0.1")
MOVERS: Final = 3
WEEK_HOURS: Final = 168


class Mover(NamedTuple):
    """By how much a resource cost more than in the same step a week before."""

    resource: str
    change: Decimal


class StepPart(msgspec.Struct, frozen=True, array_like=True):
    """A step of a cell: when what changed it last arrived, its sums, and who moved it most."""

    step: int
    arrived_at: datetime
    rollup: Rollup
    movers: tuple[Mover, ...] = ()


class CellPart(msgspec.Struct, frozen=True, array_like=True):
    """What changed of a cell, and how many series it has; the resource's id and name, if one."""

    cell: SeriesKey
    size: int
    alone: tuple[str | None, str | None] | None
    steps: list[StepPart]


class LevelPart(msgspec.Struct, frozen=True, array_like=True):
    """What feedback asks of the level of the groups that a cell is in.

    A level that is to be taken; without one, all of the intent's are to be given back, or cannot
    be any more (`is_settled`).
    """

    intent_id: str
    cell: SeriesKey | None = None
    level: Level | None = None
    is_settled: bool = False


class CellLevels:
    """What feedback asks of groups, handed on: they are judged elsewhere."""

    def __init__(self) -> None:
        self.asked: list[LevelPart] = []
        self._taken: dict[str, None] = {}

    def has(self, series: SeriesKey) -> bool:
        """Tell whether it is a cell: all have groups."""
        return series.resource.startswith(CELL_MARK)

    def knows(self, stretch: Stretch) -> bool:
        """Tell that no group's finding is raised here."""
        del stretch
        return False

    def raise_bar(self, intent_id: str, stretch: Stretch) -> None:
        """Ask nothing: bars are of the detectors that found something."""

    def lower_bars(self, intent_id: str) -> None:
        """Ask nothing: see `raise_bar`."""

    def take_level(self, intent_id: str, series: SeriesKey, level: Level) -> None:
        """Ask that groups take a cell's new level for what it always was."""
        self._taken[intent_id] = None
        self.asked.append(LevelPart(intent_id, series, level))

    def may_give_back(self, intent_id: str) -> bool:
        """Tell that it can be asked; whoever judges the groups decides."""
        return bool(intent_id)

    def give_back_level(self, intent_id: str) -> None:
        """Ask that a level is taken back."""
        if intent_id in self._taken:
            del self._taken[intent_id]
            self.asked.append(LevelPart(intent_id))

    def settle_level(self, intent_id: str) -> None:
        """Say that a level will not be taken back any more."""
        if intent_id in self._taken:
            del self._taken[intent_id]
            self.asked.append(LevelPart(intent_id, is_settled=True))

    def pack(self) -> tuple[list[LevelPart], list[str]]:
        """Return what is saved of it."""
        return self.asked, list(self._taken)

    def unpack(self, saved: tuple[list[LevelPart], list[str]]) -> None:
        """Take over what was saved."""
        self.asked, self._taken = saved[0], dict.fromkeys(saved[1])


class Partials:
    """Follows which steps of which cells changed since that was said."""

    def __init__(
        self,
        cells: Cells,
        rollups: Rollups,
        ledger: Ledger,
        told: Told,
        scorings: Mapping[int, Scoring],
        levels: Mapping[int, CellLevels],
    ) -> None:
        self._cells = cells
        self._rollups = rollups
        self._ledger = ledger
        self._told = told
        self._scorings = scorings
        self._levels = levels
        self._due: dict[tuple[SeriesKey, int], datetime] = {}
        self._barred: set[tuple[SeriesKey, int]] = set()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def dimensions(self) -> Collection[str]:
        """Return by what series are grouped."""
        return self._cells.dimensions

    def note(self, changed: Iterable[Stretch]) -> None:
        """Note what a batch changed: sums, and what findings tell of them."""
        self._due |= self._cells.changed()
        for stretch in changed:
            steps = stretch.points if stretch.status == "retracted" else stretch.dirty
            self._put(stretch.series, steps)
        barred = set().union(*(scoring.all_barred() for scoring in self._scorings.values()))
        for series, step in barred ^ self._barred:
            self._put(series, [step])
        self._barred = barred

    def drain(self, now: datetime) -> list[CellPart]:
        """Return what changed since the last call."""
        due, self._due = self._due, {}
        steps: dict[SeriesKey, list[StepPart]] = {}
        for (cell, step), arrived_at in sorted(due.items()):
            part = StepPart(step, arrived_at, self._sum(cell, step), self._movers(cell, step, now))
            steps.setdefault(cell, []).append(part)
        return [
            CellPart(cell, len(self._cells.members(cell)), self._alone(cell), parts)
            for cell, parts in steps.items()
        ]

    def levels(self) -> list[LevelPart]:
        """Return what was asked of the levels of groups since the last call."""
        found = []
        for levels in self._levels.values():
            found += levels.asked
            levels.asked = []
        return found

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        rest = _Saved(
            list(self._cells.dimensions),
            list(self._due.items()),
            list(self._barred),
            [(hours, levels.pack()) for hours, levels in self._levels.items()],
        )
        yield from streams.values(name, [("", rest)])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved; ValueError when cells were others."""
        rest = saved.values(name, _Saved).get("")
        if rest is None or tuple(rest.dimensions) != self._cells.dimensions:
            raise ValueError("its cells were by other dimensions")
        self._due = dict(rest.due)
        self._barred = set(rest.barred)
        for hours, levels in rest.levels:
            self._levels[hours].unpack(levels)

    def _put(self, series: SeriesKey, steps: Iterable[int]) -> None:
        for cell in self._cells.of(series):
            for step in steps:
                self._due.setdefault((cell, step), EARLIEST)

    def _sum(self, cell: SeriesKey, step: int) -> Rollup:
        whole, told = self._rollups.at(cell, step), self._told.of_members(cell, step)
        return whole._replace(
            new=few(*self._cells.newcomers(cell, step)), told=tuple(told) if any(told) else ()
        )

    def _movers(self, cell: SeriesKey, step: int, now: datetime) -> tuple[Mover, ...]:
        hours = STEP_HOURS[cell.grain]
        if start_of(step, hours) < now - MOVERS_FOR:
            return ()
        week = WEEK_HOURS // hours
        cost, before = self._rollups.at(cell, step).cost, self._rollups.at(cell, step - week).cost
        if abs(money.subtract(cost, before)) < MOVED * abs(before):
            return ()
        found = movers_of(self._cells.members(cell), self._ledger.point, step, week)
        rose = [Mover(one.resource, change) for change, one in found if change > 0]
        fell = [Mover(one.resource, change) for change, one in found if change < 0]
        return (*rose[:MOVERS], *fell[:MOVERS])

    def _alone(self, cell: SeriesKey) -> tuple[str | None, str | None] | None:
        members = self._cells.members(cell)
        if len(members) != 1:
            return None
        about = self._ledger.about(next(iter(members)))
        return about.resource_id, about.resource_name


class _Saved(msgspec.Struct, array_like=True):
    dimensions: list[str]
    due: list[tuple[tuple[SeriesKey, int], datetime]]
    barred: list[tuple[SeriesKey, int]]
    levels: list[tuple[int, tuple[list[LevelPart], list[str]]]]
