"""Google Cloud's billing export, standard or detailed, as BigQuery writes it: NDJSON or Parquet.

Schema: https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage. The
export only ever appends: late rows, credits and corrections are new rows about old usage, with a
later `export_time`, which is when a row arrives. So a file takes nothing back of what came before.

What is invoiced for a row is its cost and its credits, which are negative and nested in it. That
is both its costs here: nothing is amortized in this export.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from service.adapters.sources.base import (
    Completion,
    Flaw,
    Head,
    Row,
    Source,
    first_bytes,
    plain,
)
from service.adapters.sources.columns import Column
from service.adapters.sources.fields import fine_amounts
from service.adapters.sources.files import look
from service.adapters.sources.gcp_lines import (
    AMOUNTS,
    KEPT,
    LINE,
    NAMES,
    Adjustment,
    Invoice,
    Label,
    Line,
    Location,
    Named,
    Resource,
    cells_of,
)
from service.adapters.sources.ndjson import NOT_DECODED, blocks_of, decoded_line, without_bom
from service.adapters.sources.plan import Plan, numbered
from service.adapters.sources.rows import RefusedError, Rule, Texts, Values, row_of, same
from service.adapters.sources.tables import Batch, parquet_objects
from service.adapters.sources.values import LONGEST_TEXT, NO_CURRENCY, fine, moment
from service.core.events import CostEvent

_T = TypeVar("_T")
_Block = tuple[int, list[Any] | None, list[bytes]]

_CATEGORIES: Final = {"regular": "Usage", "tax": "Tax"}
_KEYS: Final = frozenset(plain(name) for name in Line.__struct_fields__)


def recognises(head: Head) -> bool:
    """Tell the export by the times of the usage and of the export, and the SKU."""
    return head.form in ("ndjson", "parquet") and head.names >= {
        "usagestarttime", "usageendtime", "cost", "sku",
    }  # fmt: skip


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    is_parquet = look(path).form == "parquet"
    plan = Plan(_RULES, {name: at for at, name in enumerate(NAMES)}, ())
    for block in _from_parquet(path) if is_parquet else blocks_of(path, KEPT.decode_lines):
        if isinstance(block, Flaw):
            yield block
            continue
        first, kept, lines = block
        events = None if kept is None else _events(plan, kept)
        if events is not None:
            yield from numbered(first, events)
            continue
        for number, line in enumerate(lines, first):
            found = _row(number, line if is_parquet else without_bom(number, line))
            if found is not None:
                yield found


def _events(plan: Plan, kept: Sequence[Any]) -> list[CostEvent] | None:
    """Return lines as events, None when they are to be read one by one."""
    try:
        cells = cells_of(kept, fine_amounts)
    except (RefusedError, ArithmeticError):
        return None
    columns = [
        Column.of_amounts(cast("Sequence[Decimal | None]", column))
        if name in AMOUNTS
        else Column.of(column)
        for name, column in zip(NAMES, cells, strict=True)
    ]
    return plan.events(dict(enumerate(columns)), len(kept))


def _row(number: int, raw: bytes) -> Row | Flaw | None:
    """Read one line, None if it is blank."""
    line = decoded_line(number, raw, LINE.decode)
    if line is None or isinstance(line, Flaw):
        return line
    values: Values = {}
    try:
        cells = cells_of([KEPT.decode(raw)], _each_fine)
        said = {name: cell for name, [cell] in zip(NAMES, cells, strict=True)}
        row = {name: cell for name, cell in said.items() if cell not in (None, b"null")}
        for rule in _RULES:
            values |= rule.of(cast("Texts", row), {})
    except RefusedError as error:
        return Flaw(number, "type", str(error), first_bytes(raw))
    except ArithmeticError:
        return Flaw(number, "type", "cost or credits are out of range", first_bytes(raw))
    return row_of(number, values, [first_bytes(raw).decode("utf-8", "replace")])


def _from_parquet(path: Path) -> Iterator[_Block | Flaw]:
    """Read the rows as the JSON that BigQuery would have written."""
    for item in parquet_objects(path, _KEYS):
        if isinstance(item, Flaw):
            yield item
        elif isinstance(item, Batch):
            lines = [(text or "").encode() for text in item.columns[0].to_pylist()]
            try:
                kept: list[Any] | None = [*map(KEPT.decode, lines)]
            except NOT_DECODED:
                kept = None
            yield item.first, kept, lines
        else:
            number, cells = item
            yield number, None, [(cells[0] or "").encode()]


def _each_fine(amounts: Sequence[Decimal | None]) -> list[Decimal | None]:
    return [None if amount is None else fine(amount) for amount in amounts]


def _nested(row: Texts, name: str, kind: Callable[[Any], _T | None]) -> _T | None:
    """Return what is nested in a row under a name."""
    text = row.get(name)
    if text is None:
        return None
    try:
        return kind(text)
    except NOT_DECODED:
        raise RefusedError(f"{name} is not what it should be") from None


def _named(row: Texts, name: str) -> Named:
    return _nested(row, name, _NAMED) or Named()


def _cost(row: Texts, _: dict[str, str]) -> Values:
    return {"BilledCost": row["cost"], "EffectiveCost": row["cost"]}


def _month_of(row: Texts) -> tuple[datetime, datetime] | None:
    invoice = _nested(row, "invoice", _INVOICE)
    return _month(invoice.month) if invoice and invoice.month else None


def _period(row: Texts, _: dict[str, str]) -> Values:
    month = _month_of(row)
    start, end = row.get("usage_start_time"), row.get("usage_end_time")
    if start is None or end is None:
        raise RefusedError("the usage's start or end is missing")
    return {
        "BillingPeriodStart": month and month[0],
        "BillingPeriodEnd": month and month[1],
        "ChargePeriodStart": _moment("usage_start_time", start),
        "ChargePeriodEnd": _moment("usage_end_time", end),
    }


def _arrival(row: Texts, _: dict[str, str]) -> Values:
    text = row.get("export_time")
    return {"x_ArrivedAt": text and _moment("export_time", text)}


def _category(row: Texts) -> tuple[str, str | None]:
    category = _CATEGORIES.get(row.get("cost_type") or "regular", "Adjustment")
    if category != "Usage":
        return category, None
    bought = (_named(row, "sku").description or "").startswith("Commitment")
    return ("Purchase", "Recurring") if bought else ("Usage", "Usage-Based")


def _charge(row: Texts, _: dict[str, str]) -> Values:
    """Say what kind of charge a row is.

    What corrects another month's invoice is a correction; within a month it is plain usage.
    """
    category, frequency = _category(row)
    adjusts, month = _nested(row, "adjustment_info", _ADJUSTMENT), _month_of(row)
    named = adjusts is not None and bool(adjusts.id or adjusts.mode or adjusts.type)
    corrects = (
        named
        and month is not None
        and _moment("usage_start_time", row["usage_start_time"]) < month[0]
    )
    return {
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
        "ChargeClass": "Correction" if corrects else None,
    }


def _sku(row: Texts, _: dict[str, str]) -> Values:
    sku = _named(row, "sku")
    return {"ChargeDescription": sku.description, "SkuId": sku.id}


def _project(row: Texts, _: dict[str, str]) -> Values:
    project = _named(row, "project")
    return {"SubAccountId": project.id, "SubAccountName": project.name}


def _resource(row: Texts, _: dict[str, str]) -> Values:
    resource = _nested(row, "resource", _RESOURCE) or Resource()
    return {"ResourceId": resource.global_name or resource.name, "ResourceName": resource.name}


def _region(row: Texts, _: dict[str, str]) -> Values:
    location = _nested(row, "location", _LOCATION) or Location()
    return {"RegionId": location.region or location.location}


def _consumed(row: Texts, _: dict[str, str]) -> Values:
    category, _frequency = _category(row)
    return {"ConsumedQuantity": row.get("usage_amount") if category == "Usage" else None}


def _tags(row: Texts, _: dict[str, str]) -> Values:
    """Join labels: a resource's own wins over its tags, those over its project's labels."""
    joined = {
        label.key: label.value[:LONGEST_TEXT]
        for labels in (
            _nested(row, "system_labels", _LABELS),
            _named(row, "project").labels,
            _nested(row, "tags", _LABELS),
            _nested(row, "labels", _LABELS),
        )
        for label in labels or ()
        if label.key and label.value is not None
    }
    return {"Tags": joined or None}


@lru_cache(maxsize=256)
def _month(text: str) -> tuple[datetime, datetime]:
    """Return when an invoice month, as `202603`, begins and ends in California.

    A month begins in summer time from April to November, in winter time from December to March: the
    clocks change on the second Sunday of March, and in the night after the first Sunday of November
    has begun.

    >>> [str(at) for at in _month("202603")]
    ['2026-03-01 08:00:00+00:00', '2026-04-01 07:00:00+00:00']
    """
    try:
        year, month = int(text[:4]), int(text[4:])
        following = (year + 1, 1) if month == 12 else (year, month + 1)
        return _midnight(year, month), _midnight(*following)
    except ValueError:
        raise RefusedError(f"invoice.month {text[:40]!r} is not a month") from None


def _midnight(year: int, month: int) -> datetime:
    return datetime(year, month, 1, 7 if 4 <= month <= 11 else 8, tzinfo=UTC)


def _moment(name: str, text: str) -> datetime:
    try:
        return moment(text)
    except (ValueError, OverflowError):
        raise RefusedError(f"{name} {text[:40]!r} is not a time") from None


_NAMED: Final = msgspec.json.Decoder(Named | None, strict=False).decode
_INVOICE: Final = msgspec.json.Decoder(Invoice | None, strict=False).decode
_ADJUSTMENT: Final = msgspec.json.Decoder(Adjustment | None, strict=False).decode
_RESOURCE: Final = msgspec.json.Decoder(Resource | None, strict=False).decode
_LOCATION: Final = msgspec.json.Decoder(Location | None, strict=False).decode
_LABELS: Final = msgspec.json.Decoder(list[Label] | None, strict=False).decode
# In this order they refuse a row.
_RULES: Final = (
    Rule(("BilledCost", "EffectiveCost"), ("cost",), _cost, hands_on=("cost",)),
    Rule(
        ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"),
        ("invoice", "usage_start_time", "usage_end_time"),
        _period,
    ),
    Rule(("x_ArrivedAt",), ("export_time",), _arrival),
    Rule(
        ("ChargeCategory", "ChargeFrequency", "ChargeClass"),
        ("cost_type", "sku", "adjustment_info", "invoice", "usage_start_time"),
        _charge,
    ),
    Rule(("ChargeDescription", "SkuId"), ("sku",), _sku),
    Rule(
        ("BillingCurrency",),
        ("currency",),
        lambda row, _: {"BillingCurrency": row.get("currency") or NO_CURRENCY},
    ),
    Rule(("SubAccountId", "SubAccountName"), ("project",), _project),
    Rule(("ResourceId", "ResourceName"), ("resource",), _resource),
    Rule(("RegionId",), ("location",), _region),
    Rule(
        ("ServiceName",),
        ("service",),
        lambda row, _: {"ServiceName": _named(row, "service").description},
    ),
    Rule(
        ("ConsumedQuantity",),
        ("usage_amount", "cost_type", "sku"),
        _consumed,
        hands_on=("usage_amount",),
    ),
    Rule(("Tags",), ("system_labels", "project", "tags", "labels"), _tags),
    same("BillingAccountId", "billing_account_id"),
    same("ListCost", "cost_at_list"),
    same("PricingQuantity", "usage_amount_in_pricing_units"),
    same("PricingUnit", "usage_pricing_unit"),
    same("ConsumedUnit", "usage_unit"),
)
SOURCE: Final = Source(
    recognises,
    read,
    appends=False,
    needs="JSON lines or Parquet with usage_start_time, export_time, cost and sku",
    adds=True,
)
