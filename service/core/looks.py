"""Looks: what parts of all series see of allocation, judged each hour once all have looked.

Sums add up over parts: what lacks tags, and what units cost and were counted. Of machines each part
is told what all know, as it may have the storage.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from service.core.drivers import Member
from service.core.findings import Stretch
from service.core.lapses import Lapse, Lapses
from service.core.machines import Ask, Register, Sight, Word
from service.core.notices import Chart
from service.core.scoring import Scoring
from service.core.state import Chunk, Saved, Streams, keep_all
from service.core.tag_policy import Policy
from service.core.unit_costs import UnitBill, UnitCosts, UnitPart
from service.core.untagged import Dearest, TagSum, Unallocated, gaps_of, untagged

PIECE: Final = 500


class Look(msgspec.Struct, kw_only=True, frozen=True):
    """What a part saw at a moment, in place of what it saw before.

    Of units, of machines and of names of machines that storage asks for, what changed since.

    Without `tags` they are as they were. Of one moment there may be several, which are pieces of
    one.
    """

    at: datetime
    tags: list[TagSum] | None = None
    dearest: list[Dearest] = []
    units: list[UnitPart] = []
    machines: list[Sight] = []
    asks: list[Ask] = []
    lapses: list[Lapse] = []

    def pieces(self) -> Iterator["Look"]:
        """Yield it in pieces that fit into messages."""
        every = self.tags or (), self.dearest, self.units, self.machines, self.asks, self.lapses
        most = max(map(len, every))
        for first in range(0, max(most, 1), PIECE):
            some = slice(first, first + PIECE)
            yield Look(
                at=self.at,
                tags=None if self.tags is None else self.tags[some],
                dearest=self.dearest[some],
                units=self.units[some],
                machines=self.machines[some],
                asks=self.asks[some],
                lapses=self.lapses[some],
            )

    def after(self, before: "Look | None") -> "Look":
        """Return it with what was seen before that nobody was told of."""
        if before is None:
            return self
        units = {(one.name, one.day): one for one in (*before.units, *self.units)}
        machines = {one.key: one for one in (*before.machines, *self.machines)}
        asks = {one.key: one for one in (*before.asks, *self.asks)}
        tagged = before if self.tags is None else self
        return Look(
            at=self.at,
            tags=tagged.tags,
            dearest=tagged.dearest,
            units=list(units.values()),
            machines=list(machines.values()),
            asks=list(asks.values()),
            lapses=tagged.lapses,
        )


class Looks:
    """Judges what `partitions` parts saw, each hour up to which all have looked."""

    def __init__(
        self,
        partitions: int,
        policies: Mapping[str, Policy],
        units: UnitCosts,
        scoring: Scoring,
    ) -> None:
        self._partitions = partitions
        self._policies = policies
        self._units = units
        self._scoring = scoring
        self._lapses = Lapses()
        self._register = Register()
        self._words: list[tuple[str, Word]] = []
        self._seen: dict[str, Look] = {}
        self._judged_at: datetime | None = None

    @property
    def at(self) -> datetime | None:
        """Return the moment up to which all have looked, None before the first."""
        if len(self._seen) < self._partitions:
            return None
        return min(look.at for look in self._seen.values())

    def put(self, part: str, look: Look) -> None:
        """Take in what a part saw, or one piece of it."""
        self._units.put(part, look.units)
        self._register.put(part, look.machines, look.asks)
        known = self._seen.get(part)
        before = known is not None and (known.at == look.at or look.tags is None)
        old = known if known is not None and before else Look(at=look.at)
        tags = [*(old.tags or ()), *(look.tags or ())]
        self._seen[part] = Look(
            at=look.at,
            tags=tags,
            dearest=[*old.dearest, *look.dearest],
            lapses=[*old.lapses, *look.lapses],
        )

    def judge(self) -> list[Member]:
        """Return what lapses are new, changed or mended, if all have looked; judge unit costs."""
        if self.at is None:
            return []
        at = self.at.replace(minute=0, second=0, microsecond=0)
        if self._judged_at is not None and at <= self._judged_at:
            return []
        self._judged_at = at
        self._words += self._register.words(at)
        self._scoring.judge(self._units.advance(at), at)
        self._scoring.close(at)
        dearest = [one for _, look in sorted(self._seen.items()) for one in look.dearest]
        return self._lapses.judge(untagged(self._sums(), dearest, self._policies, at), at)

    def words(self) -> list[tuple[str, Word]]:
        """Return what parts are to be told of machines since this was asked."""
        words, self._words = self._words, []
        return words

    def unallocated(self) -> Unallocated:
        """Say what could not be allocated when all looked last."""
        lapses = [lapse for look in self._seen.values() for lapse in look.lapses]
        standing = sorted([*self._lapses.standing(), *lapses], key=lambda one: str(one.series))
        return Unallocated(gaps_of(self._sums()), standing)

    def bills(self) -> list[UnitBill]:
        """Return what units cost by day, until all looked last."""
        return [] if self.at is None else self._units.bills(self.at)

    def member(self, stretch: Stretch, settled_until: datetime | None) -> Member:
        """Return the finding about a unit cost."""
        return self._units.member(stretch, settled_until)

    def chart(self, stretch: Stretch, odd: set[int]) -> Chart:
        """Chart the unit cost that a finding is about."""
        return self._units.charted(self._scoring.chart(stretch, odd), stretch.series)

    def _sums(self) -> list[TagSum]:
        return [one for _, look in sorted(self._seen.items()) for one in look.tags or ()]

    def forget(self, before: datetime, today: datetime) -> None:
        """Let go of days that are too old to be shown, and of machines gone before a time."""
        self._units.forget(today)
        self._register.forget(before)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/seen", self._seen.items())
        judged = [] if self._judged_at is None else [("", self._judged_at)]
        yield from streams.values(f"{name}/judged", judged)
        yield from self._lapses.save(streams, f"{name}/lapses")
        yield from self._units.save(streams, f"{name}/units")
        yield from self._register.save(streams, f"{name}/register")
        yield from self._scoring.save(streams, f"{name}/steps")

    def restore(self, saved: Saved, name: str) -> set[str]:
        """Take over what was saved; return what could not be used."""
        self._seen = saved.values(f"{name}/seen", Look)
        self._judged_at = saved.values(f"{name}/judged", datetime).get("")
        self._lapses.restore(saved, f"{name}/lapses")
        self._units.restore(saved, f"{name}/units")
        self._register.restore(saved, f"{name}/register")
        return set(self._scoring.restore(saved, f"{name}/steps", keep_all))
