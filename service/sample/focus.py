"""FOCUS 1.2 rows: what a meter, a commitment and a fee look like in a bill."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from service.core.money import text
from service.sample.estate import START, Account, Fee, Resource, hour_of
from service.sample.prices import REGIONS
from service.sample.usage import COST_STEP, Meter

Row = dict[str, str]

# The columns of FOCUS 1.2 that have something to say here, in the order of AWS: by name.
COLUMNS: Final[Sequence[str]] = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType"),
    *("BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "CapacityReservationId"),
    *("CapacityReservationStatus", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory"),
    *("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountQuantity"),
    *("CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit"),
    *("ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice"),
    *("EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice"),
    *("PricingCategory", "PricingCurrency", "PricingCurrencyContractedUnitPrice"),
    *("PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId"),
    *("ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuMeter"),
    *("SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType", "Tags"),
)

SAVINGS_PLAN: Final = (
    "arn:aws:savingsplans::000411112222:savingsplan/6d1f4a52-0c3b-4d7e-9f3a-2b8e5c70a908"
)
COMMITTED_PER_HOUR: Final = Decimal("3.6")
COVERED_SHARE: Final = Decimal("0.72")
_PAYER: Final[Mapping[str, Row]] = {
    "aws": {
        "BillingAccountId": "000411112222",
        "BillingAccountName": "fernhill-payer",
        "BillingAccountType": "Management account",
        "BillingCurrency": "USD",
        "InvoiceIssuerName": "Amazon Web Services, Inc.",
        "ProviderName": "AWS",
        "PublisherName": "Amazon Web Services, Inc.",
        "SubAccountType": "Member account",
    },
    "azure": {
        "BillingAccountId": "/providers/Microsoft.Billing/billingAccounts/00441177",
        "BillingAccountName": "Fernhill GmbH",
        "BillingAccountType": "Billing account",
        "BillingCurrency": "EUR",
        "InvoiceIssuerName": "Microsoft",
        "ProviderName": "Microsoft",
        "PublisherName": "Microsoft",
        "SubAccountType": "Subscription",
    },
}
_COMMITMENT: Final[Row] = {
    "CommitmentDiscountCategory": "Spend",
    "CommitmentDiscountId": SAVINGS_PLAN,
    "CommitmentDiscountName": "Compute Savings Plan, 1 year, no upfront",
    "CommitmentDiscountType": "Savings Plan",
    "CommitmentDiscountUnit": "USD",
}


def stamp(at: datetime) -> str:
    """Write a time as FOCUS does."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def month_of(at: datetime) -> tuple[datetime, datetime]:
    """Return the first instant of a time's month and of the next one."""
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def usage_rows(meter: Meter, first: datetime, last: datetime) -> Iterator[Row]:
    """Yield the rows of one meter whose charge period lies within [first, last).

    A period without usage has no row. A covered line also has the rows of its commitment: what was
    bought for the hour, and what of it was not used.
    """
    fixed = _fixed(meter)
    step = timedelta(hours=meter.period_hours)
    begin, stop = (hour_of(at) // meter.period_hours for at in (first, last))
    for index in range(begin, stop):
        if not meter.counts[index]:
            continue
        start = START + index * step
        row = fixed | _period(start, start + step) | _amounts(meter, index)
        if meter.line.covered:
            used = (meter.list_cost(index) * COVERED_SHARE).quantize(COST_STEP)
            row |= _COMMITMENT | _used(used)
            yield from _commitment(start, start + step, used)
        yield row


def fee_row(fee: Fee, account: Account, resource: Resource | None, month: datetime) -> Row:
    """Return a fee's row in one month."""
    begin, end = month_of(month)
    if fee.period == "hour":
        end = begin + timedelta(hours=1)
    elif fee.period != "month":
        begin = datetime.fromisoformat(fee.period).replace(tzinfo=START.tzinfo)
        end = begin + timedelta(days=1)
    amount = fee.amounts[f"{month:%Y-%m}"]
    row = dict.fromkeys(COLUMNS, "") | _of(account, resource) | _period(begin, end)
    row |= _billing_period(month)
    row |= dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), amount)
    row |= {
        "ChargeCategory": fee.charge,
        "ChargeClass": "Correction" if fee.correction else "",
        "ChargeDescription": fee.description,
        "ChargeFrequency": fee.frequency,
        "ServiceCategory": fee.category,
        "ServiceName": fee.service,
        "PublisherName": fee.publisher or row["PublisherName"],
        "PricingCategory": "" if fee.charge in ("Tax", "Credit") else "Standard",
        "PricingQuantity": "" if fee.charge == "Tax" else "1",
        "PricingUnit": "" if fee.charge == "Tax" else "Months",
        "SubAccountId": account.id,
        "SubAccountName": account.name,
    }
    if fee.tags:
        row["Tags"] = _json(fee.tags)
    return row


