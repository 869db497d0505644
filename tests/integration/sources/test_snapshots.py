from collections import defaultdict
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.sources import Reader, SnapshotBook
from service.adapters.sources.snapshots import DECODE, ENCODE
from service.core.ledger import Ledger
from tests.reading import MONTH_END, START, bill, iso, read, write_csv, write_ndjson

LATER = iso(MONTH_END)
NEXT_MONTH = {"BillingPeriodStart": LATER, "BillingPeriodEnd": "2024-11-01T00:00:00Z"}
CORRECTION = {"ChargeClass": "Correction"}


@pytest.fixture
def book():
    with SnapshotBook.temporary() as book:
        yield book


def deliver(book, folder, rows, name="bill.csv", **options):
    columns = [*bill(), "ChargeClass", "SkuId", "Tags", "x_ArrivedAt", "x_Revision", "x_EventId"]
    return read(write_csv(folder / name, rows, columns), book=book, **options)


def told(result):
    return sorted(
        (e.charge_period_start.hour, str(e.billed_cost), e.x_revision) for e in result.events
    )


def test_pitfall_1_a_bill_that_is_delivered_again_changes_nothing(book, tmp_path):
    rows = [bill(1), bill(1), bill(2, SkuId="a"), bill(3, "-4", **CORRECTION)]
    assert len(deliver(book, tmp_path, rows).events) == 4
    again = deliver(book, tmp_path, [*reversed(rows)], name="again.csv")
    assert (again.events, again.reader.read) == ([], 4)


def test_pitfall_1_only_what_changed_is_told_again_whole_and_at_a_higher_revision(book, tmp_path):
    deliver(book, tmp_path, [bill(1, "1"), bill(1, "2"), bill(2, "3")])
    result = deliver(book, tmp_path, [bill(1, "1"), bill(1, "5"), bill(2, "3"), bill(4, "4")])
    assert told(result) == [(1, "1", 1), (1, "5", 1), (4, "4", 0)]


def test_pitfall_1_what_vanished_is_told_as_a_row_of_cost_zero(book, tmp_path):
    old, tagged = bill(1, "1"), [bill(hour, "3", Tags='{"owner": "a"}') for hour in (2, 3, 4)]
    deliver(book, tmp_path, [old, *tagged])
    result = deliver(book, tmp_path, [old, tagged[0], tagged[2]])
    assert told(result) == [(3, "0", 1)]
    gone = result.events[0]
    assert (gone.effective_cost, gone.tags, gone.resource_id) == (0, {"owner": "a"}, "i-1")
    assert told(deliver(book, tmp_path, [old, *tagged])) == [(3, "3", 2)]


def test_what_a_scope_does_not_speak_of_stays(book, tmp_path):
    deliver(book, tmp_path, [bill(1), bill(2, resource="i-2", BillingAccountId="other")])
    assert deliver(book, tmp_path, [bill(1)]).events == []


def test_a_change_of_a_column_that_is_dropped_is_no_change(book, tmp_path):
    row = bill(1)
    read(write_csv(tmp_path / "a.csv", [row | {"SkuPriceId": "p1"}]), book=book)
    assert read(write_csv(tmp_path / "b.csv", [row | {"SkuPriceId": "p2"}]), book=book).events == []


def test_in_replay_a_restatement_arrives_with_the_newest_row_of_its_snapshot(book, tmp_path):
    deliver(book, tmp_path, [bill(1, "1"), bill(2, "2")])
    result = deliver(book, tmp_path, [bill(0, "9"), bill(1, "5"), bill(2, "2"), bill(3), bill(4)])
    arrived = {a.event.charge_period_start.hour: a.arrived_at for a in result.arrivals}
    assert arrived == {
        0: START + timedelta(hours=5),
        1: START + timedelta(hours=5),
        3: START + timedelta(hours=4),
        4: START + timedelta(hours=5),
    }


def test_pitfall_9_a_fee_for_the_month_does_not_say_how_far_the_data_reach(book, tmp_path):
    fee = bill(0, "700", ChargePeriodStart=iso(START), ChargePeriodEnd=LATER)
    deliver(book, tmp_path, [fee, bill(1, "1")])
    result = deliver(book, tmp_path, [fee, bill(1, "2"), bill(2)])
    assert max(arrival.arrived_at for arrival in result.arrivals) == START + timedelta(hours=3)


