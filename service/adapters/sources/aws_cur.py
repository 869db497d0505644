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
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.rows import (
    Format,
    Mapper,
    RefusedError,
    Texts,
    Values,
    decimal,
    flat,
    has,
    read_rows,
)
from service.adapters.sources.token_meters import (
    BEDROCK,
    MODEL,
    SERVICE_CATEGORY,
    TOKENS,
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
    "ResourceId": "lineitemresourceid",
    "BillingCurrency": "lineitemcurrencycode",
    "ChargeDescription": "lineitemlineitemdescription",
    "SkuId": "productsku",
    "ListCost": "pricingpublicondemandcost",
    "ListUnitPrice": "pricingpublicondemandrate",
    "PricingQuantity": "lineitemusageamount",
    "PricingUnit": "pricingunit",
    "CapacityReservationStatus": "capacityreservationcapacityreservationstatus",
}
_SERVICE: Final = ("productproductname", "productservicename", "lineitemproductcode")
_REGION: Final = ("productregioncode", "productregion")
_COMMITMENT: Final = ("reservationreservationarn", "savingsplansavingsplanarn")
_NET: Final = "lineitemnetunblendedcost"
_COLUMNS: Final = frozenset({
    *REQUIRED, *_SAME.values(), *_SERVICE, *_REGION, *_COMMITMENT, _NET,
    "identitytimeinterval", "product", "resourcetags", "costcategory",
    "reservationeffectivecost", "reservationneteffectivecost",
    "reservationunusedamortizedupfrontfeeforbillingperiod", "reservationunusedrecurringfee",
    "reservationnetunusedamortizedupfrontfeeforbillingperiod", "reservationnetunusedrecurringfee",
    "savingsplansavingsplaneffectivecost", "savingsplannetsavingsplaneffectivecost",
    "savingsplantotalcommitmenttodate", "savingsplanusedcommitment",
    "splitlineitemparentresourceid", "lineitemusagetype", "lineitemiamprincipal",
})  # fmt: skip

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


def _mapper(columns: frozenset[str]) -> Mapper:
    has_net = _NET in columns
    same = [(name, column) for name, column in _SAME.items() if column in columns]

    def focus_of(row: Texts, found: dict[str, str]) -> Values:
        kind = row.get("lineitemlineitemtype", "")
        values: Values = {name: row[column] for name, column in same if column in row}
        values["ChargePeriodStart"], values["ChargePeriodEnd"] = _period(
            row.get("lineitemusagestartdate"),
            row.get("lineitemusageenddate"),
            row.get("identitytimeinterval"),
        )
        values["ServiceName"] = _service(row)
        values["RegionId"] = _first(row, _REGION)
        values["Tags"] = _tags(row, found)
        billed = row.get(_NET) if has_net else None
        if billed is None:
            # Under a private agreement what is deducted is in the other rows' net cost already.
            discounted = has_net and kind.endswith("Discount")
            billed = "0" if discounted else row.get("lineitemunblendedcost", "0")
        _price(row, kind, billed, values)
        if "oken" in row.get("lineitemusagetype", ""):
            _meter_tokens(row, values)
        return values

    return focus_of


def _price(row: Texts, kind: str, billed: str, values: Values) -> None:
    """Say what kind of charge a row is, and what it costs."""
    category, frequency = _KINDS.get(kind, ("Adjustment", None))
    commitment = _first(row, _COMMITMENT)
    effective: object = billed
    parent = row.get("splitlineitemparentresourceid")
    if parent is not None:
        # The instance's own row holds the money; what a task or pod had of it is a part of that.
        category, billed, effective = "Adjustment", "0", "0"
        values["ChargeDescription"] = f"part of {parent}"
    elif kind in _COVERED:
        effective = _first(row, _COVERED[kind]) or billed
        values["CommitmentDiscountStatus"] = "Used"
    elif kind == "RIFee":
        effective = _unused_reservation(row)
    elif kind == "SavingsPlanRecurringFee":
        effective = _unused_plan(row)
    elif kind in _FREE:
        effective = "0"
    elif kind == "Fee":
        category, frequency = "Purchase", _frequency_of_fee(values)
        effective = "0" if commitment else billed
    elif kind == "Refund":
        values["ChargeClass"] = "Correction"
    if category == "Usage":
        values["ConsumedQuantity"] = row.get("lineitemusageamount")
        values["ConsumedUnit"] = row.get("pricingunit")
    if kind in ("RIFee", "SavingsPlanRecurringFee"):
        values["CommitmentDiscountStatus"] = "Unused" if effective else None
    values |= {
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
        "BilledCost": billed,
        "EffectiveCost": effective,
        "CommitmentDiscountId": commitment,
    }


def _meter_tokens(row: Texts, values: Values) -> None:
    """Say of a line of Amazon Bedrock which model, which kind of token, and how many."""
    meter = bedrock_meter(row["lineitemusagetype"], str(values["ServiceName"] or ""))
    if meter is None:
        return
    per = tokens_per(row.get("pricingunit", ""))
    if per is not None:
        for name in ("PricingQuantity", "ConsumedQuantity"):
            if isinstance(text := values.get(name), str):
                values[name] = money.EXACT.multiply(decimal(name, text), Decimal(per))
        if isinstance(text := values.get("ListUnitPrice"), str):
            values["ListUnitPrice"] = per_token(decimal("ListUnitPrice", text), per)
        values["PricingUnit"] = values["ConsumedUnit"] = TOKENS
    principal = row.get("lineitemiamprincipal")
    values.setdefault("ResourceId", principal or f"model/{meter.model}")
    values |= {
        "ServiceCategory": SERVICE_CATEGORY,
        "ServiceName": BEDROCK,
        "SkuId": meter.sku,
        "ResourceType": _bedrock_type(str(values["ResourceId"]), principal),
    }
    tagged = values["Tags"]
    if tagged is None or isinstance(tagged, dict):
        values["Tags"] = {MODEL: meter.model} | (tagged or {})


def _bedrock_type(resource: str, principal: str | None) -> str:
    if "inference-profile/" in resource:
        return "Inference profile"
    return "Principal" if resource == principal else "Model"


def _frequency_of_fee(values: Values) -> str:
    """Tell support by the month from what is bought once: a fee says nothing else about itself."""
    span = values["ChargePeriodEnd"] - values["ChargePeriodStart"]  # type: ignore[operator]
    return "Recurring" if span.days > 1 else "One-Time"


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


def _tags(row: Texts, found: dict[str, str]) -> object:
    """Join the tags of columns of their own (legacy) or of two maps (2.0)."""
    if "resourcetags" not in row and "costcategory" not in row:
        return found or None
    joined: dict[str, object] = {**found}
    try:
        for key, value in tags(row.get("costcategory", "{}")).items():
            joined[f"cost_category/{key}"] = value
        for key, value in tags(row.get("resourcetags", "{}")).items():
            joined[key.removeprefix("user_").removeprefix("user:")] = value
    except ValueError:
        return row.get("resourcetags")
    return joined or None


def _first(row: Texts, names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in row:
            return row[name]
    return None


_FORMAT: Final = Format(REQUIRED, _COLUMNS, _mapper, _tag_of)
SOURCE: Final = Source(
    recognises, read, appends=False, needs="the columns of a Cost and Usage Report, lineItem/…"
)
