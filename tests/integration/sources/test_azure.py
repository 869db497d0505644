import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from service.core.ledger import Ledger
from tests.golden import sample_of
from tests.native import NATIVE, events_beside_rows, sums_of_events, sums_of_file
from tests.reading import read, write_csv

ACTUAL = NATIVE / "azure_ea_actual_cost_small.csv"
AMORTIZED = NATIVE / "azure_ea_amortized_cost_small.csv"
EXPORT = NATIVE / "azure_ea_export_sample.csv"


def detail(cost="1", resource="vm-1", day="03/04/2026", **columns):
    return {
        "BillingAccountId": "0086",
        "BillingPeriodStartDate": "03/01/2026",
        "BillingPeriodEndDate": "03/31/2026",
        "SubscriptionId": "s-1",
        "Date": day,
        "MeterId": "m-1",
        "MeterCategory": "Virtual Machines",
        "Quantity": "24",
        "UnitOfMeasure": "1 Hour",
        "CostInBillingCurrency": cost,
        "BillingCurrencyCode": "USD",
        "ResourceId": f"/subscriptions/s-1/{resource}",
        "ChargeType": "Usage",
        "Frequency": "UsageBased",
        "PricingModel": "OnDemand",
    } | columns


RESERVED = {"PricingModel": "Reservation"}
PURCHASE = {"ChargeType": "Purchase", "Frequency": "Recurring", **RESERVED}
UNUSED = {"ChargeType": "UnusedReservation", **RESERVED}


def export(folder, name, rows, kind=None, at="2026-03-05T06:00:00Z"):
    """Deliver as an export does: its parts, and the manifest beside them."""
    path = write_csv(folder / name / "20260301-20260331" / at[:10] / "part_0_0001.csv", rows)
    blob = path.relative_to(folder)
    said = {
        "exportConfig": {"exportName": name, "type": kind},
        "runInfo": {"submittedTime": at},
        "blobs": [{"blobName": f"costs/{blob}"}],
    }
    (path.parent / "manifest.json").write_text(json.dumps(said))
    return path


def one(path, **columns):
    [event] = read(write_csv(path / "a.csv", [detail(**columns)])).events
    return event


