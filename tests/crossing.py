"""Rows of which something is odd only when resources of many partitions are seen together."""

from datetime import timedelta
from decimal import Decimal

import numpy as np

from service.core.events import Arrival
from tests.factories import make_event

HOUR = timedelta(hours=1)
BEGINS = 36 * 24
ENDS = BEGINS + 36
TEAM = 16


def row(t0, hour, resource, cost, revision=0, **values):
    start = t0 + hour * HOUR
    event = make_event(
        **{
            "charge_period_start": start,
            "charge_period_end": start + HOUR,
            "effective_cost": Decimal(f"{cost:.4f}"),
            "resource_id": resource,
            "x_event_id": f"{resource}-{hour}-{revision}",
            "x_revision": revision,
        }
        | values
    )
    return Arrival(event.charge_period_end, "events", event)


def rows(t0):
    """Machines of three teams; one team's all cost a little more, and thieves begin elsewhere.

    One of another team has a spike of its own, one changes its team, one hour is restated.
    """
    random = np.random.default_rng(11)
    for hour in range(ENDS):
        for number in range(TEAM + 5):
            cost = 5 * np.exp(random.normal(0, 0.15))
            team = "search" if number < TEAM else "ads"
            if hour >= BEGINS and number < TEAM:
                cost *= 1.25
            if hour == BEGINS + 4 and number == TEAM + 2:
                cost *= 40
            if number == TEAM + 3 and hour >= BEGINS + 2:
                team = "mail"
            yield row(t0, hour, f"i-{number}", cost, tags={"team": team, "env": f"e{number % 2}"})
            if hour == BEGINS + 8 and number == 3:
                late = row(t0, hour - 5, "i-3", 4, 1, tags={"team": "search"})
                yield late._replace(arrived_at=t0 + (hour + 1) * HOUR)
        if hour >= BEGINS + 20:
            for number in range(4):
                more = {"region_id": "eu-north-1", "sku_id": "BoxUsage:p4d.24xlarge"}
                yield row(t0, hour, f"i-thief-{number}", 20, tags={"team": "lab"}, **more)


def sums(findings):
    """Return what is said of sums, by name."""
    return {one.finding_id: one for one in findings if "~" in one.series}
