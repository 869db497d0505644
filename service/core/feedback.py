"""Feedback: what a person says of an incident, put into effect at once and taken back exactly.

Nothing that is taken back may leave a trace. So `expected` changes what is said and nothing that is
learnt; `not_an_issue` raises a bar beside the detectors; and `new_level` goes on with a second row
of each series' state, which learns on as though nothing had been said.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, Protocol

from service.core.events import UNIT_FEED, SeriesKey
from service.core.findings import OddPoint, Stretch
from service.core.group_names import GroupName
from service.core.intents import Order
from service.core.new_spend import DETECTOR as NEW_SPEND
from service.core.overrides import Level
from service.core.scoring import Scoring
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches

NO_LEVEL: Final = "nothing in this incident has a level that could be the new one"
NO_PAST: Final = "spend on something new has no past to be taken for the new level: it is expected"
NO_BAR: Final = "no detector that could ask for more next time has found this: it is expected"


class Levelled(Protocol):
    """Who judges groups, or hands on what is asked of their levels."""

    def has(self, series: SeriesKey) -> bool:
        """Tell whether a group can be given a level."""
        ...

    def knows(self, stretch: Stretch) -> bool:
        """Tell whether a stretch was raised here."""
        ...

    def raise_bar(self, intent_id: str, stretch: Stretch) -> None:
        """Ask for more than a stretch had before the same is found again."""
        ...

    def lower_bars(self, intent_id: str) -> None:
        """Take back the bars that an intent raised."""
        ...

    def take_level(self, intent_id: str, series: SeriesKey, level: Level) -> None:
        """Take what a group costs since a step for what it always did."""
        ...

    def may_give_back(self, intent_id: str) -> bool:
        """Tell whether the level of an intent can be taken back."""
        ...

    def give_back_level(self, intent_id: str) -> None:
        """Take back the level of an intent."""
        ...

    def settle_level(self, intent_id: str) -> None:
        """Let go of what would be needed to take a level back."""
        ...


class Feedbacks:
    """Applies feedback to the stretches and the scoring of every grain, each order once.

    An order may name findings of others: what is not known here is left to them. Groups have a
    scoring of their own, and so has what units cost; `shares` names the groups that the money of a
    finding is in, each with how much of it.
    """

    def __init__(
        self,
        stretches: Stretches,
        scorings: Mapping[int, Scoring],
        group_scorings: Mapping[int, Levelled],
        shares: Callable[[Stretch], Mapping[SeriesKey, float]],
        unit_scoring: Scoring | None = None,
    ) -> None:
        self._stretches = stretches
        self._scorings = scorings
        self._group_scorings = group_scorings
        self._unit_scoring = unit_scoring
        units = () if unit_scoring is None else (unit_scoring,)
        self._every: tuple[Levelled, ...] = (
            *scorings.values(),
            *group_scorings.values(),
            *units,
        )
        self._shares = shares
        self._closed: dict[str, dict[str, tuple[datetime | None, bool]]] = {}
        self._orders: dict[str, list[str]] = {}

    def refusal(self, order: Order) -> str | None:
        """Say why an order cannot be followed, or None."""
        undoes, verdict = order.undoes, order.feedback.verdict
        if undoes is not None and any(not s.may_give_back(undoes) for s in self._every):
            return "a series has another new level since: take that one back first"
        if verdict == "new_level" and not self._levels(order.finding_ids):
            return NO_PAST if self._is_new(order.finding_ids) else NO_LEVEL
        if verdict == "not_an_issue" and not any(self._judged(order.finding_ids)):
            return NO_BAR
        return None

    def apply(self, order: Order) -> None:
        """Put an order into effect that is not refused; one that was before changes nothing."""
        intent_id, verdict = order.feedback.intent_id, order.feedback.verdict
        if intent_id in self._orders:
            return
        self._orders[intent_id] = order.finding_ids
        if verdict == "new_level":
            self._take_level(intent_id, order.finding_ids)
        elif verdict == "not_an_issue":
            for scoring, stretch in self._judged(order.finding_ids):
                scoring.raise_bar(intent_id, stretch)
        elif order.undoes is not None:
            self._take_back(order.undoes)

    def forget(self) -> None:
        """Let go of what can no longer be taken back: its findings are forgotten."""
        for intent_id, finding_ids in list(self._orders.items()):
            if not any(self._stretches.get(finding_id) for finding_id in finding_ids):
                del self._orders[intent_id]
                self._closed.pop(intent_id, None)
                for scoring in self._every:
                    scoring.settle_level(intent_id)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._closed.items())
        yield from streams.values(f"{name}/orders", self._orders.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._closed = saved.values(name, dict[str, tuple[datetime | None, bool]])
        self._orders = saved.values(f"{name}/orders", list[str])

    def _take_level(self, intent_id: str, finding_ids: Collection[str]) -> None:
        levels = self._levels(finding_ids)
        for (scoring, series), level in self._levels_of_groups(levels).items():
            scoring.take_level(intent_id, series, level)
        for (scoring, series), stretches in levels.items():
            if GroupName.of(series) is None:
                scoring.take_level(intent_id, series, _level(stretches))
            for stretch in stretches:
                closed = self._closed.setdefault(intent_id, {})
                closed[stretch.finding_id] = stretch.ended_at, self._stretches.is_live(stretch)
                self._stretches.close(stretch)

    def _take_back(self, intent_id: str) -> None:
        for scoring in self._every:
            scoring.lower_bars(intent_id)
            scoring.give_back_level(intent_id)
        for finding_id, (ended_at, was_live) in self._closed.pop(intent_id, {}).items():
            stretch = self._stretches.get(finding_id)
            if stretch is not None:
                self._stretches.reopen(stretch, ended_at, is_live=was_live)

    def _levels(
        self, finding_ids: Collection[str]
    ) -> dict[tuple[Levelled, SeriesKey], list[Stretch]]:
        """Return what goes on, or has got used to it, by series."""
        found: dict[tuple[Levelled, SeriesKey], list[Stretch]] = {}
        for scoring, stretch in self._judged(finding_ids):
            is_back = stretch.ended_at is not None and not stretch.is_new_level
            if not is_back and not stretch.is_closed:
                found.setdefault((scoring, stretch.series), []).append(stretch)
        return found

    def _levels_of_groups(
        self, levels: Mapping[tuple[Levelled, SeriesKey], list[Stretch]]
    ) -> dict[tuple[Levelled, SeriesKey], Level]:
        """Return by how much groups are at a new level: what is told of them and of their money.

        They speak of what nobody else tells; the new level of a member would be news to them.
        """
        found: dict[tuple[Levelled, SeriesKey], Level] = {}
        for stretches in levels.values():
            stretch = _loudest(stretches)
            scoring, more = self._group_scorings.get(stretch.step_hours), _more(stretch)
            for group, share in self._shares(stretch).items():
                if share and scoring is not None and scoring.has(group):
                    known = found.get((scoring, group), Level(stretch.since_step, 1.0, 0.0))
                    since = min(known.since, stretch.since_step)
                    found[scoring, group] = Level(since, 1.0, known.more + share * more)
        return found

    def _is_new(self, finding_ids: Collection[str]) -> bool:
        found = (self._stretches.get(finding_id) for finding_id in finding_ids)
        return any(stretch is not None and stretch.detector == NEW_SPEND for stretch in found)

    def _judged(self, finding_ids: Collection[str]) -> Iterable[tuple[Levelled, Stretch]]:
        """Return the stretches that a detector which learns has raised, with their scoring."""
        for finding_id in finding_ids:
            stretch = self._stretches.get(finding_id)
            if stretch is None or stretch.status == "retracted":
                continue
            scoring = self._scoring_of(stretch)
            if scoring is not None and scoring.knows(stretch):
                yield scoring, stretch

    def _scoring_of(self, stretch: Stretch) -> Levelled | None:
        if stretch.series.source == UNIT_FEED:
            return self._unit_scoring
        is_group = GroupName.of(stretch.series) is not None
        scorings: Mapping[int, Levelled] = self._group_scorings if is_group else self._scorings
        return scorings.get(stretch.step_hours)


def _level(stretches: Iterable[Stretch]) -> Level:
    """Return since when, and by what change of the past, a series is at its new level.

    Told by the last day of the stretch with most money: many times as much, or so much more,
    whichever comes closer to its periods.
    """
    stretch = _loudest(stretches)
    points = _last_day(stretch)
    actual = [float(point.actual) for point in points]
    expected = [float(point.expected) for point in points]
    more = _more(stretch)
    since = stretch.since_step
    if sum(expected) <= 0.0:
        return Level(since, 1.0, more)
    times = sum(actual) / sum(expected)
    by_times = sum((a - times * e) ** 2 for a, e in zip(actual, expected, strict=True))
    by_more = sum((a - e - more) ** 2 for a, e in zip(actual, expected, strict=True))
    return Level(since, 1.0, more) if by_more < by_times else Level(since, times, 0.0)


def _loudest(stretches: Iterable[Stretch]) -> Stretch:
    return max(stretches, key=lambda s: (abs(s.sums.excess), s.finding_id))


def _last_day(stretch: Stretch) -> list[OddPoint]:
    steps = sorted(stretch.points)[-24 // stretch.step_hours :]
    return [stretch.points[step] for step in steps]


def _more(stretch: Stretch) -> float:
    """Return what a step costs more than it should, over the last day of a stretch."""
    points = _last_day(stretch)
    return sum(float(point.excess) for point in points) / len(points)
