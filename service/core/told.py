"""What findings tell already of the money in a group, so that a group speaks of the rest alone.

A group's excess is held to what its members' own findings say, and to what findings about narrower
sums of the same members say: every dollar is told once.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from decimal import Decimal

import msgspec

from service.core import money
from service.core.events import SeriesKey
from service.core.findings import OddPoint, Stretch, Sums
from service.core.group_names import GroupName
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches

Cost = Callable[[SeriesKey, int], Decimal | None]
SeriesOf = Callable[[SeriesKey], Collection[SeriesKey]]
BarredAt = Callable[[SeriesKey, int], Iterable[tuple[SeriesKey, OddPoint]]]


class Told:
    """Looks up what is told of a group's step.

    `groups_of` names the groups of a series, `members` the series of a group or of whatever else
    is a sum (nothing for a plain series), `cost` what a plain series costs. `barred` yields, for a
    group's step, the series that were odd in it though not as odd as a person asked for.
    """

    def __init__(
        self,
        stretches: Stretches,
        groups_of: SeriesOf,
        members: SeriesOf,
        cost: Cost,
        barred: BarredAt,
    ) -> None:
        self._stretches = stretches
        self._groups_of = groups_of
        self._members = members
        self._cost = cost
        self._barred = barred
        self._odd_members: dict[SeriesKey, dict[SeriesKey, None]] = {}
        self._odd_sums: dict[SeriesKey, None] = {}
        self._shared: dict[tuple[str, SeriesKey], float] = {}
        self._subtracted: dict[tuple[SeriesKey, int], Sums] = {}

    def note(self, changed: Iterable[Stretch], elsewhere: Iterable[tuple[int, int]] = ()) -> None:
        """Take notice of findings that changed, and move what groups said of the same money.

        `elsewhere` are steps, by their hours, of which findings that are elsewhere tell otherwise.
        """
        steps = set(elsewhere)
        for stretch in changed:
            series = stretch.series
            if self._members(series):
                self._odd_sums[series] = None
            else:
                self._note_member(series)
            steps.update((stretch.step_hours, step) for step in stretch.dirty)
        if not steps:
            return
        for series in self._odd_sums:
            for stretch in self._stretches.of(series) if GroupName.of(series) else ():
                moved = (step for step in stretch.points if (stretch.step_hours, step) in steps)
                for step in sorted(moved):
                    self._refresh(series, step)

    def note_moved(self, moved: Iterable[SeriesKey]) -> None:
        """Take notice of series that are now in other groups, with what was found about them."""
        for series in moved:
            if self._stretches.of(series):
                self._note_member(series)

    def rest(self, group: SeriesKey, step: int, whole: OddPoint) -> OddPoint:
        """Return what nobody told yet of a group's point: as much less odd as less is left."""
        told = self.of(group, step)
        left = _without(whole, told)
        if left.excess * whole.excess <= 0:
            return left._replace(surprise=0.0)
        share = min(1.0, float(left.excess) / float(whole.excess))
        return left._replace(surprise=whole.surprise * share)

    def of(self, group: SeriesKey, step: int) -> Sums:
        """Return what is told of a group's step."""
        told = self.of_members(group, step)
        for series in self._odd_sums:
            if self._gives_way(group, series):
                loudest = _loudest(self._stretches.of(series), step)
                if loudest is not None:
                    said = float(loudest.points[step].excess) * self._share(loudest, group)
                    # Not subtracted from the sum: that much more of it was to be expected.
                    less = money.cents(-said)
                    told = told.replace(None, OddPoint(money.ZERO, less, less, less, 0.0))
        return told

    def of_members(self, group: SeriesKey, step: int) -> Sums:
        """Return what members' findings say of a step, or would without a bar."""
        found: dict[SeriesKey, OddPoint] = {}
        for series in self._odd_members.get(group, ()):
            loudest = _loudest(self._stretches.of(series), step)
            if loudest is not None:
                found[series] = loudest.points[step]
        for series, point in self._barred(group, step):
            if series not in found or abs(found[series].excess) < abs(point.excess):
                found[series] = point
        told = Sums()
        for series, point in found.items():
            if group in self._groups_of(series):
                told = told.replace(None, point)
        return told

    def subtract(self, group: SeriesKey, step: int) -> Sums:
        """Return what is told, and remember that every finding about the group leaves it out."""
        self._refresh(group, step)
        self._odd_sums[group] = None
        told = self._subtracted[group, step] = self.of(group, step)
        return told

    def shares(self, stretch: Stretch) -> dict[SeriesKey, float]:
        """Return the groups that the money of a finding is in, and how much of it."""
        members = self._members(stretch.series)
        if not members:
            return dict.fromkeys(self._groups_of(stretch.series), 1.0)
        groups = {group for member in members for group in self._groups_of(member)}
        return {group: self._share_now(stretch, group) for group in sorted(groups)}

    def forget(self) -> None:
        """Let go of what belongs to findings that may not change any more."""
        stretches = self._stretches
        for group, step in list(self._subtracted):
            if not any(step in known.points for known in stretches.of(group)):
                del self._subtracted[group, step]
        for group, series in list(self._odd_members.items()):
            left = {one: None for one in series if stretches.of(one)}
            if left:
                self._odd_members[group] = left
            else:
                del self._odd_members[group]
        self._odd_sums = {one: None for one in self._odd_sums if stretches.of(one)}
        for name, group in list(self._shared):
            if stretches.get(name) is None:
                del self._shared[name, group]

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        packed = _Saved(
            odd_members=[(group, list(series)) for group, series in self._odd_members.items()],
            odd_sums=list(self._odd_sums),
            shared=list(self._shared.items()),
            subtracted=list(self._subtracted.items()),
        )
        yield from streams.values(name, [("", packed)])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved; of findings that are not kept nothing is told."""
        packed = saved.values(name, _Saved)[""]
        self._odd_members = {group: dict.fromkeys(of) for group, of in packed.odd_members}
        self._odd_sums = dict.fromkeys(packed.odd_sums)
        self._shared = dict(packed.shared)
        self._subtracted = dict(packed.subtracted)

    def _note_member(self, series: SeriesKey) -> None:
        for group in self._groups_of(series):
            self._odd_members.setdefault(group, {})[series] = None

    def _refresh(self, group: SeriesKey, step: int) -> None:
        """Give a group's findings what is left now; how odd the step was does not change."""
        old = self._subtracted.get((group, step))
        if old is None:
            return
        new = self.of(group, step)
        if new == old:
            return
        self._subtracted[group, step] = new
        for stretch in self._stretches.of(group):
            point = stretch.points.get(step)
            if point is not None:
                whole = OddPoint(
                    money.add(point.actual, old.actual),
                    money.add(point.expected, old.expected),
                    money.add(point.low, old.low),
                    money.add(point.high, old.high),
                    point.surprise,
                )
                self._stretches.put(stretch, step, _without(whole, new))

    def _gives_way(self, group: SeriesKey, other: SeriesKey) -> bool:
        """Tell whether another sum may speak for a group: the narrower of two does."""
        if (group.source, *group[3:]) != (other.source, *other[3:]):
            return False
        return GroupName.of(other) is None or self.size(other) < self.size(group)

    def size(self, series: SeriesKey) -> tuple[int, SeriesKey]:
        """Order sums by their width; the key decides between equals."""
        return len(self._members(series)), series

    def _share(self, stretch: Stretch, group: SeriesKey) -> float:
        """Return how much of what a sum's members cost at its raise is the group's as well."""
        key = (stretch.finding_id, group)
        if key not in self._shared:
            self._shared[key] = self._share_now(stretch, group)
        return self._shared[key]

    def _share_now(self, stretch: Stretch, group: SeriesKey) -> float:
        whole = common = money.ZERO
        for member in self._members(stretch.series):
            cost = self._cost(member, stretch.raised_step) or money.ZERO
            whole = money.add(whole, cost)
            if group in self._groups_of(member):
                common = money.add(common, cost)
        return float(common) / float(whole) if whole else 0.0


class _Saved(msgspec.Struct, kw_only=True):
    odd_members: list[tuple[SeriesKey, list[SeriesKey]]]
    odd_sums: list[SeriesKey]
    shared: list[tuple[tuple[str, SeriesKey], float]]
    subtracted: list[tuple[tuple[SeriesKey, int], Sums]]


def _without(point: OddPoint, told: Sums) -> OddPoint:
    return OddPoint(
        money.subtract(point.actual, told.actual),
        money.subtract(point.expected, told.expected),
        money.subtract(point.low, told.low),
        money.subtract(point.high, told.high),
        point.surprise,
    )


def _loudest(stretches: Iterable[Stretch], step: int) -> Stretch | None:
    """Return the finding that says most of a step: several about one series tell the same money."""
    found = [known for known in stretches if known.status != "retracted" and step in known.points]
    return max(
        found, key=lambda s: (abs(s.points[step].excess), s.points[step], s.detector), default=None
    )
