"""Untagged spend: what lacks tags or an owner, from sums that may come of many parts.

What breaks a policy is told for each owner, account and currency together.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from detectors.base import DAY, start_of
from service.core import money, phrases
from service.core.budgets import day_of
from service.core.events import SeriesKey
from service.core.incidents import UNTAGGED
from service.core.lapses import Lapse
from service.core.owners import UNOWNED
from service.core.tag_policy import Policy

NAMED: Final = 3
FLAWS_TOLD: Final = 6
RANKED: Final = 200


class Code(msgspec.Struct, frozen=True, array_like=True):
    """Whose a series is, where, and what its tags lack: (policy, flaw)."""

    owner: str
    owner_source: str
    sub_account: str
    service: str
    currency: str
    flaws: tuple[tuple[str, str], ...]


class TagSum(msgspec.Struct, frozen=True, array_like=True):
    """What the series of one code cost in the last 30 whole days, and how many cost something."""

    code: Code
    cost: Decimal
    resources: int


class Dearest(msgspec.Struct, frozen=True, array_like=True):
    """Of what breaks one policy, by owner, account and currency: the dearest, cost and name."""

    key: tuple[str, str, str, str]
    resources: list[tuple[Decimal, SeriesKey, str]]


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


def gaps_of(sums: Iterable[TagSum]) -> list[Gap]:
    """Rank by money what is missing, and what has no owner."""
    found: dict[tuple[str | None, str, Code], tuple[Decimal, int]] = {}
    for one in sums:
        owner = [(None, "no owner")] if one.code.owner == UNOWNED else []
        for policy, flaw in (*one.code.flaws, *owner):
            bare = msgspec.structs.replace(one.code, flaws=(), owner_source="")
            known, some = found.get((policy, flaw, bare), (money.ZERO, 0))
            found[policy, flaw, bare] = money.add(known, one.cost), some + one.resources
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
    return ranked[:RANKED]


def untagged(
    sums: Iterable[TagSum],
    dearest: Iterable[Dearest],
    policies: Mapping[str, Policy],
    now: datetime,
) -> Iterator[Lapse]:
    """Yield a lapse for each policy, owner, account and currency where tags lack something."""
    by_lapse: dict[tuple[str, str, str, str], list[TagSum]] = {}
    for one in sums:
        code = one.code
        for name in dict.fromkeys(policy for policy, _ in code.flaws):
            key = name, code.owner, code.sub_account, code.currency
            by_lapse.setdefault(key, []).append(one)
    named: dict[tuple[str, str, str, str], list[tuple[Decimal, SeriesKey, str]]] = {}
    for top in dearest:
        named.setdefault(top.key, []).extend(top.resources)
    for key, of_lapse in sorted(by_lapse.items()):
        policy = policies.get(key[0])
        cost = money.total(one.cost for one in of_lapse)
        if policy is not None and cost >= policy.from_per_month:
            top_of = sorted(named[key], key=lambda one: (-one[0], one[1]))[:NAMED]
            yield _lapse(key, of_lapse, [name for *_, name in top_of], cost, now)


def _lapse(
    key: tuple[str, str, str, str],
    of_lapse: Collection[TagSum],
    names: Collection[str],
    cost: Decimal,
    now: datetime,
) -> Lapse:
    policy, owner, account, currency = key
    sums: dict[str, tuple[Decimal, int]] = {}
    for one in of_lapse:
        for name, flaw in one.code.flaws:
            if name == policy:
                known, some = sums.get(flaw, (money.ZERO, 0))
                sums[flaw] = money.add(known, one.cost), some + one.resources
    count = sum(one.resources for one in of_lapse)
    return Lapse(
        kind=UNTAGGED,
        name=policy,
        owner=owner,
        owner_source=min(one.code.owner_source for one in of_lapse),
        sub_account_id=account,
        billing_currency=currency,
        since=start_of(day_of(now), DAY),
        cost=cost,
        reason=_reason(sums, names, count, currency),
        title=policy,
    )


def _reason(
    sums: Mapping[str, tuple[Decimal, int]], names: Collection[str], count: int, currency: str
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
