"""Amounts of several currencies: compared by the rate of the day, added only where there is one."""

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import pytest

from service.config import RateSettings
from service.core.incidents import SeverityLimits
from service.core.rates import Dated, Rates
from tests.factories import make_finding

AT = datetime(2026, 6, 1, tzinfo=UTC)
RATES = Rates("USD", {"EUR": {date(2026, 1, 1): Decimal(2), date(2026, 7, 1): Decimal(3)}})
FLOORS = {"USD": Decimal(10), "GBP": Decimal(5)}


@pytest.mark.parametrize(
    ("amount", "currency", "floor", "reaches"),
    [
        (10, "USD", Decimal(10), True),
        (5, "EUR", Decimal(10), True),
        (4, "EUR", Decimal(10), False),
        (10, "JPY", Decimal(10), True),
        (9, "JPY", Decimal(10), False),
        (5, "GBP", FLOORS, True),
        (4, "GBP", FLOORS, False),
        (4, "EUR", FLOORS, False),
        (5, "EUR", FLOORS, True),
        (1, "JPY", FLOORS, True),
    ],
)
def test_a_floor_is_reached_in_its_currency_or_by_the_rate(amount, currency, floor, reaches):
    assert RATES.reaches(Decimal(amount), currency, AT, floor) is reaches


def test_the_rate_is_that_of_the_day():
    assert RATES.convert(Decimal(1), "EUR", AT) == 2
    assert RATES.convert(Decimal(1), "EUR", AT.replace(month=8)) == 3
    assert RATES.convert(Decimal(1), "EUR", AT.replace(year=2025)) is None


@pytest.mark.parametrize(
    ("currencies", "total"),
    [
        ("USD USD", (2, "USD", ())),
        ("USD EUR", (3, "USD", ())),
        ("JPY JPY", (2, "JPY", ())),
        ("USD JPY JPY", (2, "JPY", ("USD",))),
        ("", (0, "USD", ())),
    ],
)
def test_what_cannot_be_converted_is_not_added(currencies, total):
    assert RATES.total([Dated(Decimal(1), name, AT) for name in currencies.split()]) == total


def test_severity_goes_by_the_rate_too():
    limits = SeverityLimits(Decimal(100), Decimal(1000), RATES)
    lead = make_finding(billing_currency="EUR", detected_at=AT)
    assert limits.of(lead, Decimal(50), Decimal(1)) == "medium"
    assert limits.of(lead, Decimal(500), Decimal(1)) == "high"
    assert limits.of(lead, Decimal(49), Decimal(1)) == "low"


@pytest.mark.parametrize("worth", [{"EUR": {"2026-01-01": "0"}}, {"EUR": {"today": "1"}}])
def test_what_is_no_rate_is_refused(worth):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"worth": worth}, RateSettings, strict=False)
