"""Sum about: what there is to say of sums whose members are elsewhere: place, owner, and why."""

from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Final

from service.core import money
from service.core.cell_book import CellBook
from service.core.effects import Split
from service.core.events import SeriesKey
from service.core.findings import Stretch
from service.core.group_names import GroupName
from service.core.new_spend import DETECTOR as NEW_SPEND
from service.core.new_spend import NewSpend
from service.core.owners import Owners
from service.core.places import Place, common, name_of, sum_text
from service.core.scoring import Scoring
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches

WEEK_HOURS: Final = 168


class SumAbout:
    """Answers for findings of groups and of new spend, from the cells that they add up."""

    def __init__(
        self,
        book: CellBook,
        owners: Owners,
        new_spend: NewSpend,
        members: Callable[[SeriesKey], Collection[SeriesKey]],
        scorings: Mapping[int, Scoring],
    ) -> None:
        self._book = book
        self._owners = owners
        self._new_spend = new_spend
        self._members = members
        self._scorings = scorings
        self._places: dict[str, Place] = {}

    def is_sum(self, series: SeriesKey) -> bool:
        """Tell whether a series adds up others: all do here."""
        return bool(series)

    def groups(self, series: SeriesKey) -> list[str]:
        """Name the groups of a sum: itself."""
        return [str(series)]

    def place(self, stretch: Stretch) -> Place:
        """Return where a finding belongs, frozen with its first word."""
        known = self._places.get(stretch.finding_id)
        if known is not None:
            return known
        series = stretch.series
        members, group = self._members(series), GroupName.of(series)
        count = self._book.size(members)
        name = self._new_spend.name(series) if group is None else name_of(group, count)
        rows = self._book.places(members)
        found = common(rows, count, self._owners, name, is_group=group is not None)
        self._places[stretch.finding_id] = found
        return found

    def split(self, stretch: Stretch) -> Split | None:
        """Return None: how much of a sum is the price is not known."""
        del stretch
        return None

    def reason(self, stretch: Stretch, split: Split | None) -> str:
        """Say why, in a sentence or two."""
        del split
        if stretch.detector == NEW_SPEND:
            return self._new_spend.reason(stretch)
        group = GroupName.of(stretch.series)
        assert group is not None  # noqa: S101 - what is no group is new spend
        members = self._members(stretch.series)
        name = name_of(group, self._book.size(members))
        sentence = self._scorings[stretch.step_hours].reason(stretch)
        return sum_text(name, sentence, self._moved(stretch, members), stretch.series)

    def _moved(
        self, stretch: Stretch, members: Collection[SeriesKey]
    ) -> tuple[list[tuple[str, Decimal]], int, Decimal]:
        """Return who moved it the way it went, most first; of others' how many, and by how much."""
        owner, step = self.place(stretch).owner.name, stretch.last_step
        impact, week = stretch.sums.excess, WEEK_HOURS // stretch.step_hours
        mine: list[tuple[str, Decimal]] = []
        count, more = 0, money.ZERO
        for cell in members:
            if self._book.owner(cell) == owner:
                mine += [one for one in self._book.movers(cell, step) if one.change * impact > 0]
            else:
                change, series = self._book.change(cell, step, week)
                count, more = count + (series if change else 0), money.add(more, change)
        mine.sort(key=lambda one: (-abs(one[1]), one[0]))
        return mine, count if more * impact > 0 else 0, more

    def forget(self, stretches: Stretches) -> None:
        """Let go of what was said of findings that may not change any more."""
        self._places = {
            name: place for name, place in self._places.items() if stretches.get(name) is not None
        }

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/places", self._places.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._places = saved.values(f"{name}/places", Place)
