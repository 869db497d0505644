"""About: what there is to say of a finding beyond its figures: place, owner, groups, and why."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from service.core.effects import Effects, Split, sentence_of
from service.core.events import SeriesKey
from service.core.findings import Stretch
from service.core.group_names import GroupName
from service.core.groups import Groups
from service.core.incidents import PRICE_CHANGE
from service.core.ledger import Ledger
from service.core.new_spend import DETECTOR as NEW_SPEND
from service.core.new_spend import NewSpend
from service.core.owners import UNOWNED, Owner, Owners, infer
from service.core.places import Place, common_place, movers_of, name_of, place_of, sum_reason
from service.core.purchases import DETECTOR as PURCHASE
from service.core.purchases import reason as purchase_reason
from service.core.scoring import Scoring
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches

WEEK_HOURS: Final = 168
DROP: Final = "drop"
# Of a large account the first thousand tell who owns things there.
MOST_SIBLINGS: Final = 1000


class About:
    """Answers for findings of series, of groups, of new spend and of purchases.

    The scorings, by the hours of their steps, know what their detectors say.
    """

    def __init__(
        self,
        ledger: Ledger,
        owners: Owners,
        groups: Groups,
        new_spend: NewSpend,
        scorings: Mapping[int, Scoring],
        group_scorings: Mapping[int, Scoring],
    ) -> None:
        self._ledger = ledger
        self._owners = owners
        self._groups = groups
        self._new_spend = new_spend
        self._scorings = scorings
        self._group_scorings = group_scorings
        self._effects = Effects(ledger)
        self._places: dict[str, Place] = {}

    def members(self, series: SeriesKey) -> Collection[SeriesKey]:
        """Return the series that a sum adds up; none for a series of its own."""
        return self._groups.members(series) or self._new_spend.members(series)

    def is_sum(self, series: SeriesKey) -> bool:
        """Tell whether a series adds up others, though they may all be gone."""
        return GroupName.of(series) is not None or bool(self._new_spend.members(series))

    def groups(self, series: SeriesKey) -> list[str]:
        """Name the groups of a series; of a sum, itself."""
        if self.is_sum(series):
            return [str(series)]
        return self._groups.names(series)

    def place(self, stretch: Stretch) -> Place:
        """Return where a finding belongs.

        The place of a sum is frozen with its first word: whoever was told of it must not find
        another team's resources in it later.
        """
        series = stretch.series
        known = self._places.get(stretch.finding_id)
        if known is not None:
            return known
        members = self.members(series)
        if not members:
            place = place_of(self._ledger.about(series), self._owners)
            # Asked once: the first word about a finding freezes its owner.
            if stretch.owner is None and place.owner.name == UNOWNED:
                return place._replace(owner=self._inferred(series, place) or place.owner)
            return place
        group = GroupName.of(series)
        name = self._new_spend.name(series) if group is None else name_of(group, len(members))
        rows = [self._ledger.about(member) for member in members]
        found = common_place(rows, self._owners, name, is_group=group is not None)
        self._places[stretch.finding_id] = found
        return found

    def _inferred(self, series: SeriesKey, place: Place) -> Owner | None:
        """Infer an owner from the resources of the same service in the sub-account, else of all."""
        beside = [one for one in self._groups.beside(series) if one != series]
        rows = [self._ledger.about(one) for one in beside[:MOST_SIBLINGS]]
        account = f"account {place.sub_account_id}"
        of_service = [row for row in rows if row.service_name == place.service_name]
        found = infer(map(self._owners.of_row, of_service), f"{place.service_name} of {account}")
        return found or infer(map(self._owners.of_row, rows), account)

    def split(self, stretch: Stretch) -> Split | None:
        """Return how much of a finding is the price; None for a sum, or when it is not known."""
        if stretch.detector in (NEW_SPEND, PURCHASE) or self.is_sum(stretch.series):
            return None
        scoring = self._scorings[stretch.step_hours]
        return self._effects.split(stretch, remembers=scoring.remembers(stretch))

    def reason(self, stretch: Stretch, split: Split | None) -> str:
        """Say why, in a sentence or two."""
        if stretch.detector == PURCHASE:
            return purchase_reason(stretch)
        if stretch.detector == NEW_SPEND:
            return self._new_spend.reason(stretch)
        group = GroupName.of(stretch.series)
        scorings = self._scorings if group is None else self._group_scorings
        sentence = scorings[stretch.step_hours].reason(stretch)
        if group is None:
            scoring = scorings[stretch.step_hours]
            moved = self._effects.tokens(stretch, remembers=scoring.remembers(stretch))
            moved = moved or (split and sentence_of(split))
            return f"{sentence} {moved}" if moved else sentence
        members = self.members(stretch.series)
        week = WEEK_HOURS // stretch.step_hours
        mine = self._of_owner(stretch, members)
        movers, others = (
            movers_of(some, self._ledger.point, stretch.last_step, week)
            for some in (mine, [one for one in members if one not in mine])
        )
        name = name_of(group, len(members))
        return sum_reason(name, sentence, movers, others, stretch.sums.excess)

    def _of_owner(self, stretch: Stretch, members: Collection[SeriesKey]) -> set[SeriesKey]:
        """Return the members that may be named: who owns the finding must own them."""
        owner, owners = self.place(stretch).owner.name, self._owners
        rows = ((member, self._ledger.about(member)) for member in members)
        return {one for one, row in rows if owners.of_row(row).name == owner}

    def forget(self, stretches: Stretches) -> None:
        """Let go of what was said of findings that may not change any more."""
        self._places = {
            name: place for name, place in self._places.items() if stretches.get(name) is not None
        }
        self._effects.forget(stretches)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/places", self._places.items())
        yield from self._effects.save(streams, f"{name}/before")

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._places = saved.values(f"{name}/places", Place)
        self._effects.restore(saved, f"{name}/before")


def kind_of(stretch: Stretch, split: Split | None) -> str:
    """Name what was found: spending that fell because the price did is no drop."""
    is_price = stretch.kind == DROP and split is not None and split.is_price
    return PRICE_CHANGE if is_price else stretch.kind
