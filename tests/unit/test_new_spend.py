"""First spend ever: told at once where it is rare, and nowhere else."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.core.events import Arrival
from tests.arriving import told_of
from tests.factories import make_event

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24


def row(hour, cost=2, resource="i-1", revision=0, at=None, **values):
    start = T0 + hour * HOUR
    event = make_event(
        **{
            "charge_period_start": start,
            "charge_period_end": start + HOUR,
            "effective_cost": Decimal(str(cost)),
            "resource_id": resource,
            "x_event_id": f"{resource}-{hour}-{revision}",
            "x_revision": revision,
        }
        | values
    )
    return Arrival(at or event.charge_period_end, "events", event)


def usual(hours, **values):
    """Two machines in one region, $96 a day."""
    return [row(hour, resource=f"i-{n}", **values) for hour in hours for n in (1, 2)]


def run(arrivals, **options):
    findings, incidents = told_of(arrivals, past=T0 + 19 * DAY * HOUR, **options)
    return list(findings.values()), list(incidents.values())


def thief(hours, cost=17, region="eu-north-1", count=3):
    return [
        row(hour, cost, f"i-thief-{n}", region_id=region, sku_id="BoxUsage:p4d.24xlarge")
        for hour in hours
        for n in range(count)
    ]


def test_a_new_region_is_told_in_its_first_hour_as_one_finding_with_all_its_resources():
    begin = 20 * DAY
    findings, incidents = run(usual(range(24 * DAY)) + thief(range(begin, begin + 19)))
    (found,) = findings
    assert (found.kind, found.detector, found.region_id) == ("new_spend", "new_spend", "eu-north-1")
    assert found.detected_at == T0 + (begin + 1) * HOUR
    assert (found.impact, found.expected, found.actual) == (17 * 3 * 19, 0, 17 * 3 * 19)
    assert (found.resource_id, found.owner, found.sub_account_id) == (None, "unowned", "000123")
    assert found.charge_period_end == T0 + (begin + 19) * HOUR
    assert found.reason == (
        "First spend ever in region eu-north-1 by account 000123: $969 in 19 h on 3 resources; "
        "in the 20 days before, this account started no other new region."
    )
    assert [(i.kind, i.state, i.impact) for i in incidents] == [("new_spend", "resolved", 969)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"service_name": "Amazon SageMaker"}, "on Amazon SageMaker"),
        ({"charge_description": "$9 per p5.48xlarge Instance Hour"}, "on p5 (instances or models)"),
        ({"tags": {"aws:createdBy": "mallory"}}, "by mallory"),
    ],
)
def test_a_new_service_family_or_principal_is_told(values, said):
    strange = [row(hour, 30, "i-9", **values) for hour in range(20 * DAY, 20 * DAY + 5)]
    (found,), _ = run(usual(range(21 * DAY)) + strange)
    assert found.reason.startswith(
        f"First spend ever {said} by account 000123: $150 in 5 h on i-9;"
    )
    assert found.resource_id == "i-9"


def test_what_goes_on_is_known_after_a_week_and_its_new_level():
    begin = 20 * DAY
    (found,), _ = run(usual(range(30 * DAY)) + thief(range(begin, 30 * DAY), count=1))
    assert found.charge_period_end == T0 + (begin + 7 * DAY) * HOUR
    assert found.ended_at == found.charge_period_end
    assert found.is_new_level


@pytest.mark.parametrize(
    "quiet",
    [
        thief(range(20 * DAY, 20 * DAY + 5), region="us-east-1"),
        thief(range(9 * DAY, 9 * DAY + 5)),
        thief(range(20 * DAY, 21 * DAY), cost=0.1, count=1),
        thief(range(20 * DAY, 21 * DAY), cost=0),
        thief(range(20 * DAY, 21 * DAY), region="global"),
    ],
    ids=["known region", "account not known yet", "too small", "free", "no region at all"],
)
def test_ordinary_beginnings_are_quiet(quiet):
    known = [row(3, 1, "i-p4d", sku_id="BoxUsage:p4d.24xlarge")]
    findings, _ = run(usual(range(23 * DAY)) + known + quiet)
    assert [f for f in findings if f.kind == "new_spend"] == []


def test_an_account_that_starts_something_every_day_is_not_told_of_it():
    often = [
        row(hour, 20, f"i-{day}", service_name=f"Service {day}")
        for day in range(15, 45)
        for hour in range(day * DAY, day * DAY + 3)
    ]
    findings, _ = run(usual(range(46 * DAY)) + often)
    assert len([f for f in findings if f.kind == "new_spend"]) <= 3


def test_an_account_that_is_new_itself_is_quiet():
    begin = 20 * DAY
    other = usual(range(begin, begin + 48), sub_account_id="new")
    findings, _ = run(usual(range(23 * DAY)) + other)
    assert findings == []


def test_money_that_was_taken_back_withdraws_it():
    begin = 20 * DAY
    at = T0 + (begin + 30) * HOUR
    back = [
        row(hour, 0, "i-thief-0", 1, at, region_id="eu-north-1", sku_id="BoxUsage:p4d.24xlarge")
        for hour in range(begin, begin + 3)
    ]
    (found,), _ = run(usual(range(23 * DAY)) + thief(range(begin, begin + 3), count=1) + back)
    assert (found.status, found.impact) == ("retracted", 0)


def test_what_lies_in_a_past_that_is_met_for_the_first_time_is_not_told():
    begin = 20 * DAY
    now = T0 + 30 * DAY * HOUR
    past = [
        arrival._replace(arrived_at=now)
        for arrival in usual(range(29 * DAY)) + thief(range(begin, begin + 3))
    ]
    (found,), (incident,) = run(past, tells_history=False)
    assert (found.kind, found.backfill, incident.backfill) == ("new_spend", True, True)


def test_without_an_amount_for_its_currency_nothing_is_told():
    begin = 20 * DAY
    findings, _ = run(
        usual(range(22 * DAY)) + thief(range(begin, begin + 3)), new_spend_from={"EUR": Decimal(1)}
    )
    assert [f for f in findings if f.kind == "new_spend"] == []


def test_what_pauses_for_a_day_and_goes_on_is_told_on():
    begin = 20 * DAY
    hours = [*range(begin, begin + 3), *range(begin + 36, begin + 5 * DAY)]
    (found,), _ = run(usual(range(28 * DAY)) + thief(hours))
    assert found.impact == 17 * 3 * len(hours)
    assert found.charge_period_end == T0 + (begin + 5 * DAY) * HOUR


def test_a_resource_that_joined_later_is_not_named_to_the_owner_of_the_first():
    begin, new = 20 * DAY, {"region_id": "eu-north-1"}
    first = [row(begin, 17, "i-red", tags={"team": "red"}, **new)]
    later = [
        row(hour, 17, "i-blue", tags={"team": "blue"}, **new)
        for hour in range(begin + 3, begin + 20)
    ]
    back = [row(begin, 0, "i-red", 1, T0 + (begin + 5) * HOUR, tags={"team": "red"}, **new)]
    (found,), _ = run(usual(range(23 * DAY)) + first + later + back)
    assert (found.owner, found.resource_id) == ("red", "i-red")
    assert "i-blue" not in found.reason
    assert "$289 in 20 h on one resource;" in found.reason


def test_an_account_or_a_resource_without_a_name_gets_none():
    begin, nobody = 20 * DAY, {"sub_account_id": None}
    strange = [
        row(hour, 17, None, region_id="eu-north-1", x_event_id=str(hour), **nobody)
        for hour in range(begin, begin + 5)
    ]
    (found,), _ = run(usual(range(22 * DAY), **nobody) + strange)
    assert found.reason.startswith(
        "First spend ever in region eu-north-1 by an account without a name: "
        "$85 in 5 h on one resource;"
    )


def test_a_row_dated_years_back_does_not_make_a_young_account_known():
    ancient = row(-3 * 365 * DAY, at=T0 + 2 * HOUR)
    begin = 8 * DAY
    findings, _ = run([ancient, *usual(range(12 * DAY)), *thief(range(begin, begin + 19))])
    assert findings == []
    begin = 16 * DAY
    (found,), _ = run([ancient, *usual(range(20 * DAY)), *thief(range(begin, begin + 19))])
    assert "in the 17 days before, this account" in found.reason


def test_an_account_is_known_by_days_with_spend_not_by_days_since():
    begin = 20 * DAY
    seldom = [row(day * DAY) for day in (0, *range(11, 24))]
    findings, _ = run(seldom + thief(range(begin, begin + 19)))
    assert "new_spend" not in {finding.kind for finding in findings}


def test_a_session_of_a_known_role_is_no_new_principal():
    def by(session, hours, **values):
        tags = {"aws:createdBy": f"AssumedRole:AROAEXAMPLE:{session}"}
        return [one for hour in hours for one in [row(hour, tags=tags, **values)]]

    begin = 20 * DAY
    known = by("ann-1", range(24 * DAY), cost=4)
    findings, _ = run(known + by("bob-2", range(begin, begin + 19), cost=50, resource="i-bob"))
    assert not [found for found in findings if found.kind == "new_spend"]


def test_what_was_not_spent_on_for_half_a_year_is_new_again():
    days, hour = 220, 12
    base = [row(day * DAY + hour, cost=90) for day in range(days)]
    early = [row(day * DAY + hour, 90, "i-x", region_id="eu-north-1") for day in range(5)]
    again = thief(range(200 * DAY, 200 * DAY + 19))
    findings, _ = run(base + early + again)
    (found,) = [found for found in findings if found.kind == "new_spend"]
    assert "First spend in half a year in region eu-north-1" in found.reason
    assert "in the 183 days before, this account started no other new region" in found.reason
