"""What nets to nothing is told all the same, to its owner, and by the narrowest name for it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from service.core.drivers import level_of
from service.core.events import Arrival
from tests.factories import make_driver, make_finding
from tests.unit.test_pipeline import HOUR, SPIKE, T0, arrivals, by_arrival, rows, run


def netted():
    """One machine costs 8 more for some hours, another 8 less; nobody tagged the former."""
    found = []
    for arrival in arrivals(rows(spike=0)):
        event = arrival.event
        hour = round((event.charge_period_start - T0) / HOUR)
        more = {"i-1": 8, "i-2": -8}.get(event.resource_id, 0) * (SPIKE <= hour < SPIKE + 8)
        tags = {} if event.resource_id == "i-1" else event.tags
        cost = {"effective_cost": event.effective_cost + more, "tags": tags}
        found.append(Arrival(arrival.arrived_at, arrival.source, replace(event, **cost)))
    return found


@pytest.fixture(scope="module")
def told():
    return run(by_arrival(netted()))


def test_a_spike_that_an_equal_dip_hides_is_told(told):
    _, incidents, notices = told
    up = [i for i in incidents.values() if i.impact > 0 and i.drivers[0].resource == "i-1"]
    assert len(up) == 1
    assert up[0].impact > 50
    assert (up[0].level.by, up[0].level.name) == ("resource", "i-1")
    posts = [n for n in notices if n.action == "post" and n.incident_id == up[0].incident_id]
    assert len(posts) == 1
    assert posts[0].at <= up[0].starts_at + timedelta(hours=3)


def test_who_tagged_nothing_gets_the_owner_of_the_resources_beside(told):
    _, incidents, notices = told
    (up,) = [i for i in incidents.values() if i.drivers[0].resource == "i-1"]
    assert up.owner == "search"
    assert up.owner_source == (
        "inferred from 3 of 3 owned resources in Amazon EC2 of account 000123, 100 % sure"
    )
    assert up.owner_source in next(n.text for n in notices if n.incident_id == up.incident_id)


def test_a_notice_says_how_long_each_step_took(told):
    _, _, notices = told
    assert notices[0].told_after == (
        "2 h after it began: its row came at once, scored at once, told here 1 h later"
    )


def finding(number, **values):
    return make_finding(series=f"s{number}", finding_id=f"f{number}", **values)


def driver(number, impact, **values):
    return make_driver(
        series=f"s{number}", resource=f"i-{number}", impact=Decimal(impact), **values
    )


@pytest.mark.parametrize(
    ("impacts", "places", "level"),
    [
        ([80, 20], [{}, {}], ("resource", "i-0", 0.8)),
        ([50, 50], [{}, {}], ("service", "Amazon EC2", 1.0)),
        ([50, -50], [{}, {}], ("service", "Amazon EC2", 1.0)),
        ([45, 40, 15], [{}, {}, {"service_name": "S3"}], ("service", "Amazon EC2", 0.85)),
        ([50, 50], [{"service_name": "S3"}, {}], ("region", "us-east-1", 1.0)),
        ([50, 50], [{"service_name": "S3", "region_id": None}, {}],
         ("sub_account", "prod-payments", 1.0)),
        ([50, 50], [{"service_name": "S3", "region_id": "x", "sub_account_id": "y"}, {}],
         ("owner", "payments", 1.0)),
    ],
)  # fmt: skip
def test_it_is_named_by_the_narrowest_thing_that_explains_four_fifths(impacts, places, level):
    drivers = [driver(number, impact) for number, impact in enumerate(impacts)]
    leads = [finding(number, **values) for number, values in enumerate(places)]
    found = level_of(drivers, leads)
    assert (found.by, found.name, found.share) == level
