import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import duckdb
import pytest

from service.adapters.sources import SOURCES
from service.adapters.sources.gcp import _month
from service.core.ledger import Ledger
from tests.golden import sample_of
from tests.reading import read, write_ndjson

SAMPLE = sample_of("gcp")


def line(cost=1.0, hour=10, **columns):
    return {
        "billing_account_id": "01AB",
        "service": {"id": "s", "description": "Compute Engine"},
        "sku": {"id": "a", "description": "H100"},
        "usage_start_time": f"2026-03-04T{hour:02}:00:00Z",
        "usage_end_time": f"2026-03-04T{hour + 1:02}:00:00Z",
        "project": {"id": "p", "labels": []},
        "resource": {"name": "vm", "global_name": "//vm"},
        "export_time": "2026-03-04T15:00:00Z",
        "cost": cost,
        "currency": "USD",
        "credits": [],
        "invoice": {"month": "202603"},
        "cost_type": "regular",
    } | columns


def one(path, *args, **columns):
    result = read(write_ndjson(path / "a.ndjson", [line(*args, **columns)]))
    assert result.rejected == []
    [event] = result.events
    return event


def cost_of(ledger):
    return sum(row[-1] for row in ledger.digest())


# The shortest text of a binary fraction is what the provider means.
AMOUNT = "CAST(CAST({} AS VARCHAR) AS DECIMAL(38, 18))"
CREDITS = f"coalesce(list_sum(list_transform(credits, lambda c: {AMOUNT.format('c.amount')})), 0)"


def test_the_sample_adds_up_by_cost_type_credits_included():
    with duckdb.connect() as db:
        raw = db.execute(
            f"SELECT cost_type, sum({AMOUNT.format('cost')} + {CREDITS})"  # noqa: S608
            f" FROM read_json('{SAMPLE}') GROUP BY ALL"
        ).fetchall()
    sums = defaultdict(Decimal)
    lines = [json.loads(text) for text in SAMPLE.read_text().splitlines()]
    for row, found in zip(lines, SOURCES["gcp"].read(SAMPLE), strict=True):
        sums[row["cost_type"]] += found.event.billed_cost
    assert sums == dict(raw)


def test_pitfall_7_credits_are_nested_in_the_row_that_they_lower(tmp_path):
    event = one(tmp_path, 80.16, credits=[{"amount": -24.048}, {"amount": "-0.112"}])
    assert event.billed_cost == event.effective_cost == Decimal(56)
    assert one(tmp_path, credits=None).billed_cost == 1


def test_pitfall_4_a_row_arrives_when_it_was_exported_not_when_it_was_used(tmp_path):
    path = write_ndjson(tmp_path / "a.ndjson", [line(export_time="2026-03-06 02:00:00 UTC")])
    [arrival] = read(path).arrivals
    assert arrival.arrived_at == datetime(2026, 3, 6, 2, tzinfo=UTC)
    assert arrival.event.charge_period_end == datetime(2026, 3, 4, 11, tzinfo=UTC)
    now = datetime(2026, 3, 7, tzinfo=UTC)
    [live] = read(path, mode="live", now=lambda: now).arrivals
    assert live.arrived_at == now


def test_pitfall_1_a_file_takes_nothing_back_and_nothing_counts_twice(tmp_path, book):
    ledger = Ledger({"gcp": "effective"})
    first, twin = line(4.0), line(1.0, hour=11)
    late = line(2.0, export_time="2026-03-05T09:00:00Z")
    days = {
        "day-1": [first, twin, twin],
        "day-2": [late, line(8.0, hour=12, export_time="2026-03-05T09:00:00Z")],
        "whole": [twin, late, twin, first],
    }
    costs = []
    for name, rows in days.items():
        path = write_ndjson(tmp_path / f"{name}.ndjson", rows)
        for arrival in read(path, book=book).arrivals:
            ledger.take("gcp", arrival.event)
        costs.append(cost_of(ledger))
    assert costs == [6, 16, 16]


def test_equal_rows_in_two_parts_of_one_export_are_two(tmp_path):
    for part in range(2):
        write_ndjson(tmp_path / f"00000000000{part}.ndjson", [line(3.0)])
    found = read(tmp_path).events
    assert [event.billed_cost for event in found] == [3, 3]
    assert len({event.x_event_id for event in found}) == 2


def test_a_part_that_is_cut_changes_nothing(tmp_path):
    write_ndjson(tmp_path / "000000000000.ndjson", [line(3.0)])
    (tmp_path / "000000000001.ndjson").write_text("")
    assert read(tmp_path).events == []


