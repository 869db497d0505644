"""Groups: which series are summed together, and their sums as rows come, change and move.

A group is what one source bills for one owner, sub-account, service, region or value of a tag, in
one currency and grain. A series is in the groups that its newest rows name: who gets a resource
gets its past as well, so that a changed tag is neither a drop of one group nor a rise of the other.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from detectors.base import step_of
from service.core import money
from service.core.events import EARLIEST, CostEvent, Grain, SeriesKey, TagValue
from service.core.group_names import (
    BY_SUB_ACCOUNT,
    GroupName,
    Values,
    check_group_by,
    groups_of,
    values_of,
)
from service.core.ledger import STEP_HOURS, Ledger
from service.core.owners import Owners
from service.core.rollups import Rollup, Rollups
from service.core.slots import NUMBERS, Rows, Slots
from service.core.state import Chunk, Saved, Sign, StateError, Streams

LOWEST: Final = Decimal("-Infinity")
# Detectors hold a sum to the second highest of the weeks before it.
NEW_DAYS: Final = 14
# What is saved of each series.
VALUES, SAID, FIRST = "values", "said", "first"
NOBODY: Final = -1

_About = tuple[Mapping[str, TagValue] | None, str | None, str | None, str | None]


class Change(NamedTuple):
    """What a step of a series cost before a batch and does after it, and when that arrived."""

    before: Decimal | None
    after: Decimal | None
    arrived_at: datetime


class Membership:
    """Where one series belongs, what said so, in which step that was last said, and its first."""

    __slots__ = ("about", "first_step", "groups", "said_step", "values")

    def __init__(
        self, values: Values, groups: tuple[SeriesKey, ...], said_step: int, first_step: int
    ) -> None:
        self.values = values
        self.groups = groups
        self.said_step = said_step
        self.first_step = first_step
        self.about: _About | None = None


class Groups:
    """The groups of the series at hand (`part` of all), and their sums in `rollups`."""

    def __init__(
        self,
        group_by: Sequence[str],
        owners: Owners,
        ledger: Ledger,
        rollups: Rollups,
        part: str = "",
    ) -> None:
        check_group_by(group_by)
        self._by = tuple(dict.fromkeys(group_by))
        self._is_asked = bool(self._by)
        self._owners = owners
        self._ledger = ledger
        self._rollups = rollups
        self._part = part
        self._of: dict[SeriesKey, Membership] = {}
        self._members: dict[SeriesKey, dict[SeriesKey, None]] = {}
        self._newest: dict[SeriesKey, dict[SeriesKey, int]] = {}
        self._first: dict[SeriesKey, tuple[int, Values]] = {}
        self._otherwise: dict[tuple[int, Grain], dict[SeriesKey, set[Values]]] = {}
        self._changed: dict[tuple[SeriesKey, int], datetime] = {}
        # Numbers of what is saved.
        self._slots: Rows[SeriesKey] = Rows(NUMBERS)
        self._codes: Slots[Values] = Slots()

    def of(self, series: SeriesKey) -> tuple[SeriesKey, ...]:
        """Return the groups that a series belongs to."""
        known = self._of.get(series)
        return () if known is None else known.groups

    def names(self, series: SeriesKey) -> list[str]:
        """Name the groups that a series belongs to."""
        return [str(group) for group in self.of(series)]

    def beside(self, series: SeriesKey) -> Collection[SeriesKey]:
        """Return the series of the same sub-account, if series are grouped by it."""
        found = (group for group in self.of(series) if _is_account(group))
        return self.members(next(found, series))

    def members(self, group: SeriesKey) -> Collection[SeriesKey]:
        """Return the series of a group, in the order in which they joined it."""
        return self._members.get(group, {}).keys()

    def newcomers(self, group: SeriesKey, step: int) -> list[Decimal]:
        """Return what members cost that were seen for less than two weeks, largest first."""
        since = step - NEW_DAYS * 24 // STEP_HOURS[group.grain]
        costs = (
            self._ledger.point(member, step)
            for member, first in self._newest.get(group, {}).items()
            if first > since
        )
        return sorted((cost for cost in costs if cost is not None), reverse=True)

    def forget(self, before: datetime) -> None:
        """Let go of who joined a group before a time."""
        for group, members in self._newest.items():
            edge = step_of(before, STEP_HOURS[group.grain])
            for member in [member for member, step in members.items() if step < edge]:
                del members[member]

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of series without a cost that may still change: they are in no sum any more."""
        for series in gone:
            known = self._of.pop(series, None)
            if known is not None:
                self._slots.free(series)
                for group in known.groups:
                    self._leave(series, group)
        for key, others in list(self._otherwise.items()):
            left = {series: values for series, values in others.items() if series in self._of}
            if left:
                self._otherwise[key] = left
            else:
                del self._otherwise[key]

    def take(self, series: SeriesKey, step: int, event: CostEvent) -> None:
        """Note where a row of plain usage says that its series belongs."""
        if not self._is_asked:
            return
        about = (event.tags, event.sub_account_id, event.service_name, event.region_id)
        known = self._of.get(series)
        if known is not None and known.about == about:
            known.said_step = max(known.said_step, step)
            return
        values = self._values(event)
        if known is not None:
            values = self._kept(values, known.values)
        if known is None:
            # The newest step decides; within it the order of arrival must not.
            first = self._first.get(series)
            if first is None or (-step, values) < (-first[0], first[1]):
                self._first[series] = (step, values)
        elif values == known.values:
            known.about = about
            known.said_step = max(known.said_step, step)
        else:
            others = self._otherwise.setdefault((step, series.grain), {})
            others.setdefault(series, set()).add(values)

    def apply(self, changes: Mapping[tuple[SeriesKey, int], Change]) -> list[SeriesKey]:
        """Bring the sums up to the ledger; return the series that are in other groups for it."""
        for series, (step, values) in self._first.items():
            first = min(self._ledger.steps(series))
            groups = self._groups(series, values)
            self._join(series, Membership(values, groups, step, first))
        self._first.clear()
        moves: dict[tuple[SeriesKey, int], Move] = {}
        for (series, step), change in changes.items():
            known = self._of.get(series)
            if known is not None:
                _collect(moves, known.groups, step, change)
        self._move_sums(moves)
        return []

    def settle(self, is_closed: Callable[[SeriesKey, int], bool], now: datetime) -> list[SeriesKey]:
        """Move series whose rows of a closed step all name other groups than they are in."""
        moved: list[SeriesKey] = []
        moves: dict[tuple[SeriesKey, int], Move] = {}
        for step, grain in sorted(self._otherwise):
            others = self._otherwise[step, grain]
            if not is_closed(next(iter(others)), step):
                continue
            del self._otherwise[step, grain]
            for series in sorted(others):
                known = self._of[series]
                if known.said_step < step:
                    values = self._kept(min(others[series]), known.values)
                    self._retag(series, known, values, step, now, moves)
                    moved.append(series)
        self._move_sums(moves)
        return moved

    def changed(self) -> dict[tuple[SeriesKey, int], datetime]:
        """Return the sums that changed since the last call, and when what changed them arrived."""
        changed, self._changed = self._changed, {}
        return changed

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        used = {one.values for one in self._of.values()}
        for values in [values for values in self._codes if values not in used]:
            self._codes.free(values)
        columns = {
            column: np.full(len(self._slots), NOBODY, np.int64) for column in (VALUES, SAID, FIRST)
        }
        numbers = [self._slots[series] for series in self._of]
        columns[VALUES][numbers] = [self._codes.give(one.values) for one in self._of.values()]
        columns[SAID][numbers] = [one.said_step for one in self._of.values()]
        columns[FIRST][numbers] = [one.first_step for one in self._of.values()]
        yield from self._slots.save(streams, f"{name}/series")
        yield from self._codes.save(streams, f"{name}/values")
        yield from streams.columns(name, columns, sign)
        otherwise = [
            (key, [(series, sorted(values)) for series, values in others.items()])
            for key, others in self._otherwise.items()
        ]
        yield from streams.values(f"{name}/otherwise", [("", otherwise)])

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept; the ledger knows them already.

        The sums are those of the rollups; `add_up` makes them those of the series that are kept.
        """
        to = self._slots.restore(saved, f"{name}/series", SeriesKey, keep)
        self._codes.restore(saved, f"{name}/values", Values, lambda _: True)
        columns = {
            column: np.full(len(self._slots), NOBODY, np.int64) for column in (VALUES, SAID, FIRST)
        }
        flaws = saved.columns(name, columns, to)
        if flaws:
            raise StateError(min(flaws.values()))
        self._join_all(*(columns[column].tolist() for column in (VALUES, SAID, FIRST)))
        kind = list[tuple[tuple[int, Grain], list[tuple[SeriesKey, set[Values]]]]]
        for key, others in saved.values(f"{name}/otherwise", kind)[""]:
            mine = {series: found for series, found in others if keep(series)}
            if mine:
                self._otherwise[key] = mine

    def add_up(self) -> None:
        """Make the sums those of the series at hand: others of them went elsewhere."""
        moves: dict[tuple[SeriesKey, int], Move] = {}
        for series, known in self._of.items():
            for step in self._ledger.steps(series):
                cost = self._ledger.point(series, step)
                _collect(moves, known.groups, step, Change(None, cost, EARLIEST))
        self._move_sums(moves)
        self._changed.clear()

    def _values(self, event: CostEvent) -> Values:
        """Return what a row says of where its series belongs."""
        return values_of(self._by, event, self._owners)

    def _kept(self, values: Values, known: Values) -> Values:
        """Return what holds of a series that was known by other values."""
        del known
        return values

    def _groups(self, series: SeriesKey, values: Values) -> tuple[SeriesKey, ...]:
        """Return the groups that values put a series into."""
        return groups_of(self._by, series, values)

    def _leave(self, series: SeriesKey, group: SeriesKey) -> None:
        for every in (self._members, self._newest):
            if group in every:
                every[group].pop(series, None)
                if not every[group]:
                    del every[group]

    def _join(self, series: SeriesKey, membership: Membership) -> None:
        self._slots.give(series)
        self._of[series] = membership
        for group in membership.groups:
            self._members.setdefault(group, {})[series] = None
            self._newest.setdefault(group, {})[series] = membership.first_step

    def _join_all(
        self, codes: Sequence[int], said_steps: Sequence[int], first_steps: Sequence[int]
    ) -> None:
        """Put all series where their values say, those alike together."""
        alike: dict[tuple[object, ...], tuple[Values, tuple[SeriesKey, ...], list[int]]] = {}
        keys = self._slots.numbered()
        for number, (series, code) in enumerate(zip(keys, codes, strict=True)):
            if series is None:
                continue
            likes = series[0], series[1], series[3], series[4], code
            found = alike.get(likes)
            if found is None:
                values = self._codes.key(code)
                found = alike[likes] = values, self._groups(series, values), []
            found[2].append(number)
            said, first = said_steps[number], first_steps[number]
            self._of[series] = Membership(found[0], found[1], said, first)
        of_group: dict[SeriesKey, list[int]] = {}
        for _, groups, numbers in alike.values():
            for group in groups:
                of_group.setdefault(group, []).extend(numbers)
        for group, numbers in of_group.items():
            newest = {
                key: first_steps[number]
                for number in sorted(numbers)
                if (key := keys[number]) is not None
            }
            self._members[group], self._newest[group] = dict.fromkeys(newest), newest

    def _retag(
        self,
        series: SeriesKey,
        known: Membership,
        values: Values,
        step: int,
        now: datetime,
        moves: "dict[tuple[SeriesKey, int], Move]",
    ) -> None:
        old, new = known.groups, self._groups(series, values)
        self._join(series, Membership(values, new, step, known.first_step))
        left, joined = set(old) - set(new), set(new) - set(old)
        for group in left:
            self._leave(series, group)
        for at in self._ledger.steps(series):
            cost = self._ledger.point(series, at)
            _collect(moves, left, at, Change(cost, None, now))
            _collect(moves, joined, at, Change(None, cost, now))

    def _move_sums(self, moves: Mapping[tuple[SeriesKey, int], "Move"]) -> None:
        for (group, step), move in moves.items():
            known = self._rollups.part(group, step, self._part)
            largest = max(known.largest, move.largest) if known.members else move.largest
            if known.members and move.lowered >= known.largest:
                largest = self._largest(group, step)
            rollup = Rollup(money.add(known.cost, move.cost), known.members + move.members, largest)
            self._rollups.put(group, step, self._part, rollup)
            at = self._changed.get((group, step), move.arrived_at)
            self._changed[group, step] = max(at, move.arrived_at)

    def _largest(self, group: SeriesKey, step: int) -> Decimal:
        costs = (self._ledger.point(member, step) for member in self.members(group))
        return max((cost for cost in costs if cost is not None), default=money.ZERO)


def _is_account(group: SeriesKey) -> bool:
    name = GroupName.of(group)
    return name is not None and name.by == BY_SUB_ACCOUNT


class Move:
    """What a batch does to one sum: `largest` of the new costs, and of those that fell."""

    __slots__ = ("arrived_at", "cost", "largest", "lowered", "members")

    def __init__(self, arrived_at: datetime) -> None:
        self.arrived_at = arrived_at
        self.cost = money.ZERO
        self.members = 0
        self.largest = self.lowered = LOWEST


def _collect(
    moves: dict[tuple[SeriesKey, int], Move],
    groups: Iterable[SeriesKey],
    step: int,
    change: Change,
) -> None:
    """Note that one member's old cost is replaced by a new one."""
    old, new, arrived_at = change
    if old == new:
        return
    cost = money.subtract(new or money.ZERO, old or money.ZERO)
    for group in groups:
        move = moves.get((group, step))
        if move is None:
            move = moves[group, step] = Move(arrived_at)
        move.cost = money.add(move.cost, cost)
        move.members += (new is not None) - (old is not None)
        move.arrived_at = max(move.arrived_at, arrived_at)
        if new is not None and new > move.largest:
            move.largest = new
        if old is not None and old > move.lowered and (new is None or new < old):
            move.lowered = old