def _fixed(meter: Meter) -> Row:
    price = meter.price
    row = dict.fromkeys(COLUMNS, "") | _of(meter.account, meter.resource)
    region = meter.resource.region or price.region
    return row | {
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ConsumedUnit": price.unit,
        "PricingCategory": "Standard",
        "PricingUnit": price.unit,
        "RegionId": region,
        "RegionName": REGIONS[region],
        "ServiceCategory": price.category,
        "ServiceName": price.service,
        "SkuId": price.sku,
        "SkuPriceId": price.sku_price,
    }


def _of(account: Account, resource: Resource | None) -> Row:
    row = dict(_PAYER[account.provider]) | {
        "SubAccountId": account.id,
        "SubAccountName": account.name,
        "PricingCurrency": "USD",
    }
    if resource is not None and resource.id:
        row |= {"ResourceId": resource.id, "ResourceName": resource.name}
        row["ResourceType"] = resource.type
    if resource is not None and resource.tags:
        row["Tags"] = _json(resource.tags)
    return row


def _period(start: datetime, end: datetime) -> Row:
    return {"ChargePeriodStart": stamp(start), "ChargePeriodEnd": stamp(end)} | _billing_period(
        start
    )


def _billing_period(at: datetime) -> Row:
    first, following = month_of(at)
    return {"BillingPeriodStart": stamp(first), "BillingPeriodEnd": stamp(following)}


def _amounts(meter: Meter, index: int) -> Row:
    quantity, price = text(meter.quantity(index)), text(meter.unit_price(index))
    cost = text(meter.list_cost(index))
    row = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost)
    row |= dict.fromkeys(("PricingQuantity", "ConsumedQuantity"), quantity)
    row |= dict.fromkeys(("ListUnitPrice", "ContractedUnitPrice"), price)
    row["ChargeDescription"] = meter.price.description.replace("{price}", price)
    if meter.currency != "USD":
        usd = text(meter.usd_price(index))
        row["PricingCurrencyListUnitPrice"] = row["PricingCurrencyContractedUnitPrice"] = usd
        exact = (meter.quantity(index) * meter.usd_price(index)).quantize(COST_STEP)
        row["PricingCurrencyEffectiveCost"] = text(exact)
    return row


def _used(used: Decimal) -> Row:
    return {
        "BilledCost": "0",
        "EffectiveCost": text(used),
        "CommitmentDiscountQuantity": text(used),
        "CommitmentDiscountStatus": "Used",
        "PricingCategory": "Committed",
    }


def _commitment(start: datetime, end: datetime, used: Decimal) -> Iterator[Row]:
    """Yield what was committed for the hour, and what is left of it."""
    payer = Account("000411112222", "fernhill-payer")
    plan = Resource("", payer.id, (), id=SAVINGS_PLAN, type="savingsplan")
    row = dict.fromkeys(COLUMNS, "") | _of(payer, plan) | _period(start, end) | _COMMITMENT
    row |= dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), "0")
    row |= {"ServiceCategory": "Compute", "ServiceName": "Savings Plans for AWS Compute usage"}
    row |= {"PricingQuantity": "1", "PricingUnit": "Hours"}
    committed = text(COMMITTED_PER_HOUR)
    yield row | {
        "BilledCost": committed,
        "ListCost": committed,
        "ContractedCost": committed,
        "ChargeCategory": "Purchase",
        "ChargeDescription": "1 year No Upfront Compute Savings Plan",
        "ChargeFrequency": "Recurring",
        "CommitmentDiscountQuantity": committed,
        "PricingCategory": "Standard",
    }
    if used < COMMITTED_PER_HOUR:
        yield row | {
            "EffectiveCost": text(COMMITTED_PER_HOUR - used),
            "ChargeCategory": "Usage",
            "ChargeDescription": "Unused commitment of the Compute Savings Plan",
            "ChargeFrequency": "Usage-Based",
            "CommitmentDiscountQuantity": text(COMMITTED_PER_HOUR - used),
            "CommitmentDiscountStatus": "Unused",
            "PricingCategory": "Committed",
        }


def _json(tags: Mapping[str, str]) -> str:
    return json.dumps(tags, ensure_ascii=False)
