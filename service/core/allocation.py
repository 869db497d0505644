"""Allocation: what spend belongs to nobody, which tags are missing, and what that comes to.

Every series is kept by day with whose it is and what its tags lack. That is added up over the last
30 whole days, so that the hour does not show in what is told.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from detectors.base import DAY
from service.core import money
from service.core.budgets import day_of
from service.core.commitments import Commitments
from service.core.drivers import Member
from service.core.events import SeriesKey
from service.core.groups import Change
from service.core.lapses import Lapse, Lapses
from service.core.ledger import STEP_HOURS, Ledger
from service.core.machines import Apart, Ask, Sight, Word
from service.core.movers import SeriesDays
from service.core.orphans import Orphans
from service.core.owners import Owners
from service.core.slots import Slots
from service.core.state import Chunk, Saved, Sign, Streams
from service.core.tag_policy import Dimensions, Policy
from service.core.untagged import (
    NAMED,
    Code,
    Dearest,
    TagSum,
    Unallocated,
    gaps_of,
    untagged,
)

WINDOW_DAYS: Final = 30


class Rules(NamedTuple):
    """What is looked for: the policies by name, the dimensions, and what nobody uses.

    A part of all series leaves it to others to judge what their tags lack together, and to say
    which machines run.
    """

    policies: Mapping[str, Policy]
    dimensions: Dimensions
    orphans: bool = True
    commitments: bool = True
    is_part: bool = False


class Allocation:
    """The series at hand by owner and tags, and the lapses that follow."""

    def __init__(self, ledger: Ledger, owners: Owners, rules: Rules) -> None:
        self._ledger = ledger
        self._owners = owners
        self._rules = rules
        self._days = SeriesDays()
        self._codes: Slots[Code] = Slots()
        self._said: dict[SeriesKey, object] = {}
        self._lapses = Lapses()
        self._orphans = Orphans(ledger, owners)
        self._apart = Apart()
        self._outlived = Lapses()  # of a part: storage, as of what it was told of machines
        self._commitments = Commitments(ledger, owners)

    def observe(self, changes: Mapping[tuple[SeriesKey, int], Change], now: datetime) -> None:
        """Take note of what steps of series cost before, and cost now."""
        if self._rules.orphans:
            for series, step in changes:
                self._orphans.observe(series, step)
        if not self._rules.policies or not changes:
            return
        self._days.advance(day_of(now) + 1)
        for (series, step), change in changes.items():
            about = self._ledger.about(series)
            said = about.tags, about.sub_account_id, about.service_name
            if series not in self._days:
                self._days.add(series)
            if self._said.get(series) != said:
                self._said[series] = said
                self._days.set_code(series, self._codes.give(self._code(series)))
            day = step * STEP_HOURS[series.grain] // DAY
            self._days.move(series, day, change.before or money.ZERO, change.after or money.ZERO)

    def observe_charges(self, charged: Iterable[tuple[SeriesKey, int]]) -> None:
        """Take note of series of which any kind of charge changed."""
        if self._rules.commitments:
            for series, _ in charged:
                self._commitments.observe(series)

    def judge(self, now: datetime) -> list[Member]:
        """Return what lapses are new, changed or mended."""
        found: list[Lapse] = []
        mended: list[Member] = []
        if self._rules.orphans:
            self._orphans.look()
        elif self._rules.is_part:
            mended = self._outlived.judge([], now)
        if not self._rules.is_part:
            found += untagged(*self.tagged(now), self._rules.policies, now)
            found += self._orphans.lapses(now, self._orphans.known())
        if self._rules.commitments:
            found += self._commitments.lapses(now)
        return [*mended, *self._lapses.judge(found, now)]

    def news(self, now: datetime) -> tuple[list[Sight], list[Ask]]:
        """Return what is new of machines of a part, and of names that its storage asks for."""
        if not self._rules.orphans:
            return [], []
        return self._apart.news(self._orphans.hours(), self._orphans.wanted(), now)

    def hear(self, word: Word) -> list[Member]:
        """Take in what a part is told of machines; return the storage that is orphaned, or not."""
        if not self._apart.hear(word) or not self._rules.orphans:
            return []
        found = self._orphans.lapses(word.at, self._apart.known)
        return self._outlived.judge(found, word.at)

    def standing(self) -> list[Lapse]:
        """Return what a part tells itself and stands now."""
        return [*self._lapses.standing(), *self._outlived.standing()]

    def unallocated(self, now: datetime) -> Unallocated:
        """Say what cannot be allocated now."""
        return Unallocated(gaps_of(self._sums(now)), self._lapses.standing())

    def tagged(self, now: datetime) -> tuple[list[TagSum], list[Dearest]]:
        """Say what series cost by what their tags lack, and which are the dearest that lack any."""
        numbers: dict[tuple[str, str, str, str], list[int]] = {}
        for number in self._days.sums(_window(now)):
            code = self._codes.key(number)
            for name in dict.fromkeys(policy for policy, _ in code.flaws):
                key = name, code.owner, code.sub_account, code.currency
                numbers.setdefault(key, []).append(number)
        dearest = [
            Dearest(
                key,
                [
                    (cost, series, self._name(series))
                    for series, _, cost in self._days.top(codes, _window(now), range(0), NAMED)
                ],
            )
            for key, codes in sorted(numbers.items())
        ]
        return self._sums(now), dearest

    def _sums(self, now: datetime) -> list[TagSum]:
        sums = self._days.sums(_window(now)).items()
        return [TagSum(self._codes.key(number), *of_code) for number, of_code in sums]

    def forget(self, before: datetime, today: datetime) -> None:
        """Let go of series that the ledger has let go of, as of periods before a time."""
        for series in [one for one in self._days if one not in self._ledger]:
            self._days.drop(series)
            self._said.pop(series, None)
        used = {self._days.code(series) for series in self._days}
        for code in [one for one in self._codes if self._codes[one] not in used]:
            self._codes.free(code)
        self._orphans.forget(before, today)
        self._commitments.forget()

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._codes.save(streams, f"{name}/codes")
        yield from self._days.save(streams, f"{name}/days", sign)
        yield from self._lapses.save(streams, f"{name}/lapses")
        looked_for = [self._rules.orphans, self._rules.commitments]
        yield from streams.values(f"{name}/looked_for", [("", looked_for)])
        if self._rules.orphans:
            yield from self._orphans.save(streams, f"{name}/orphans", sign)
        if self._rules.commitments:
            yield from self._commitments.save(streams, f"{name}/commitments")
        if self._rules.is_part:
            yield from self._outlived.save(streams, f"{name}/outlived")
            yield from self._apart.save(streams, f"{name}/apart")

    def restore(self, saved: Saved, name: str, *, is_part: bool) -> None:
        """Take over what was saved; the ledger knows its series already.

        What the policies ask now goes before what they asked then. What was not looked for then is
        read from the ledger, as is all when only a part of the series is kept.
        """
        self._codes.restore(saved, f"{name}/codes", Code, lambda _: True)
        self._days.restore(saved, f"{name}/days")
        self._lapses.restore(saved, f"{name}/lapses")
        for series in self._days:
            if series in self._ledger:
                self._days.set_code(series, self._codes.give(self._code(series)))
        self._outlived.restore(saved, f"{name}/outlived")
        self._apart.restore(saved, f"{name}/apart")
        looked_for = saved.values(f"{name}/looked_for", tuple[bool, bool]).get("")
        orphans, commitments = (False, False) if is_part or not looked_for else looked_for
        if self._rules.orphans and orphans:
            self._orphans.restore(saved, f"{name}/orphans")
        elif self._rules.orphans:
            self._orphans.restore_past(saved, f"{name}/orphans")
            self._orphans.read()
        if self._rules.commitments and commitments:
            self._commitments.restore(saved, f"{name}/commitments")
        elif self._rules.commitments:
            self._commitments.read()

    def _code(self, series: SeriesKey) -> Code:
        about, rules = self._ledger.about(series), self._rules
        owner = self._owners.of_row(about)
        flaws = tuple(
            (name, flaw)
            for name, policy in rules.policies.items()
            if policy.takes(about)
            for flaw in rules.dimensions.flaws(policy, about.tags)
        )
        return Code(
            owner.name,
            owner.source,
            series.sub_account_id,
            about.service_name or "",
            series.billing_currency,
            flaws,
        )

    def _name(self, series: SeriesKey) -> str:
        about = self._ledger.about(series)
        return about.resource_name or about.resource_id or about.service_name or series.source


def _window(now: datetime) -> range:
    """Return the last 30 whole days."""
    return range(day_of(now) - WINDOW_DAYS, day_of(now))
