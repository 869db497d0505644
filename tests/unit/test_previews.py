from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.core.budgets import Budget, day_of
from service.core.hold_previews import preview_plan, preview_silence
from service.core.plans import Plan
from service.core.previews import preview_budget, preview_subscription
from service.core.rates import Rates
from service.core.silences import Silence
from service.core.subscriptions import Subscription
from tests.factories import make_incident

UNTIL = datetime(2026, 4, 1, tzinfo=UTC)
SINCE = UNTIL - timedelta(days=30)


def incident(name, impact, day=5, **more):
    values = {"incident_id": name, "owner": "ml", "severity": "medium"} | more
    amount = None if impact is None else Decimal(impact)
    return make_incident(impact=amount, opened_at=SINCE + timedelta(days=day), **values)


INCIDENTS = [
    incident("big", 9000, severity="high"),
    incident("mid", 100),
    incident("small", 30, severity="low"),
    incident("eur", 50, billing_currency="EUR"),
    incident("unpriced", None),
    incident("less", -70, kind="drop"),
    incident("others", 500, owner="web"),
    incident("old", 5000, day=-3),
    incident("past", 5000, backfill=True),
]


def preview(**terms):
    wanted = Subscription(name="s", team="ml", destination="slack:#ml", **terms)
    return preview_subscription(wanted, INCIDENTS, SINCE, UNTIL, Rates())


def test_a_preview_says_how_much_is_sent_and_what_of_the_money_is_caught():
    found = preview(min_impact=Decimal(60))
    assert found.incident_ids == ["big", "less", "mid", "unpriced"]
    assert (found.incidents, found.posts, found.digests) == (6, 4, 0)
    assert [(one.billing_currency, one.told, one.whole) for one in found.caught] == [
        ("EUR", 0, 50),
        ("USD", 9100, 9130),
    ]
    assert found.text == (
        "This would have sent 4 notices in the last 30 days, and caught 0 EUR of 50 EUR, "
        "$9,100 of $9,130."
    )


@pytest.mark.parametrize(
    ("terms", "posts", "digests", "kept"),
    [
        ({"matchers": ['severity="high"']}, 1, 0, 0),
        ({"min_severity": "medium"}, 5, 0, 0),
        ({"digest": "daily"}, 0, 1, 6),
        ({"digest": "weekly", "min_severity": "high"}, 1, 1, 5),
    ],
)
def test_matchers_severities_and_digests_decide_as_for_a_real_subscription(
    terms, posts, digests, kept
):
    found = preview(**terms)
    assert (found.posts, found.digests, found.in_digests) == (posts, digests, kept)


def test_everyones_subscription_counts_every_team():
    wanted = Subscription(name="s", team="*", destination="slack:#all")
    assert preview_subscription(wanted, INCIDENTS, SINCE, UNTIL, Rates()).incidents == 7


def test_a_budget_tells_each_threshold_on_the_day_it_is_crossed():
    budget = Budget(name="b", amount=Decimal(100), thresholds=[100, 50])
    first = day_of(datetime(2026, 2, 20, tzinfo=UTC))
    today = day_of(datetime(2026, 4, 10, tzinfo=UTC))
    days = {day: Decimal(4) for day in range(first, today + 1)}
    found = preview_budget(budget, days, first, today)
    assert [(one.period_start.month, one.spent, one.is_over) for one in found.periods] == [
        (3, 124, True),
        (4, 40, False),
    ]
    assert [(one.what, one.day.day) for one in found.periods[0].crossed] == [
        ("50 %", 13),
        ("100 %", 25),
    ]
    assert found.notices == 2
    assert found.text == (
        "This would have sent 2 notices in 2 periods, with 1 above $100: $124, $40 so far."
    )


def test_a_period_that_is_known_in_part_is_left_out():
    budget = Budget(name="b", amount=Decimal(100))
    day = day_of(datetime(2026, 3, 2, tzinfo=UTC))
    found = preview_budget(budget, {day: Decimal(500)}, day, day + 5)
    assert (found.periods, found.text[:9]) == ([], "No period")


def a_silence(*matchers):
    return Silence(
        name="s", matchers=list(matchers), author="ana", comment="move",
        starts_at=UNTIL, ends_at=UNTIL + timedelta(hours=4),
    )  # fmt: skip


def test_a_silence_is_previewed_by_what_it_would_have_kept_back():
    found = preview_silence(a_silence('owner="ml"', "severity=high"), INCIDENTS, SINCE, UNTIL)
    assert (found.incidents, found.held, found.firing) == (7, 1, 1)
    assert found.incident_ids == ["big"]
    assert found.text == (
        "This would have silenced 1 of 7 incidents of the last 30 days, 0 EUR of 50 EUR, "
        "$9,000 of $9,630; 1 of them fires now."
    )
    nothing = preview_silence(a_silence("owner=nobody"), [], SINCE, UNTIL)
    assert nothing.text == "This would have silenced 0 of 0 incidents of the last 30 days."


@pytest.mark.parametrize(("amount", "holds"), [(200, "within"), (100, "above")])
def test_a_plan_is_previewed_by_whether_its_amount_would_have_held(amount, holds):
    plan = Plan(
        name="p", team="ml", amount=Decimal(amount), billing_currency="USD", comment="launch",
        starts_at=UNTIL, until=UNTIL + timedelta(days=2), matchers=["severity!=high"],
    )  # fmt: skip
    found = preview_plan(plan, INCIDENTS, SINCE, UNTIL)
    assert found.text == (
        "This would have taken in 5 of 7 incidents of the last 30 days; 5 of them fire now: "
        f"$130, {holds} its ${amount}."
    )