@pytest.mark.parametrize("year", range(2020, 2032))
@pytest.mark.parametrize("month", range(1, 13))
def test_pitfall_11_an_invoice_month_is_californias(year, month):
    pacific = ZoneInfo("America/Los_Angeles")
    start = datetime(year, month, 1, tzinfo=pacific)
    end = (start + timedelta(days=32)).replace(day=1)
    assert _month(f"{year}{month:02}") == (start.astimezone(UTC), end.astimezone(UTC))


def test_pitfall_11_the_last_evening_of_february_is_on_februarys_invoice(tmp_path):
    columns = {
        "usage_start_time": "2026-03-01T02:00:00Z",
        "usage_end_time": "2026-03-01T03:00:00Z",
        "invoice": {"month": "202602"},
    }
    event = one(tmp_path, **columns)
    assert event.billing_period_start < event.charge_period_start < event.billing_period_end


@pytest.mark.parametrize(
    ("usage", "info", "correction"),
    [
        ("2026-01-10", {"id": "adj", "mode": "PARTIAL_CORRECTION"}, True),
        ("2026-03-03", {"id": "adj", "mode": "PARTIAL_CORRECTION"}, False),
        ("2026-01-10", None, False),
        ("2026-01-10", {"id": None, "mode": None, "type": None}, False),
    ],
)
def test_pitfalls_5_and_6_only_another_invoice_is_corrected(tmp_path, usage, info, correction):
    times = {
        "usage_start_time": f"{usage}T09:00:00Z",
        "usage_end_time": f"{usage}T10:00:00Z",
    }
    assert one(tmp_path, -2.0, adjustment_info=info, **times).is_correction == correction


@pytest.mark.parametrize(
    ("columns", "category", "scored"),
    [
        ({}, "Usage", True),
        ({"cost_type": None}, "Usage", True),
        ({"cost_type": "tax"}, "Tax", False),
        ({"cost_type": "adjustment"}, "Adjustment", False),
        ({"cost_type": "rounding_error"}, "Adjustment", False),
        ({"sku": {"id": "c", "description": "Commitment v1: GPU"}}, "Purchase", False),
    ],
)
def test_a_cost_type_is_a_category(tmp_path, columns, category, scored):
    event = one(tmp_path, **columns)
    assert (event.charge_category, event.is_scored) == (category, scored)


def test_pitfall_18_amounts_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "a.ndjson"
    text = json.dumps(line(0.5)).replace('"cost": 0.5', '"cost": 1.2000000000000002e-05')
    path.write_text(text)
    assert read(path).events[0].billed_cost == Decimal("0.000012000000000000002")
    path.write_text(text.replace("1.2000000000000002e-05", "3.469446951953614e-18"))
    assert read(path).events[0].billed_cost == Decimal("3.469446951954E-18")


def test_pitfall_15_labels_of_the_resource_win_over_those_of_the_project(tmp_path):
    event = one(
        tmp_path,
        labels=[{"key": "owner", "value": "ada"}],
        project={"id": "p", "labels": [{"key": "owner", "value": "x"}, {"key": "a", "value": "b"}]},
    )
    assert event.tags == {"owner": "ada", "a": "b"}


def test_a_bad_row_is_refused_alone(tmp_path):
    rows = [
        line(),
        line("NaN"),
        line(usage_start_time="soon"),
        line(invoice={"month": "march"}),
        line(cost=None),
        line(credits=[{"amount": "1e40"}, {"amount": "1e-30"}]),
    ]
    result = read(write_ndjson(tmp_path / "a.ndjson", rows))
    assert result.reader.read == 1
    assert result.reasons == [
        "BilledCost is not finite",
        "usage_start_time 'soon' is not a time",
        "invoice.month 'march' is not a month",
        "Expected `decimal`, got `null` - at `$.cost`",
        "cost or credits are out of range",
    ]


@pytest.mark.parametrize("times", ["VARCHAR", "TIMESTAMPTZ", "TIMESTAMP"])
def test_parquet_is_the_same_bill(tmp_path, times):
    path = tmp_path / "a.parquet"
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'Asia/Tokyo'")
        cast = "VARCHAR" if times == "VARCHAR" else "TIMESTAMPTZ"
        utc = " AT TIME ZONE 'UTC'" if times == "TIMESTAMP" else ""
        names = ("usage_start_time", "usage_end_time", "export_time")
        as_times = ", ".join(f"CAST({name} AS {cast}){utc} AS {name}" for name in names)
        db.execute(
            f"COPY (SELECT * REPLACE ({as_times}) FROM read_json('{SAMPLE}',"  # noqa: S608
            f" timestampformat = 'none')) TO '{path}'"
        )
    assert sorted(map(repr, read(path).events)) == sorted(map(repr, read(SAMPLE).events))
