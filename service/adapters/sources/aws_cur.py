"""AWS Cost and Usage Reports, legacy and 2.0, CSV or Parquet.

Columns: https://docs.aws.amazon.com/cur/latest/userguide/data-dictionary.html (legacy) and
https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2.html (2.0). What a row costs
effectively follows from its line item type, as AWS describes amortized cost. Net columns, which are
there under a private agreement, win over the public ones.

identity/LineItemId is neither unique nor the same from delivery to delivery, and is not read.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.formats import Format, flat, has, read_rows
from service.adapters.sources.rows import RefusedError, Rule, Texts, Values, decimal, same
from service.adapters.sources.token_meters import (
    BEDROCK,
    MODEL,
    SERVICE_CATEGORY,
    TOKENS,
    Meter,
    bedrock_meter,
    per_token,
    tokens_per,
)
from service.adapters.sources.values import moment, tags
from service.core import money

REQUIRED: Final = (
    "lineitemlineitemtype", "lineitemusagestartdate", "lineitemusageenddate",
    "lineitemunblendedcost",
)  # fmt: skip
_SAME: Final = {
    "BillingAccountId": "billpayeraccountid",
    "BillingPeriodStart": "billbillingperiodstartdate",
    "BillingPeriodEnd": "billbillingperiodenddate",
    "SubAccountId": "lineitemusageaccountid",
    "SubAccountName": "lineitemusageaccountname",
    "BillingCurrency": "lineitemcurrencycode",
    "ListCost": "pricingpublicondemandcost",
    "CapacityReservationStatus": "capacityreservationcapacityreservationstatus",
}
_SERVICE: Final = ("productproductname", "productservicename", "lineitemproductcode")
_REGION: Final = ("productregioncode", "productregion")
_COMMITMENT: Final = ("reservationreservationarn", "savingsplansavingsplanarn")
_NET: Final = "lineitemnetunblendedcost"
_KIND: Final = ("lineitemlineitemtype", "splitlineitemparentresourceid")
_PERIOD: Final = ("lineitemusagestartdate", "lineitemusageenddate", "identitytimeinterval")
_METER: Final = ("lineitemusagetype", *_SERVICE, "product")
_PRICE: Final = ("pricingunit", "pricingpublicondemandrate")
_TAGS: Final = ("resourcetags", "costcategory")
_COSTS: Final = (
    "lineitemunblendedcost", _NET,
    "reservationeffectivecost", "reservationneteffectivecost",
    "reservationunusedamortizedupfrontfeeforbillingperiod", "reservationunusedrecurringfee",
    "reservationnetunusedamortizedupfrontfeeforbillingperiod", "reservationnetunusedrecurringfee",
    "savingsplansavingsplaneffectivecost", "savingsplannetsavingsplaneffectivecost",
    "savingsplantotalcommitmenttodate", "savingsplanusedcommitment",
)  # fmt: skip

# What a line item type is in FOCUS's words: category, frequency. Discounts and negations are parts
# of other rows' price: they count, but a baseline of usage does not know them.
_KINDS: Final[dict[str, tuple[str, str]]] = {
    "Usage": ("Usage", "Usage-Based"),
    "DiscountedUsage": ("Usage", "Usage-Based"),
    "SavingsPlanCoveredUsage": ("Usage", "Usage-Based"),
    "SavingsPlanNegation": ("Adjustment", "Usage-Based"),
    "RIFee": ("Purchase", "Recurring"),
    "SavingsPlanRecurringFee": ("Purchase", "Recurring"),
    "SavingsPlanUpfrontFee": ("Purchase", "One-Time"),
    "Tax": ("Tax", "Recurring"),
    "Credit": ("Credit", "One-Time"),
    "Refund": ("Credit", "One-Time"),
}
_COVERED: Final = {
    "DiscountedUsage": ("reservationneteffectivecost", "reservationeffectivecost"),
    "SavingsPlanCoveredUsage": (
        "savingsplannetsavingsplaneffectivecost",
        "savingsplansavingsplaneffectivecost",
    ),
}
_FREE: Final = frozenset({"SavingsPlanNegation", "SavingsPlanUpfrontFee"})
_TITLE: Final = re.compile(r"(?i)(resource_?tags|cost_?category)[/_](?:user[:_])?(.+)")


def recognises(head: Head) -> bool:
    """Tell a report by the line item type, which no other format has, and its charge period."""
    return has(head, REQUIRED[:3])


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    return read_rows(path, _FORMAT)


def _tag_of(title: str) -> str | None:
    """Return the tag that a column of its own holds.

    >>> _tag_of("resourceTags/user:Owner"), _tag_of("resource_tags_user_owner")
    ('Owner', 'owner')
    >>> _tag_of("costCategory/Team"), _tag_of("resourceTags/aws:createdBy"), _tag_of("bill/Type")
    ('cost_category/Team', 'aws:createdBy', None)
    """
    found = _TITLE.fullmatch(title.strip())
    if found is None:
        # A Parquet file's columns are asked for by their flat names.
        return title if flat(title).startswith(("resourcetags", "costcategory")) else None
    return found[2] if found[1].lower().startswith("r") else f"cost_category/{found[2]}"


def _rules(columns: frozenset[str]) -> tuple[Rule, ...]:
    cost = partial(_cost, has_net=_NET in columns)
    return (
        Rule(("ChargePeriodStart", "ChargePeriodEnd"), _PERIOD, _when),
        Rule(
            ("ChargeCategory", "ChargeFrequency", "ChargeClass", "CommitmentDiscountId"),
            (*_KIND, *_PERIOD, *_COMMITMENT),
            _charge,
            hands_on=(_KIND[1], *_PERIOD, *_COMMITMENT),
        ),
        Rule(
            ("BilledCost", "EffectiveCost", "CommitmentDiscountStatus"),
            (*_KIND, *_COMMITMENT, *_COSTS),
            cost,
            hands_on=(_KIND[1], *_COMMITMENT, *_COSTS),
        ),
        Rule(
            ("ChargeDescription",),
            (_KIND[1], "lineitemlineitemdescription"),
            _description,
            hands_on=("lineitemlineitemdescription",),
        ),
        Rule(("RegionId",), _REGION, lambda row, _: {"RegionId": _first(row, _REGION)}),
        Rule(("ServiceName", "ServiceCategory", "SkuId"), (*_METER, "productsku"), _service_of),
        Rule(
            ("ResourceId", "ResourceType"),
            ("lineitemresourceid", "lineitemiamprincipal", *_METER),
            _resource,
            hands_on=("lineitemresourceid", "lineitemiamprincipal", *_SERVICE),
        ),
        Rule(
            ("PricingUnit", "ListUnitPrice"),
            (*_PRICE, *_METER),
            _unit,
            hands_on=(_PRICE[1], *_SERVICE),
        ),
        Rule(
            ("PricingQuantity", "ConsumedQuantity", "ConsumedUnit"),
            (*_KIND, "lineitemusageamount", "pricingunit", *_METER),
            _quantity,
            hands_on=(_KIND[1], "lineitemusageamount", *_SERVICE),
        ),
        Rule(("Tags",), (*_TAGS, *_METER), _tags, tagged=True),
        *(same(name, column) for name, column in _SAME.items() if column in columns),
    )


def _when(row: Texts, _: dict[str, str]) -> Values:
    start, end = _period(*map(row.get, _PERIOD))
    return {"ChargePeriodStart": start, "ChargePeriodEnd": end}


def _charge(row: Texts, _: dict[str, str]) -> Values:
    """Say what kind of charge a row is."""
    kind = row.get("lineitemlineitemtype", "")
    category, frequency = _KINDS.get(kind, ("Adjustment", None))
    if _KIND[1] in row:
        category = "Adjustment"
    elif kind == "Fee":
        category, frequency = "Purchase", _frequency_of_fee(row)
    corrects = kind == "Refund" and _KIND[1] not in row
    return {
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
        "ChargeClass": "Correction" if corrects else None,
        "CommitmentDiscountId": _first(row, _COMMITMENT),
    }


def _cost(row: Texts, _: dict[str, str], *, has_net: bool) -> Values:
    """Say what a row costs, and whether a commitment was used."""
    kind = row.get("lineitemlineitemtype", "")
    billed = row.get(_NET) if has_net else None
    if billed is None:
        # Under a private agreement what is deducted is in the other rows' net cost already.
        discounted = has_net and kind.endswith("Discount")
        billed = "0" if discounted else row.get("lineitemunblendedcost", "0")
    effective: object = billed
    status = None
    if _KIND[1] in row:
        # The instance's own row holds the money; what a task or pod had of it is a part of that.
        billed, effective = "0", "0"
    elif kind in _COVERED:
        effective, status = _first(row, _COVERED[kind]) or billed, "Used"
    elif kind == "RIFee":
        effective = _unused_reservation(row)
    elif kind == "SavingsPlanRecurringFee":
        effective = _unused_plan(row)
    elif kind in _FREE or (kind == "Fee" and _first(row, _COMMITMENT)):
        effective = "0"
    if kind in ("RIFee", "SavingsPlanRecurringFee"):
        status = "Unused" if effective else None
    return {"BilledCost": billed, "EffectiveCost": effective, "CommitmentDiscountStatus": status}


def _description(row: Texts, _: dict[str, str]) -> Values:
    parent = row.get(_KIND[1])
    said = row.get("lineitemlineitemdescription") if parent is None else f"part of {parent}"
    return {"ChargeDescription": said}


def _meter(row: Texts) -> Meter | None:
    """Return which model's tokens a line of Amazon Bedrock meters."""
    usage = row.get("lineitemusagetype", "")
    return bedrock_meter(usage, _service(row) or "") if "oken" in usage else None


