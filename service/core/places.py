"""Places: what a finding is about, read from the rows of its series, or of all that it sums up."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from service.core import money
from service.core.events import CostEvent, SeriesKey
from service.core.group_names import BY_OWNER, GroupName
from service.core.owners import UNOWNED, Owner, Owners
from service.core.phrases import signed

MOVERS_TOLD: Final = 3
_BY: Final = {"owner": "of", "sub_account": "in account", "service": "of", "region": "in"}


class Place(NamedTuple):
    """Names of what costs, and of who owns it; None where several would have to be named."""

    resource_id: str | None
    resource_name: str | None
    sub_account_id: str
    service_name: str | None
    region_id: str | None
    owner: Owner


def place_of(row: CostEvent, owners: Owners) -> Place:
    """Return the place of one series."""
    return Place(
        row.resource_id,
        row.resource_name,
        row.sub_account_id or "",
        row.service_name,
        row.region_id,
        owners.of_row(row),
    )


def common_place(rows: Sequence[CostEvent], owners: Owners, name: str, *, is_group: bool) -> Place:
    """Return what many series have in common; who owns all of them owns their sum.

    Of several owners' it is who owns the one sub-account that all are in, else nobody. One series
    is its own place, unless it happens to be alone in what `is_group`.
    """
    places = [place_of(row, owners) for row in rows]
    return common(places, len(places), owners, name, is_group=is_group)


def common(
    places: Sequence[Place], count: int, owners: Owners, name: str, *, is_group: bool
) -> Place:
    """Return what the places of `count` series have in common; several may be at one."""
    if count == 1 and not is_group:
        return places[0]._replace(resource_name=name)
    found = {place.owner.name for place in places}
    account = _one(place.sub_account_id or None for place in places)
    owner, why = owners.of(None, account), f"its {count} resources have {len(found)} owners"
    owner = Owner(owner.name, why if owner.name == UNOWNED else f"{owner.source}; {why}")
    if len(found) == 1:
        sources = {place.owner.source for place in places}
        source = sources.pop() if len(sources) == 1 else f"owner of all {count} resources"
        owner = Owner(found.pop(), source)
    return Place(
        None,
        name,
        account or "",
        _one(place.service_name for place in places),
        _one(place.region_id for place in places),
        owner,
    )


def _one(values: Iterable[str | None]) -> str | None:
    found = set(values)
    return found.pop() if len(found) == 1 else None


def name_of(group: GroupName, members: int) -> str:
    """Name the sum of many series.

    >>> name_of(GroupName("owner", "search"), 12), name_of(GroupName("tag:env", "prod"), 3)
    ('12 resources of search together', '3 resources with env=prod together')
    """
    if group == (BY_OWNER, UNOWNED):
        return f"{members} resources without an owner together"
    where = _BY.get(group.by)
    if where is None:
        return f"{members} resources with {group.by.partition(':')[2]}={group.value} together"
    return f"{members} resources {where} {group.value} together"


def movers_of(
    members: Iterable[SeriesKey],
    cost: Callable[[SeriesKey, int], Decimal | None],
    step: int,
    week: int,
) -> list[tuple[Decimal, SeriesKey]]:
    """Return by how much members changed from a step of the week before, most first."""
    changes = []
    for member in members:
        now, then = cost(member, step) or money.ZERO, cost(member, step - week) or money.ZERO
        changes.append((money.subtract(now, then), member))
    return sorted(changes, key=lambda change: (-abs(change[0]), change[1]))


def sum_reason(
    name: str,
    sentence: str,
    movers: Sequence[tuple[Decimal, SeriesKey]],
    others: Sequence[tuple[Decimal, SeriesKey]],
    impact: Decimal,
) -> str:
    """Say why a sum is odd, and which of its members moved most against the week before.

    Of `others`, who belong to other owners, is said how many they are and what they add.
    """
    rose = [(member.resource, change) for change, member in movers if change * impact > 0]
    moved = [change for change, _ in others if change]
    more = money.total(moved)
    every = [member for _, member in (*movers, *others)]
    count = len(moved) if more * impact > 0 else 0
    return sum_text(name, sentence, (rose, count, more), every[0] if every else None)


def sum_text(
    name: str,
    sentence: str,
    moved: tuple[Sequence[tuple[str, Decimal]], int, Decimal],
    series: SeriesKey | None,
) -> str:
    """Say why a sum is odd: `moved` is who moved it, most first, of others how many and how much.

    `series` is one in its currency, if anything moved.
    """
    movers, count, more = moved
    currency = "" if series is None else series.billing_currency
    told = [f"{resource} {signed(change, currency)}" for resource, change in movers[:MOVERS_TOLD]]
    if count:
        who = "one resource" if count == 1 else f"{count} resources"
        told.append(f"{who} of other owners {signed(more, currency)}")
    tail = f" Most against the week before: {', '.join(told)}." if told else ""
    return f"{name}, beyond what is told of them one by one: {sentence}{tail}"
