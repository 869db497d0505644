"""Cells: the finest groups, of series that are alike in all that groups and new spend ask of them.

A process that has some of all series cannot judge a sum, but it can add its own up. It does so by
cell, since the sum of any group, and of what any two have in common, is one of whole cells.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from service.core.events import CELL_MARK, EARLIEST, CostEvent, SeriesKey
from service.core.group_names import BY_SUB_ACCOUNT, Values, groups_of
from service.core.groups import Change, Groups, Move
from service.core.ledger import Ledger
from service.core.owners import Owner, Owners
from service.core.rollups import Rollups
from service.core.things import principal_of, things_of

# Owner, what decided it, sub-account, service and region come before the values of dimensions.
PLACES: Final = 5


class CellName(NamedTuple):
    """What the series of a cell have in common; empty text where their rows say nothing."""

    owner: Owner
    sub_account_id: str
    service_name: str
    region_id: str
    values: Values
    things: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, cell: SeriesKey, dimensions: int) -> "CellName":
        """Read the name of a cell of series that are grouped by so many dimensions.

        ValueError for what is no cell, or one by fewer dimensions.
        """
        if not cell.resource.startswith(CELL_MARK):
            raise ValueError(f"not a cell: {str(cell)[:200]!r}")
        said = _READ(cell.resource.removeprefix(CELL_MARK))
        if len(said) < PLACES + dimensions:
            raise ValueError(f"not a cell by {dimensions} dimensions: {str(cell)[:200]!r}")
        things: dict[str, tuple[str, ...]] = {}
        for thing in said[PLACES + dimensions :]:
            dimension, _, value = thing.partition("=")
            things[dimension] = (*things.get(dimension, ()), value)
        owner, source, account, service, region = said[:PLACES]
        values = said[PLACES : PLACES + dimensions]
        return cls(Owner(owner, source), account, service, region, values, things)


class Cells(Groups):
    """The cells of the series at hand: each series is in one, and in the groups that it is part of.

    A series is spent on all that its rows ever were (`things`); with a new one it goes to another
    cell, with its past.
    """

    def __init__(
        self,
        group_by: Sequence[str],
        principal_tags: Sequence[str],
        owners: Owners,
        ledger: Ledger,
        rollups: Rollups,
    ) -> None:
        super().__init__(group_by, owners, ledger, rollups)
        self._is_asked = True
        self._fixed = PLACES + len(self._by)
        self._principal_tags = principal_tags
        self._seen: dict[tuple[SeriesKey, str | None], tuple[object, ...]] = {}
        self._spent_on: dict[SeriesKey, set[str]] = {}
        self._known: dict[SeriesKey, SeriesKey] = {}  # so that the series of a cell share its name

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Return by what series are grouped."""
        return self._by

    def take(self, series: SeriesKey, step: int, event: CostEvent) -> None:
        """Note where a row of plain usage says that its series belongs, and what it is spent on."""
        super().take(series, step, event)
        about = (event.tags, event.region_id, event.service_name, event.charge_description)
        if self._seen.get((series, event.sku_id)) == about:
            return
        self._seen[series, event.sku_id] = about
        principal = principal_of(event.tags, self._principal_tags)
        things = {f"{t.dimension}={t.value}" for t in things_of(series, event, principal)}
        known = self._of.get(series)
        if known is None or not things <= set(known.values[self._fixed :]):
            self._spent_on.setdefault(series, set()).update(things)

    def apply(self, changes: Mapping[tuple[SeriesKey, int], Change]) -> list[SeriesKey]:
        """Bring the sums up to the ledger; return the series that are in other cells now."""
        spent_on, self._spent_on = self._spent_on, {}
        for series, (step, values) in self._first.items():
            things = spent_on.pop(series, ())
            self._first[series] = step, (*values[: self._fixed], *sorted(things))
        super().apply(changes)
        moves: dict[tuple[SeriesKey, int], Move] = {}
        arrived = {} if not spent_on else {key[0]: one.arrived_at for key, one in changes.items()}
        for series, things in spent_on.items():
            known, at = self._of[series], arrived.get(series, EARLIEST)
            fixed, old = known.values[: self._fixed], known.values[self._fixed :]
            values = (*fixed, *sorted(things.union(old)))
            self._retag(series, known, values, known.said_step, at, moves)
        self._move_sums(moves)
        return list(spent_on)

    def names(self, series: SeriesKey) -> list[str]:
        """Name the groups that a series belongs to."""
        known = self._of.get(series)
        if known is None:
            return []
        values = known.values[PLACES : self._fixed]
        return [str(group) for group in groups_of(self._by, series, values)]

    def beside(self, series: SeriesKey) -> Collection[SeriesKey]:
        """Return the series of the same sub-account, if series are grouped by it."""
        known = self._of.get(series)
        if known is None or BY_SUB_ACCOUNT not in self._by:
            return ()
        alike, account = (series.source, *series[3:]), known.values[2]
        return [
            member
            for cell, members in self._members.items()
            if (cell.source, *cell[3:]) == alike
            for member in members
            if self._of[member].values[2] == account
        ]

    def forget(self, before: datetime) -> None:
        """Let go of who joined a cell before a time, and look at every row afresh."""
        super().forget(before)
        self._seen.clear()
        self._known = {cell: cell for cell in self._members}

    def _values(self, event: CostEvent) -> Values:
        owner = self._owners.of_row(event)
        place = (event.sub_account_id, event.service_name, event.region_id)
        return (*owner, *(name or "" for name in place), *super()._values(event))

    def _kept(self, values: Values, known: Values) -> Values:
        return (*values[: self._fixed], *known[self._fixed :])

    def _groups(self, series: SeriesKey, values: Values) -> tuple[SeriesKey, ...]:
        if len(values) < self._fixed:
            raise ValueError("cells were by other dimensions")
        name = CELL_MARK + msgspec.json.encode(values).decode()
        cell = series._replace(resource=name)
        return (self._known.setdefault(cell, cell),)


_READ: Final = msgspec.json.Decoder(tuple[str, ...]).decode
