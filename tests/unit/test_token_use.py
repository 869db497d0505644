"""Requests, tokens per request, and the price of a token: told apart, and adding up."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from service.core.token_use import TokenUse, effects_of, sentence_of, use_of
from tests.factories import make_event

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
some = st.floats(0.01, 1e6)
uses = st.builds(TokenUse, st.one_of(st.just(0.0), some), some, some)


@given(uses, uses)
def test_the_parts_add_up_to_the_change(before, now):
    found = effects_of(before, now)
    whole = (found.requests or 0) + found.length + found.price
    assert whole == pytest.approx(now.cost - before.cost, rel=1e-6, abs=1e-6 * before.cost + 1e-9)


@given(uses)
def test_no_change_is_no_effect(use):
    found = effects_of(use, use)
    assert (found.requests or 0, found.length, found.price) == pytest.approx((0, 0, 0), abs=1e-6)


@given(uses, uses)
def test_who_is_not_there_before_or_now_has_no_effect(before, now):
    assert effects_of(TokenUse(), now) is effects_of(before, TokenUse()) is None


def said(requests=100, length=1000, price=1e-5):
    before = TokenUse(100, 100_000, 1.0)
    now = TokenUse(requests, requests * length, requests * length * price)
    return sentence_of(before, now, 1, "USD")


def test_each_part_is_said_with_what_it_costs():
    assert said(requests=200) == (
        "Requests rose 100 % (+$1.00/h), tokens per request did not change, "
        "the price of a token did not change."
    )
    assert "tokens per request rose to 4.0 times (+$3.00/h)" in said(length=4000)
    assert "the price of a token fell 50 % (-$0.50/h)" in said(price=5e-6)


def test_tokens_that_no_request_is_counted_for_are_told_by_number():
    found = sentence_of(TokenUse(0, 1000, 1.0), TokenUse(0, 2000, 3.0), 24, "EUR")
    assert found == (
        "The number of tokens rose 100 % (+1.00 EUR/day), "
        "the price of a token rose 50 % (+1.00 EUR/day)."
    )


def test_other_usage_has_no_tokens():
    assert use_of([{"BoxUsage:p4d": (Decimal(3), Decimal(1))}, {}]) == TokenUse()


def rows(hour, requests, length, sku):
    start = T0 + hour * HOUR
    tokens = requests * length
    for name, cost, quantity in (
        (f"{sku}-input-tokens", Decimal(tokens).scaleb(-5), tokens),
        (f"{sku}-requests", Decimal(0), requests),
    ):
        event = make_event(
            charge_period_start=start, charge_period_end=start + HOUR, effective_cost=cost,
            billed_cost=Decimal(0), pricing_quantity=Decimal(quantity), sku_id=name,
            resource_id="key-1", x_event_id=f"{name}-{hour}",
        )  # fmt: skip
        yield Arrival(start + HOUR, "openai", event)


def test_a_finding_about_a_key_says_which_of_them_it_was():
    pipeline = build_pipeline(Settings(), {"openai": "effective"}, tells_history=True)
    told = {}
    for hour in range(15 * 24):
        length = 2000 if hour < 15 * 24 - 6 else 9000
        batch = list(rows(hour, 100 + hour % 3, length, "gpt-5"))
        outcome = pipeline.step(batch, T0 + (hour + 1) * HOUR, hour + 1)
        told |= {finding.finding_id: finding for finding in outcome.changes.findings}
    kinds = {finding.kind: finding.reason for finding in told.values()}
    assert "tokens per request rose to 4.5 times (+$7." in kinds["spike"]
    for reason in kinds.values():
        assert "Requests did not change, tokens per request rose " in reason
        assert "the price of a token did not change." in reason
