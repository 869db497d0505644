"""Azure cost details, actual and amortized, as exports or downloads write them: CSV or Parquet.

Columns: https://learn.microsoft.com/azure/cost-management-billing/automate/understand-usage-details-fields
(enterprise and customer agreements, and older pay-as-you-go names). The two exports of one bill
list mostly the same usage, and no row has a name. So each speaks of its own metric alone: the
actual one of BilledCost, and of quantities; the amortized one of EffectiveCost. Rows of both meet
in the same cells of the ledger, which is then one set of rows with both costs, whichever is first.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.formats import Format, has, read_rows, read_texts
from service.adapters.sources.manifests import export_type
from service.adapters.sources.rows import RefusedError, Rule, Texts, Values, decimal, same
from service.adapters.sources.token_meters import (
    SERVICE_CATEGORY,
    TOKENS,
    Meter,
    azure_meter,
    per_token,
    tokens_per,
)
from service.adapters.sources.values import NO_CURRENCY, moment
from service.core import money

Dataset = Literal["actual", "amortized"]

REQUIRED: Final = ("chargetype", "meterid", "metercategory")
_DATE: Final = ("date", "usagedatetime", "usagedate")
_COST: Final = ("costinbillingcurrency", "cost", "pretaxcost")
_CURRENCY: Final = ("billingcurrencycode", "billingcurrency", "currency")
_SUBSCRIPTION: Final = ("subscriptionid", "subscriptionguid")
_RESOURCE: Final = ("resourceid", "instanceid", "instancename")
_QUANTITY: Final = ("quantity", "usagequantity")
_PERIOD: Final = (
    ("billingperiodstartdate", "billingperiodstart"),
    ("billingperiodenddate", "billingperiodend"),
)
_COMMITMENT: Final = ("benefitid", "reservationid")
_PRODUCT: Final = ("productname", "product", "metername")
_COLUMNS: Final = frozenset({
    *REQUIRED, *_DATE, *_COST, *_CURRENCY, *_SUBSCRIPTION, *_RESOURCE, *_QUANTITY, *_PERIOD[0],
    *_PERIOD[1], *_COMMITMENT, *_PRODUCT, "billingaccountid", "subscriptionname", "resourcename",
    "resourcelocation", "metername", "unitofmeasure", "paygprice", "tags", "frequency",
    "pricingmodel",
})  # fmt: skip
_DAY: Final = timedelta(days=1)
_COVERED: Final = frozenset({"reservation", "savingsplan"})
_KINDS: Final = {
    "usage": "Usage",
    "purchase": "Purchase",
    "refund": "Purchase",
    "tax": "Tax",
    "credit": "Credit",
    "unusedreservation": "Usage",
    "unusedsavingsplan": "Usage",
    "roundingadjustment": "Adjustment",
}
_FREQUENCIES: Final = {
    "usagebased": "Usage-Based",
    "recurring": "Recurring",
    "onetime": "One-Time",
}
_UNIT: Final = re.compile(r"(\d+)([KM]?)(?:[ /]+(.+))?")
_TIMES: Final = {"": 1, "K": 1000, "M": 1_000_000}


def recognises(head: Head) -> bool:
    """Tell cost details by the charge type and the meter, a date and a cost."""
    return (
        has(head, REQUIRED)
        and not head.names.isdisjoint(_DATE)
        and not head.names.isdisjoint(_COST)
    )


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    dataset = _dataset_of(path)
    rules = (*_SHARED, *(_ACTUAL if dataset == "actual" else _AMORTIZED))
    return read_rows(path, Format(REQUIRED, _COLUMNS, lambda _: rules), dataset)


def _dataset_of(path: Path) -> Dataset:
    """Say which export a file is of: its manifest knows, else the first row that only one has."""
    said = export_type(path)
    if said in ("ActualCost", "AmortizedCost", "Usage"):
        return "amortized" if said == "AmortizedCost" else "actual"
    wanted = frozenset({"chargetype", "pricingmodel", *_COST})
    for row in read_texts(path, wanted):
        kind = _plain(row.get("chargetype"))
        covered = _plain(row.get("pricingmodel")) in _COVERED
        if kind.startswith("unused"):
            return "amortized"
        if covered and kind in ("purchase", "refund"):
            return "actual"
        if covered and kind == "usage" and _costs_something(_first(row, _COST)):
            return "amortized"
    return "actual"


def _costs_something(text: str | None) -> bool:
    try:
        return bool(decimal("Cost", text or "0"))
    except RefusedError:
        return False


def _price(row: Texts, _: dict[str, str]) -> Values:
    """Say what a unit of the actual export costs, of tokens what one costs, not a block."""
    price = row.get("paygprice")
    if not price or not price.strip("0."):
        return {}
    if _meter(row) is None:
        return {"ListUnitPrice": price}
    per = tokens_per(f"{row.get('unitofmeasure', '')} tokens")
    return {"ListUnitPrice": per and per_token(decimal("PayGPrice", price), per)}


def _quantity(row: Texts, _: dict[str, str]) -> Values:
    """Count what was used, not blocks of it, so that prices of all kinds of token compare."""
    quantity = _first(row, _QUANTITY)
    if quantity is None or _category(row) != "Usage":
        return {"PricingQuantity": quantity}
    size, unit = _block(row.get("unitofmeasure", ""))
    used = money.EXACT.multiply(decimal("Quantity", quantity), size)
    if _meter(row) is None:
        return {"PricingQuantity": quantity, "ConsumedQuantity": used, "ConsumedUnit": unit}
    return {"PricingQuantity": used, "ConsumedQuantity": used, "ConsumedUnit": TOKENS}


def _category(row: Texts) -> str:
    return _KINDS.get(_plain(row.get("chargetype")), "Adjustment")


def _meter(row: Texts) -> Meter | None:
    name = row.get("metername", "")
    return azure_meter(name) if "oken" in name else None


def _charge(row: Texts, _: dict[str, str]) -> Values:
    """Say what kind of charge a row is, and whether a commitment was used."""
    kind = _plain(row.get("chargetype"))
    unused = kind.startswith("unused")
    used = _plain(row.get("pricingmodel")) in _COVERED and kind == "usage"
    return {
        "ChargeCategory": _category(row),
        "ChargeClass": "Correction" if kind == "refund" else None,
        # What is paid for whether it is used or not is no usage that could spike.
        "ChargeFrequency": "Recurring"
        if unused
        else _FREQUENCIES.get(_plain(row.get("frequency"))),
        "CommitmentDiscountStatus": "Unused" if unused else "Used" if used else None,
    }


def _metered(row: Texts, _: dict[str, str]) -> Values:
    meter = _meter(row)
    if meter is None:
        return {"SkuId": row.get("meterid"), "PricingUnit": row.get("unitofmeasure")}
    # The same model has a meter of its own in every region.
    return {"SkuId": meter.sku, "PricingUnit": TOKENS, "ServiceCategory": SERVICE_CATEGORY}


def _account(row: Texts, _: dict[str, str]) -> Values:
    account = row.get("billingaccountid")
    path = _path("/providers/Microsoft.Billing/billingAccounts/", account)
    return {"BillingAccountId": path or ""}


def _subscription(row: Texts, _: dict[str, str]) -> Values:
    name = _first(row, _SUBSCRIPTION)
    return {"SubAccountId": _path("/subscriptions/", name and name.lower())}


def _resource(row: Texts, _: dict[str, str]) -> Values:
    resource = _first(row, _RESOURCE)
    # Azure writes one resource in several cases.
    return {"ResourceId": resource and resource.lower()}


def _first_of(name: str, columns: tuple[str, ...], default: str | None = None) -> Rule:
    return Rule(
        (name,), columns, lambda row, _: {name: _first(row, columns) or default}, hands_on=columns
    )


def _when(row: Texts, _: dict[str, str]) -> Values:
    return {**_periods(_first(row, _DATE), _first(row, _PERIOD[0]), _first(row, _PERIOD[1]))}


@lru_cache(maxsize=65_536)
def _periods(date: str | None, first: str | None, last: str | None) -> Values:
    """Return the day of the charge, and the billing period, whose end Azure writes inclusively."""
    if date is None:
        raise RefusedError("Date is missing")
    try:
        start = moment(date)
        return {
            "ChargePeriodStart": start,
            "ChargePeriodEnd": start + _DAY,
            "BillingPeriodStart": first and moment(first),
            "BillingPeriodEnd": last and moment(last) + _DAY,
        }
    except (ValueError, OverflowError):
        raise RefusedError(
            f"one of {date[:40]!r}, {first!r:.42}, {last!r:.42} is no date"
        ) from None


@lru_cache(maxsize=1024)
def _block(unit: str) -> tuple[Decimal, str | None]:
    """Read a unit of measure, which may be a block of many.

    >>> _block("100 Hours"), _block("10K"), _block("1 GB/Month")
    ((Decimal('100'), 'Hours'), (Decimal('10000'), 'Units'), (Decimal('1'), 'GB/Month'))
    """
    found = _UNIT.fullmatch(unit.strip())
    if found is None:
        return Decimal(1), unit or None
    return Decimal(found[1]) * _TIMES[found[2]], found[3] or "Units"


@lru_cache(maxsize=4096)
def _region(text: str | None) -> str | None:
    """Write a location as Azure names regions.

    >>> _region("EastUS2"), _region("US West 2")
    ('eastus2', 'uswest2')
    """
    return text and text.lower().replace(" ", "")


def _path(prefix: str, name: str | None) -> str | None:
    """Write an id as FOCUS exports do: as the path of the thing."""
    return name if name is None or name.startswith("/") else prefix + name


@lru_cache(maxsize=4096)
def _plain(text: str | None) -> str:
    return (text or "").lower().replace(" ", "").replace("-", "")


def _first(row: Texts, names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in row:
            return row[name]
    return None


# What both exports say of a row.
_SHARED: Final = (
    Rule(
        ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"),
        (*_DATE, *_PERIOD[0], *_PERIOD[1]),
        _when,
    ),
    Rule(
        ("ChargeCategory", "ChargeClass", "ChargeFrequency", "CommitmentDiscountStatus"),
        ("chargetype", "pricingmodel", "frequency"),
        _charge,
    ),
    _first_of("ChargeDescription", _PRODUCT),
    _first_of("BillingCurrency", _CURRENCY, NO_CURRENCY),
    _first_of("CommitmentDiscountId", _COMMITMENT),
    Rule(("BillingAccountId",), ("billingaccountid",), _account),
    Rule(("SubAccountId",), _SUBSCRIPTION, _subscription),
    Rule(("ResourceId",), _RESOURCE, _resource, hands_on=_RESOURCE),
    Rule(
        ("RegionId",),
        ("resourcelocation",),
        lambda row, _: {"RegionId": _region(row.get("resourcelocation"))},
    ),
    Rule(
        ("SkuId", "PricingUnit", "ServiceCategory"),
        ("meterid", "metername", "unitofmeasure"),
        _metered,
    ),
    same("SubAccountName", "subscriptionname"),
    same("ResourceName", "resourcename"),
    same("ServiceName", "metercategory"),
    same("Tags", "tags"),
)
_ACTUAL: Final = (
    _first_of("BilledCost", _COST),
    Rule(("ListUnitPrice",), ("paygprice", "metername", "unitofmeasure"), _price),
    Rule(
        ("PricingQuantity", "ConsumedQuantity", "ConsumedUnit"),
        (*_QUANTITY, "chargetype", "unitofmeasure", "metername"),
        _quantity,
    ),
)
_AMORTIZED: Final = (
    Rule(("BilledCost",), (), lambda _row, _: {"BilledCost": "0"}),
    _first_of("EffectiveCost", _COST),
)
SOURCE: Final = Source(
    recognises, read, appends=False, needs="the columns ChargeType, MeterId, Date and Cost"
)
