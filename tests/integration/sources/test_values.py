from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.sources.values import amount, moment, tags, tidy
from service.core.events import EARLIEST, CostEvent, flaw_of


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2024-09-18T22:00:00Z", "2024-09-18T22:00:00"),
        ("2024-09-18T22:00Z", "2024-09-18T22:00:00"),
        ("2024-09-18 22:00:00", "2024-09-18T22:00:00"),
        ("2024-09-18 22:00:00 UTC", "2024-09-18T22:00:00"),
        ("2024-09-18 22:00:00+00", "2024-09-18T22:00:00"),
        ("2024-09-19T00:00:00+02:00", "2024-09-18T22:00:00"),
        ("2024-09-18T17:30:00-0430", "2024-09-18T22:00:00"),
        ("2024-09-18T22:00:00.000Z", "2024-09-18T22:00:00"),
        ("2024-09-18", "2024-09-18T00:00:00"),
        ("2023-02-01T30:00:00Z", "2023-02-02T06:00:00"),
        ("5/1/25", "2025-05-01T00:00:00"),
        ("05/31/2025", "2025-05-31T00:00:00"),
        ("9/18/2024 10:00 PM", "2024-09-18T22:00:00"),
        ("9/18/24 22:00:00", "2024-09-18T22:00:00"),
    ],
)
def test_a_time_is_read_in_every_form_that_bills_use_and_is_utc(text, meant):
    assert moment(text) == datetime.fromisoformat(meant).replace(tzinfo=UTC)
    assert moment(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["31/12/2025", "2025-13-01", "yesterday", "1727000000", "", "//"])
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        moment(text)


@given(st.datetimes(EARLIEST.replace(tzinfo=None), timezones=st.just(UTC)))
def test_a_time_written_by_iso_format_is_read_back(at):
    assert moment(at.isoformat()) == at


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("$10,000.00 ", "10000.00"),
        ("€1,234,567", "1234567"),
        ("(12.50)", "-12.50"),
        ("-$3.10", "-3.10"),
        ("$-3.10", "-3.10"),
        ("+2", "2"),
    ],
)
def test_an_amount_loses_its_currency_sign_commas_and_brackets(text, meant):
    assert amount(text) == meant


@pytest.mark.parametrize("text", ["", "$", "1,23", "1.234,56", "12 USD", "1,2345", "--1"])
def test_an_amount_that_could_mean_two_things_is_refused(text):
    with pytest.raises(ValueError, match="not an amount"):
        amount(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('{"owner":"a","n":1,"x":true,"y":null,"z":1.5}',
         {"owner": "a", "n": 1, "x": True, "y": None, "z": 1.5}),
        ('"owner":"a","env":"b"', {"owner": "a", "env": "b"}),
        ('{" org":"a"}', {"org": "a"}),
        ('{" org":"blank","org":"clean"}', {"org": "clean"}),
        ('[{"key":"owner","value":"a"},{"key":"spot"}]', {"owner": "a", "spot": None}),
        ('{"a":{"b":[1]}}', {"a": '{"b":[1]}'}),
        ("{}", {}),
        ('{"n":99999999999999999999999}', {"n": "99999999999999999999999"}),
    ],
)  # fmt: skip
def test_pitfall_15_tags_are_read_as_json_without_braces_or_as_a_list(text, meant):
    assert tags(text) == meant


@given(st.text())
def test_tags_are_a_flat_mapping_or_a_value_error(text):
    try:
        found = tags(text)
    except ValueError:
        return
    assert all(
        isinstance(key, str) and isinstance(value, str | int | float | bool | None)
        for key, value in found.items()
    )


def make(**changes):
    start = datetime(2024, 9, 18, 22, tzinfo=UTC)
    values = {
        "charge_period_start": start,
        "charge_period_end": start.replace(hour=23),
        "charge_category": "Usage",
        "billed_cost": Decimal(1),
        "billing_currency": "USD",
    }
    return CostEvent(**(values | changes))


def test_words_of_focus_get_the_spelling_of_focus():
    event = tidy(
        make(
            charge_category="usage ",
            charge_frequency="Usage-based",
            charge_class="CORRECTION",
            commitment_discount_status="used",
            capacity_reservation_status="UNUSED",
            billing_currency="usd",
        )
    )
    assert (event.charge_category, event.charge_frequency, event.charge_class) == (
        "Usage", "Usage-Based", "Correction",
    )  # fmt: skip
    assert (event.commitment_discount_status, event.capacity_reservation_status) == (
        "Used", "Unused",
    )  # fmt: skip
    assert event.billing_currency == "USD"


def test_pitfall_17_a_virtual_currency_keeps_its_name():
    assert tidy(make(billing_currency="Tokens")).billing_currency == "Tokens"


def test_a_word_that_focus_does_not_know_is_left_alone():
    assert tidy(make(charge_category="Usage Overage")).charge_category == "Usage Overage"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"billed_cost": Decimal("NaN")}, "BilledCost is not finite"),
        ({"billed_cost": Decimal("sNaN")}, "BilledCost is not finite"),
        ({"effective_cost": Decimal("-Infinity")}, "EffectiveCost is not finite"),
        ({"list_cost": Decimal("1e999")}, "ListCost is out of range"),
        ({"consumed_quantity": Decimal("1e-31")}, "ConsumedQuantity is out of range"),
        ({"billed_cost": Decimal(10) ** 15}, "BilledCost is out of range"),
        ({"charge_period_end": datetime(2024, 9, 18, 22, tzinfo=UTC)},
         "ChargePeriodEnd is not after ChargePeriodStart"),
        ({"charge_period_end": datetime(2034, 9, 18, 22, tzinfo=UTC)},
         "the charge period is longer than three years"),
        ({"billing_period_start": datetime(1, 1, 1, tzinfo=UTC)},
         "the billing period is outside 2000 to 2199"),
        ({"tags": {str(n): n for n in range(201)}}, "more than 200 tags"),
    ],
)  # fmt: skip
def test_a_row_of_the_right_types_can_still_be_no_bill(changes, why):
    assert flaw_of(make(**changes)) == why


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_an_amount_passes_if_it_is_finite_with_at_most_15_digits_before_and_30_after(value):
    fits = not value or (
        value.is_finite()
        and -31 < value.adjusted() < 15
        and (Fraction(value) * 10**30).denominator == 1
    )
    assert (flaw_of(make(billed_cost=value)) is None) == fits
