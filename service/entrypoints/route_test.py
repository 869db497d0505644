"""`spendwatch route-test`: who would hear about a resource, when and how, and why."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from service.adapters.intents import read_intents
from service.bootstrap import build_owners, build_router, open_store
from service.config import ConfigError, Settings
from service.core.claims import Claim, claim_on, source_of
from service.core.events import Rejected
from service.core.holds import planned, silenced
from service.core.intents import Drop, Put
from service.core.owners import UNOWNED, Owner
from service.core.phrases import duration, moment
from service.core.plans import Plan
from service.core.rates import said
from service.core.routing import Policy, Router, Target
from service.core.severity import Severity, at_least
from service.core.silences import Silence
from service.core.standing import Things
from service.core.subscriptions import Subscription

KINDS = ("claim", "silence", "plan", "subscription")


class About(NamedTuple):
    """What is asked about; tags are `key=value`."""

    tags: list[str]
    resource: str
    sub_account: str
    service: str
    region: str
    kind: str
    severity: Severity


def preview(settings: Settings, about: About, at: datetime, intents: Path | None) -> Iterator[str]:
    """Yield lines; ConfigError for a tag that is none, or an intent that is none."""
    things, router = _things(settings, at, intents), build_router(settings)
    owner = _owner(settings, about, things)
    labels = {
        "owner": owner.name,
        "sub_account_id": about.sub_account,
        "service_name": about.service,
        "region_id": about.region,
        "kind": about.kind,
        "severity": about.severity,
    }
    yield f"owner: {owner.name} ({owner.source})"
    hold = silenced(things.of(Silence), labels, at)
    if hold is not None:
        yield f"nobody hears: {hold.why}"
    for plan in [one for one in things.of(Plan) if one.takes(labels, at)][:1]:
        more = f"{plan.amount} {plan.billing_currency}"
        yield f"nobody hears while it all costs at most {more} more: {planned(plan).why}"
    for destination, target in router.destinations(labels, things.of(Subscription)).items():
        who = f"receiver {target.receiver}, by " if target.receiver else "by "
        ways = "; ".join(_ways(router, target, about.severity, at))
        yield f"{destination.rstrip(':')}: {who}{target.why}{'; ' if ways else ''}{ways}"


def _owner(settings: Settings, about: About, things: Things) -> Owner:
    tags = {}
    for item in about.tags:
        key, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"--tag {item!r} is not key=value")
        tags[key] = value
    owner = build_owners(settings).of(tags, about.sub_account, about.resource)
    claim = claim_on(things.of(Claim), about.resource, about.sub_account)
    if owner.name == UNOWNED and claim is not None:
        return Owner(claim.owner, source_of(claim))
    return owner


def _ways(router: Router, target: Target, severity: Severity, at: datetime) -> Iterator[str]:
    """Say when and how a destination hears."""
    policy = target.policy
    if policy.min_impact:
        yield f"once it has cost {said(policy.min_impact)}"
    is_low = policy.min_severity is not None and not at_least(severity, policy.min_severity)
    if policy.digest is not None and (is_low or policy.min_severity is None):
        yield f"in the {policy.digest} digest"
        return
    if is_low:
        yield f"not at all: it is below {policy.min_severity} severity"
        return
    until = policy.quiet_until(severity, at)
    if until is not None:
        yield f"not before {moment(until)}"
    yield from _timing(router, policy, severity)


def _timing(router: Router, policy: Policy, severity: Severity) -> Iterator[str]:
    if policy.group_wait:
        yield f"after {duration(policy.group_wait)}"
    if policy.group_by:
        yield f"in one message by {', '.join(policy.group_by)}"
    if policy.repeat_interval is not None:
        yield f"again every {duration(policy.repeat_interval)} until acknowledged"
    after = policy.escalate_after.get(severity)
    if after is not None:
        others = ", ".join(one.rstrip(":") for one in router.escalates_to(policy))
        yield f"then {others} after {duration(after)}"


def _things(settings: Settings, at: datetime, intents: Path | None) -> Things:
    """Return what stands: by a file of intents up to a moment, or by the store of a URL."""
    things = Things()
    if intents is None:
        if settings.store.url is not None:
            with open_store(settings) as store:
                for kind in KINDS:
                    for thing in store.things(kind):
                        things.put(thing)
        return things
    flaws: list[Rejected] = []
    for intent in sorted(read_intents(intents, flaws.append), key=lambda one: one.at):
        if isinstance(intent, Put) and intent.at <= at:
            things.put(intent.thing)
        elif isinstance(intent, Drop) and intent.at <= at:
            things.drop(intent.kind, intent.name)
    if flaws:
        raise ConfigError(f"{flaws[0].file}:{flaws[0].row}: {flaws[0].reason}")
    return things
