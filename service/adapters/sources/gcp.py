"""Google Cloud's billing export, standard or detailed, as BigQuery writes it: NDJSON or Parquet.

Schema: https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/detailed-usage. The
export only ever appends: late rows, credits and corrections are new rows about old usage, with a
later `export_time`, which is when a row arrives. So a file takes nothing back of what came before.

What is invoiced for a row is its cost and its credits, which are negative and nested in it. That
is both its costs here: nothing is amortized in this export.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeVar

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
from service.adapters.sources.files import look
from service.adapters.sources.ndjson import decoded, decoded_line
from service.adapters.sources.rows import RefusedError, Values, row_of
from service.adapters.sources.tables import parquet_objects
from service.adapters.sources.values import LONGEST_TEXT, NO_CURRENCY, fine, moment
from service.core import money

_T = TypeVar("_T")


class _Named(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    description: str | None = None
    labels: "list[_Label] | None" = None


class _Label(msgspec.Struct):
    key: str | None = None
    value: str | None = None


class _Resource(msgspec.Struct):
    name: str | None = None
    global_name: str | None = None


class _Location(msgspec.Struct):
    location: str | None = None
    region: str | None = None


class _Usage(msgspec.Struct):
    amount: Decimal | None = None
    unit: str | None = None
    amount_in_pricing_units: Decimal | None = None
    pricing_unit: str | None = None


class _Credit(msgspec.Struct):
    amount: Decimal | None = None


class _Invoice(msgspec.Struct):
    month: str | None = None


class _Adjustment(msgspec.Struct):
    id: str | None = None
    mode: str | None = None
    type: str | None = None


class _Line(msgspec.Struct):
    usage_start_time: str
    usage_end_time: str
    cost: Decimal
    export_time: str | None = None
    billing_account_id: str | None = None
    currency: str | None = None
    cost_type: str | None = None
    cost_at_list: Decimal | None = None
    service: _Named | None = None
    sku: _Named | None = None
    project: _Named | None = None
    resource: _Resource | None = None
    location: _Location | None = None
    usage: _Usage | None = None
    credits: list[_Credit] | None = None
    invoice: _Invoice | None = None
    adjustment_info: _Adjustment | None = None
    labels: list[_Label] | None = None
    system_labels: list[_Label] | None = None
    tags: list[_Label] | None = None


_CATEGORIES: Final = {"regular": "Usage", "tax": "Tax"}
_FIELDS: Final = frozenset(plain(name) for name in _Line.__struct_fields__)
_NONE: Final = _Named()


def recognises(head: Head) -> bool:
    """Tell the export by the times of the usage and of the export, and the SKU."""
    return head.form in ("ndjson", "parquet") and head.names >= {
        "usagestarttime", "usageendtime", "cost", "sku",
    }  # fmt: skip


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    if look(path).form == "parquet":
        lines: Iterator[tuple[int, bytes, _Line | Flaw]] = _from_parquet(path, _LINE.decode)
    else:
        lines = decoded(path, _LINE.decode)
    for number, raw, line in lines:
        if isinstance(line, Flaw):
            yield line
            continue
        text = first_bytes(raw).decode("utf-8", "replace")
        try:
            values = _focus_of(line)
        except RefusedError as error:
            yield Flaw(number, "type", str(error), first_bytes(raw))
        else:
            yield row_of(number, values, [text])


def _from_parquet(
    path: Path, decode: Callable[[bytes], _T]
) -> Iterator[tuple[int, bytes, _T | Flaw]]:
    """Read the rows as the JSON that BigQuery would have written."""
    for item in parquet_objects(path, _FIELDS):
        if isinstance(item, Flaw):
            yield item.number, b"", item
            continue
        number, cells = item
        raw = (cells[0] or "").encode()
        found = decoded_line(number, raw, decode)
        if found is not None:
            yield number, raw, found


def _focus_of(line: _Line) -> Values:
    service, sku, project = line.service or _NONE, line.sku or _NONE, line.project or _NONE
    location, resource = line.location or _Location(), line.resource or _Resource()
    usage = line.usage or _Usage()
    cost = _net(line)
    period = _month(line.invoice.month) if line.invoice and line.invoice.month else None
    start = _moment("usage_start_time", line.usage_start_time)
    category, frequency = _CATEGORIES.get(line.cost_type or "regular", "Adjustment"), None
    if category == "Usage":
        bought = (sku.description or "").startswith("Commitment")
        category, frequency = ("Purchase", "Recurring") if bought else ("Usage", "Usage-Based")
    return {
        "ChargePeriodStart": start,
        "ChargePeriodEnd": _moment("usage_end_time", line.usage_end_time),
        "BillingPeriodStart": period and period[0],
        "BillingPeriodEnd": period and period[1],
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
        "ChargeClass": "Correction" if _corrects(line, start, period) else None,
        "ChargeDescription": sku.description,
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": _fine(line.cost_at_list),
        "BillingCurrency": line.currency or NO_CURRENCY,
        "BillingAccountId": line.billing_account_id or "",
        "SubAccountId": project.id,
        "SubAccountName": project.name,
        "ResourceId": resource.global_name or resource.name,
        "ResourceName": resource.name,
        "RegionId": location.region or location.location,
        "ServiceName": service.description,
        "SkuId": sku.id,
        "PricingQuantity": _fine(usage.amount_in_pricing_units),
        "PricingUnit": usage.pricing_unit,
        "ConsumedQuantity": _fine(usage.amount) if category == "Usage" else None,
        "ConsumedUnit": usage.unit,
        "Tags": _tags(line, project),
        "x_ArrivedAt": line.export_time and _moment("export_time", line.export_time),
    }


def _net(line: _Line) -> Decimal:
    amounts = [line.cost, *(c.amount for c in line.credits or () if c.amount is not None)]
    try:
        return money.total(_fine(amount) or money.ZERO for amount in amounts)
    except ArithmeticError:
        raise RefusedError("cost or credits are out of range") from None


def _fine(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else fine(amount)


def _corrects(line: _Line, start: datetime, period: tuple[datetime, datetime] | None) -> bool:
    """Tell a correction of what another month's invoice said; within a month it is plain usage."""
    adjusts = line.adjustment_info
    named = adjusts is not None and bool(adjusts.id or adjusts.mode or adjusts.type)
    return named and period is not None and start < period[0]


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


def _tags(line: _Line, project: _Named) -> dict[str, str] | None:
    """Join labels: a resource's own wins over its tags, those over its project's labels."""
    joined = {
        label.key: label.value[:LONGEST_TEXT]
        for labels in (line.system_labels, project.labels, line.tags, line.labels)
        for label in labels or ()
        if label.key and label.value is not None
    }
    return joined or None


_LINE: Final = msgspec.json.Decoder(_Line, strict=False)
SOURCE: Final = Source(
    recognises,
    read,
    appends=False,
    needs="JSON lines or Parquet with usage_start_time, export_time, cost and sku",
    adds=True,
)
