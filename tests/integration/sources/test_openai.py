import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from service.core.ledger import Ledger
from tests.integration.sources.buckets import total_of
from tests.reading import iso, read

SAMPLE = Path(__file__).parents[2] / "data" / "sources" / "openai.json"
TEN = int(datetime(2026, 3, 4, 10, tzinfo=UTC).timestamp())


def used(**values):
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": 0,
        "output_tokens": 0,
        "project_id": "p",
        "api_key_id": "k",
        "model": "gpt-4o-2024-08-06",
    } | values


def cost(value, **values):
    amount = {"value": value, "currency": "usd"}
    return {"object": "organization.costs.result", "amount": amount, "line_item": "x"} | values


def page(path, *results, start=TEN, seconds=3600):
    bucket = {"start_time": start, "end_time": start + seconds, "results": results}
    path.write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False}))
    return path


def rows(tmp_path, *results, **span):
    result = read(page(tmp_path / "a.json", *results, **span))
    assert result.rejected == []
    return {event.sku_id: event for event in result.events}


def test_pitfall_18_what_is_billed_is_in_dollars_number_or_text_and_exact():
    [total] = read(SAMPLE).reader.totals.values()
    assert total.billed_cost == Decimal("0.06") + Decimal("1.2345678901234567890123") + Decimal(
        "1E-7"
    )


def test_what_is_estimated_is_tokens_at_list_price():
    # 400,000 at 2.5, 800,000 cached at 1.25, 50,000 out at 10; batch at half: 2,000,000 and
    # 100,000; text of an audio model: 1,000 at 2.5 and 400 at 10. Dollars per million.
    [total] = read(SAMPLE).reader.totals.values()
    assert total.effective_cost == Decimal("2.5") + Decimal(3) + Decimal("0.0065")


def test_cached_tokens_are_counted_once(tmp_path):
    found = rows(tmp_path, used(input_tokens=1000, input_cached_tokens=600))
    quantities = {sku: event.pricing_quantity for sku, event in found.items()}
    assert quantities == {
        "gpt-4o-2024-08-06-input-tokens": 400,
        "gpt-4o-2024-08-06-cache_read-tokens": 600,
    }


def test_tokens_written_to_the_cache_are_part_of_the_input_too(tmp_path):
    found = rows(tmp_path, used(input_tokens=1000, input_cache_write_tokens=100))
    assert sum(event.pricing_quantity for event in found.values()) == 1000


def test_audio_is_part_of_the_tokens_where_text_is_named_and_beside_them_where_not(tmp_path):
    audio = {"input_tokens": 100, "input_audio_tokens": 30}
    old = rows(tmp_path, used(**audio))
    new = rows(tmp_path, used(**audio, input_text_tokens=70))
    assert sorted(event.pricing_quantity for event in old.values()) == [30, 100]
    assert sorted(event.pricing_quantity for event in new.values()) == [30, 70]


def test_parts_that_are_more_than_the_whole_are_refused_and_cost_no_other_result(tmp_path):
    path = page(
        tmp_path / "a.json", used(input_tokens=1, input_cached_tokens=2), used(output_tokens=5)
    )
    result = read(path)
    assert result.reasons == ["the parts of the tokens are more than the whole"]
    assert len(result.events) == 1


@pytest.mark.parametrize("values", [{"model": "gpt-9"}, {"model": None}, {"service_tier": "scale"}])
def test_what_has_no_list_price_has_no_cost_and_is_not_free(tmp_path, values):
    [event] = rows(tmp_path, used(input_tokens=10, **values)).values()
    assert event.effective_cost is None
    assert event.charge_description.endswith("no list price is known")


def test_an_estimate_says_that_it_is_one(tmp_path):
    [event] = rows(tmp_path, used(input_tokens=10)).values()
    assert event.tags == {
        "model": "gpt-4o-2024-08-06", "project": "p", "api_key": "k", "estimated": True,
    }  # fmt: skip
    assert "estimated at the list price" in event.charge_description
    assert event.billed_cost == 0


def test_the_estimate_and_the_bill_are_never_added_up(tmp_path, book):
    ledgers = {metric: Ledger({"openai": metric}) for metric in ("effective", "billed")}
    usage = page(tmp_path / "usage.json", used(input_tokens=1_000_000))
    costs = page(tmp_path / "costs.json", cost(2.4), start=TEN - 36_000, seconds=86_400)
    for path in (usage, costs):
        for arrival in read(path, book=book).arrivals:
            for ledger in ledgers.values():
                ledger.take("openai", arrival.event)
    assert total_of(ledgers["effective"]) == Decimal("2.5")
    assert total_of(ledgers["billed"]) == Decimal("2.4")


def test_pitfall_1_an_hour_that_is_asked_for_again_replaces_what_it_said(tmp_path, book):
    ledger = Ledger({"openai": "effective"})
    for number, tokens in enumerate((100_000, 400_000, 400_000)):
        path = page(tmp_path / f"{number}.json", used(input_tokens=tokens))
        for arrival in read(path, book=book).arrivals:
            ledger.take("openai", arrival.event)
    assert total_of(ledger) == 1


def test_reports_of_different_kinds_do_not_replace_each_other(tmp_path, book):
    ledger = Ledger({"openai": "effective"})
    embeddings = used(
        object="organization.usage.embeddings.result",
        input_tokens=1_000_000,
        model="text-embedding-3-small",
    )
    for name, result in (("a", used(input_tokens=1_000_000)), ("b", embeddings)):
        for arrival in read(page(tmp_path / f"{name}.json", result), book=book).arrivals:
            ledger.take("openai", arrival.event)
    assert total_of(ledger) == Decimal("2.52")


def test_buckets_are_minutes_hours_or_days_in_utc(tmp_path):
    for seconds, grain in ((60, "hour"), (3600, "hour"), (86_400, "day")):
        [event] = rows(tmp_path, used(input_tokens=1), seconds=seconds).values()
        assert iso(event.charge_period_start) == "2026-03-04T10:00:00Z"
        assert event.grain == grain


def test_a_cost_without_an_amount_is_refused_not_free(tmp_path):
    assert read(page(tmp_path / "a.json", cost(1) | {"amount": None})).reasons == [
        "amount is missing"
    ]


def test_an_answer_that_is_an_error_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}')
    assert read(path, source="openai").reasons == ["Object missing required field `start_time`"]
