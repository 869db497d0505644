"""What a user pays for tokens goes before the list, where they say so."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from service.adapters.token_prices import repriced
from service.bootstrap import build_token_prices
from service.config import ConfigError, Settings
from service.config_file import checked
from tests.factories import make_event

OWN = build_token_prices(
    checked(
        {
            "token_prices": [
                {"model": "gpt-4o", "usd_per_mtok": {"input": "2", "cache_read": "1"}},
                {"model": "gpt-4o", "tier": "batch", "usd_per_mtok": {"input": "1.5"}},
                {"model": "gpt-4o", "since": date(2026, 3, 1), "usd_per_mtok": {"input": "1.8"}},
            ]
        },
        Settings,
        "x",
    )
)


def row(sku, model="gpt-4o-2024-08-06", day=4, **more):
    return make_event(
        charge_period_start=datetime(2026, 3, day, tzinfo=UTC), effective_cost=Decimal(9),
        pricing_quantity=Decimal(1_000_000), sku_id=f"{model}-{sku}".replace(" ", "-"),
        **{"tags": {"model": model, "estimated": True}} | more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "cost"),
    [
        (row("input-tokens"), "1.8"),
        (make_event(), None),
        (row("cache_read-tokens"), "1"),
        (row("batch-input-tokens"), "1.5"),
        (row("batch-output-tokens"), "9"),  # of which nothing is said
        (row("output-tokens"), "9"),
        (row("requests"), "9"),
        (row("input-tokens", model="gpt-5"), "9"),
        (row("input-tokens", tags={"model": "gpt-4o-2024-08-06"}), "9"),  # billed, not estimated
    ],
)
def test_ones_own_price_is_of_its_model_tier_and_kind_of_token(event, cost):
    expected = event.effective_cost if cost is None else Decimal(cost)
    assert repriced(event, OWN).effective_cost == expected


def test_ones_own_price_holds_from_its_day_on_and_says_so():
    before = datetime(2026, 2, 28, tzinfo=UTC)
    found = repriced(row("input-tokens"), OWN)
    assert found.charge_description.endswith("estimated at your price, $1.8 per million")
    earlier = make_event(
        charge_period_start=before, sku_id="gpt-4o-input-tokens", pricing_quantity=Decimal(10**6),
        tags={"model": "gpt-4o", "estimated": True},
    )  # fmt: skip
    assert repriced(earlier, OWN).effective_cost == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"model": "m", "usd_per_mtok": {"imput": "1"}}, "Invalid enum value 'imput'"),
        ({"model": "m", "usd_per_mtok": {"input": "-1"}}, "usd_per_mtok.input is below 0"),
        ({"model": "m", "usd_per_mtok": {"input": "1"}, "teir": "batch"}, "did you mean 'tier'?"),
    ],
)
def test_a_price_that_is_none_is_an_error_in_one_line(table, said):
    with pytest.raises(ConfigError, match=said.replace("?", r"\?").replace(".", r"\.")):
        checked({"token_prices": [table]}, Settings, "x")
