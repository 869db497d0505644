"""Allocation: what spend belongs to nobody, which tags are missing, and what that comes to.

Every series is kept by day with whose it is and what its tags lack. That is added up over the last
30 whole days, so that the hour does not show in what is told.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from detectors.base import DAY, start_of
from service.core import money, phrases
from service.core.budgets import day_of
from service.core.commitments import Commitments
from service.core.drivers import Member
from service.core.events import SeriesKey
from service.core.groups import Change
from service.core.incidents import UNTAGGED
from service.core.lapses import Lapse, Lapses
from service.core.ledger import STEP_HOURS, Ledger
from service.core.movers import SeriesDays
from service.core.orphans import Orphans
from service.core.owners import UNOWNED, Owners
from service.core.slots import Slots
from service.core.state import Chunk, Saved, Sign, Streams
from service.core.tag_policy import Dimensions, Policy

WINDOW_DAYS: Final = 30
NAMED: Final = 3
FLAWS_TOLD: Final = 6
RANKED: Final = 200


class Rules(NamedTuple):
    """What is looked for: the policies by name, the dimensions, and what nobody uses."""

    policies: Mapping[str, Policy]
    dimensions: Dimensions
    orphans: bool = True
    commitments: bool = True


class _Code(msgspec.Struct, frozen=True, array_like=True):
    """Whose a series is, where, and what its tags lack: (policy, flaw)."""

    owner: str
    owner_source: str
    sub_account: str
    service: str
    currency: str
    flaws: tuple[tuple[str, str], ...]


class Gap(msgspec.Struct, kw_only=True):
    """Spend of the last 30 days that cannot be allocated: by what is missing, owner and place."""

    missing: str
    policy: str | None
    owner: str
    sub_account_id: str
    service_name: str | None
    billing_currency: str
    cost: Decimal
    resources: int


class Unallocated(NamedTuple):
    """What cannot be allocated, the dearest first, and which lapses stand."""

    gaps: list[Gap]
    lapses: list[Lapse]


class Allocation:
    """The series at hand by owner and tags, and the lapses that follow."""

    def __init__(self, ledger: Ledger, owners: Owners, rules: Rules) -> None:
        self._ledger = ledger
        self._owners = owners
        self._rules = rules
        self._days = SeriesDays()
        self._codes: Slots[_Code] = Slots()
        self._said: dict[SeriesKey, object] = {}
        self._lapses = Lapses()
        self._orphans = Orphans(ledger, owners)
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
        found = [*self._untagged(now)]
        if self._rules.orphans:
            found += self._orphans.lapses(now)
        if self._rules.commitments:
            found += self._commitments.lapses(now)
        return self._lapses.judge(found, now)

    def unallocated(self, now: datetime) -> Unallocated:
        """Say what cannot be allocated now."""
        found: dict[tuple[str | None, str, _Code], tuple[Decimal, int]] = {}
        for number, (cost, count) in self._days.sums(_window(now)).items():
            code = self._codes.key(number)
            missing = [(policy, flaw) for policy, flaw in code.flaws]
            owner = [(None, "no owner")] if code.owner == UNOWNED else []
            for policy, flaw in (*missing, *owner):
                bare = msgspec.structs.replace(code, flaws=(), owner_source="")
                known, some = found.get((policy, flaw, bare), (money.ZERO, 0))
                found[policy, flaw, bare] = money.add(known, cost), some + count
        gaps = [
            Gap(
                missing=flaw,
                policy=policy,
                owner=code.owner,
                sub_account_id=code.sub_account,
                service_name=code.service or None,
                billing_currency=code.currency,
                cost=cost,
                resources=count,
            )
            for (policy, flaw, code), (cost, count) in found.items()
        ]
        ranked = sorted(
            gaps,
            key=lambda g: (-g.cost, g.missing, g.owner, g.sub_account_id, g.service_name or ""),
        )
        return Unallocated(ranked[:RANKED], self._lapses.standing())

    def forget(self) -> None:
        """Let go of series that the ledger has let go of."""
        for series in [one for one in self._days if one not in self._ledger]:
            self._days.drop(series)
            self._said.pop(series, None)
        used = {self._days.code(series) for series in self._days}
        for code in [one for one in self._codes if self._codes[one] not in used]:
            self._codes.free(code)
        self._orphans.forget()
        self._commitments.forget()

    def save(self, streams: Streams, name: str, sign: Sign) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._codes.save(streams, f"{name}/codes")
        yield from self._days.save(streams, f"{name}/days", sign)
        yield from self._lapses.save(streams, f"{name}/lapses")

    def restore(self, saved: Saved, name: str, sign: Sign) -> None:
        """Take over what was saved; the ledger knows its series already.

        What the policies ask now goes before what they asked then.
        """
        self._codes.restore(saved, f"{name}/codes", _Code, lambda _: True)
        self._days.restore(saved, f"{name}/days", sign)
        self._lapses.restore(saved, f"{name}/lapses")
        for series in self._days:
            if series in self._ledger:
                self._days.set_code(series, self._codes.give(self._code(series)))
        if self._rules.orphans:
            self._orphans.read()
        if self._rules.commitments:
            self._commitments.read()

    def _code(self, series: SeriesKey) -> _Code:
        about, rules = self._ledger.about(series), self._rules
        owner = self._owners.of_row(about)
        flaws = tuple(
            (name, flaw)
            for name, policy in rules.policies.items()
            if policy.takes(about)
            for flaw in rules.dimensions.flaws(policy, about.tags)
        )
        return _Code(
            owner.name,
            owner.source,
            series.sub_account_id,
            about.service_name or "",
            series.billing_currency,
            flaws,
        )

    def _untagged(self, now: datetime) -> Iterator[Lapse]:
        """Yield a lapse for each policy, owner, account and currency where tags lack something."""
        by_lapse: dict[tuple[str, str, str, str], dict[int, tuple[Decimal, int]]] = {}
        for number, sums in self._days.sums(_window(now)).items():
            code = self._codes.key(number)
            for name in dict.fromkeys(policy for policy, _ in code.flaws):
                key = name, code.owner, code.sub_account, code.currency
                by_lapse.setdefault(key, {})[number] = sums
        for key, codes in sorted(by_lapse.items()):
            policy = self._rules.policies.get(key[0])
            cost = money.total(sums[0] for sums in codes.values())
            if policy is not None and cost >= policy.from_per_month:
                yield self._lapse(key, codes, cost, now)

    def _lapse(
        self,
        key: tuple[str, str, str, str],
        codes: Mapping[int, tuple[Decimal, int]],
        cost: Decimal,
        now: datetime,
    ) -> Lapse:
        policy, owner, account, currency = key
        sums: dict[str, tuple[Decimal, int]] = {}
        for number, (of_code, count) in codes.items():
            for name, flaw in self._codes.key(number).flaws:
                if name == policy:
                    known, some = sums.get(flaw, (money.ZERO, 0))
                    sums[flaw] = money.add(known, of_code), some + count
        top = self._days.top(list(codes), _window(now), range(0), NAMED)
        count = sum(some for _, some in codes.values())
        source = self._codes.key(next(iter(codes))).owner_source
        return Lapse(
            kind=UNTAGGED,
            name=policy,
            owner=owner,
            owner_source=source,
            sub_account_id=account,
            billing_currency=currency,
            since=start_of(day_of(now), DAY),
            cost=cost,
            reason=_reason(sums, [self._name(series) for series, *_ in top], count, currency),
            title=policy,
        )

    def _name(self, series: SeriesKey) -> str:
        about = self._ledger.about(series)
        return about.resource_name or about.resource_id or about.service_name or series.source


def _reason(
    sums: Mapping[str, tuple[Decimal, int]], names: Iterable[str], count: int, currency: str
) -> str:
    """Say how many resources lack what, what they cost, and name the dearest."""
    dearest = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
    said = [
        f"{some} {'resource' if some == 1 else 'resources'} with {phrases.clean(flaw, 100)} "
        f"({phrases.money(cost, currency)}/month)"
        for flaw, (cost, some) in dearest[:FLAWS_TOLD]
    ]
    if len(dearest) > FLAWS_TOLD:
        said.append(f"{len(dearest) - FLAWS_TOLD} other flaws")
    shown = [phrases.clean(name, 80) for name in names]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{'; '.join(said)}. The dearest: {', '.join(shown)}{more}."


def _window(now: datetime) -> range:
    """Return the last 30 whole days."""
    return range(day_of(now) - WINDOW_DAYS, day_of(now))
