"""Bundles: incidents that one message tells together, shown as though they were one incident.

A group is what a route's `group_by` joins, a summary what a destination's budget of posts left
over, a plan what went beyond its amount, a digest what was left to a quiet hour.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

import msgspec

from service.core import money
from service.core.drivers import Driver, rank
from service.core.events import content_hash
from service.core.incidents import HISTORY, Incident, State
from service.core.phrases import clean, duration, signed
from service.core.rates import Dated, Rates
from service.core.severity import SEVERITIES

Kind = Literal["group", "summary", "plan", "digest"]
BUNDLES: Final = ("group", "summary", "plan", "digest")
MANY_OWNERS: Final = "several owners"
# What one message lists; what a summary cannot list goes into the digest.
LISTED: Final = 20


class Bundle(msgspec.Struct, kw_only=True):
    """Incidents told together at one destination; `about` says what they have in common."""

    bundle_id: str
    kind: Kind
    destination: str
    about: str
    why: str
    opened_at: datetime
    incident_ids: list[str]


def bundle_id_of(kind: Kind, destination: str, about: str, opened_at: datetime) -> str:
    """Name a bundle by what it is and when it began."""
    return content_hash(
        {"kind": kind, "destination": destination, "about": about, "opened_at": opened_at}
    )


def digest_of(destination: str, about: str, why: str, now: datetime) -> Bundle:
    """Begin a digest: a bundle that is told at once."""
    return Bundle(
        bundle_id=bundle_id_of("digest", destination, about, now),
        kind="digest",
        destination=destination,
        about=about,
        why=why,
        opened_at=now,
        incident_ids=[],
    )


def incident_of(
    bundle: Bundle, incidents: Sequence[Incident], rates: Rates, now: datetime
) -> Incident:
    """Show a bundle of one incident or more as one incident, whose drivers are the incidents.

    Money of several currencies is added up only as far as there are rates for it.
    """
    known = [one for one in incidents if one.impact is not None]
    whole = rates.total(_dated(one, one.impact or money.ZERO) for one in known)
    at_rate = [rates_in(rates, one, one.run_rate_per_day, whole.currency) for one in incidents]
    going = [rate for rate in at_rate if rate is not None]
    state = _state(incidents)
    lead = max(incidents, key=lambda one: (SEVERITIES.index(one.severity), one.incident_id))
    owners = {one.owner for one in incidents}
    accounts = {one.sub_account_id for one in incidents}
    over = state == "resolved"
    return Incident(
        incident_id=bundle.bundle_id,
        fingerprint=bundle.bundle_id,
        owner=owners.pop() if len(owners) == 1 else MANY_OWNERS,
        owner_source=f"of {_count(len(incidents))}",
        state=state,
        severity=lead.severity,
        starts_at=min(one.starts_at for one in incidents),
        ends_at=max(one.ends_at or one.updated_at for one in incidents) if over else None,
        impact=whole.amount if known else None,
        run_rate_per_day=money.total(going) if going else None,
        billing_currency=whole.currency,
        finding_ids=[name for one in incidents for name in one.finding_ids],
        drivers=_drivers(incidents, rates, whole.currency, now),
        opened_at=bundle.opened_at,
        updated_at=now,
        title=_title(bundle, len(incidents), whole.without),
        kind=bundle.kind,
        status="retracted" if all(one.status == "retracted" for one in incidents) else "confirmed",
        sub_account_id=accounts.pop() if len(accounts) == 1 else "",
        service_name=None,
        region_id=None,
        actual=money.ZERO,
        expected=money.ZERO,
        expected_low=money.ZERO,
        expected_high=money.ZERO,
        confidence="",
        odd_until=max(one.odd_until for one in incidents),
    )


def at_risk(incident: Incident, rates: Rates) -> Decimal:
    """Return the money by which incidents are ranked: of a day, or so far, whichever is more."""
    amounts = [abs(incident.run_rate_per_day or money.ZERO), abs(incident.impact or money.ZERO)]
    most = max(amounts)
    converted = rates.convert(most, incident.billing_currency, incident.starts_at)
    return most if converted is None else converted


def rates_in(
    rates: Rates, incident: Incident, amount: Decimal | None, currency: str
) -> Decimal | None:
    """Return an incident's amount in a currency, or None when there is no rate for it."""
    if amount is None or incident.billing_currency == currency:
        return amount
    if currency != rates.currency:
        return None
    return rates.convert(amount, incident.billing_currency, incident.starts_at)


def _dated(incident: Incident, amount: Decimal) -> Dated:
    return Dated(amount, incident.billing_currency, incident.starts_at)


def _state(incidents: Sequence[Incident]) -> State:
    states = {one.state for one in incidents}
    for state in ("firing", "snoozed", "acknowledged", "expected"):
        if state in states:
            return state
    return "resolved"


def _drivers(
    incidents: Sequence[Incident], rates: Rates, currency: str, now: datetime
) -> list[Driver]:
    found = [
        Driver(
            series=one.incident_id,
            resource=clean(one.title, 60),
            impact=rates_in(rates, one, one.impact, currency),
            run_rate_per_day=rates_in(rates, one, one.run_rate_per_day, currency),
            share=0.0,
            kind=one.kind,
            reason=_reason(one, now),
            state="retracted" if one.status == "retracted" else one.state,
        )
        for one in incidents
        if one.kind != HISTORY
    ]
    return rank(found)[:LISTED]


def _reason(incident: Incident, now: datetime) -> str:
    """Say in a few words what an incident has come to."""
    cost = ""
    if incident.impact is not None:
        cost = f"{signed(incident.impact, incident.billing_currency)} so far, "
    if incident.state == "resolved":
        cost = cost.replace(" so far", "")
    age = duration(max((incident.ends_at or now) - incident.starts_at, timedelta(0)))
    what = "withdrawn" if incident.status == "retracted" else _WORDS[incident.state]
    owner = clean(incident.owner, 60)
    return f"{cost}{what} {age}, {owner}, incident {incident.incident_id[:12]}"


_WORDS: Final[dict[State, str]] = {
    "firing": "going on for",
    "acknowledged": "acknowledged, going on for",
    "snoozed": "snoozed, going on for",
    "expected": "expected, going on for",
    "resolved": "over after",
}


def _title(bundle: Bundle, count: int, without: Sequence[str]) -> str:
    more = f" (without what is in {', '.join(without)})" if without else ""
    return f"{_count(count)} {bundle.about}{more}"


def _count(count: int) -> str:
    return "one incident" if count == 1 else f"{count} incidents"
