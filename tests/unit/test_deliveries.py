"""Who is told what, and what is not worth telling."""

from datetime import timedelta
from decimal import Decimal

import pytest

from service.core.deliveries import Deliveries
from service.core.routing import Route, Router
from service.core.standing import Things
from tests.factories import NOW, make_driver, make_incident

HOUR = timedelta(hours=1)
ROUTES = Route(
    receiver="all",
    min_impact=Decimal(10),
    routes=[Route(receiver="loud", matchers=['severity="high"'], continue_=True)],
)


RECEIVERS = {"all": ["slack:#spend"], "loud": ["email:oncall@example.com"]}


class Told:
    """Deliveries beside the incidents and things that they read."""

    def __init__(self, root=ROUTES, receivers=RECEIVERS, rates=None, **more):
        self.things, self.incidents = Things(), {}
        self.deliveries = Deliveries(Router(root, receivers, **more), rates)
        self.deliveries.reads(self.things, self.incidents.get)

    def decide(self, *incidents_and_now):
        *incidents, now = incidents_and_now
        found = []
        while (due := self.deliveries.due()) is not None and due <= now:
            found += self.deliveries.decide([], due)
        self.incidents |= {one.incident_id: one for one in incidents}
        return found + self.deliveries.decide(incidents, now)

    def announce(self, incident, now):
        return self.deliveries.announce(incident, now)


@pytest.fixture
def deliveries():
    return Told()


def told(decisions):
    return [(d.destination, d.action, d.reason, d.seq) for d in decisions]


def quiet(**values):
    return make_incident(severity="low", **values)


def test_every_notice_says_when_its_destination_first_heard(deliveries):
    assert deliveries.decide(quiet(impact=Decimal(1)), NOW) == []
    (first,) = deliveries.decide(quiet(impact=Decimal(100)), NOW + HOUR)
    later = deliveries.decide(quiet(impact=Decimal(200)), NOW + 9 * HOUR)
    assert {d.told_at for d in (first, *later)} == {NOW + HOUR}


def test_a_rate_that_moved_is_worth_an_edit(deliveries):
    deliveries.decide(quiet(), NOW)
    said = told(deliveries.decide(quiet(run_rate_per_day=Decimal(1100)), NOW + HOUR))
    assert said == [("slack:#spend", "edit", "update", 1)]


def test_a_drop_that_grew_is_told_once(deliveries):
    deliveries.decide(quiet(run_rate_per_day=Decimal(-100)), NOW)
    said = [
        d.reason
        for hours in (4, 8, 12)
        for d in deliveries.decide(quiet(run_rate_per_day=Decimal(-160)), NOW + hours * HOUR)
    ]
    assert said == ["growth", "growth"]


def test_a_past_is_summed_up_to_those_whose_floor_it_reaches(deliveries):
    assert deliveries.announce(quiet(impact=Decimal(9)), NOW) == []
    assert len(deliveries.announce(quiet(impact=Decimal(-90)), NOW)) == 1


def test_the_first_post_waits_for_nothing(deliveries):
    assert told(deliveries.decide(quiet(), NOW)) == [("slack:#spend", "post", "first", 0)]


def test_below_the_floor_nobody_hears_until_it_has_cost_as_much(deliveries):
    assert deliveries.decide(quiet(impact=Decimal("9.99")), NOW) == []
    assert len(deliveries.decide(quiet(impact=Decimal(10)), NOW)) == 1


def test_an_unknown_price_is_told(deliveries):
    assert len(deliveries.decide(quiet(impact=None), NOW)) == 1


def test_what_was_over_or_history_before_anyone_heard_is_not_told(deliveries):
    assert deliveries.decide(quiet(state="resolved"), NOW) == []
    assert deliveries.decide(quiet(backfill=True), NOW) == []


def test_numbers_that_hardly_moved_are_not_worth_an_edit(deliveries):
    deliveries.decide(quiet(impact=Decimal(100)), NOW)
    assert deliveries.decide(quiet(impact=Decimal(104)), NOW + HOUR) == []
    said = told(deliveries.decide(quiet(impact=Decimal(106)), NOW + 2 * HOUR))
    assert said == [("slack:#spend", "edit", "update", 1)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "resolved"}, "resolved"),
        ({"status": "retracted", "state": "resolved"}, "retracted"),
        ({"run_rate_per_day": Decimal(1860)}, "growth"),
        (
            {"drivers": [make_driver(series="a/b/new/USD/hour", run_rate_per_day=Decimal(310))]},
            "new_driver",
        ),
        ({"severity": "medium"}, "severity_up"),
    ],
)
def test_what_a_person_must_notice_goes_beneath_the_post_too(deliveries, change, reason):
    deliveries.decide(quiet(), NOW)
    said = told(deliveries.decide(quiet(**change) if "severity" not in change else
                                  make_incident(**change), NOW + 4 * HOUR))  # fmt: skip
    assert said == [("slack:#spend", "edit", reason, 1), ("slack:#spend", "thread", reason, 2)]


def test_growth_is_told_at_most_once_in_three_hours_but_an_end_at_once(deliveries):
    deliveries.decide(quiet(), NOW)
    soon = quiet(run_rate_per_day=Decimal(5000))
    assert [d.action for d in deliveries.decide(soon, NOW + HOUR)] == ["edit"]
    over = quiet(state="resolved", run_rate_per_day=Decimal(0))
    assert [d.reason for d in deliveries.decide(over, NOW + 2 * HOUR)] == ["resolved", "resolved"]


def test_what_comes_back_is_told_as_reopened(deliveries):
    deliveries.decide(quiet(), NOW)
    deliveries.decide(quiet(state="resolved"), NOW + HOUR)
    assert [d.reason for d in deliveries.decide(quiet(), NOW + 2 * HOUR)] == ["reopened"] * 2


def test_who_joins_later_gets_a_post_of_their_own(deliveries):
    deliveries.decide(quiet(), NOW)
    said = told(deliveries.decide(make_incident(severity="high"), NOW + HOUR))
    assert ("email:oncall@example.com", "post", "first", 0) in said
    assert ("slack:#spend", "thread", "severity_up", 2) in said


def test_the_same_incident_unchanged_says_nothing(deliveries):
    deliveries.decide(quiet(), NOW)
    assert deliveries.decide(quiet(), NOW + 50 * HOUR) == []


def test_what_an_idle_gpu_costs_is_said_once_in_the_notice_about_it(deliveries):
    series = "focus/000123/i-gpu/USD/hour"
    spend = {"drivers": [make_driver(series=series)], "incident_id": "spend"}
    idle = quiet(kind="idle_gpu", drivers=[make_driver(series="gpu_samples/000123/i-gpu/USD/hour")])
    assert len(deliveries.decide(idle, NOW)) == 1
    assert deliveries.decide(quiet(**spend, impact=Decimal(300)), NOW) == []
    over = quiet(kind="idle_gpu", drivers=idle.drivers, state="resolved")
    deliveries.decide(over, NOW + HOUR)
    assert deliveries.decide(quiet(**spend, impact=Decimal(605)), NOW + HOUR) == []
    told = deliveries.decide(quiet(**spend, impact=Decimal(610)), NOW + 2 * HOUR)
    assert [d.reason for d in told] == ["first"]