def _service_of(row: Texts, _: dict[str, str]) -> Values:
    meter = _meter(row)
    if meter is None:
        return {"ServiceName": _service(row), "SkuId": row.get("productsku")}
    return {"ServiceCategory": SERVICE_CATEGORY, "ServiceName": BEDROCK, "SkuId": meter.sku}


def _resource(row: Texts, _: dict[str, str]) -> Values:
    resource, meter = row.get("lineitemresourceid"), _meter(row)
    if meter is None:
        return {"ResourceId": resource}
    principal = row.get("lineitemiamprincipal")
    resource = resource or principal or f"model/{meter.model}"
    return {"ResourceId": resource, "ResourceType": _bedrock_type(resource, principal)}


def _per(row: Texts) -> int | None:
    """Return how many tokens the line's unit is, None when it meters none."""
    return tokens_per(row.get("pricingunit", "")) if _meter(row) else None


def _unit(row: Texts, _: dict[str, str]) -> Values:
    price, per = row.get("pricingpublicondemandrate"), _per(row)
    if per is None:
        return {"PricingUnit": row.get("pricingunit"), "ListUnitPrice": price}
    exact = price and per_token(decimal("ListUnitPrice", price), per)
    return {"PricingUnit": TOKENS, "ListUnitPrice": exact}


