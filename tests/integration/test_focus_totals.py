"""Real and synthetic bills, read to the last row; sums equal DuckDB's over the raw file exactly."""

import gzip
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.reading import read

BILLING = Path(__file__).parent.parent / "data" / "billing"
FILES = sorted(BILLING.rglob("*.csv")) + sorted(BILLING.rglob("*.csv.gz"))

# Amounts as text without the dollar sign, thousands commas and blanks; summed as DECIMAL(38, 18).
AMOUNT = "CAST(regexp_replace({}, '[$, ]', '', 'g') AS DECIMAL(38, 18))"


def sums_of(path):
    """Sum the raw file with DuckDB: {(currency, category): (rows, billed, effective)}."""
    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE raw AS SELECT * FROM read_csv(?, all_varchar = true, header = true,"
            " delim = ',', quote = '\"', nullstr = ['', 'NULL', 'null'], null_padding = true)",
            [str(path)],
        )
        columns = {row[0] for row in db.execute("DESCRIBE raw").fetchall()}
        currency = "BillingCurrency" if "BillingCurrency" in columns else "'XXX'"
        found = db.execute(
            f"SELECT {currency}, ChargeCategory, count(*), sum({AMOUNT.format('BilledCost')}),"  # noqa: S608
            f" coalesce(sum({AMOUNT.format('EffectiveCost')}), 0) FROM raw"
            " WHERE ChargeCategory IS NOT NULL GROUP BY ALL"
        ).fetchall()
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in found}


def test_all_thirty_files_are_here():
    assert len(FILES) == 30


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_bill_is_read_to_the_last_row_and_adds_up_exactly(path):
    result = read(path)
    assert result.rejected == []
    totals = {
        (currency, category): (total.rows, total.billed_cost, total.effective_cost)
        for (_, currency, category), total in result.reader.totals.items()
    }
    assert totals == sums_of(path)
    assert len(result.events) == result.reader.read


def test_all_bills_at_once_count_every_row_though_some_supersede_others():
    result = read(BILLING)
    assert result.rejected == []
    assert result.reader.read == sum(
        rows for path in FILES for rows, _, _ in sums_of(path).values()
    )


def test_pitfall_24_rows_of_cost_zero_are_read_like_any_other():
    result = read(BILLING / "focus_1.0_sample_1000.csv")
    assert sum(not event.billed_cost for event in result.events) > 300


def test_pitfall_8_effective_and_billed_cost_are_both_kept():
    result = read(BILLING / "focus_1.0_sample_1000.csv")
    both = [(event.billed_cost, event.effective_cost) for event in result.events]
    assert sum(billed > 0 and effective == 0 for billed, effective in both) > 500


def test_pitfall_10_hours_days_and_months_are_told_apart():
    real = read(BILLING / "focus_1.0_sample_1000.csv")
    assert {event.grain for event in real.events} == {"hour", "day"}
    made = read(BILLING / "synthetic" / "focus_1_3_cost_and_usage_aws.csv.gz")
    assert "other" in {event.grain for event in made.events}


@pytest.mark.parametrize("name", ["focus_1.0_sample_1000.csv"])
@pytest.mark.parametrize("types", ["all_varchar = true", "all_varchar = false"])
def test_a_bill_as_parquet_is_the_same_bill(name, types, tmp_path):
    path = tmp_path / "bill.parquet"
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT * FROM read_csv('{BILLING / name}', {types}, nullstr = 'NULL'))"  # noqa: S608
            f" TO '{path}' (FORMAT parquet)"
        )
    from_parquet, from_csv = read(path), read(BILLING / name)
    assert from_parquet.rejected == []
    assert from_parquet.reader.read == 1000
    if types == "all_varchar = true":
        assert from_parquet.events == from_csv.events
    else:
        drift = sum((e.billed_cost for e in from_parquet.events), Decimal())
        exact = sum((e.billed_cost for e in from_csv.events), Decimal())
        assert abs(drift - exact) < Decimal("1e-6")


def test_a_bill_cut_anywhere_changes_nothing(tmp_path):
    packed = gzip.compress((BILLING / "focus_1.0_sample_1000.csv").read_bytes())
    path = tmp_path / "bill.csv.gz"
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(packed[: int(len(packed) * share)])
        result = read(path)
        assert result.events == []
        assert 0 < result.reader.read < 1000
        assert len(result.rejected) == 1
