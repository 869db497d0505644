"""Slices: what was spent in a window, cut by dimensions and told by hour or day.

Amounts of two currencies are never added: every line and every total is of one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import sqrt
from typing import Final, Literal, NamedTuple

import msgspec

from service.core import money
from service.core.ledger import Labels
from service.core.owners import plain_key

Grain = Literal["hour", "day"]
GRAINS: Final[Mapping[Grain, timedelta]] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
BY_TAG: Final = "tag:"
# What a charge names itself; the rest is named by the newest row of its series.
OF_CHARGES: Final = ("charge_category", "sku_id", "commitment_discount_status")
DIMENSIONS: Final = (
    *(name for name in Labels._fields if name not in ("grain", "tags")),
    *OF_CHARGES,
)


def check_dimension(name: str) -> str:
    """Return a dimension as it is compared; ValueError when spend cannot be cut by it.

    >>> check_dimension("service_name"), check_dimension("tag:user:Team")
    ('service_name', 'tag:team')
    """
    if name.startswith(BY_TAG):
        key = plain_key(name.removeprefix(BY_TAG))
        if not key or not key.isprintable() or '"' in key or "\\" in key:
            raise ValueError(f"{name!r} names no tag")
        return BY_TAG + key
    if name not in DIMENSIONS:
        raise ValueError(f"{name!r} is not one of {', '.join(DIMENSIONS)}, {BY_TAG}NAME")
    return name


class Cut(NamedTuple):
    """What to look at: charges that began in `since <= start < until` and pass `where`.

    `where` maps dimensions to the values that pass, empty text for what has none. `owners` are
    those whose spend may be seen, None for everyone's.
    """

    since: datetime
    until: datetime
    by: tuple[str, ...]
    where: Mapping[str, frozenset[str]] = {}
    owners: frozenset[str] | None = None


class Amounts(NamedTuple):
    """What some charges come to.

    `provisional` is what may still change, `estimated` what no bill says yet. Of what was
    `expected` there is the sum, and the sums of the squares of how far below and above it the
    ranges reach; what was not scored is expected as it came. None when nothing was scored.
    """

    cost: Decimal
    provisional: Decimal
    estimated: Decimal
    expected: float | None = None
    below: float = 0.0
    above: float = 0.0


class Cell(NamedTuple):
    """One line's amounts from one start on; None stands for charges longer than the grain."""

    values: tuple[str, ...]
    billing_currency: str
    start: datetime | None
    amounts: Amounts


class SpendTotal(msgspec.Struct, kw_only=True):
    """All of one currency in the window, and what of it is what.

    `longer` is charged for longer than the hours that were asked for, and in none of the lines.
    """

    billing_currency: str
    cost: Decimal
    provisional: Decimal
    estimated: Decimal
    unowned: Decimal
    untagged: Decimal
    commitment_used: Decimal
    commitment_unused: Decimal
    longer: Decimal


class SpendLine(msgspec.Struct, kw_only=True):
    """One combination of values, empty text where there is none; lists go by the starts.

    null stands for no charge, of an expectation for nothing that was scored. The range of a sum
    takes its members to be odd independently of one another.
    """

    labels: dict[str, str]
    billing_currency: str
    cost: Decimal
    provisional_cost: Decimal
    estimated_cost: Decimal
    costs: list[Decimal | None]
    expected: list[Decimal | None]
    expected_low: list[Decimal | None]
    expected_high: list[Decimal | None]
    provisional: list[bool]
    estimated: list[bool]


class Sliced(msgspec.Struct, kw_only=True):
    """Spend as it was asked for: the largest lines, and `others` together, one of each currency."""

    as_of: datetime
    since: datetime
    until: datetime
    grain: Grain
    by: list[str]
    starts: list[datetime]
    totals: list[SpendTotal]
    lines: list[SpendLine]
    others: list[SpendLine]
    lines_left_out: int


def starts_of(since: datetime, until: datetime, grain: Grain) -> list[datetime]:
    """Return when the periods begin that a window touches."""
    step = GRAINS[grain]
    at = since.replace(minute=0, second=0, microsecond=0)
    at = at if grain == "hour" else at.replace(hour=0)
    found = []
    while at < until:
        found.append(at)
        at += step
    return found


def lines_of(
    by: Sequence[str], starts: Sequence[datetime], cells: Iterable[Cell]
) -> list[SpendLine]:
    """Put cells into lines, the largest first."""
    place = {at: index for index, at in enumerate(starts)}
    lines: dict[tuple[tuple[str, ...], str], SpendLine] = {}
    for cell in cells:
        key = cell.values, cell.billing_currency
        line = lines.get(key)
        if line is None:
            line = lines[key] = _blank(
                dict(zip(by, cell.values, strict=False)), key[1], len(starts)
            )
        if cell.start is not None and cell.start in place:
            _put(line, place[cell.start], cell.amounts)
    return sorted(lines.values(), key=lambda line: (-abs(line.cost), sorted(line.labels.items())))


def _blank(labels: dict[str, str], currency: str, count: int) -> SpendLine:
    return SpendLine(
        labels=labels,
        billing_currency=currency,
        cost=money.ZERO,
        provisional_cost=money.ZERO,
        estimated_cost=money.ZERO,
        costs=[None] * count,
        expected=[None] * count,
        expected_low=[None] * count,
        expected_high=[None] * count,
        provisional=[False] * count,
        estimated=[False] * count,
    )


def _put(line: SpendLine, at: int, amounts: Amounts) -> None:
    line.cost = money.add(line.cost, amounts.cost)
    line.provisional_cost = money.add(line.provisional_cost, amounts.provisional)
    line.estimated_cost = money.add(line.estimated_cost, amounts.estimated)
    line.costs[at] = amounts.cost
    line.provisional[at] = bool(amounts.provisional)
    line.estimated[at] = bool(amounts.estimated)
    if amounts.expected is not None:
        low = max(0.0, amounts.expected - sqrt(amounts.below))
        line.expected[at] = money.cents(amounts.expected)
        line.expected_low[at] = money.cents(min(low, amounts.expected))
        line.expected_high[at] = money.cents(amounts.expected + sqrt(amounts.above))
