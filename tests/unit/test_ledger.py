"""The ledger: the same rows give the same ledger, whatever happens to them on the way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import start_of
from service.core.events import CostEvent, SeriesKey, series_of
from service.core.ledger import Ledger
from service.core.state import BLOCK, Streams, keep_all
from tests.arriving import Disk
from tests.factories import make_event

T0 = datetime(2026, 6, 1, tzinfo=UTC)
STEP = int(T0.timestamp()) // 3600
costs = st.decimals(min_value=-(10**6), max_value=10**6, places=12)


@st.composite
def events(draw) -> CostEvent:
    start = T0 + timedelta(hours=draw(st.integers(0, 2)))
    is_correction = draw(st.booleans()) and draw(st.booleans())
    identity = str(draw(st.integers(0, 5)))
    revision = draw(st.integers(0, 2))
    return make_event(
        charge_period_start=start,
        charge_period_end=start + timedelta(hours=1),
        charge_category=draw(st.sampled_from(["Usage", "Credit", "Purchase"])),
        charge_class="Correction" if is_correction else None,
        effective_cost=draw(costs),
        resource_id=draw(st.sampled_from(["i-1", "i-2", None])),
        sku_id=draw(st.sampled_from(["A", "B"])),
        x_event_id=identity,
        x_revision=revision,
    )


def ledger_of(rows) -> Ledger:
    ledger = Ledger({"events": "effective"})
    for row in rows:
        ledger.take("events", row)
    return ledger


def test_what_is_priced_by_the_month_is_told_apart():
    disk = make_event(sku_id="disk", x_event_id="d", pricing_unit="GB-Months")
    rows = [make_event(effective_cost=Decimal(3), pricing_unit="Hours"), disk]
    for order in (rows, rows[::-1]):
        ledger = ledger_of(order)
        assert ledger.point(series_of("events", disk), STEP) == 4
        assert ledger.kept(series_of("events", disk), STEP) == 1


@given(st.lists(events(), max_size=25), st.randoms(use_true_random=False))
def test_any_order_duplication_and_split_give_the_same_ledger(rows, random):
    again = rows + [row for row in rows if random.random() < 0.5]
    random.shuffle(again)
    first, second = ledger_of(rows), ledger_of(again)
    assert first.digest() == second.digest()
    for series in first.series():
        assert first.about(series) == second.about(series)
        for step in range(STEP, STEP + 3):
            assert first.point(series, step) == second.point(series, step)


@given(st.lists(costs, min_size=1, max_size=30))
def test_rows_of_equal_revision_add_up_exactly(amounts):
    rows = [make_event(x_event_id=str(n), effective_cost=a) for n, a in enumerate(amounts)]
    ledger = ledger_of(rows)
    units = sum(int(amount.scaleb(12)) for amount in amounts)
    assert ledger.point(series_of("events", rows[0]), STEP) == Decimal(units).scaleb(-12)


def test_the_highest_revision_wins_and_says_what_it_did():
    ledger = Ledger({"events": "effective"})
    row = make_event(x_event_id="a", x_revision=1, effective_cost=Decimal(5))
    assert ledger.take("events", row).taken == "new"
    assert ledger.take("events", row).taken == "duplicate"
    old = make_event(x_event_id="a", x_revision=0, effective_cost=Decimal(7))
    assert ledger.take("events", old).taken == "superseded"
    newer = make_event(x_event_id="b", x_revision=2, effective_cost=Decimal(9))
    assert ledger.take("events", newer).taken == "new"
    assert ledger.point(series_of("events", row), STEP) == 9


def test_corrections_add_outside_revision_and_never_move_usage():
    usage = make_event(x_event_id="u", x_revision=3, effective_cost=Decimal(10))
    fix = make_event(x_event_id="c", charge_class="Correction", effective_cost=Decimal(-4))
    ledger = ledger_of([fix, usage])
    series = series_of("events", usage)
    assert ledger.point(series, STEP) == 10
    assert [row.cost for row in ledger.rows(series, STEP, 1)] == [6]


def test_fees_taxes_and_credits_are_kept_but_are_no_points():
    for category in ("Tax", "Credit", "Purchase", "Adjustment"):
        row = make_event(charge_category=category, effective_cost=Decimal(3))
        ledger = ledger_of([row])
        assert ledger.point(series_of("events", row), STEP) is None
        assert [kept.cost for kept in ledger.rows(series_of("events", row), STEP, 1)] == [3]
    fee = make_event(charge_frequency="Recurring", effective_cost=Decimal(3))
    assert ledger_of([fee]).point(series_of("events", fee), STEP) is None


def test_a_month_is_never_a_point_and_hours_and_days_are_different_series():
    hour = make_event()
    day = make_event(charge_period_end=T0 + timedelta(days=1))
    month = make_event(charge_period_end=T0 + timedelta(days=30))
    grains = [series_of("events", row).grain for row in (hour, day, month)]
    assert grains == ["hour", "day", "other"]
    assert not month.is_scored


def test_a_row_without_a_resource_falls_back_to_service_region_and_sku():
    one = make_event(resource_id=None, sku_id="A")
    other = make_event(resource_id=None, sku_id="B")
    assert series_of("events", one) != series_of("events", other)


def test_what_is_older_than_the_ledger_remembers_is_too_late():
    ledger = ledger_of([make_event()])
    ledger.forget(T0 + timedelta(hours=1))
    assert ledger.take("events", make_event(x_event_id="late")).taken == "too_late"
    assert ledger.point(series_of("events", make_event()), STEP) is None


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_series_reads_back_from_its_name(source, account, resource):
    key = SeriesKey(source, account, resource, "USD", "hour")
    assert SeriesKey.parse(str(key)) == key


def test_what_one_source_forgot_is_not_too_late_for_another():
    ledger = ledger_of([make_event()])
    ledger.forget(T0 + timedelta(hours=1))
    assert ledger.take("added later", make_event(x_event_id="past")).taken == "new"
    assert ledger.take("events", make_event(x_event_id="late")).taken == "too_late"


def test_who_takes_over_a_number_takes_over_nothing_that_was_saved_under_it():
    disk, streams, ledger = Disk(), Streams(), ledger_of([make_event()])
    disk.write(ledger.save(streams, "ledger"))
    gone = ledger.forget(T0 + timedelta(hours=1))
    assert gone == [series_of("events", make_event())]
    ledger.drop(gone)
    assert len(ledger) == 0
    ledger.take("another", make_event(resource_id="i-2", x_event_id="other"))
    disk.write(ledger.save(streams, "ledger"))
    again = Ledger({})
    again.restore(disk.saved(), "ledger", lambda _: True)
    assert again.digest() == ledger.digest()
    assert [key.resource for key in again.series()] == ["i-2"]


def test_what_is_read_only_when_asked_for_is_saved_and_forgotten_like_the_rest():
    def rows(hour, numbers):
        start = T0 + timedelta(hours=hour)
        period = {"charge_period_start": start, "charge_period_end": start + timedelta(hours=1)}
        return [
            make_event(resource_id=f"i-{n}", x_event_id=f"{n}-{hour}", **period) for n in numbers
        ]

    many, some = range(BLOCK + 10), [3, BLOCK + 3]
    disk, streams, whole = Disk(), Streams(), ledger_of(rows(0, many))
    disk.write(whole.save(streams, "ledger"))
    cut = Ledger({"events": "effective"})
    saved = disk.saved()
    cut.restore(saved, "ledger", keep_all)
    for ledger, follows in ((whole, streams), (cut, saved.followed)):
        for event in rows(30, some):
            ledger.take("events", event)
        chunks = [*ledger.save(follows, "ledger")]
        if ledger is whole:
            said = chunks
        else:
            assert chunks == said
    assert len(cut) == len(whole) == len(many)
    gone = [ledger.forget(T0 + timedelta(hours=10)) for ledger in (whole, cut)]
    assert gone[0] == gone[1]
    assert len(gone[0]) == len(many) - len(some)
    for ledger in (whole, cut):
        ledger.drop(gone[0])
        for event in rows(31, [4, BLOCK + 100]):
            ledger.take("events", event)
    assert cut.digest() == whole.digest()


def test_a_month_is_too_late_by_its_end_and_goes_cell_by_cell():
    month = {"charge_period_end": T0 + timedelta(days=30)}
    year = {"charge_period_end": T0 + timedelta(days=365)}
    disk, streams, ledger = Disk(), Streams(), ledger_of([make_event(**month)])
    ledger.take("events", make_event(**year, x_event_id="year", sku_id="Y"))
    disk.write(ledger.save(streams, "ledger"))
    assert ledger.forget(T0 + timedelta(days=20)) == []
    assert ledger.take("events", make_event(**month, x_event_id="late")).taken == "new"
    assert ledger.forget(T0 + timedelta(days=40)) == []
    assert ledger.take("events", make_event(**month, x_event_id="later")).taken == "too_late"
    assert ledger.take("events", make_event(**year, x_event_id="more", sku_id="Y")).taken == "new"
    disk.write(ledger.save(streams, "ledger"))
    again = Ledger({"events": "effective"})
    again.restore(disk.saved(), "ledger", lambda _: True)
    assert again.digest() == ledger.digest()
    assert len(ledger.forget(T0 + timedelta(days=400))) == 1


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Berlin", "America/Los_Angeles", "UTC"])
@pytest.mark.parametrize("switch", [datetime(2026, 3, 29), datetime(2026, 10, 25)])  # noqa: DTZ001
def test_days_of_any_time_zone_follow_one_another_when_clocks_are_put(zone, switch):
    first = (switch - timedelta(days=10)).replace(tzinfo=ZoneInfo(zone))
    midnights = [(first + timedelta(days=k)).astimezone(UTC) for k in range(20)]
    ledger = Ledger({"events": "effective"})
    steps = []
    for start, end in pairwise(midnights):
        row = make_event(charge_period_start=start, charge_period_end=end, x_event_id=str(start))
        assert row.grain == "day"
        change = ledger.take("events", row)
        steps.append(change.step)
        assert start_of(change.step, 24) + ledger.offset(change.series, change.step) == start
    dates = [(first + timedelta(days=k)).date() for k in range(19)]
    assert [start_of(step, 24).date() for step in steps] == dates


def test_what_a_step_cost_before_a_batch_is_noted_once():
    ledger = ledger_of([make_event()])
    before = {}
    for number in range(3):
        change = ledger.take("events", make_event(x_event_id=f"n{number}"), before)
    ledger.take("events", make_event(resource_id="i-2"), before)
    assert before == {
        (change.series, change.step): 1,
        (change.series._replace(resource="i-2"), change.step): None,
    }
