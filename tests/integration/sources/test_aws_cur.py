import json
from decimal import Decimal

import duckdb
import pytest

from tests.golden import sample_of
from tests.native import NATIVE, events_beside_rows, sums_of_events, sums_of_file
from tests.reading import read, write_csv

LEGACY = NATIVE / "aws_cur_legacy_sample.csv.gz"
HOUR = "2026-03-04T10:00:00Z/2026-03-04T11:00:00Z"


def line(kind="Usage", cost="1", resource="i-1", **columns):
    return {
        "identity/LineItemId": "same",
        "identity/TimeInterval": HOUR,
        "bill/PayerAccountId": "000123456789",
        "bill/BillingPeriodStartDate": "2026-03-01T00:00:00.000Z",
        "bill/BillingPeriodEndDate": "2026-04-01T00:00:00.000Z",
        "lineItem/UsageAccountId": "000000000042",
        "lineItem/LineItemType": kind,
        "lineItem/UsageStartDate": HOUR[:20],
        "lineItem/UsageEndDate": HOUR[21:],
        "lineItem/ResourceId": resource,
        "lineItem/CurrencyCode": "USD",
        "lineItem/UnblendedCost": cost,
    } | {name.replace("__", "/", 1): value for name, value in columns.items()}


def events(path, *rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    result = read(write_csv(path / "cur.csv", rows, columns))
    assert result.rejected == []
    return result.events


def one(path, *args, **columns):
    [event] = events(path, line(*args, **columns))
    return event


def test_the_real_report_is_read_to_the_last_row_and_adds_up_by_line_item_type():
    raw = sums_of_file(LEGACY, "lineItem/LineItemType", "lineItem/UnblendedCost")
    assert sums_of_events(LEGACY, "aws_cur", "lineItem/LineItemType") == raw
    result = read(LEGACY)
    assert (result.reader.read, result.rejected) == (1281, [])


def test_the_sample_adds_up_by_line_item_type_and_the_plan_cancels_what_it_covers():
    path = sample_of("aws_cur")
    kinds = ("line_item_line_item_type", "line_item_unblended_cost")
    assert sums_of_events(path, "aws_cur", kinds[0]) == sums_of_file(path, *kinds)
    effective = sums_of_events(path, "aws_cur", kinds[0], "effective_cost")
    assert effective["SavingsPlanCoveredUsage"] + effective["SavingsPlanNegation"] == Decimal(
        "36.12"
    )
    assert effective["SavingsPlanCoveredUsage"] + effective["SavingsPlanRecurringFee"] == 40


def test_pitfall_3_a_line_item_id_names_no_row(tmp_path):
    assert len({raw["identity/LineItemId"] for raw, _ in events_beside_rows(LEGACY, "aws_cur")}) < (
        1281
    )
    found = events(tmp_path, line(), line(), line(cost="2"))
    assert len({event.x_event_id for event in found}) == 3


def test_pitfall_7_what_a_plan_takes_off_is_no_usage(tmp_path):
    negation = one(tmp_path, "SavingsPlanNegation", "-7")
    assert (negation.billed_cost, negation.effective_cost) == (-7, 0)
    assert not negation.is_scored
    assert not one(tmp_path, "EdpDiscount", "-1").is_scored


def test_pitfall_8_commitments_are_spread_over_what_they_cover(tmp_path):
    plan = {"savingsPlan__SavingsPlanEffectiveCost": "0.6", "savingsPlan__SavingsPlanARN": "sp"}
    covered = one(tmp_path, "SavingsPlanCoveredUsage", "1", **plan)
    reserved = one(tmp_path, "DiscountedUsage", "0", reservation__EffectiveCost="0.4")
    assert (covered.billed_cost, covered.effective_cost) == (1, Decimal("0.6"))
    assert (reserved.billed_cost, reserved.effective_cost) == (0, Decimal("0.4"))
    assert covered.commitment_discount_id == "sp"
    assert covered.is_scored
    assert reserved.is_scored


@pytest.mark.parametrize(
    ("kind", "columns", "effective"),
    [
        ("RIFee", {"reservation__UnusedRecurringFee": "0.1",
                   "reservation__UnusedAmortizedUpfrontFeeForBillingPeriod": "0.2"}, "0.3"),
        ("RIFee", {}, "0"),
        ("SavingsPlanRecurringFee", {"savingsPlan__TotalCommitmentToDate": "10",
                                     "savingsPlan__UsedCommitment": "9.7"}, "0.3"),
        ("SavingsPlanRecurringFee", {}, "0"),
        ("SavingsPlanUpfrontFee", {}, "0"),
        ("Fee", {"reservation__ReservationARN": "arn"}, "0"),
        ("Fee", {}, "5"),
        ("Tax", {}, "5"),
        ("SomethingNew", {}, "5"),
    ],
)  # fmt: skip
def test_a_fee_costs_effectively_what_nobody_used_of_it(tmp_path, kind, columns, effective):
    event = one(tmp_path, kind, "5", **columns)
    assert (event.billed_cost, event.effective_cost) == (5, Decimal(effective))
    assert not event.is_scored


def test_net_columns_win_and_what_they_deduct_is_not_deducted_again(tmp_path):
    net = {"lineItem__NetUnblendedCost": "0.9"}
    reserved = {
        "reservation__EffectiveCost": "0.4",
        "reservation__NetEffectiveCost": "0.3",
        "lineItem__NetUnblendedCost": "0",
    }
    usage, discount, covered = events(
        tmp_path,
        line(**net),
        line("EdpDiscount", "-0.1"),
        line("DiscountedUsage", "0", "i-2", **reserved),
    )
    by_kind = sorted((e.charge_category, e.billed_cost, e.effective_cost)
                     for e in (usage, discount, covered))  # fmt: skip
    assert by_kind == [
        ("Adjustment", 0, 0),
        ("Usage", 0, Decimal("0.3")),
        ("Usage", Decimal("0.9"), Decimal("0.9")),
    ]


def test_pitfall_22_an_instance_and_the_pods_on_it_are_counted_once(tmp_path):
    pods = [
        line(cost="0", resource=f"pod-{n}", splitLineItem__ParentResourceId="i-1",
             splitLineItem__SplitCost="2", splitLineItem__UnusedCost="0.5")
        for n in (1, 2)
    ]  # fmt: skip
    found = events(tmp_path, line(cost="5"), *pods)
    assert sum(event.effective_cost for event in found) == 5
    assert [e.resource_id for e in found if e.is_scored] == ["i-1"]


def test_pitfall_22_a_task_on_fargate_has_no_parent_and_costs_what_it_costs(tmp_path):
    assert one(tmp_path, cost="3", splitLineItem__ActualUsage="0.5").effective_cost == 3


def test_pitfall_10_a_daily_report_has_daily_periods_however_short_the_usage(tmp_path):
    day = {"identity__TimeInterval": "2026-03-04T00:00:00Z/2026-03-05T00:00:00Z"}
    event = one(tmp_path, **day)
    assert event.grain == "day"
    assert one(tmp_path).grain == "hour"
    assert {e.grain for _, e in events_beside_rows(LEGACY, "aws_cur")} == {"day", "other"}


def test_pitfall_9_a_tax_of_the_month_stays_a_month_long_in_a_daily_report():
    taxes = [event for raw, event in events_beside_rows(LEGACY, "aws_cur")
             if raw["lineItem/LineItemType"] == "Tax"]  # fmt: skip
    assert {event.grain for event in taxes} == {"other"}


def test_pitfall_5_a_refund_corrects_an_older_bill(tmp_path):
    assert one(tmp_path, "Refund", "-1").is_correction


def test_pitfall_19_accounts_keep_their_zeros(tmp_path):
    event = one(tmp_path)
    assert (event.billing_account_id, event.sub_account_id) == ("000123456789", "000000000042")


def test_pitfall_15_tags_come_as_columns_or_as_maps(tmp_path):
    columns = {"resourceTags__user:Owner": "ada", "costCategory__Team": "ml"}
    assert one(tmp_path, **columns).tags == {"Owner": "ada", "cost_category/Team": "ml"}
    broken = one(tmp_path, resource_tags="{oops")
    assert broken.tags == {"unreadable": "{oops"}


def test_a_row_without_a_time_or_with_a_wrong_amount_is_refused_alone(tmp_path):
    rows = [
        line(),
        line() | {"lineItem/UsageEndDate": ""},
        line() | {"lineItem/UsageStartDate": "soon"},
        line("RIFee", reservation__UnusedRecurringFee="much"),
        line(cost="NaN"),
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    result = read(write_csv(tmp_path / "a.csv", rows, columns))
    assert result.reader.read == 1
    assert result.reasons == [
        "the usage's start or end is missing",
        "the usage's start or end is not a time",
        "reservation unusedrecurringfee 'much' is not an amount",
        "BilledCost is not finite",
    ]


def test_cur_2_0_as_parquet_with_maps_is_the_same_bill(tmp_path):
    path = tmp_path / "cur.parquet"
    as_map = "CAST(CAST({0} AS JSON) AS MAP(VARCHAR, VARCHAR)) AS {0}"
    with duckdb.connect() as db:
        db.execute(
            "COPY (SELECT * REPLACE ("  # noqa: S608 - a file of this repository
            + ", ".join(as_map.format(name) for name in ("product", "resource_tags"))
            + ", CAST(line_item_usage_start_date AS TIMESTAMP) AS line_item_usage_start_date)"
            f" FROM read_csv('{sample_of('aws_cur')}', all_varchar = true)) TO '{path}'"
        )
    assert read(path).events == read(sample_of("aws_cur")).events


def test_legacy_parquet_has_a_column_a_tag(tmp_path):
    path = tmp_path / "cur.parquet"
    columns = line(resourceTags__user_Owner="ada")
    with duckdb.connect() as db:
        named = ", ".join(
            f"'{value}' AS {name.replace('/', '_').replace('lineItem', 'line_item')}"
            for name, value in columns.items()
        ).replace("resourceTags_user_Owner", "resource_tags_user_owner")
        db.execute(f"COPY (SELECT {named}) TO '{path}'")
    [event] = read(path).events
    assert event.tags == {"owner": "ada"}


def export(folder, rows, run, *, new):
    """Deliver as Data Exports do: data first, then the manifest that names them."""
    period = "BILLING_PERIOD=2026-03"
    place = folder / "data" / period / (run if new else "")
    path = write_csv(place / "cur-00001.csv", rows)
    manifest = folder / "metadata" / period / (run if new else "") / "cur-Manifest.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    said = {"executionId": run, "dataFiles": [f"s3://bucket/x/cur/{path.relative_to(folder)}"]}
    manifest.write_text(json.dumps(said))
    return path, manifest


@pytest.mark.parametrize("new", [False, True], ids=["overwrite", "create-new"])
def test_pitfall_1_a_month_that_is_delivered_again_is_not_counted_again(tmp_path, book, new):
    export(tmp_path, [line(cost="1"), line(cost="4", resource="i-2")], "20260304T120000Z", new=new)
    first = read(tmp_path, book=book)
    export(tmp_path, [line(cost="2"), line(cost="4", resource="i-2")], "20260304T180000Z", new=new)
    second = read(tmp_path, book=book)
    assert sorted(event.billed_cost for event in first.events) == [1, 4]
    assert [(e.billed_cost, e.x_revision) for e in second.events] == [(2, 1)]


def test_pitfall_2_without_its_manifest_a_delivery_is_left_alone(tmp_path, book):
    data, manifest = export(tmp_path, [line()], "20260304T120000Z", new=True)
    data.unlink()
    result = read(tmp_path, book=book)
    assert result.events == []
    assert "not there: incomplete, changes nothing" in result.reasons[0]
    manifest.unlink()
    assert read(tmp_path, book=book).reasons == ["holds nothing to read"]


def test_a_legacy_report_with_its_manifest_is_one_delivery(tmp_path):
    folder = tmp_path / "report" / "20260301-20260401"
    keys = [write_csv(folder / "1b2c" / f"cur-{n}.csv", [line(resource=f"i-{n}")]) for n in (1, 2)]
    said = {"assemblyId": "1b2c", "reportKeys": [f"prefix/{k.relative_to(tmp_path)}" for k in keys]}
    for place in (folder, folder / "1b2c"):
        (place / "cur-Manifest.json").write_text(json.dumps(said))
    assert sorted(event.resource_id for event in read(tmp_path).events) == ["i-1", "i-2"]
