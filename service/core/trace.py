"""Trace: why somebody was told of a finding, or was not, step by step and in plain sentences.

What was written down when it happened is `recorded`: the finding, its incident, what people did,
and every delivery with the route that chose it. Why nobody was told is worked out anew from the
routes and from what stands now: it says so, and a route may have been another then.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from service.core.bundles import BUNDLES
from service.core.findings import Finding
from service.core.holds import labels_of, planned, silenced
from service.core.incidents import Incident
from service.core.intents import Feedback, Mark
from service.core.money import ZERO
from service.core.notices import Delivery, DeliveryState
from service.core.phrases import clean, moment
from service.core.phrases import money as amount_of
from service.core.plans import Plan
from service.core.rates import Rates, said
from service.core.routing import Policy, Router, Target
from service.core.severity import at_least
from service.core.silences import Silence
from service.core.standing import Things
from service.core.subscriptions import Subscription

Stage = Literal["finding", "incident", "owner", "people", "hold", "route", "delivery"]
LONGEST: Final = 400


class Step(msgspec.Struct, kw_only=True):
    """One thing that happened, or is the case, and whether it was written down then."""

    stage: Stage
    text: str
    recorded: bool
    at: datetime | None = None
    destination: str | None = None
    state: DeliveryState | None = None
    delivery_id: str | None = None


class Trace(msgspec.Struct, kw_only=True):
    """Why a finding was told, or was not: in one sentence, and step by step."""

    finding_id: str
    incident_id: str | None
    as_of: datetime
    told: bool
    summary: str
    steps: list[Step]


class Rules(NamedTuple):
    """By what is decided who hears: routes, rates, and what people set up."""

    router: Router
    rates: Rates
    things: Things


def trace_of(
    finding: Finding,
    incident: Incident | None,
    deliveries: Sequence[Delivery],
    rules: Rules,
    now: datetime,
) -> Trace:
    """Trace a finding; `deliveries` are those of its incident, in the order of telling."""
    steps = [_found(finding)]
    if incident is None:
        steps.append(_no_incident(finding))
        return _whole(finding, None, now, steps, deliveries)
    steps += _about(finding, incident)
    if incident.quiet:
        text = f"Held when it was last looked at: {incident.quiet}."
        steps.append(Step(stage="hold", text=text, recorded=True, at=incident.updated_at))
    by_destination: dict[str, list[Delivery]] = {}
    # Of one moment, each conversation goes by its own numbers.
    for one in sorted(deliveries, key=lambda one: (one.notice.at, one.notice.seq)):
        by_destination.setdefault(one.notice.destination, []).append(one)
    for destination, known in by_destination.items():
        steps += _told(incident, destination, known)
    targets = rules.router.destinations(labels_of(incident), rules.things.of(Subscription))
    for destination, target in targets.items():
        if destination not in by_destination:
            steps.append(_not_told(incident, destination, target, rules, now))
    if not targets and not by_destination:
        text = "No route and no subscription takes it."
        steps.append(Step(stage="route", text=text, recorded=False))
    return _whole(finding, incident, now, steps, deliveries)


def _found(finding: Finding) -> Step:
    text = f"The detector {finding.detector} raised it ({finding.kind}, {finding.status})."
    return Step(
        stage="finding",
        text=f"{text} {clean(finding.reason, LONGEST)}",
        recorded=True,
        at=finding.detected_at,
    )


def _no_incident(finding: Finding) -> Step:
    why = "it was withdrawn before anybody could be told" if finding.status == "retracted" else (
        "the store knows of none"
    )  # fmt: skip
    return Step(stage="incident", text=f"It is part of no incident: {why}.", recorded=False)


def _about(finding: Finding, incident: Incident) -> Iterator[Step]:
    """Say which incident it is part of, whose that is, and what people did about it."""
    others = len(incident.finding_ids) - 1
    beside = f" with {others} other finding{'s' * (others > 1)}" if others else ""
    text = (
        f"It is part of incident {incident.incident_id[:12]}{beside}: "
        f"{clean(incident.title, 120)}, {incident.state}, {incident.severity} severity."
    )
    yield Step(stage="incident", text=text, recorded=True, at=incident.opened_at)
    owner = f"It is {clean(incident.owner, 60)}'s: {clean(incident.owner_source, 200)}."
    yield Step(stage="owner", text=owner, recorded=True)
    if incident.owner != finding.owner:
        was = f"The finding itself was {clean(finding.owner, 60)}'s when it was raised."
        yield Step(stage="owner", text=was, recorded=True, at=finding.detected_at)
    if incident.backfill:
        past = "It lies in the past that was read when its source was met first: not told singly."
        yield Step(stage="hold", text=past, recorded=True)
    done: list[Feedback | Mark] = [*incident.feedback, *(one.mark for one in incident.marks)]
    for act in sorted(done, key=lambda one: one.at):
        what = act.verdict if isinstance(act, Feedback) else act.act
        said_so = f"{clean(act.who, 60)} said {what} by {act.via}: {clean(act.why, 200)}"
        yield Step(stage="people", text=f"{said_so}.", recorded=True, at=act.at)


def _told(incident: Incident, destination: str, deliveries: Sequence[Delivery]) -> Iterator[Step]:
    """Say which route chose a destination, and what became of everything that was told there."""
    first = deliveries[0].notice
    shown = destination.rstrip(":")
    text = f"{shown} hears of it by {clean(first.why_here, 200)}."
    yield Step(stage="route", text=text, recorded=True, at=first.at, destination=destination)
    alike = [_kind(one) for one in deliveries]
    for place, one in enumerate(deliveries):
        kind = alike[place]
        if kind is not None and kind in alike[place + 1 :]:
            continue  # of edits that ended alike, the last stands for all
        yield Step(
            stage="delivery",
            text=_outcome(incident, one, 0 if kind is None else alike.count(kind) - 1),
            recorded=True,
            at=one.notice.at,
            destination=destination,
            state=one.state,
            delivery_id=one.notice.delivery_id,
        )


def _kind(one: Delivery) -> DeliveryState | None:
    """Return how an edit of mere figures ended; None for what is told by itself."""
    is_dull = one.notice.action == "edit" and one.state in ("sent", "superseded")
    return one.state if is_dull else None


def _outcome(incident: Incident, one: Delivery, others: int) -> str:
    """Say what became of one delivery, and how many edits before it ended alike."""
    notice, ended_at = one.notice, one.updated_at
    what = f"The {notice.action} ({notice.reason.replace('_', ' ')})"
    if notice.incident_id != incident.incident_id and notice.incident.kind in BUNDLES:
        beside = len(notice.incident.drivers) - 1
        what += f", a {notice.incident.kind} that tells it with {beside} more,"
    more = f", as were {others} edits before it" if others else ""
    match one.state:
        case "sent":
            late = ended_at is not None and ended_at - notice.at >= timedelta(minutes=1)
            when = f" at {moment(ended_at)}" if late and ended_at is not None else ""
            return f"{what} was sent{when}{more}."
        case "superseded":
            return f"{what} was overtaken by a newer one before it could be sent{more}."
        case "dead":
            return f"{what} failed for good: {clean(one.error or 'nobody knows why', LONGEST)}."
        case "sending":
            return f"{what} is being sent now."
        case "unknown":
            why = clean(one.error or "nobody knows whether it arrived", LONGEST)
            return f"{what} may have arrived, and is looked for: {why}."
        case "ready":
            error = f"; the last try: {clean(one.error, LONGEST)}" if one.error else ""
            return f"{what} waits to be sent, not before {moment(one.due)}{error}."


def _not_told(
    incident: Incident, destination: str, target: Target, rules: Rules, now: datetime
) -> Step:
    """Work out why a destination that should hear has not."""
    why = next(_reasons(incident, target, rules, now), "it has not been decided yet")
    text = f"{destination.rstrip(':')}, by {clean(target.why, 200)}, was not told: {why}."
    return Step(stage="route", text=text, recorded=False, destination=destination)


def _reasons(incident: Incident, target: Target, rules: Rules, now: datetime) -> Iterator[str]:
    """Yield what is in the way of a post, in the order in which it is asked."""
    policy = target.policy
    if incident.is_inhibited:
        yield incident.quiet or "the notice about an idle GPU of the same resource says it already"
    if incident.backfill:
        yield "the past that a source begins with is summed up, and not told singly"
    if not _reaches(incident, target, rules.rates):
        cost = amount_of(abs(incident.impact or ZERO), incident.billing_currency)
        yield f"it has cost {cost}, and this hears from {said(policy.min_impact)} on"
    yield from _holds(incident, rules.things, now)
    yield from _severity(incident, policy)
    if incident.state != "firing":
        yield f"it was {incident.state} before it was worth telling here"
    until = policy.quiet_until(incident.severity, now)
    if until is not None:
        yield f"nothing is said there before {moment(until)}"
    if policy.group_wait:
        yield "the route waits before it says anything"


def _holds(incident: Incident, things: Things, now: datetime) -> Iterator[str]:
    labels = labels_of(incident)
    hold = silenced(things.of(Silence), labels, now)
    if hold is not None:
        yield hold.why
    for plan in [one for one in things.of(Plan) if one.takes(labels, now)][:1]:
        yield f"{planned(plan).why}, unless that is exceeded"


def _severity(incident: Incident, policy: Policy) -> Iterator[str]:
    floor = policy.min_severity
    is_low = floor is not None and not at_least(incident.severity, floor)
    if policy.digest is not None and (is_low or floor is None):
        yield f"it is left to the {policy.digest} digest"
    if is_low:
        yield f"it is of {incident.severity} severity, and this hears from {floor} on"


def _reaches(incident: Incident, target: Target, rates: Rates) -> bool:
    if incident.impact is None:
        return True
    amount, currency = abs(incident.impact), incident.billing_currency
    return rates.reaches(amount, currency, incident.starts_at, target.policy.min_impact)


def _whole(
    finding: Finding,
    incident: Incident | None,
    now: datetime,
    steps: list[Step],
    deliveries: Iterable[Delivery],
) -> Trace:
    sent = _places(deliveries, ("sent",))
    waits = _places(deliveries, ("ready", "sending", "unknown"))
    dead = _places(deliveries, ("dead",))
    if sent:
        summary = f"Told: {', '.join(sent)} got it."
    elif waits:
        summary = f"On its way: it waits to be sent to {', '.join(waits)}."
    elif dead:
        summary = f"Not told: the delivery to {', '.join(dead)} failed."
    else:
        reasons = [step.text for step in steps if step.stage in ("hold", "route", "incident")]
        summary = f"Not told. {reasons[-1]}"
    return Trace(
        finding_id=finding.finding_id,
        incident_id=None if incident is None else incident.incident_id,
        as_of=now,
        told=bool(sent),
        summary=summary,
        steps=steps,
    )


def _places(deliveries: Iterable[Delivery], states: tuple[DeliveryState, ...]) -> list[str]:
    found: Mapping[str, None] = {
        one.notice.destination.rstrip(":"): None for one in deliveries if one.state in states
    }
    return list(found)
