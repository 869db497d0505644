"""Backfill: what a source's past held is summed up once, never told finding by finding."""

from collections.abc import Iterable
from datetime import datetime

from service.core import money
from service.core.drivers import Driver, rank
from service.core.events import content_hash
from service.core.incidents import DRIVERS_TOLD, HISTORY, Incident


def summary_of(source: str, incidents: Iterable[Incident], now: datetime) -> Incident | None:
    """Sum up the incidents of a source's past as one that is over; None when there were none.

    Money of different currencies is never added: the currency with most incidents is told, and the
    title says how many incidents there were in all.
    """
    past = [i for i in incidents if i.backfill and i.status != "retracted"]
    if not past:
        return None
    currencies = [incident.billing_currency for incident in past]
    currency = max(sorted(set(currencies)), key=currencies.count)
    told = [i for i in past if i.billing_currency == currency]
    impact = money.total(i.impact for i in told if i.impact is not None)
    count = f"{len(past)} incidents" if len(past) > 1 else "one incident"
    return Incident(
        incident_id=content_hash({HISTORY: source}),
        fingerprint=content_hash({HISTORY: source}),
        owner="unowned",
        owner_source="this sums up many owners",
        state="resolved",
        severity="low",
        starts_at=min(i.starts_at for i in past),
        ends_at=max(i.ends_at or i.updated_at for i in past),
        impact=impact,
        run_rate_per_day=money.ZERO,
        billing_currency=currency,
        finding_ids=[finding_id for i in past for finding_id in i.finding_ids],
        drivers=_drivers(told),
        opened_at=now,
        updated_at=now,
        title=f"{count} in the history of {source}",
        kind=HISTORY,
        status="confirmed",
        sub_account_id="",
        service_name=None,
        region_id=None,
        actual=money.total(i.actual for i in told),
        expected=money.total(i.expected for i in told),
        expected_low=money.total(i.expected_low for i in told),
        expected_high=money.total(i.expected_high for i in told),
        confidence="",
        odd_until=max(i.odd_until for i in past),
        backfill=True,
    )


def _drivers(incidents: list[Incident]) -> list[Driver]:
    every = [driver for incident in incidents for driver in incident.drivers]
    return rank(every)[:DRIVERS_TOLD]
