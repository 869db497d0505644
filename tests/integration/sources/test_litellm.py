import json
from decimal import Decimal
from pathlib import Path

import pytest

from service.core.ledger import Ledger
from tests.reading import iso, read, write_csv, write_ndjson

SAMPLE = Path(__file__).parents[2] / "data" / "sources" / "litellm.json"


def request(request_id="r1", spend=0.5, **values):
    return {
        "request_id": request_id,
        "spend": spend,
        "startTime": "2026-03-04T10:59:59.900000Z",
        "endTime": "2026-03-04T11:00:09Z",
        "model": "gpt-4o",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "total_tokens": 1000,
    } | values


def one(tmp_path, **values):
    tokens, _ = read(write_ndjson(tmp_path / "a.ndjson", [request(**values)])).events
    return tokens


def test_pitfall_18_spend_adds_up_to_the_last_digit_that_the_file_writes():
    raw = json.loads(SAMPLE.read_text(), parse_float=Decimal)
    [total] = read(SAMPLE).reader.totals.values()
    assert total.effective_cost == sum(Decimal(row["spend"]) for row in raw)
    assert total.effective_cost == Decimal("0.19552512")
    assert total.billed_cost == 0  # it is nobody's invoice


def test_a_request_is_counted_and_its_tokens_are_what_it_cost(tmp_path):
    tokens, counted = read(write_ndjson(tmp_path / "a.ndjson", [request()])).events
    assert (tokens.sku_id, tokens.pricing_quantity) == ("gpt-4o-tokens", 1000)
    assert (counted.sku_id, counted.pricing_quantity) == ("gpt-4o-requests", 1)
    assert (tokens.effective_cost, counted.effective_cost) == (Decimal("0.5"), 0)


def test_a_list_a_wrapped_list_lines_and_csv_say_the_same(tmp_path):
    rows = json.loads(SAMPLE.read_text())
    wrapped = tmp_path / "wrapped.json"
    wrapped.write_text(json.dumps({"data": rows, "total": 4, "page": 1}))
    flat = [
        {key: json.dumps(v) if isinstance(v, list | dict) else v for key, v in row.items()}
        for row in rows
    ]
    for row in flat:
        row["spend"] = f"{row['spend']:.10f}"
    table = write_csv(tmp_path / "a.csv", flat, list(dict.fromkeys(k for r in flat for k in r)))
    sample = read(SAMPLE).events
    expected = [(e.x_event_id, e.effective_cost, e.tags, e.resource_id) for e in sample]
    for path in (wrapped, write_ndjson(tmp_path / "a.ndjson", rows), table):
        events = read(path).events
        found = [(e.x_event_id, e.effective_cost, e.tags, e.resource_id) for e in events]
        assert found == expected
        assert {arrival.source for arrival in read(path).arrivals} == {"litellm"}


def test_a_request_belongs_to_the_hour_in_which_it_began(tmp_path):
    event = one(tmp_path)
    assert iso(event.charge_period_start) == "2026-03-04T10:00:00Z"
    assert iso(event.charge_period_end) == "2026-03-04T11:00:00Z"


def test_the_times_of_a_database_dump_are_read(tmp_path):
    assert iso(one(tmp_path, startTime="2026-03-04 10:59:59.9").charge_period_start).endswith(
        "10:00:00Z"
    )
    assert iso(one(tmp_path, startTime="2026-03-04 12:30:00.12+02").charge_period_start).endswith(
        "10:00:00Z"
    )


def test_pitfall_3_a_request_that_two_exports_hold_counts_once(tmp_path):
    ledger = Ledger({"litellm": "effective"})
    exports = [[request("r1"), request("r2")], [request("r2"), request("r3")]]
    for number, rows in enumerate(exports):
        for arrival in read(write_ndjson(tmp_path / f"{number}.ndjson", rows)).arrivals:
            ledger.take("litellm", arrival.event)
    assert sum(row[-1] for row in ledger.digest()) == Decimal("1.5")


def test_a_key_in_clear_is_never_shown(tmp_path):
    event = one(tmp_path, api_key="sk-live-secret")
    assert "secret" not in repr(event)
    assert event.resource_id


def test_people_behind_a_request_are_not_read(tmp_path):
    event = one(tmp_path, user="ada@example.com", end_user="bob@example.com")
    assert "example.com" not in repr(event)


def test_a_row_without_spend_is_refused_not_free(tmp_path):
    row = request()
    del row["spend"]
    result = read(write_ndjson(tmp_path / "a.ndjson", [request("r0"), row]))
    assert result.reasons == ["Object missing required field `spend`"]
    assert {event.x_event_id for event in result.events} == {"r0", "r0~"}


@pytest.mark.parametrize("tags", [None, "", "no list", [], "[]"])
def test_no_tags_are_no_fault(tmp_path, tags):
    assert one(tmp_path, request_tags=tags).tags == {"model": "gpt-4o", "estimated": True}


def test_bare_tags_are_true_and_the_team_goes_before_a_tag_of_that_name(tmp_path):
    about = {"user_api_key_team_alias": "search"}
    event = one(tmp_path, request_tags='["nightly", "team:spoofed", "env:prod"]', metadata=about)
    assert event.tags == {
        "model": "gpt-4o", "nightly": True, "team": "search", "env": "prod", "estimated": True,
    }  # fmt: skip


def test_a_file_cut_in_the_middle_tells_what_it_had(tmp_path):
    text = SAMPLE.read_text()
    path = tmp_path / "a.json"
    path.write_text(text[: len(text) // 2])
    result = read(path)
    assert result.reasons == ["the file ends in the middle of a record"]
    assert 2 <= len(result.events) < 8
