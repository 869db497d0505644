"""Price and quantity: told apart, and adding up to the impact to the last digit."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import Score, step_of
from service.core.effects import Effects, sentence_of
from service.core.events import Arrival, series_of
from service.core.findings import OddPoint, Stretch
from service.core.ledger import Ledger
from tests.arriving import told_of
from tests.factories import make_event

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SINCE = 48


def row(hour, price, quantity, sku="x"):
    start = T0 + hour * HOUR
    return make_event(
        charge_period_start=start,
        charge_period_end=start + HOUR,
        effective_cost=Decimal(str(price)) * Decimal(str(quantity)),
        pricing_quantity=Decimal(str(quantity)),
        sku_id=sku,
        x_event_id=f"{sku}-{hour}",
    )


def split(after, before=(2, 3), remembers=False, expected=6):
    """What is said of a stretch whose hours cost (price, quantity) each, after two days."""
    ledger = Ledger({})
    rows = [row(hour, *before) for hour in range(SINCE)]
    rows += [row(SINCE + n, *now) for n, now in enumerate(after)]
    for event in rows:
        ledger.take("s", event)
    series = series_of("s", rows[0])
    first = step_of(T0, 1) + SINCE
    stretch = Stretch(series, "shift", "shift", 1, 4.0)
    stretch.begin(first, first, T0)
    for step in range(first, first + len(after)):
        cost = ledger.point(series, step)
        stretch.set_point(step, OddPoint.of(cost, Score(5.0, expected, expected, expected, step)))
    return Effects(ledger).split(stretch, remembers=remembers), stretch


@pytest.mark.parametrize("remembers", [False, True])
@given(
    st.lists(
        st.tuples(st.decimals("0.01", 9, places=2), st.decimals("0.1", 9, places=1)),
        min_size=1,
        max_size=30,
    ),
    st.floats(0, 50),
)
def test_both_effects_add_up_to_the_impact(remembers, after, expected):
    found, stretch = split(after, remembers=remembers, expected=expected)
    if found is not None:
        assert found.price + found.quantity == stretch.sums.excess


def test_a_price_that_rose_is_the_price():
    found, stretch = split([("2.8", 3)] * 5)
    assert (found.price, found.quantity) == (stretch.sums.excess, 0)
    assert found.is_price
    assert sentence_of(found) == "The unit price rose 40 %; the quantity explains little of it."


def test_more_of_the_same_is_the_quantity():
    found, stretch = split([(2, 9)] * 5)
    assert (found.price, found.quantity) == (0, stretch.sums.excess)
    assert sentence_of(found) == "The unit price did not change."


def test_both_at_once_are_split_at_the_new_quantity():
    found, _ = split([(3, 5)])
    assert (found.price, found.quantity) == (5, 4)
    assert sentence_of(found) == "The unit price rose 50 %, and the quantity changed as well."


@pytest.mark.parametrize("before", [(2, 0), ("0.00", 3)], ids=["no quantity", "no cost"])
def test_without_a_price_before_nothing_is_said(before):
    assert split([(2, 9)] * 5, before=before)[0] is None


def test_a_price_that_was_never_steady_is_none():
    ledger = Ledger({})
    rows = [row(hour, 1 + hour % 7, 1) for hour in range(SINCE + 1)]
    for event in rows:
        ledger.take("s", event)
    series, step = series_of("s", rows[0]), step_of(T0, 1) + SINCE
    stretch = Stretch(series, "spike", "spike", 1, 4.0)
    stretch.begin(step, step, T0)
    stretch.set_point(step, OddPoint.of(Decimal(90), Score(5.0, 6, 6, 6, step)))
    assert Effects(ledger).split(stretch, remembers=False) is None


def run(rows):
    arrivals = [Arrival(event.charge_period_end, "events", event) for event in rows]
    findings, incidents = told_of(arrivals)
    return list(findings.values()), list(incidents.values())


def test_spending_that_falls_because_the_price_did_is_no_drop():
    days = [row(hour, "2.00" if hour < 56 * 24 else "1.30", 3) for hour in range(60 * 24)]
    findings, incidents = run(days)
    assert {f.kind for f in findings} == {"price_change"}
    assert "The unit price fell 35 %; the quantity explains little of it." in findings[0].reason
    (driver,) = incidents[0].drivers
    assert driver.price_effect + driver.quantity_effect == driver.impact
    assert abs(driver.quantity_effect) < abs(driver.impact) / 20


def test_spending_that_falls_because_less_is_used_is_a_drop():
    days = [row(hour, 2, 3 if hour < 56 * 24 else 2) for hour in range(60 * 24)]
    findings, incidents = run(days)
    assert {f.kind for f in findings} == {"drop"}
    (driver,) = incidents[0].drivers
    assert (driver.price_effect, driver.quantity_effect) == (0, driver.impact)