def _quantity(row: Texts, _: dict[str, str]) -> Values:
    """Say how much was used, in tokens, not thousands of them."""
    used = row.get("lineitemusageamount")
    quantity: object = used
    per, unit = _per(row), row.get("pricingunit")
    if per is not None:
        unit = TOKENS
        if used is not None:
            exact = decimal("PricingQuantity", used)
            quantity = money.EXACT.multiply(exact, Decimal(per))
    category, _frequency = _KINDS.get(row.get("lineitemlineitemtype", ""), ("", ""))
    if category != "Usage" or _KIND[1] in row:
        # A line of tokens is told in tokens, whatever else it is.
        return {"PricingQuantity": quantity, "ConsumedUnit": None if per is None else unit}
    return {"PricingQuantity": quantity, "ConsumedQuantity": quantity, "ConsumedUnit": unit}


def _bedrock_type(resource: str, principal: str | None) -> str:
    if "inference-profile/" in resource:
        return "Inference profile"
    return "Principal" if resource == principal else "Model"


def _frequency_of_fee(row: Texts) -> str:
    """Tell support by the month from what is bought once: a fee says nothing else about itself."""
    start, end = _period(*map(row.get, _PERIOD))
    return "Recurring" if (end - start).days > 1 else "One-Time"


def _unused_reservation(row: Texts) -> Decimal:
    names = ("unusedamortizedupfrontfeeforbillingperiod", "unusedrecurringfee")
    return money.total(
        decimal(f"reservation {name}", text)
        for name in names
        if (text := _first(row, (f"reservationnet{name}", f"reservation{name}")))
    )


def _unused_plan(row: Texts) -> Decimal:
    total, used = row.get("savingsplantotalcommitmenttodate"), row.get("savingsplanusedcommitment")
    if total is None or used is None:
        return money.ZERO
    return money.subtract(decimal("TotalCommitmentToDate", total), decimal("UsedCommitment", used))


@lru_cache(maxsize=65_536)
def _period(start: str | None, end: str | None, interval: str | None) -> tuple[datetime, datetime]:
    """Return the charge period: the report's own interval, where the usage lies within it.

    A daily report says when in the day the usage was. Its grain is the day all the same, and today
    must not be another period with every delivery.
    """
    if start is None or end is None:
        raise RefusedError("the usage's start or end is missing")
    try:
        used = moment(start), moment(end)
        first, _, last = (interval or "").partition("/")
        if last:
            whole = moment(first), moment(last)
            if whole[0] <= used[0] < used[1] <= whole[1]:
                return whole
    except (ValueError, OverflowError):
        raise RefusedError("the usage's start or end is not a time") from None
    return used


def _service(row: Texts) -> str | None:
    name = _first(row, _SERVICE[:2])
    if name is None and (product := row.get("product")) is not None:
        try:
            name = str(tags(product).get("product_name") or "") or None
        except ValueError:
            name = None
    return name or row.get(_SERVICE[2])


def _tags(row: Texts, found: dict[str, str]) -> Values:
    """Join the tags of columns of their own (legacy) or of two maps (2.0), and the model."""
    meter = _meter(row)
    model = {} if meter is None else {MODEL: meter.model}
    joined: dict[str, object] = {**model, **found}
    try:
        for key, value in tags(row.get("costcategory", "{}")).items():
            joined[f"cost_category/{key}"] = value
        for key, value in tags(row.get("resourcetags", "{}")).items():
            joined[key.removeprefix("user_").removeprefix("user:")] = value
    except ValueError:
        return {"Tags": row.get("resourcetags") or model or None}
    return {"Tags": joined or None}


def _first(row: Texts, names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in row:
            return row[name]
    return None


_COLUMNS: Final = frozenset({
    *REQUIRED, *_SAME.values(), *_REGION, *_COMMITMENT, *_KIND, *_PERIOD, *_METER, *_TAGS, *_COSTS,
    *_PRICE, "productsku", "lineitemresourceid", "lineitemiamprincipal", "lineitemusageamount",
    "lineitemlineitemdescription",
})  # fmt: skip
_FORMAT: Final = Format(REQUIRED, _COLUMNS, _rules, _tag_of)
SOURCE: Final = Source(
    recognises, read, appends=False, needs="the columns of a Cost and Usage Report, lineItem/…"
)
