"""Traps of bills that no other test shows, and that the table of them names tests that exist."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from service.core.ledger import Ledger
from tests.factories import make_event

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "sources" / "pitfalls.md"
T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def found(rows):
    """Return what is found in hours of rows that arrive as they end."""
    pipeline = build_pipeline(Settings(), {"aws": "effective"}, tells_history=True)
    told = {}
    for number, row in enumerate(rows, 1):
        at = row.charge_period_end
        changes = pipeline.step([Arrival(at, "aws", row)], at, number).changes
        told |= {finding.finding_id: finding for finding in changes.findings}
    return list(told.values())


def row(hour, cost, quantity):
    return make_event(
        charge_period_start=T0 + hour * HOUR, charge_period_end=T0 + (hour + 1) * HOUR,
        effective_cost=Decimal(str(cost)), list_cost=Decimal(4 * quantity),
        pricing_quantity=Decimal(str(quantity)), x_event_id=str(hour),
    )  # fmt: skip


def test_pitfall_7_what_is_taken_off_moves_no_baseline_and_negative_usage_is_no_rise():
    def hour(number):
        yield row(number, -2 if number % 50 == 7 else 1.5, 1)  # usage that is paid back
        yield msgspec.structs.replace(
            row(number, -500, 1), charge_category="Credit", x_event_id=f"credit {number}"
        )

    told = found(event for number in range(20 * 24) for event in hour(number))
    assert [finding.kind for finding in told if finding.kind in ("spike", "shift", "creep")] == []


def test_pitfall_17_one_resource_in_two_currencies_is_two_series_that_are_never_added():
    ledger = Ledger({})
    for currency, cost in (("USD", 3), ("EUR", 4), ("credits", 5)):
        event = msgspec.structs.replace(row(0, cost, 1), billing_currency=currency)
        ledger.take("aws", event)
    costs = {s.billing_currency: ledger.point(s, ledger.steps(s)[0]) for s in ledger.series()}
    assert costs == {"USD": 3, "EUR": 4, "credits": 5}


def test_pitfall_23_a_plan_that_moves_to_another_account_is_a_price_and_no_usage():
    covered = 20 * 24
    rows = [row(hour, 1.2 if hour < covered else 4, 1) for hour in range(covered + 12)]
    reasons = [finding.reason for finding in found(rows)]
    assert reasons
    assert all("The unit price rose" in reason for reason in reasons)


def test_pitfall_24_rows_that_cost_nothing_raise_nothing_however_many_there_are():
    assert found([row(hour, 0, 1 + 1000 * (hour > 600)) for hour in range(640)]) == []


def test_the_table_has_every_pitfall_once():
    numbers = re.findall(r"^\| (\d+) \|", TABLE.read_text(), re.MULTILINE)
    assert list(map(int, numbers)) == list(range(1, 28))


@pytest.mark.parametrize(
    "named", re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TABLE.read_text())
)
def test_every_test_that_the_table_names_is_there(named):
    path, name = named
    assert f"def {name}(" in (ROOT / path).read_text()
