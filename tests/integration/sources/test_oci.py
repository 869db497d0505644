from datetime import UTC, datetime
from decimal import Decimal

from service.core.ledger import Ledger
from tests.golden import sample_of
from tests.native import NATIVE, events_beside_rows, sums_of_events, sums_of_file
from tests.reading import read, write_csv

REPORT = NATIVE / "oci_cost_report_sample_redacted.csv.gz"


def line(ref="r1", cost="1", hour=10, **columns):
    return {
        "lineItem/referenceNo": ref,
        "lineItem/tenantId": "t",
        "lineItem/intervalUsageStart": f"2026-03-04T{hour:02}:00Z",
        "lineItem/intervalUsageEnd": f"2026-03-04T{hour + 1:02}:00:00Z",
        "product/compartmentId": "c",
        "product/resourceId": "i-1",
        "cost/productSku": "B1",
        "cost/myCost": cost,
        "cost/currencyCode": "USD",
        "lineItem/isCorrection": "false",
    } | {name.replace("__", "/"): value for name, value in columns.items()}


def one(path, **columns):
    [event] = read(write_csv(path / "a.csv", [line(**columns)])).events
    return event


def test_the_real_report_is_read_to_the_last_row_and_adds_up_by_service():
    raw = sums_of_file(REPORT, "product/service", "cost/myCost")
    assert sums_of_events(REPORT, "oci", "product/service") == raw
    assert sums_of_events(REPORT, "oci", "product/service", "effective_cost") == raw
    result = read(REPORT)
    assert (result.reader.read, len(result.events), result.rejected) == (506, 506, [])


def test_the_sample_adds_up_by_service():
    path = sample_of("oci")
    raw = sums_of_file(path, "product/service", "cost/myCost")
    assert sums_of_events(path, "oci", "product/service") == raw


def test_pitfall_10_the_real_report_is_hourly():
    assert {event.grain for _, event in events_beside_rows(REPORT, "oci")} == {"hour"}


def test_pitfall_11_one_row_writes_its_times_in_two_ways(tmp_path):
    event = one(tmp_path)
    assert event.charge_period_start == datetime(2026, 3, 4, 10, tzinfo=UTC)
    assert event.charge_period_end == datetime(2026, 3, 4, 11, tzinfo=UTC)
    assert event.billing_period_end == datetime(2026, 4, 1, tzinfo=UTC)


def test_the_last_month_of_a_year_ends_with_the_year(tmp_path):
    times = {
        "lineItem__intervalUsageStart": "2026-12-31T23:00Z",
        "lineItem__intervalUsageEnd": "2027-01-01T00:00:00Z",
    }
    event = one(tmp_path, **times)
    assert event.billing_period_start == datetime(2026, 12, 1, tzinfo=UTC)
    assert event.billing_period_end == datetime(2027, 1, 1, tzinfo=UTC)


def test_pitfall_1_reports_add_up_late_rows_too_and_no_row_counts_twice(tmp_path, book):
    ledger = Ledger({"oci": "effective"})
    reports = [
        [line("r1", "1"), line("r2", "2", 11)],
        [line("r3", "4", 10), line("r4", "8", 12)],
        [line("r2", "2", 11), line("r2", "2", 11)],
    ]
    for number, rows in enumerate(reports):
        path = write_csv(tmp_path / f"000100000000{number}.csv", rows)
        for arrival in read(path, book=book).arrivals:
            ledger.take("oci", arrival.event)
    assert sum(row[-1] for row in ledger.digest()) == 15


def test_pitfall_5_a_correction_adds_and_a_back_reference_alone_is_none(tmp_path):
    assert one(
        tmp_path, lineItem__isCorrection="true", lineItem__backreferenceNo="r0"
    ).is_correction
    assert not one(tmp_path, lineItem__backreferenceNo="17053").is_correction


def test_overage_is_part_of_the_cost_and_not_added_again(tmp_path):
    event = one(tmp_path, cost="12.5", cost__myCostOverage="10", cost__overageFlag="true")
    assert event.billed_cost == event.effective_cost == Decimal("12.5")


def test_pitfall_15_a_tag_is_a_column(tmp_path):
    assert one(tmp_path, tags__ml_ops="x").tags == {"ml_ops": "x"}
    real = [event.tags for _, event in events_beside_rows(REPORT, "oci") if event.tags]
    assert {"Oracle-Tags.CreatedBy", "OracleInternalReserved.OwnerEmail"} <= set().union(*real)


def test_pitfall_18_costs_are_exact_down_to_the_last_digit(tmp_path):
    assert one(tmp_path, cost="6.266090E-12").billed_cost == Decimal("6.266090E-12")


def test_a_row_without_a_time_or_a_cost_is_refused_alone(tmp_path):
    rows = [
        line("a"),
        line("b") | {"lineItem/intervalUsageEnd": ""},
        line("c") | {"lineItem/intervalUsageStart": "soon"},
        line("d", cost=""),
    ]
    result = read(write_csv(tmp_path / "a.csv", rows))
    assert result.reader.read == 1
    assert result.reasons == [
        "lineitemintervalusageend is missing",
        "the interval's start or end is not a time",
        "BilledCost is missing",
    ]
