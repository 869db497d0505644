"""Findings that belong together are one incident, and its dollars count once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.core.drivers import Member
from service.core.findings import OddPoint
from service.core.incidents import Incidents, SeverityLimits
from tests.factories import make_finding

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def incidents():
    return Incidents(SeverityLimits(Decimal(100), Decimal(1000)))


def member(hours=1, excess=10, **values) -> Member:
    points = {
        step: OddPoint(Decimal(excess + 2), Decimal(2), Decimal(1), Decimal(3), 5.0)
        for step in range(100, 100 + hours)
    }
    values = {
        "charge_period_start": T0,
        "detected_at": T0 + HOUR,
        "impact": Decimal(excess * hours),
        "ended_at": None,
    } | values
    return Member(make_finding(**values), points, 1, list(points), max(points))


def test_two_detectors_on_one_oddity_are_one_incident_and_its_money_counts_once(incidents):
    spike = member(3, 10, finding_id="a", kind="spike", detector="spike")
    shift = member(2, 12, finding_id="b", kind="shift", detector="shift")
    (incident,) = incidents.update([spike, shift], T0)
    assert incident.finding_ids == ["a", "b"]
    assert incident.impact == Decimal(12 + 12 + 10)
    assert len(incident.drivers) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"owner": "else"},
        {"sub_account_id": "else"},
        {"service_name": "else"},
        {"kind": "drop"},
        {"billing_currency": "EUR"},
    ],
)
def test_another_owner_account_service_cause_or_currency_is_another_incident(incidents, other):
    found = incidents.update([member(finding_id="a"), member(finding_id="b", **other)], T0)
    assert len({incident.incident_id for incident in found}) == 2


def test_drivers_are_ranked_by_money_and_share_adds_up(incidents):
    found = incidents.update(
        [
            member(finding_id="a", series="s1", resource_id="i-1", excess=30),
            member(finding_id="b", series="s2", resource_id="i-2", excess=90),
        ],
        T0,
    )
    drivers = found[0].drivers
    assert [(d.resource, d.share) for d in drivers] == [("i-2", 0.75), ("i-1", 0.25)]
    assert found[0].severity == "high"
    assert found[0].run_rate_per_day == Decimal(120 * 24)


def test_it_resolves_when_its_last_finding_ended_and_states_the_total(incidents):
    incidents.update([member(finding_id="a"), member(finding_id="b", series="s2")], T0)
    first = incidents.update([member(finding_id="a", ended_at=T0 + HOUR)], T0 + HOUR)
    assert first[0].state == "firing"
    last = member(finding_id="b", series="s2", ended_at=T0 + 5 * HOUR)
    (incident,) = incidents.update([last], T0 + 6 * HOUR)
    assert (incident.state, incident.ends_at) == ("resolved", T0 + 5 * HOUR)
    assert incident.impact == Decimal(20)
    assert incident.run_rate_per_day == 0


def test_what_comes_back_within_a_day_is_the_same_incident_later_it_is_a_new_one(incidents):
    (first,) = incidents.update([member(finding_id="a", ended_at=T0 + HOUR)], T0)
    soon = member(finding_id="b", charge_period_start=T0 + 20 * HOUR)
    (again,) = incidents.update([soon], T0 + 21 * HOUR)
    assert (again.incident_id, again.state) == (first.incident_id, "firing")
    ended = member(finding_id="b", charge_period_start=T0 + 20 * HOUR, ended_at=T0 + 21 * HOUR)
    incidents.update([ended], T0 + 46 * HOUR)
    later = member(finding_id="c", charge_period_start=T0 + 46 * HOUR)
    (new,) = incidents.update([later], T0 + 47 * HOUR)
    assert new.incident_id != first.incident_id


def test_all_retracted_is_withdrawn_and_costs_nothing(incidents):
    incidents.update([member(finding_id="a")], T0)
    gone = member(finding_id="a", status="retracted", ended_at=T0 + HOUR)
    (incident,) = incidents.update([gone], T0 + HOUR)
    assert (incident.status, incident.state, incident.impact) == ("retracted", "resolved", 0)


def test_an_unknown_price_is_not_zero(incidents):
    idle = Member(
        make_finding(finding_id="g", kind="idle_gpu", impact=None, run_rate_per_day=None), {}, 1
    )
    (incident,) = incidents.update([idle], T0)
    assert incident.impact is None
    assert incident.severity == "medium"


def test_a_purchase_has_no_rate_and_no_odds_and_is_judged_by_its_amount(incidents):
    bought = member(excess=5000, finding_id="p", kind="purchase", run_rate_per_day=None)
    (incident,) = incidents.update([bought], T0)
    assert incident.run_rate_per_day is None
    assert incident.confidence == ""
    assert incident.severity == "high"


def test_to_spend_less_is_never_urgent_but_to_spend_nothing_may_be(incidents):
    less = member(excess=-90, finding_id="a", kind="drop")
    gone = member(excess=-90, finding_id="b", kind="gone", owner="else")
    found = incidents.update([less, gone], T0)
    assert [incident.severity for incident in found] == ["low", "high"]


def test_of_several_idle_gpus_the_one_that_leaves_a_doubt_says_how_it_ended(incidents):
    def idle(name, **values):
        values = {"kind": "idle_gpu", "series": name, "ended_at": T0} | values
        return Member(make_finding(finding_id=name, **values), {}, 1)

    going_on = idle("c", ended_at=None, avoidable_per_day=Decimal(24))
    (incident,) = incidents.update(
        [idle("a", ending="silent"), idle("b", ending="worked"), going_on], T0
    )
    assert (incident.ending, incident.avoidable_per_day) == ("", 24)
    (incident,) = incidents.update([idle("c", ending="worked")], T0)
    assert (incident.ending, incident.avoidable_per_day) == ("silent", None)


@pytest.mark.parametrize(
    ("score", "odds"), [(3.12345, "1,300"), (5.6, "400,000"), (9.0, "a million")]
)
def test_odds_are_told_as_far_as_they_can_be_believed(incidents, score, odds):
    (incident,) = incidents.update([member(finding_id="a", score=score)], T0)
    assert f"at most one normal hour in {odds} looks like this" in incident.confidence


def test_its_name_depends_on_what_it_is_about_and_when_it_began(incidents):
    again = Incidents(SeverityLimits(Decimal(1), Decimal(2)))
    (one,) = incidents.update([member(finding_id="a")], T0)
    (two,) = again.update([member(finding_id="a")], T0 + 9 * HOUR)
    assert one.incident_id == two.incident_id


def test_an_incident_that_is_long_over_is_forgotten(incidents):
    incidents.update([member(finding_id="a", ended_at=T0)], T0)
    incidents.forget(T0 + HOUR)
    assert not incidents._incidents
    assert not incidents._incident_of


def test_what_begins_days_later_on_another_series_is_an_incident_of_its_own(incidents):
    (first,) = incidents.update([member(finding_id="a", series="s1")], T0)
    soon = member(finding_id="b", series="s2", charge_period_start=T0 + 40 * HOUR)
    (same,) = incidents.update([soon], T0 + 41 * HOUR)
    later = member(finding_id="c", series="s3", charge_period_start=T0 + 200 * HOUR)
    (other,) = incidents.update([later], T0 + 201 * HOUR)
    back = member(finding_id="d", series="s3", charge_period_start=T0 + 400 * HOUR)
    (again,) = incidents.update([back], T0 + 401 * HOUR)
    assert same.incident_id == first.incident_id
    assert other.incident_id == again.incident_id != first.incident_id


GROUP = "focus//~group~owner=payments/USD/hour"


def test_a_finding_on_a_group_and_those_on_its_members_are_one_incident(incidents):
    group = member(finding_id="g", series=GROUP, resource_id=None, service_name=None)
    group = group._replace(groups=[GROUP], is_group=True)
    first = member(finding_id="a")._replace(groups=[GROUP])
    later = member(finding_id="b", series="s2", service_name="else")._replace(groups=[GROUP])
    (known,) = incidents.update([first], T0)
    (joined,) = incidents.update([group], T0)
    (whole,) = incidents.update([later], T0)
    assert {i.incident_id for i in (known, joined, whole)} == {known.incident_id}
    assert set(whole.finding_ids) == {"a", "b", "g"}
    assert len(whole.drivers) == 3


@pytest.mark.parametrize("other", [{"owner": "else"}, {"kind": "drop"}])
def test_another_owner_or_cause_does_not_join_over_a_group(incidents, other):
    group = member(finding_id="g", series=GROUP, resource_id=None, service_name=None)
    found = incidents.update([group._replace(groups=[GROUP], is_group=True)], T0)
    found += incidents.update([member(finding_id="a", **other)._replace(groups=[GROUP])], T0)
    assert len({incident.incident_id for incident in found}) == 2


def test_members_of_one_group_without_a_finding_about_it_stay_apart(incidents):
    one = member(finding_id="a")._replace(groups=[GROUP])
    two = member(finding_id="b", service_name="else")._replace(groups=[GROUP])
    found = incidents.update([one, two], T0)
    assert len({incident.incident_id for incident in found}) == 2


def test_a_driver_splits_its_impact_into_price_and_quantity(incidents):
    effects = {"price_effect": Decimal(12), "quantity_effect": Decimal(18)}
    lead = member(3, 10, finding_id="a", **effects)
    (incident,) = incidents.update([lead, member(1, 12, finding_id="b", detector="spike")], T0)
    (driver,) = incident.drivers
    assert driver.impact == 32
    assert (driver.price_effect, driver.quantity_effect) == (Decimal("12.8"), Decimal("19.2"))


@pytest.mark.parametrize(("hours", "together"), [(3, True), (25, False)])
def test_a_member_joins_its_sum_while_that_shows_it_and_later_has_a_cause_of_its_own(
    incidents, hours, together
):
    of_sum = member(finding_id="a", series="~group~x", service_name=None, resource_id=None)
    of_sum = of_sum._replace(groups=["x"], is_group=True)
    at = T0 + hours * HOUR
    later = member(finding_id="b", series="s2", charge_period_start=at)._replace(groups=["x"])
    (first,) = incidents.update([of_sum], T0)
    (found,) = incidents.update([later], at)
    assert (found.incident_id == first.incident_id) == together
