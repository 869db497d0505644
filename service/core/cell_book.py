"""Cell book: what every part said of its cells, and the groups that they add up to."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from service.core import money
from service.core.cell_sums import CellSums
from service.core.cells import CellName
from service.core.events import EARLIEST, SeriesKey
from service.core.findings import Sums
from service.core.group_names import check_group_by, groups_of
from service.core.groups import Change
from service.core.ledger import STEP_HOURS
from service.core.new_spend import NewSpend
from service.core.partials import CellPart, Mover
from service.core.places import Place
from service.core.rollups import Rollup, Rollups, few
from service.core.starts import Spend
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches
from service.core.things import Thing, account_of
from service.core.told import SeriesOf, Told

# Of how many steps it is known who moved a cell.
MOVERS_KEPT: Final = 8


# In place of a number of members: a sum has to be added up again.
ASK: Final = -1


class _Cell:
    """What is known of a cell beside its sums."""

    __slots__ = ("alone", "groups", "movers", "name", "sizes")

    def __init__(self, name: CellName, groups: tuple[SeriesKey, ...]) -> None:
        self.name = name
        self.groups = groups
        self.sizes: dict[str, int] = {}
        self.alone: dict[str, tuple[str | None, str | None]] = {}
        self.movers: dict[int, dict[str, tuple[Mover, ...]]] = {}

    @property
    def size(self) -> int:
        return sum(self.sizes.values())

    @property
    def alone_now(self) -> tuple[str | None, str | None]:
        """Return id and name of its one resource; none of several."""
        return next(iter(self.alone.values()), (None, None)) if self.size == 1 else (None, None)


class Step(NamedTuple):
    """A step of a cell before and after what parts said now, and when what changed it arrived."""

    before: Rollup
    after: Rollup
    arrived_at: datetime


class News(NamedTuple):
    """What parts changed: costs of cells, and all that changed of them."""

    costs: dict[tuple[SeriesKey, int], Change]
    steps: dict[tuple[SeriesKey, int], Step]

    @property
    def told(self) -> set[tuple[int, int]]:
        """Return the steps, by their hours, of which series' findings tell otherwise."""
        return {
            (STEP_HOURS[cell.grain], step)
            for (cell, step), one in self.steps.items()
            if one.before.told != one.after.told
        }


