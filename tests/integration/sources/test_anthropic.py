import json
from decimal import Decimal
from pathlib import Path

import pytest

from service.core.ledger import Ledger
from tests.integration.sources.buckets import total_of
from tests.reading import read

SAMPLE = Path(__file__).parents[2] / "data" / "sources" / "anthropic.json"
HOUR = ("2026-03-04T10:00:00Z", "2026-03-04T11:00:00Z")
DAY = ("2026-03-04T00:00:00Z", "2026-03-05T00:00:00Z")
MODEL = "claude-sonnet-4-5-20250929"


def used(**values):
    return {
        "uncached_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
        "api_key_id": "k",
        "workspace_id": "w",
        "model": MODEL,
        "service_tier": "standard",
        "context_window": "0-200k",
    } | values


def page(path, *results, span=HOUR):
    bucket = {"starting_at": span[0], "ending_at": span[1], "results": results}
    path.write_text(json.dumps({"data": [bucket], "has_more": False, "next_page": None}))
    return path


def rows(tmp_path, *results, span=HOUR):
    result = read(page(tmp_path / "a.json", *results, span=span))
    assert result.rejected == []
    return {event.sku_id: event for event in result.events}


def test_pitfall_18_costs_are_cents_as_text_and_become_dollars_exactly():
    [total] = read(SAMPLE).reader.totals.values()
    assert total.billed_cost == Decimal("1.3423912")


def test_what_is_estimated_is_tokens_at_list_price():
    # Sonnet 4.5: 1,500 at 3, 200,000 read at 0.3, 500 written at 3.75, 1,000 for an hour at 6,
    # 5,000 out at 15. Haiku 4.5 in batches: 40,000 at 0.5, 8,000 out at 2.5. Dollars per million.
    sonnet = Decimal("0.0045") + Decimal("0.06") + Decimal("0.001875") + Decimal("0.006")
    haiku = Decimal("0.02") + Decimal("0.02")
    [total] = read(SAMPLE).reader.totals.values()
    assert total.effective_cost == sonnet + Decimal("0.075") + haiku


def test_input_is_told_without_what_was_cached_and_is_taken_as_it_is(tmp_path):
    found = rows(tmp_path, used(uncached_input_tokens=400, cache_read_input_tokens=600))
    assert sorted(event.pricing_quantity for event in found.values()) == [400, 600]


@pytest.mark.parametrize(
    "values",
    [
        {"context_window": "200k-1M"},
        {"service_tier": "priority"},
        {"inference_geo": "us"},
        {"speed": "fast"},
        {"model": "claude-9"},
    ],
)
def test_what_has_no_list_price_has_no_cost_and_is_not_free(tmp_path, values):
    [event] = rows(tmp_path, used(uncached_input_tokens=10, **values)).values()
    assert event.effective_cost is None
    assert event.charge_description.endswith("no list price is known")


def test_a_null_workspace_is_the_default_one(tmp_path):
    [event] = rows(tmp_path, used(output_tokens=1, workspace_id=None)).values()
    assert event.sub_account_id == event.tags["project"] == "default"


def test_the_estimate_and_the_bill_are_never_added_up(tmp_path, book):
    ledgers = {metric: Ledger({"anthropic": metric}) for metric in ("effective", "billed")}
    usage = page(tmp_path / "usage.json", used(output_tokens=1_000_000))
    costs = page(tmp_path / "costs.json", {"amount": "1480", "currency": "USD"}, span=DAY)
    for path in (usage, costs):
        for arrival in read(path, book=book).arrivals:
            for ledger in ledgers.values():
                ledger.take("anthropic", arrival.event)
    assert total_of(ledgers["effective"]) == 15
    assert total_of(ledgers["billed"]) == Decimal("14.8")


def test_costs_by_tier_and_context_are_told_apart(tmp_path):
    both = [
        {"amount": "1", "model": MODEL, "token_type": "output_tokens", "context_window": window}
        for window in ("0-200k", "200k-1M")
    ]
    assert len(rows(tmp_path, *both, span=DAY)) == 2


def test_a_bucket_without_a_time_is_refused_whole(tmp_path):
    path = page(tmp_path / "a.json", used(output_tokens=1), span=("soon", "later"))
    assert read(path).reasons == ["the bucket's start or end is not a time"]
