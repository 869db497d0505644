"""Forecasts: weekdays, fees, new levels, bursts and ranges, from days alone."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.forecast import EPOCH, Past, outlook, weekday

JUNE = (date(2026, 6, 1) - EPOCH).days
JULY = JUNE + 30
AUGUST = JULY + 31
MONDAY = 0


def ahead(usage, until, end, fees=None):
    return outlook(Past(usage, fees or {}, until), until, end)


def test_a_monday_is_a_monday():
    assert weekday(JUNE) == MONDAY  # 1 June 2026


def test_what_costs_the_same_every_day_goes_on_so():
    found = ahead(dict.fromkeys(range(JUNE, JULY), 10.0), JULY, AUGUST)
    assert found.rest == pytest.approx(310)
    assert 0 < found.error < 60


def test_weekends_are_known_by_their_days():
    usage = {day: 100.0 if weekday(day) < 5 else 20.0 for day in range(JUNE, JULY + 11)}
    found = ahead(usage, JULY + 11, AUGUST)
    rest = sum(100.0 if weekday(day) < 5 else 20.0 for day in range(JULY + 11, AUGUST))
    assert found.rest == pytest.approx(rest, rel=0.04)


def test_a_burst_that_is_over_is_not_taken_for_the_level():
    usage = dict.fromkeys(range(JUNE, JULY), 100.0) | {JULY - 3: 900.0, JULY - 2: 900.0}
    usage = {day: cost + day % 3 for day, cost in usage.items()}
    assert ahead(usage, JULY, AUGUST).rest == pytest.approx(3131, rel=0.05)


def test_a_level_that_holds_for_three_days_is_the_level():
    usage = {day: (100.0 if day < JULY - 3 else 250.0) + day % 3 for day in range(JUNE, JULY)}
    assert ahead(usage, JULY, AUGUST).rest == pytest.approx(31 * 251, rel=0.1)


def test_growth_goes_on_for_a_while_and_not_for_ever():
    usage = {day: 100.0 * 1.01 ** (day - JUNE) for day in range(JUNE, JULY)}
    rest = ahead(usage, JULY, AUGUST).rest
    assert 31 * 100 * 1.01**29 < rest < sum(100 * 1.01 ** (29 + n) for n in range(1, 32))


@pytest.mark.parametrize(
    ("fees", "due"),
    [
        ({JUNE: 500.0}, 0),  # on the first, which is over
        ({JUNE + 19: 500.0}, 500),  # on the twentieth, once
        ({JUNE - 31 + 19: 500.0, JUNE + 19: 500.0}, 500),
        ({JUNE - 31: 1.0, JUNE + 19: 500.0}, 0),  # bought once: not the month before
    ],
)
def test_fees_come_on_the_days_on_which_they_came(fees, due):
    usage = dict.fromkeys(range(JUNE - 31, JULY + 5), 1.0)
    assert ahead(usage, JULY + 5, AUGUST, fees).rest - 26 == pytest.approx(due)


def test_the_range_is_wider_where_forecasts_were_off():
    calm = dict.fromkeys(range(JUNE, JULY), 100.0)
    wild = {day: 40.0 if day // 5 % 2 else 160.0 for day in range(JUNE, JULY)}
    assert ahead(wild, JULY, AUGUST).error > 2 * ahead(calm, JULY, AUGUST).error


def test_what_is_spent_of_days_that_go_on_is_not_counted_twice():
    found = ahead(dict.fromkeys(range(JUNE, JULY), 10.0), JULY, AUGUST)
    assert found.total(spent=4.0, begun=4.0).total == pytest.approx(310)
    assert found.total(spent=900.0, begun=900.0).total == pytest.approx(900)


def test_nothing_is_said_of_nothing():
    assert ahead({}, JULY, AUGUST) is None


@given(
    st.dictionaries(st.integers(JUNE, JULY - 1), st.floats(-1e6, 1e9), min_size=1),
    st.integers(0, 400),
)
def test_whatever_the_days_were_a_forecast_is_a_range(usage, days):
    found = ahead(usage, JULY, JULY + days)
    said = found.total(1000.0, 0.0)
    assert said.low <= said.total <= said.high
    assert said.low >= 1000.0