def test_a_row_that_says_when_it_arrived_is_believed(book, tmp_path):
    at = "2024-09-05T00:00:00Z"
    deliver(book, tmp_path, [bill(1, "1")])
    result = deliver(book, tmp_path, [bill(1, "2", x_ArrivedAt=at)])
    assert iso(result.arrivals[0].arrived_at) == at


def test_a_year_paid_in_advance_arrives_when_it_is_billed(book, tmp_path):
    row = bill(0, "700", ChargePeriodEnd="2025-09-01T00:00:00Z", ChargeCategory="Purchase")
    assert deliver(book, tmp_path, [row]).arrivals[0].arrived_at == MONTH_END


def test_pitfall_5_a_correction_arrives_with_its_bill_and_not_when_it_was_used(book, tmp_path):
    result = deliver(book, tmp_path, [bill(1, "-4", **CORRECTION, **NEXT_MONTH)])
    assert result.arrivals[0].arrived_at == MONTH_END


def test_pitfall_5_a_correction_is_told_once_and_taken_back_as_its_negative(book, tmp_path):
    always, row = bill(1), bill(1, "-4.50", **CORRECTION)
    assert len(deliver(book, tmp_path, [always, row, row]).events) == 3
    assert deliver(book, tmp_path, [always, row, row]).events == []
    [back] = deliver(book, tmp_path, [always, row]).events
    assert (back.billed_cost, back.is_correction) == (Decimal("4.50"), True)
    [again] = deliver(book, tmp_path, [always, row, row]).events
    assert again.billed_cost == Decimal("-4.50")
    assert (again.x_event_id, again.x_revision) != (back.x_event_id, back.x_revision)


def test_files_that_do_not_overlap_in_time_do_not_supersede_each_other(book, tmp_path):
    deliver(book, tmp_path, [bill(1), bill(23)], name="day-1.csv")
    assert len(deliver(book, tmp_path, [bill(24), bill(47)], name="day-2.csv").events) == 2
    again = deliver(book, tmp_path, [bill(1, "7"), bill(23)], name="day-1.csv")
    assert told(again) == [(1, "7", 1)]
    month = deliver(book, tmp_path, [bill(1, "7"), bill(47)], name="month.csv")
    assert told(month) == [(0, "0", 1), (23, "0", 1)]


def test_an_older_snapshot_that_comes_later_is_not_used(book, tmp_path):
    deliver(book, tmp_path, [bill(1, "1"), bill(2, "2")], name="2.csv")
    result = deliver(book, tmp_path, [bill(1, "9")], name="1.csv")
    assert result.events == []
    assert "older than what was delivered of 2024-09: not used" in result.notes[0]


def test_snapshots_of_one_reading_are_taken_in_their_own_order(book, tmp_path):
    write_csv(tmp_path / "a.csv", [bill(1, "3"), bill(2), bill(3)])
    write_csv(tmp_path / "b.csv", [bill(1, "1")])
    write_csv(tmp_path / "c.csv", [bill(1, "2"), bill(2)])
    result = read(tmp_path, book=book)
    by_revision = sorted(
        (e.x_revision, e.billed_cost) for e in result.events if e.charge_period_start.hour == 1
    )
    assert by_revision == [(0, 1), (1, 2), (2, 3)]


def test_what_is_missing_from_a_delivery_with_bad_rows_has_not_vanished(book, tmp_path):
    deliver(book, tmp_path, [bill(1), bill(2), bill(3)])
    result = deliver(book, tmp_path, [bill(1, "5"), bill(2, "rubbish"), bill(3)])
    assert told(result) == [(1, "5", 1)]
    assert len(result.rejected) == 1


def test_rows_of_two_bills_that_meet_in_one_cell_do_not_push_each_other_out(book, tmp_path):
    deliver(book, tmp_path, [bill(1, "1"), bill(1, "2"), bill(5)])
    late = [bill(1, "0.5", **NEXT_MONTH)]
    assert told(deliver(book, tmp_path, late, name="october.csv")) == [(1, "0.5", 0)]
    restated = deliver(book, tmp_path, [bill(1, "4"), bill(5)])
    assert told(restated) == [(1, "0.5", 1), (1, "4", 1)]
    gone = deliver(book, tmp_path, [bill(2), bill(5)])
    assert told(gone) == [(1, "0", 2), (1, "0.5", 2), (2, "1", 0)]


def test_a_row_that_brought_its_name_and_is_there_twice_counts_once(book, tmp_path):
    result = deliver(book, tmp_path, [bill(1, x_EventId="e"), bill(1, x_EventId="e")])
    assert [event.x_event_id for event in result.events] == ["e"]