@pytest.mark.parametrize(
    ("path", "column", "cost"),
    [
        (ACTUAL, "Cost", "billed_cost"),
        (AMORTIZED, "Cost", "effective_cost"),
        (EXPORT, "CostInBillingCurrency", "billed_cost"),
        (sample_of("azure"), "CostInBillingCurrency", "billed_cost"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_real_export_is_read_to_the_last_row_and_adds_up_by_charge_type(path, column, cost):
    raw = sums_of_file(path, "ChargeType", column)
    assert sums_of_events(path, "azure", "ChargeType", cost) == raw


@pytest.mark.parametrize("metric", ["billed", "effective"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_pitfall_8_actual_and_amortized_exports_are_one_set_of_rows(tmp_path, book, metric, order):
    actual = [detail("5"), detail("0", "vm-2", **RESERVED), detail("90", "r", **PURCHASE)]
    amortized = [detail("5"), detail("2", "vm-2", **RESERVED), detail("1", "r", **UNUSED)]
    deliveries = [("actual", actual, "ActualCost"), ("amortized", amortized, "AmortizedCost")]
    ledger = Ledger({"azure": metric})
    for at in (*order, 0, 1):
        for arrival in read(export(tmp_path, *deliveries[at]).parent, book=book).arrivals:
            ledger.take("azure", arrival.event)
    costs = sorted(row[-1] for row in ledger.digest())
    assert costs == ([0, 0, 5, 90] if metric == "billed" else [0, 1, 2, 5])


def test_which_export_a_file_is_of_is_told_by_its_manifest_else_by_its_rows(tmp_path):
    plain = [detail("5")]
    says_amortized = export(tmp_path, "a", plain, "AmortizedCost")
    says_actual = export(tmp_path, "b", plain, "ActualCost")
    by_rows = write_csv(tmp_path / "c" / "c.csv", [*plain, detail("2", "vm-2", **RESERVED)])
    unused = write_csv(tmp_path / "d" / "d.csv", [*plain, detail("2", **UNUSED)])
    nothing = [detail(cost, **RESERVED) for cost in ("0", "0E-10", "-0.0", "much")]
    covered = write_csv(tmp_path / "g" / "g.csv", [*plain, *nothing])
    bought = write_csv(tmp_path / "e" / "e.csv", [detail("9", **PURCHASE), *plain])
    broken = export(tmp_path, "f", plain)
    (broken.parent / "manifest.json").write_text("{")
    fills = {
        path: {event.effective_cost is not None for event in read(path).events}
        for path in (says_amortized, says_actual, by_rows, unused, bought, broken, covered)
    }
    assert [path for path, filled in fills.items() if filled == {True}] == [
        says_amortized, by_rows, unused,
    ]  # fmt: skip
    assert all(len(filled) == 1 for filled in fills.values())


def test_pitfall_1_every_day_holds_the_whole_month_again(tmp_path, book):
    found = []
    for day in (4, 5, 6):
        rows = [detail(str(n), day=f"03/{n:02}/2026") for n in range(1, day)]
        export(tmp_path, "actual", rows, "ActualCost", f"2026-03-{day:02}T06:00:00Z")
        found += [event.billed_cost for event in read(tmp_path, book=book).events]
    assert found == [1, 2, 3, 4, 5]


def test_pitfall_10_a_day_stays_a_day():
    for path in (ACTUAL, AMORTIZED, EXPORT):
        assert {event.grain for _, event in events_beside_rows(path, "azure")} == {"day"}


def test_pitfall_11_dates_have_the_month_first(tmp_path):
    start = datetime(2026, 3, 4, tzinfo=UTC)
    for day in ("03/04/2026", "3/4/2026", "2026-03-04", "2026-03-04T00:00:00"):
        assert one(tmp_path, day=day).charge_period_start == start


def test_pitfall_12_the_last_day_of_the_billing_period_is_part_of_it(tmp_path):
    assert one(tmp_path).billing_period_end == datetime(2026, 4, 1, tzinfo=UTC)


def test_pitfall_14_one_resource_is_written_in_several_cases(tmp_path):
    rows = [detail(ResourceId="/SUBSCRIPTIONS/S-1/VM-1", SubscriptionId="S-1"), detail()]
    found = read(write_csv(tmp_path / "a.csv", rows)).events
    assert {(e.sub_account_id, e.resource_id) for e in found} == {
        ("/subscriptions/s-1", "/subscriptions/s-1/vm-1")
    }


def test_pitfall_15_tags_have_no_braces(tmp_path):
    event = one(tmp_path, Tags='"owner": "ada","env": "prod"')
    assert event.tags == {"owner": "ada", "env": "prod"}
    real = [event.tags for raw, event in events_beside_rows(ACTUAL, "azure") if raw["Tags"]]
    assert real
    assert all("unreadable" not in tags for tags in real)


def test_pitfall_19_the_billing_account_keeps_its_zeros_and_is_named_as_in_focus(tmp_path):
    assert one(tmp_path).billing_account_id == ("/providers/Microsoft.Billing/billingAccounts/0086")


@pytest.mark.parametrize(
    ("unit", "quantity", "consumed"),
    [
        ("1 Hour", "24", (24, "Hour")),
        ("100 Hours", "0.5", (50, "Hours")),
        ("10K", "0.0004", (4, "Units")),
        ("1M", "2", (2_000_000, "Units")),
        ("1 GB/Month", "3", (3, "GB/Month")),
        ("1/Month", "1", (1, "Month")),
        ("pieces", "7", (7, "pieces")),
    ],
)
def test_a_unit_may_be_a_block_of_many(tmp_path, unit, quantity, consumed):
    event = one(tmp_path, UnitOfMeasure=unit, Quantity=quantity)
    assert (event.consumed_quantity, event.consumed_unit) == consumed
    assert (event.pricing_quantity, event.pricing_unit) == (Decimal(quantity), unit)


@pytest.mark.parametrize(
    ("columns", "category", "correction", "scored"),
    [
        ({}, "Usage", False, True),
        (UNUSED, "Usage", False, False),
        (PURCHASE, "Purchase", False, False),
        ({"ChargeType": "Refund"}, "Purchase", True, False),
        ({"ChargeType": "RoundingAdjustment"}, "Adjustment", False, False),
        ({"ChargeType": "Tax"}, "Tax", False, False),
        ({"ChargeType": "Something"}, "Adjustment", False, False),
    ],
)
def test_a_charge_type_is_a_category(tmp_path, columns, category, correction, scored):
    event = one(tmp_path, **columns)
    assert (event.charge_category, event.is_correction, event.is_scored) == (
        category, correction, scored,
    )  # fmt: skip


def test_older_and_newer_names_of_columns_are_the_same(tmp_path):
    old = {
        "SubscriptionGuid": "s-1", "UsageDateTime": "2026-03-04", "MeterCategory": "Storage",
        "MeterId": "m", "UsageQuantity": "1", "PreTaxCost": "2.5", "InstanceId": "/x",
        "Currency": "USD", "ChargeType": "Usage",
    }  # fmt: skip
    new = {name[0].lower() + name[1:]: value for name, value in detail("2.5").items()}
    for row in (old, new):
        [event] = read(write_csv(tmp_path / "a.csv", [row])).events
        assert (event.billed_cost, event.sub_account_id) == (Decimal("2.5"), "/subscriptions/s-1")


def test_a_row_without_a_date_or_with_a_wrong_one_is_refused_alone(tmp_path):
    rows = [detail(), detail(day=""), detail(day="soon"), detail(Quantity="many")]
    result = read(write_csv(tmp_path / "a.csv", rows))
    assert result.reader.read == 1
    assert result.reasons == [
        "Date is missing",
        "one of 'soon', '03/01/2026', '03/31/2026' is no date",
        "Quantity 'many' is not an amount",
    ]


def test_parts_of_one_delivery_are_one(tmp_path, book):
    first = export(tmp_path, "actual", [detail("1", "vm-1")], "ActualCost")
    second = write_csv(first.with_name("part_1_0001.csv"), [detail("2", "vm-2")])
    manifest = json.loads((first.parent / "manifest.json").read_text())
    manifest["blobs"].append({"blobName": f"costs/{second.relative_to(tmp_path)}"})
    (first.parent / "manifest.json").write_text(json.dumps(manifest))
    result = read(tmp_path, book=book)
    assert sorted(event.billed_cost for event in result.events) == [1, 2]
    second.unlink()
    assert read(tmp_path, book=book).events == []