class CellBook:
    """All cells, with what each part last said of them, and the sums of groups in `sums`."""

    def __init__(self, group_by: Sequence[str], sums: Rollups) -> None:
        check_group_by(group_by)
        self._by = tuple(dict.fromkeys(group_by))
        self._sums = sums
        self._parts = CellSums()
        self._cells: dict[SeriesKey, _Cell] = {}
        self._members: dict[SeriesKey, dict[SeriesKey, None]] = {}

    def put(self, said: Iterable[tuple[str, CellPart]]) -> News:
        """Take in what parts say, each by its name; ValueError for what is no cell."""
        steps: dict[tuple[SeriesKey, int], Step] = {}
        for part, about in said:
            cell = about.cell
            known = self._known(cell)
            known.sizes[part] = about.size
            known.alone.pop(part, None)
            if about.alone is not None:
                known.alone[part] = about.alone
            for one in about.steps:
                before = self._parts.at(cell, one.step)
                if self._parts.put(cell, one.step, part, one.rollup):
                    first = steps.get((cell, one.step), Step(before, before, EARLIEST))
                    at = max(first.arrived_at, one.arrived_at)
                    after = self._parts.at(cell, one.step)
                    steps[cell, one.step] = Step(first.before, after, at)
                self._note_movers(known, one.step, part, one.movers)
        costs = {
            key: Change(_cost(one.before), _cost(one.after), one.arrived_at)
            for key, one in steps.items()
        }
        return News(costs, steps)

    def add_up(self, news: News) -> dict[tuple[SeriesKey, int], datetime]:
        """Bring the sums of groups up to the cells; return which changed, and when it arrived."""
        sums: dict[tuple[SeriesKey, int], Step] = {}
        for (cell, step), one in news.steps.items():
            for group in self._cells[cell].groups:
                known = sums.get((group, step))
                if known is None:
                    whole = self._sums.at(group, step)
                    known = Step(whole, whole, EARLIEST)
                at = max(known.arrived_at, one.arrived_at)
                after = _moved(known.after, one.before, one.after)
                sums[group, step] = Step(known.before, after, at)
        changed = {}
        for (group, step), one in sums.items():
            whole = one.after
            if whole.members == ASK:
                whole = self._whole(group, step)
            self._sums.put(group, step, "", whole)
            if whole[:3] != one.before[:3]:
                changed[group, step] = one.arrived_at
        return changed

    def close(self) -> None:
        """Pack what a batch was about: it has been judged."""
        self._parts.close()

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what a cell costs in a step; None when none of its series has a row."""
        return self._parts.point(series, step)

    def steps(self, series: SeriesKey) -> list[int]:
        """Return the steps of a cell of which anything is known."""
        return self._parts.steps(series)

    def told_of(self, cell: SeriesKey, step: int) -> Decimal:
        """Return how much more than expected the findings of a cell's series tell of a step."""
        told = self._parts.at(cell, step).told
        return money.subtract(told[0], told[1]) if told else money.ZERO

    def groups(self, cell: SeriesKey) -> tuple[SeriesKey, ...]:
        """Return the groups that a cell is a part of."""
        known = self._cells.get(cell)
        return () if known is None else known.groups

    def members(self, group: SeriesKey) -> Collection[SeriesKey]:
        """Return the cells of a group."""
        return self._members.get(group, {}).keys()

    def size(self, cells: Iterable[SeriesKey]) -> int:
        """Return how many series are in some cells."""
        return sum(self._cells[cell].size for cell in cells if cell in self._cells)

    def things(self, cell: SeriesKey) -> list[Thing]:
        """Return what the series of a cell are spent on."""
        account = account_of(cell)
        return [
            Thing(account, dimension, value)
            for dimension, values in self._cells[cell].name.things.items()
            for value in values
        ]

    def owner(self, cell: SeriesKey) -> str:
        """Return who owns the series of a cell."""
        return self._cells[cell].name.owner.name

    def places(self, cells: Iterable[SeriesKey]) -> list[Place]:
        """Return where the series of some cells are; named is one that is alone."""
        found = []
        for cell in cells:
            known = self._cells[cell]
            if not known.size:
                continue
            resource_id, resource_name = known.alone_now
            name = known.name
            place = Place(
                resource_id,
                resource_name,
                name.sub_account_id,
                name.service_name or None,
                name.region_id or None,
                name.owner,
            )
            found.append(place)
        return found

    def movers(self, cell: SeriesKey, step: int) -> list[Mover]:
        """Return which resources of a cell are known to have moved it."""
        of_step = self._cells[cell].movers.get(step, {})
        return [one for part in sorted(of_step) for one in of_step[part]]

    def change(self, cell: SeriesKey, step: int, week: int) -> tuple[Decimal, int]:
        """Return by how much a cell costs more than a week before, and how many series cost it."""
        now, then = self._parts.at(cell, step), self._parts.at(cell, step - week)
        return money.subtract(now.cost, then.cost), max(now.members, then.members)

    def forget(self, before: datetime) -> list[SeriesKey]:
        """Let go of steps that began before a time; return the cells that have none left."""
        return self._parts.forget(before)

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of cells; one that comes back is new."""
        gone = list(gone)
        self._parts.drop(gone)
        for cell in gone:
            known = self._cells.pop(cell, None)
            for group in () if known is None else known.groups:
                members = self._members[group]
                del members[cell]
                if not members:
                    del self._members[group]

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._parts.save(streams, f"{name}/parts")
        packed = (
            (str(cell), _SavedCell(cell, one.sizes, one.alone, one.movers))
            for cell, one in self._cells.items()
        )
        yield from streams.values(f"{name}/cells", packed)
        yield from streams.values(f"{name}/by", [("", list(self._by))])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved; ValueError when groups were others."""
        if saved.values(f"{name}/by", list[str]).get("") != list(self._by):
            raise ValueError("its groups were by other dimensions")
        self._parts.restore(saved, f"{name}/parts")
        for packed in saved.values(f"{name}/cells", _SavedCell).values():
            known = self._known(packed.cell)
            known.sizes, known.alone, known.movers = packed.sizes, packed.alone, packed.movers

    def _known(self, cell: SeriesKey) -> _Cell:
        known = self._cells.get(cell)
        if known is None:
            name = CellName.of(cell, len(self._by))
            known = self._cells[cell] = _Cell(name, groups_of(self._by, cell, name.values))
            for group in known.groups:
                self._members.setdefault(group, {})[cell] = None
        return known

    def _whole(self, group: SeriesKey, step: int) -> Rollup:
        whole = None
        for cell in self.members(group):
            one = self._parts.at(cell, step)
            if one.members or one.told:
                whole = one if whole is None else whole.join(one)
        return whole or Rollup()

    def _note_movers(self, known: _Cell, step: int, part: str, movers: tuple[Mover, ...]) -> None:
        known.movers.get(step, {}).pop(part, None)
        if movers:
            known.movers.setdefault(step, {})[part] = movers
            for old in sorted(known.movers)[:-MOVERS_KEPT]:
                del known.movers[old]


