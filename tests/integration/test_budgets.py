"""Budgets where people look: the store, GET /v1/budgets, and spendwatch budgets."""

import json
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256

import httpx
import pytest
from typer.testing import CliRunner

from service.core.budget_figures import BudgetStatus, Crossing, Figures, Mover
from service.core.budgets import Budget
from service.core.ports import Changes
from service.core.tokens import Token
from service.entrypoints.api.access import Local
from service.entrypoints.api.app import build_app
from service.entrypoints.api.serve import serve
from service.entrypoints.cli import app as command
from service.telemetry import Metrics
from tests.factories import NOW

START = NOW.replace(day=1, hour=0)


def status(name="ml", state="at_risk", **values):
    figures = Figures(
        name=name, what=name, amount=Decimal(10_000), currency="USD", severity="medium",
        period_start=START, period_end=START + timedelta(days=31), as_of=NOW,
        spent=Decimal("8120.40"), forecast=Decimal(11_912), forecast_low=Decimal(11_140),
        forecast_high=Decimal(12_790), crossed=[Crossing("80 %", NOW)],
        movers=[Mover("s", "gpu-train-7", Decimal(2_300), Decimal(4_000))],
    )  # fmt: skip
    budget = Budget(name=name, owner=name, amount=figures.amount)
    return BudgetStatus(
        **({"budget": budget, "owner": name, "state": state, "figures": figures} | values)
    )


@pytest.fixture
def address(store):
    said = [status(), status("web", "within"), status("all", "over", owner="x\x1b[2J\u202ey")]
    names = {one.budget.name: one for one in said}
    store.save(Changes(previous=0, offset=1, budgets=names))
    api = build_app(
        store=store,
        history=None,
        metrics=Metrics("0"),
        started_at=NOW,
        now=lambda: NOW,
        local=Local("admin"),
    )
    with serve(api, port=0) as address:
        yield address


def test_a_budget_is_kept_until_it_is_no_more(store):
    store.save(Changes(previous=0, offset=1, budgets={"ml": status(), "web": status("web")}))
    assert store.budgets() == [status(), status("web")]
    store.save(Changes(previous=1, offset=2, budgets={"web": None}))
    assert store.budgets() == [status()]


def test_the_api_lists_budgets_by_name_and_filters_them(address):
    found = httpx.get(f"{address}/v1/budgets").json()["items"]
    assert [one["budget"]["name"] for one in found] == ["all", "ml", "web"]
    (one,) = httpx.get(f"{address}/v1/budgets?state=at_risk&owner=ml").json()["items"]
    assert (one["figures"]["spent"], one["figures"]["forecast"]) == ("8120.4", "11912")
    assert one["figures"]["crossed"][0]["what"] == "80 %"
    assert httpx.get(f"{address}/v1/budgets?state=fine").status_code == 422


def test_a_team_sees_its_own_budgets_alone(address, store):
    secret = "s" * 32
    token = Token(
        name="ana", sha256=sha256(secret.encode()).hexdigest(), teams=["ml"], role="viewer"
    )
    store.save(Changes(previous=1, offset=2, things={("token", "ana"): token}))
    found = httpx.get(f"{address}/v1/budgets", headers={"Authorization": f"Bearer {secret}"})
    assert [one["budget"]["name"] for one in found.json()["items"]] == ["ml"]


def test_the_command_shows_the_running_services_budgets(address, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(f"[api]\nport = {address.rpartition(':')[2]}\n")
    said = CliRunner().invoke(command, ["budgets", "--config", str(config)])
    assert said.exit_code == 0
    line = next(line for line in said.stdout.splitlines() if line.split()[:1] == ["ml"])
    for part in ("81 % of $10,000", "$11,900 ($11,100 to $12,800)", "80 % spent", "at risk"):
        assert part in line
    assert "\x1b[2J" not in said.stdout
    assert "\u202e" not in said.stdout
    said = CliRunner().invoke(command, ["budgets", "--config", str(config), "--json"])
    assert [one["state"] for one in json.loads(said.stdout)] == ["over", "at_risk", "within"]


def test_without_a_service_the_command_says_so_in_one_line(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[api]\nport = 9\n")
    said = CliRunner().invoke(command, ["budgets", "--config", str(config)])
    assert said.exit_code == 1
    assert "does not answer" in said.stderr
