from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import money
from service.core.moves import SkuSpend, moves_of


def sku(before, after, quantities=(0, 0), series="s", values=("EC2",), **more):
    usual = {"billing_currency": "USD", "is_usage": True} | more
    amounts = [Decimal(str(one)) for one in (before, after, *quantities)]
    return SkuSpend(values, usual["billing_currency"], series, usual["is_usage"], *amounts)


def parts(*rows):
    moves, _ = moves_of(("service_name",), rows)
    return {
        name: getattr(moves[0].parts, name)
        for name in ("price", "quantity", "new", "gone", "not_split")
        if getattr(moves[0].parts, name)
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (sku(100, 200, (10, 20)), {"quantity": 100}),
        (sku(100, 150, (10, 10)), {"price": 50}),
        (sku(100, 300, (10, 20)), {"price": 100, "quantity": 100}),
        (sku(0, 70, (0, 7)), {"new": 70}),
        (sku(70, 0, (7, 0)), {"gone": -70}),
        (sku(70, 90), {"not_split": 20}),
        (sku(70, 90, (1, 1), is_usage=False), {"not_split": 20}),
    ],
)
def test_a_change_is_the_price_the_quantity_new_or_gone(row, expected):
    assert parts(row) == expected


def test_a_sku_that_a_series_takes_up_counts_to_the_quantity_not_as_new():
    assert parts(sku(50, 50, (1, 1)), sku(0, 30, (0, 3))) == {"quantity": 30}


def test_currencies_are_never_added_up():
    moves, totals = moves_of(
        ("service_name",), [sku(1, 3), sku(1, 9, billing_currency="EUR", series="e")]
    )
    assert [(one.billing_currency, one.change) for one in moves] == [("EUR", 8), ("USD", 2)]
    assert [(one.billing_currency, one.before, one.after) for one in totals] == [
        ("EUR", 1, 9),
        ("USD", 1, 3),
    ]


AMOUNT = st.decimals(min_value=-1000, max_value=10**9, places=7)
QUANTITY = st.decimals(min_value=0, max_value=10**6, places=5)
ROWS = st.lists(
    st.builds(
        SkuSpend,
        st.sampled_from([("a",), ("b",)]),
        st.just("USD"),
        st.sampled_from("xyz"),
        st.booleans(),
        AMOUNT,
        AMOUNT,
        QUANTITY,
        QUANTITY,
    ),
    max_size=8,
)


@given(ROWS)
def test_the_parts_add_up_to_the_change_to_the_last_digit(rows):
    moves, totals = moves_of(("service_name",), rows)
    for one in (*moves, *totals):
        split = one.parts
        whole = (split.price, split.quantity, split.new, split.gone, split.not_split)
        assert money.total(whole) == one.change == one.after - one.before
    for total in totals:
        assert total.change == money.total(move.change for move in moves)