class CellsNewSpend(NewSpend):
    """New spend of cells: what their series' findings tell already is not told again."""

    def __init__(
        self,
        least_per_day: Callable[[str], Decimal | None],
        tolerated: float,
        book: CellBook,
        stretches: Stretches,
        first_contact: Callable[[str], datetime | None],
    ) -> None:
        super().__init__(least_per_day, tolerated, (), book, stretches, first_contact)
        self._book = book

    def _named(self, every: Collection[SeriesKey]) -> str:
        """Name a resource that is alone in some cells, else say how many cost anything."""
        book = self._book
        paid = [one for one in every if any(book.point(one, step) for step in book.steps(one))]
        if book.size(every) == 1:
            (place,) = book.places(every)
            if place.resource_id:
                return place.resource_id
        count = book.size(paid)
        return "one resource" if count == 1 else f"{count} resources"

    def _told_of(self, series: SeriesKey, step: int) -> Decimal:
        return self._book.told_of(series, step)

    def _left(self, spend: Spend, step: int, cost: Decimal) -> Decimal:
        told = money.total(self._book.told_of(cell, step) for cell in spend.series)
        return cost if told <= 0 else max(money.subtract(cost, told), money.ZERO)


class CellsTold(Told):
    """What is told of groups whose members' findings are elsewhere, as their sums hold it."""

    def __init__(
        self, stretches: Stretches, book: CellBook, sums: Rollups, members: SeriesOf
    ) -> None:
        super().__init__(stretches, book.groups, members, book.point, lambda *_: ())
        self._book = book
        self._sums = sums

    def of_members(self, group: SeriesKey, step: int) -> Sums:
        """Return what members' findings say of a step."""
        return Sums(*self._sums.at(group, step).told)

    def size(self, series: SeriesKey) -> tuple[int, SeriesKey]:
        """Order sums by their width; the key decides between equals."""
        return self._book.size(self._members(series)), series


def _cost(whole: Rollup) -> Decimal | None:
    return whole.cost if whole.members else None


def _moved(whole: Rollup, before: Rollup, after: Rollup) -> Rollup:
    """Return a sum with what one cell costs now for what it did; ASK where that does not tell."""
    was_largest = before.members and before.largest == whole.largest
    fell = was_largest and (not after.members or after.largest < before.largest)
    if whole.members == ASK or fell or not set(whole.new).isdisjoint(before.new):
        return whole._replace(members=ASK)
    largest = whole.largest
    if after.members:
        largest = max(largest, after.largest) if whole.members else after.largest
    told = whole.told
    if before.told != after.told:
        nothing = (money.ZERO,) * 4
        less = tuple(map(money.subtract, told or nothing, before.told or nothing))
        told = tuple(map(money.add, less, after.told or nothing))
        told = told if any(told) else ()
    return Rollup(
        money.add(money.subtract(whole.cost, before.cost), after.cost),
        whole.members - before.members + after.members,
        largest,
        few(*whole.new, *after.new),
        told,
    )


class _SavedCell(msgspec.Struct, array_like=True):
    cell: SeriesKey
    sizes: dict[str, int]
    alone: dict[str, tuple[str | None, str | None]]
    movers: dict[int, dict[str, tuple[Mover, ...]]]
