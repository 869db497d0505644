"""Prices: real SKUs and list prices of `raw/`, under the keys that `estate.toml` uses.

`ec2:TYPE` is an on-demand instance hour, `azurevm:SIZE` one in West Europe, `tokens:input` and
`tokens:output` a thousand tokens of a model on Bedrock, `focus:SKU` a SKU of FOCUS's own sample of
real bills. The first three lists name no SKU ids: there the usage type stands for it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from service.sample.carriers import rows

REGIONS: Final[Mapping[str, str]] = {
    "us-east-1": "US East (N. Virginia)",
    "us-east-2": "US East (Ohio)",
    "us-west-2": "US West (Oregon)",
    "westeurope": "West Europe",
}
_CUT_ON: Final = "2025-06-23"
_MODEL: Final = "global.anthropic.claude-haiku-4-5-20251001-v1:0"


class Price(NamedTuple):
    """What one SKU is and costs; `was` is the list price before the real price cut, if any."""

    sku: str
    sku_price: str
    service: str
    category: str
    unit: str
    description: str
    region: str
    usd: Decimal
    was: Decimal | None = None


def price_list() -> dict[str, Price]:
    """Read every list."""
    prices = {f"focus:{sku}": price for sku, price in _focus().items()}
    prices |= _ec2() | _azure() | _tokens()
    return prices


def _focus() -> dict[str, Price]:
    found: dict[str, Price] = {}
    for row in rows("focus_1.0_sample_1000"):
        if row["ListUnitPrice"] in ("", "NULL") or row["SkuId"] in found:
            continue
        azure = row["ProviderName"] == "Microsoft"
        found[row["SkuId"]] = Price(
            row["SkuId"],
            row["SkuPriceId"],
            row["ServiceName"],
            row["ServiceCategory"],
            row["PricingUnit"],
            row["ChargeDescription"],
            "westeurope" if azure else row["RegionId"],
            Decimal(row["ListUnitPrice"]),
        )
    return found


def _ec2() -> dict[str, Price]:
    before: dict[str, Decimal] = {}
    cut: dict[str, Decimal] = {}
    for row in rows("aws_accelerated_price_changes_us-east-1"):
        if row["price_list_generated_at"].startswith(_CUT_ON) and row["change_vs_previous"]:
            cut[row["instance_type"]] = before[row["instance_type"]]
        before[row["instance_type"]] = Decimal(row["usd_per_hour"])
    return {
        f"ec2:{row['instance_type']}": Price(
            f"BoxUsage:{row['instance_type']}",
            f"BoxUsage:{row['instance_type']}",
            "Amazon Elastic Compute Cloud",
            "Compute",
            "Hours",
            f"${{price}} per On Demand Linux {row['instance_type']} Instance Hour",
            row["region"],
            Decimal(row["usd_per_hour"]),
            cut.get(row["instance_type"]),
        )
        for row in rows("aws_accelerated_ondemand_us-east-1")
    }


def _azure() -> dict[str, Price]:
    return {
        f"azurevm:{row['vm_sku']}": Price(
            row["vm_sku"],
            row["vm_sku"],
            "Virtual Machines",
            "Compute",
            "Hours",
            f"Virtual Machines - {row['vm_sku'].removeprefix('Standard_')} - EU West",
            row["region"],
            Decimal(row["usd_per_hour"]),
        )
        for row in rows("azure_N_series_ondemand_all_regions")
        if row["region"] == "westeurope"
    }


def _tokens() -> dict[str, Price]:
    (row,) = (row for row in rows("llm_token_prices") if row["model"] == _MODEL)
    return {
        f"tokens:{way}": Price(
            f"USE1-claude-haiku-4-5-{way}-tokens",
            f"USE1-claude-haiku-4-5-{way}-tokens",
            "Amazon Bedrock",
            "AI and Machine Learning",
            "1K tokens",
            f"${{price}} per 1K {way} tokens, Claude Haiku 4.5",
            "us-east-1",
            Decimal(row[f"usd_per_mtok_{way}"]) / 1000,
        )
        for way in ("input", "output")
    }
