"""Planning: which incidents count to which plan, how much of it they used, and how it ended."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from service.core import money
from service.core.events import content_hash
from service.core.holds import labels_of
from service.core.incidents import Incident
from service.core.phrases import clean
from service.core.phrases import money as amount_of
from service.core.plans import Plan
from service.core.rates import Rates
from service.core.state import Chunk, Saved, Streams

KIND: Final = "plan"
_Key = tuple[str, datetime]


class _Use(msgspec.Struct):
    """What came of a plan so far."""

    incident_ids: list[str] = []
    is_exceeded: bool = False
    is_closed: bool = False


class Planning:
    """Keeps account of every plan. A plan that is put anew with the same beginning goes on."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._uses: dict[_Key, _Use] = {}
        self._plan_of: dict[str, _Key] = {}

    def due(self, plans: Iterable[Plan]) -> datetime | None:
        """Return when a plan ends next."""
        return min((one.until for one in plans if not self._use(one).is_closed), default=None)

    def take(
        self,
        plans: Sequence[Plan],
        incident: Incident,
        is_told: bool,
        now: datetime,
        find: Callable[[str], Incident | None],
    ) -> list[str]:
        """Count a changed incident to its plan; return the plan's incidents if it is exceeded now.

        An incident joins the first plan that takes it, unless somebody was told of it before.
        """
        incident_id, labels = incident.incident_id, labels_of(incident)
        if incident_id not in self._plan_of:
            more = incident.impact is None or incident.impact > 0
            mine = [one for one in plans if more and one.takes(labels, now)]
            if is_told or not mine or incident.backfill:
                return []
            self._plan_of[incident_id] = _key(mine[0])
            self._use(mine[0]).incident_ids.append(incident_id)
        found = [one for one in plans if _key(one) == self._plan_of[incident_id]]
        if not found or self._use(found[0]).is_exceeded:
            return []
        use = self._use(found[0])
        known = [incident if i == incident_id else find(i) for i in use.incident_ids]
        use.is_exceeded = self._is_beyond(found[0], [one for one in known if one is not None])
        return use.incident_ids if use.is_exceeded else []

    def plan_of(self, incident_id: str, plans: Iterable[Plan], now: datetime) -> Plan | None:
        """Return the plan that an incident is part of, if it is not over."""
        key = self._plan_of.get(incident_id)
        found = (one for one in plans if _key(one) == key and now < one.until)
        return next(found, None)

    def is_exceeded(self, plan: Plan) -> bool:
        """Tell whether more was spent than planned."""
        return self._use(plan).is_exceeded

    def close(self, plans: Iterable[Plan], now: datetime) -> list[Incident]:
        """Close the plans that are over; return a note on each that never came to anything."""
        notes = []
        for plan in plans:
            use = self._use(plan)
            if plan.until <= now and not use.is_closed:
                use.is_closed = True
                notes += [] if use.incident_ids else [_note(plan, now)]
        return notes

    def forget(self, incident_id: str) -> None:
        """Let go of an incident that will not change any more."""
        key = self._plan_of.pop(incident_id, None)
        if key is not None and incident_id in self._uses[key].incident_ids:
            self._uses[key].incident_ids.remove(incident_id)

    def tidy(self, plans: Iterable[Plan]) -> None:
        """Let go of plans that stand no more, once their incidents are forgotten."""
        standing = set(map(_key, plans))
        self._uses = {
            key: use for key, use in self._uses.items() if key in standing or use.incident_ids
        }

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        packed = ((f"{name_} {at.isoformat()}", use) for (name_, at), use in self._uses.items())
        yield from streams.values(name, packed)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        for text, use in saved.values(name, _Use).items():
            plan, _, at = text.partition(" ")
            key = plan, datetime.fromisoformat(at)
            self._uses[key] = use
            self._plan_of |= dict.fromkeys(use.incident_ids, key)

    def _use(self, plan: Plan) -> _Use:
        return self._uses.setdefault(_key(plan), _Use())

    def _is_beyond(self, plan: Plan, incidents: Sequence[Incident]) -> bool:
        """Tell whether incidents cost more than planned, as far as rates can compare them."""
        pairs = [(one.impact or money.ZERO, one.billing_currency, one) for one in incidents]
        if all(currency == plan.billing_currency for _, currency, _ in pairs):
            return money.total(impact for impact, _, _ in pairs) > plan.amount
        ceiling = self._rates.convert(plan.amount, plan.billing_currency, plan.starts_at)
        used = [self._rates.convert(impact, name, one.starts_at) for impact, name, one in pairs]
        known = [amount for amount in used if amount is not None]
        if ceiling is None or len(known) < len(used):
            return True  # nobody can say that it is within
        return money.total(known) > ceiling


def _key(plan: Plan) -> _Key:
    return plan.name, plan.starts_at


def _note(plan: Plan, now: datetime) -> Incident:
    """Say that what was planned never happened, as an incident that is over."""
    what = amount_of(plan.amount, plan.billing_currency)
    name = content_hash({"plan": plan.name, "starts_at": plan.starts_at, "note": "unused"})
    return Incident(
        incident_id=name,
        fingerprint=name,
        owner=plan.team,
        owner_source="the plan says so",
        state="resolved",
        severity="low",
        starts_at=plan.starts_at,
        ends_at=plan.until,
        impact=money.ZERO,
        run_rate_per_day=money.ZERO,
        billing_currency=plan.billing_currency,
        finding_ids=[],
        drivers=[],
        opened_at=now,
        updated_at=now,
        title=f"plan {plan.name} of {clean(plan.team, 60)}: none of {what} was spent",
        kind=KIND,
        status="confirmed",
        sub_account_id="",
        service_name=None,
        region_id=None,
        actual=money.ZERO,
        expected=money.ZERO,
        expected_low=money.ZERO,
        expected_high=money.ZERO,
        confidence="",
        odd_until=plan.until,
    )
