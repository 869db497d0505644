"""Tokens on a cloud's bill: Amazon Bedrock in a CUR, Azure OpenAI in cost details."""

from decimal import Decimal

import pytest

from service.adapters.sources.token_meters import azure_meter, bedrock_meter
from service.core.things import family_of
from tests.integration.sources.test_aws_cur import one
from tests.integration.sources.test_azure import detail
from tests.reading import read, write_csv

PROFILE = "arn:aws:bedrock:us-east-1:42:application-inference-profile/abc"
BEDROCK = {
    "lineItem__ProductCode": "AmazonBedrock",
    "lineItem__UsageAmount": "12.5",
    "pricing__unit": "1K tokens",
    "pricing__publicOnDemandRate": "0.003",
    "pricing__publicOnDemandCost": "0.0375",
}


@pytest.mark.parametrize(
    ("usage_type", "product", "sku"),
    [
        ("USE1-Claude3Sonnet-input-tokens", "", "claude3sonnet-input-tokens"),
        ("USW2-Claude4.6Opus-output-tokens", "", "claude4.6opus-output-tokens"),
        ("USE1-Nova2.0Lite-input-tokens-flex-cross-region-global", "",
         "nova2.0lite-input-tokens-flex-global"),
        ("USE1-Nova2.0Pro-text-input-tokens-priority", "", "nova2.0pro-input-tokens-priority"),
        ("USE1-GPT-OSS-Safeguard-120B-output-tokens-batch", "",
         "gpt-oss-safeguard-120b-output-tokens-batch"),
        ("USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard", "",
         "claude-opus-4-8-cache-write-tokens-global"),
        ("APS3-Claude4Sonnet-cache-read-input-token-count", "", "claude4sonnet-cache-read-tokens"),
        ("USE1-MP:USE1_InputTokenCount-Units", "Claude 3.5 Sonnet (Amazon Bedrock Edition)",
         "claude-3.5-sonnet-input-tokens"),
        ("USE1-MP:USE1_CacheWrite1hInputTokenCount_Global-Units",
         "Claude Haiku 4.5 (Amazon Bedrock Edition)",
         "claude-haiku-4.5-cache-write-1h-tokens-global"),
        ("USE1-MP:USE1_output_tokens_standard-Units", "Claude Opus 5 (Amazon Bedrock Edition)",
         "claude-opus-5-output-tokens"),
    ],
)  # fmt: skip
def test_a_usage_type_of_bedrock_names_model_kind_and_price(usage_type, product, sku):
    meter = bedrock_meter(usage_type, product)
    assert meter.sku == sku
    assert sku.startswith(f"{meter.model}-{meter.kind}-tokens")
    assert family_of(meter.sku, "", "Tokens") == meter.model


@pytest.mark.parametrize(
    "usage_type",
    ["USE1-BoxUsage:p4d.24xlarge", "USE1-MP:USE1_InputTokenCount-Units", "USE1-TokenRequests", ""],
)
def test_what_names_no_model_or_no_kind_is_left_as_it_is(usage_type):
    assert bedrock_meter(usage_type, "Some seller's product") is None


@pytest.mark.parametrize(
    ("name", "sku"),
    [
        ("gpt 4.1 mini Inp glbl Tokens", "gpt-4.1-mini-input-tokens-global"),
        ("gpt-4o-mini-0718-Outp-glbl Tokens", "gpt-4o-mini-0718-output-tokens-global"),
        ("GPT 5 Mini cchd Inpt Glbl 1M Tokens", "gpt-5-mini-cache-read-tokens-global"),
        ("GPT 5.1 cd inp Gl 1M Tokens", "gpt-5.1-cache-read-tokens-global"),
        ("gpt 4o 1120 Batch Outp DZone Tokens", "gpt-4o-1120-output-tokens-batch-data-zone"),
    ],
)
def test_a_meter_of_azure_openai_names_model_kind_and_price(name, sku):
    assert azure_meter(name).sku == sku
    assert family_of(sku, "", "Tokens") == azure_meter(name).model


@pytest.mark.parametrize(
    "name", ["Provisioned Managed Global Unit", "Tokens", "Std Fine Tuning", ""]
)
def test_a_meter_of_no_tokens_is_left_as_it_is(name):
    assert azure_meter(name) is None


def test_bedrock_counts_tokens_by_inference_profile_and_model(tmp_path):
    event = one(
        tmp_path, cost="0.0375", resource=PROFILE,
        lineItem__UsageType="USE1-Claude3Sonnet-input-tokens", **BEDROCK,
    )  # fmt: skip
    assert (event.resource_id, event.resource_type) == (PROFILE, "Inference profile")
    assert (event.service_name, event.sku_id) == ("Amazon Bedrock", "claude3sonnet-input-tokens")
    assert (event.pricing_quantity, event.pricing_unit) == (12500, "Tokens")
    assert event.pricing_quantity * event.list_unit_price == event.list_cost == Decimal("0.0375")
    assert event.tags == {"model": "claude3sonnet"}


def test_without_a_profile_the_principal_is_the_resource_and_else_the_model(tmp_path):
    who = "arn:aws:sts::42:assumed-role/app/i-1"
    usage = {"lineItem__UsageType": "USE1-MP:USE1_OutputTokenCount-Units",
             "product__ProductName": "Claude Haiku 4.5 (Amazon Bedrock Edition)"}  # fmt: skip
    event = one(tmp_path, resource="", lineItem__IamPrincipal=who, **usage, **BEDROCK)
    assert (event.resource_id, event.resource_type) == (who, "Principal")
    event = one(tmp_path, resource="", **usage, **BEDROCK)
    assert (event.resource_id, event.resource_type) == ("model/claude-haiku-4.5", "Model")


def test_azure_openai_counts_tokens_in_both_exports_under_one_sku(tmp_path):
    shared = {"MeterName": "gpt 4.1 mini Outp glbl Tokens", "MeterCategory": "Foundry Models",
              "UnitOfMeasure": "1K", "Quantity": "12.5", "PayGPrice": "0.0016"}  # fmt: skip
    [actual] = read(write_csv(tmp_path / "a.csv", [detail("0.02", **shared)])).events
    assert (actual.sku_id, actual.pricing_quantity) == (
        "gpt-4.1-mini-output-tokens-global", 12500,
    )  # fmt: skip
    assert actual.pricing_quantity * actual.list_unit_price == Decimal("0.02")
    assert actual.service_category == "AI and Machine Learning"
    reserved = {"PricingModel": "SavingsPlan"}
    [amortized] = read(write_csv(tmp_path / "b.csv", [detail("0.02", **shared, **reserved)])).events
    assert (amortized.sku_id, amortized.effective_cost) == (actual.sku_id, Decimal("0.02"))
