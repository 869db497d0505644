"""Previews: what a silence or a plan would have kept back, had it stood in the days before."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from service.core import money
from service.core.holds import labels_of
from service.core.incidents import Incident
from service.core.matchers import match
from service.core.phrases import counted
from service.core.phrases import money as said
from service.core.plans import Plan
from service.core.silences import Silence


class KeptBack(msgspec.Struct, kw_only=True):
    """Of what incidents cost, what would have been kept back."""

    billing_currency: str
    held: Decimal = money.ZERO
    whole: Decimal = money.ZERO


class HoldPreview(msgspec.Struct, kw_only=True):
    """Of the incidents that opened in a window, those that would have been kept back.

    It goes by what they came to in the end; `firing` of them still fire.
    """

    since: datetime
    until: datetime
    incidents: int
    held: int
    firing: int
    kept_back: list[KeptBack]
    incident_ids: list[str]
    text: str


def preview_silence(
    silence: Silence, incidents: Iterable[Incident], since: datetime, until: datetime
) -> HoldPreview:
    """Say what a silence would have kept from being told."""
    found = _held(lambda labels: match(silence.matchers, labels), incidents, since, until)
    of = [
        f"{said(one.held, one.billing_currency)} of {said(one.whole, one.billing_currency)}"
        for one in found.kept_back
        if one.whole
    ]
    what = f", {', '.join(of)}" if of else ""
    found.text = f"This would have silenced {_of_how_many(found)}{what}{_of_now(found)}."
    return found


def preview_plan(
    plan: Plan, incidents: Iterable[Incident], since: datetime, until: datetime
) -> HoldPreview:
    """Say what a plan would have taken in, and whether its amount would have held it."""

    def takes(labels: Mapping[str, str]) -> bool:
        return labels["owner"] == plan.team and match(plan.matchers, labels)

    found = _held(takes, incidents, since, until)
    currency = plan.billing_currency
    cost = next((one.held for one in found.kept_back if one.billing_currency == currency), None)
    limit = said(plan.amount, currency)
    found.text = f"This would have taken in {_of_how_many(found)}{_of_now(found)}"
    if cost is not None:
        holds = "within" if cost <= plan.amount else "above"
        found.text += f": {said(cost, currency)}, {holds} its {limit}"
    found.text += "."
    return found


def _held(
    holds: Callable[[Mapping[str, str]], bool],
    incidents: Iterable[Incident],
    since: datetime,
    until: datetime,
) -> HoldPreview:
    sums: dict[str, KeptBack] = {}
    opened = [one for one in incidents if not one.backfill and since <= one.opened_at < until]
    held = []
    for one in opened:
        currency = one.billing_currency
        amount = max(one.impact or money.ZERO, money.ZERO)
        of = sums.setdefault(currency, KeptBack(billing_currency=currency))
        of.whole = money.add(of.whole, amount)
        if holds(labels_of(one)):
            held.append(one)
            of.held = money.add(of.held, amount)
    held.sort(key=lambda one: (one.opened_at, one.incident_id))
    return HoldPreview(
        since=since,
        until=until,
        incidents=len(opened),
        held=len(held),
        firing=sum(one.state == "firing" for one in held),
        kept_back=[sums[currency] for currency in sorted(sums)],
        incident_ids=[one.incident_id for one in held],
        text="",
    )


def _of_how_many(found: HoldPreview) -> str:
    days = counted((found.until - found.since).days, "day")
    return f"{found.held} of {counted(found.incidents, 'incident')} of the last {days}"


def _of_now(found: HoldPreview) -> str:
    if not found.firing:
        return ""
    return f"; {found.firing} of them {'fires' if found.firing == 1 else 'fire'} now"