def test_a_revision_of_its_own_is_kept_and_raised_when_the_row_changes(book, tmp_path):
    rows = [bill(1, "1", x_Revision="2"), bill(1, "9", x_Revision="1")]
    assert told(deliver(book, tmp_path, rows)) == [(1, "1", 2)]
    assert told(deliver(book, tmp_path, [bill(1, "3", x_Revision="2")])) == [(1, "3", 3)]


def test_a_restart_and_a_redelivery_change_nothing(tmp_path):
    rows = [bill(1), bill(2), bill(2, "-1", **CORRECTION)]
    with SnapshotBook(tmp_path / "book") as book:
        first = deliver(book, tmp_path, rows, mode="live")
        book.acknowledge([])
    with SnapshotBook(tmp_path / "book") as book:
        assert deliver(book, tmp_path, rows, mode="live").events == []
        changed = deliver(book, tmp_path, [bill(1, "5"), *rows[1:]], mode="live")
    assert len(first.events) == 3
    assert told(changed) == [(1, "5", 1)]


def test_what_was_not_acknowledged_is_told_again_even_if_its_file_was_overwritten(tmp_path):
    with SnapshotBook(tmp_path / "book") as book:
        first = deliver(book, tmp_path, [bill(1, "1"), bill(2)], mode="live")
    with SnapshotBook(tmp_path / "book") as book:
        assert book.has_untold
        assert read(book=book, mode="live").arrivals == first.arrivals
        second = deliver(book, tmp_path, [bill(1, "2"), bill(2)], mode="live")
    assert second.arrivals[:2] == first.arrivals
    assert [(e.billed_cost, e.x_revision) for e in second.events[2:]] == [(2, 1)]
    with SnapshotBook(tmp_path / "book") as book:
        book.acknowledge([])
        assert not book.has_untold


def test_a_reading_that_was_broken_off_is_forgotten(tmp_path):
    events = write_ndjson(tmp_path / "a.ndjson", [bill(7), bill(8)])
    path = write_csv(tmp_path / "bill.csv", [bill(1), bill(2)])
    with SnapshotBook(tmp_path / "book") as book:
        assert next(iter(Reader([events, path], snapshots=book, reject=print, mode="live")))
        assert len(read(events, path, book=book, mode="live").events) == 4


hours = st.integers(1, 4)
costs = st.sampled_from(["0.10", "1", "1.00", "2.5", "-3"])
rows = st.builds(
    lambda hour, cost, resource, sku, month, correction: bill(
        hour,
        cost,
        resource,
        SkuId=sku,
        **(NEXT_MONTH if month else {}),
        **(CORRECTION if correction else {}),
    ),
    hours,
    costs,
    st.sampled_from(["i-1", "i-2"]),
    st.sampled_from(["", "a"]),
    st.booleans(),
    st.sampled_from([False, False, True]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(rows, max_size=8), min_size=1, max_size=5), st.randoms(), st.booleans())
def test_the_ledger_is_what_the_last_snapshot_of_each_scope_says(
    tmp_path_factory, deliveries, chance, at_once
):
    folder = tmp_path_factory.mktemp("bills")
    frame = [bill(hour, **month) for hour in (0, 6) for month in ({}, NEXT_MONTH)]
    bills = [[*frame, *delivery] for delivery in deliveries]
    arrivals = []
    with SnapshotBook.temporary() as book:
        if at_once:
            for number, delivery in enumerate(bills):
                columns = [*bill(), "ChargeClass", "SkuId"]
                write_csv(folder / f"bill-{number}.csv", delivery, columns)
            arrivals += read(folder, book=book).arrivals
        else:
            for delivery in bills:
                chance.shuffle(delivery)
                arrivals += deliver(book, folder, delivery).arrivals
    expected = defaultdict(Decimal)
    for row in bills[-1]:
        hour = row["ChargePeriodStart"]
        expected[row["ResourceId"], hour] += Decimal(row["BilledCost"])
    ledger = Ledger({"focus": "billed"})
    arrivals += chance.sample(arrivals, len(arrivals) // 2)
    chance.shuffle(arrivals)
    for arrival in arrivals:
        ledger.take("focus", DECODE(ENCODE(arrival.event)))
    costs = defaultdict(Decimal)
    for series, start, _, _, _, cost in ledger.digest():
        costs[series.split("/")[2], iso(start)] += cost
    assert {key: cost for key, cost in costs.items() if cost} == {
        key: cost for key, cost in expected.items() if cost
    }
