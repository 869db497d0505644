"""Lines of Google Cloud's billing export: what one may say, and many of them in columns.

What is nested stays JSON in its cell: rows share a project, a SKU or labels with many others, and
each of them is decoded once.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, Final

import msgspec
from msgspec import Raw

from service.adapters.sources.ndjson import NOT_DECODED
from service.adapters.sources.rows import RefusedError
from service.adapters.sources.values import fine
from service.core import money

Amounts = Sequence[Decimal | None]


class Named(msgspec.Struct):
    """A project, a service or a SKU."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    labels: "list[Label] | None" = None


class Label(msgspec.Struct):
    """A label, or a tag."""

    key: str | None = None
    value: str | None = None


class Resource(msgspec.Struct):
    """What was used."""

    name: str | None = None
    global_name: str | None = None


class Location(msgspec.Struct):
    """Where it was used."""

    location: str | None = None
    region: str | None = None


class Usage(msgspec.Struct, gc=False):
    """How much was used."""

    amount: Decimal | None = None
    unit: str | None = None
    amount_in_pricing_units: Decimal | None = None
    pricing_unit: str | None = None


class Credit(msgspec.Struct):
    """What lowers a row's cost."""

    amount: Decimal | None = None


class Invoice(msgspec.Struct):
    """The invoice that a row is on."""

    month: str | None = None


class Adjustment(msgspec.Struct):
    """Why a row corrects another."""

    id: str | None = None
    mode: str | None = None
    type: str | None = None


class Line(msgspec.Struct):
    """A line of the export."""

    usage_start_time: str
    usage_end_time: str
    cost: Decimal
    export_time: str | None = None
    billing_account_id: str | None = None
    currency: str | None = None
    cost_type: str | None = None
    cost_at_list: Decimal | None = None
    service: Named | None = None
    sku: Named | None = None
    project: Named | None = None
    resource: Resource | None = None
    location: Location | None = None
    usage: Usage | None = None
    credits: list[Credit] | None = None
    invoice: Invoice | None = None
    adjustment_info: Adjustment | None = None
    labels: list[Label] | None = None
    system_labels: list[Label] | None = None
    tags: list[Label] | None = None


def _kept(kind: object) -> tuple[Any, object]:
    """Return as what a key is kept, and what it is when a line has it not."""
    if kind in (str, str | None):
        return str | None, None
    if kind in (Decimal, Decimal | None):
        return Decimal | None, None
    return (kind, None) if kind == Usage | None else (Raw, _NULL)


_NULL: Final = Raw(b"null")
_FIELDS: Final = [(field.name, *_kept(field.type)) for field in msgspec.structs.fields(Line)]
_TEXTS: Final = tuple(name for name, kind, _ in _FIELDS if kind == str | None)
_NESTED: Final = tuple(n for n, kind, _ in _FIELDS if kind is Raw and n != "credits")
AMOUNTS: Final = ("cost", "cost_at_list", "usage_amount", "usage_amount_in_pricing_units")
# The cells of a row, in this order.
NAMES: Final = (*_TEXTS, *_NESTED, "usage_unit", "usage_pricing_unit", *AMOUNTS)

LINE: Final = msgspec.json.Decoder(Line, strict=False)
KEPT: Final = msgspec.json.Decoder(msgspec.defstruct("_Kept", _FIELDS, gc=False), strict=False)
_NO_USAGE: Final = Usage()
_texts: Final = attrgetter(*_TEXTS)
_nested: Final = attrgetter(*_NESTED)
_costs: Final = attrgetter("cost", "cost_at_list")
_credits: Final = attrgetter("credits")
_CREDITS: Final = msgspec.json.Decoder(list[Credit] | None, strict=False)
_usage: Final = attrgetter("unit", "pricing_unit", "amount", "amount_in_pricing_units")


def cells_of(kept: Sequence[Any], cut: Callable[[Amounts], Amounts]) -> list[Iterable[object]]:
    """Return what lines say under each of the NAMES; what is nested is JSON.

    The cost is net of credits. `cut` cuts amounts. RefusedError when a line has no cost or no
    credits that can be read, ArithmeticError when it is beyond what can be added exactly.
    """
    texts = zip(*map(_texts, kept), strict=True)
    nested = (map(bytes, column) for column in zip(*map(_nested, kept), strict=True))
    costs, listed = zip(*map(_costs, kept), strict=True)
    usage = map(_usage, (line.usage or _NO_USAGE for line in kept))
    unit, pricing_unit, *used = zip(*usage, strict=True)
    if any(map(is_, costs, repeat(None))):
        raise RefusedError("cost is missing")
    # A zero has no digits, however many were written.
    plain = [cost or money.ZERO for cost in cut(costs)]
    credited = map(_credited, map(bytes, map(_credits, kept)))
    exact = [*map(money.EXACT.add, plain, credited)]
    return [*texts, *nested, unit, pricing_unit, exact, *map(cut, (listed, *used))]


@lru_cache(maxsize=16_384)
def _credited(text: bytes) -> Decimal:
    """Add up credits."""
    try:
        found = _CREDITS.decode(text) or ()
    except NOT_DECODED:
        raise RefusedError("credits are not what they should be") from None
    return money.total(
        fine(credit.amount) or money.ZERO for credit in found if credit.amount is not None
    )
