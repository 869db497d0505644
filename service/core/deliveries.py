"""Deliveries: what each destination is told of an incident, and when it is told no more."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from service.core.bundles import BUNDLES, Bundle, Kind, at_risk
from service.core.bundling import Bundling
from service.core.holds import Hold, Inhibitions, labels_of, planned, silenced
from service.core.incidents import Incident
from service.core.money import ZERO
from service.core.optouts import OptOut, opted_out
from service.core.planning import Planning
from service.core.plans import Plan
from service.core.rates import Rates
from service.core.routing import Policy, Router, Target
from service.core.severity import SEVERITIES, at_least
from service.core.silences import Silence
from service.core.standing import Things
from service.core.state import Chunk, Saved, Streams
from service.core.subscriptions import Subscription
from service.core.talks import ESCALATED, Action, Reason, Talk, Told, begin, follow_up, nag


class Decision(NamedTuple):
    """One thing to say at a moment to one destination, which first heard of it at `told_at`."""

    incident: Incident
    destination: str
    action: Action
    reason: Reason
    seq: int
    why_here: str
    at: datetime
    told_at: datetime


_BEGINS: Final[Mapping[Kind, Reason]] = {
    "group": "first",
    "summary": "summary",
    "plan": "planned",
    "digest": "digest",
}


class _Candidate(NamedTuple):
    incident: Incident
    destination: str
    target: Target
    reason: Reason


class _Round:
    """What one decision has come to so far: what may be posted, and which bundles changed."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.posts: list[_Candidate] = []
        self.bundles: dict[str, None] = {}
        self.decisions: list[Decision] = []


class Deliveries:
    """Decides what each destination is told of an incident, and when it is told no more.

    The first post waits for nothing but the route's `min_impact`, and what the route or a person
    asks for. What has to wait is due at a moment that follows from what was said and set up, never
    from when it was looked at. Every decision is counted by `seq`, so that the same history gives
    the same delivery ids.
    """

    def __init__(self, router: Router, rates: Rates | None = None) -> None:
        self._router = router
        self._rates = rates or Rates()
        self._things = Things()
        self._find: Callable[[str], Incident | None] = lambda _: None
        self._inhibitions = Inhibitions(router)
        self._planning = Planning(self._rates)
        self._bundling = Bundling(self._rates)
        self._talks: dict[str, Talk] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._held: dict[str, None] = {}
        self._hushed: dict[str, Incident] = {}
        self._is_stale = False

    def reads(self, things: Things, find: Callable[[str], Incident | None]) -> None:
        """Let it know what stands, and the incidents as they are now."""
        self._things, self._find, self._bundling.find = things, find, find

    def restand(self) -> None:
        """Let the next decision consider everything again: what stands has changed."""
        self._is_stale = True

    def due(self) -> datetime | None:
        """Return when something that waits has to be decided next."""
        while self._heap and self._due_of(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        found = [
            self._heap[0][0] if self._heap else None,
            self._bundling.due(),
            self._planning.due(self._things.of(Plan)),
        ]
        return min((due for due in found if due is not None), default=None)

    def decide(self, incidents: Iterable[Incident], now: datetime) -> list[Decision]:
        """Take in changed incidents; return what is to be said at `now`, in the order to say it."""
        changed = {one.incident_id: one for one in incidents}
        at = _Round(now)
        for incident in self._touched(changed, at):
            self._see(incident, at, is_new=incident.incident_id in changed)
        self._post(at)
        for bundle_id in at.bundles:
            bundle = self._bundling.get(bundle_id)
            if bundle is not None:
                self._tell_bundle(bundle, at)
        for destination, whole in self._bundling.digests(now):
            decision = Decision(whole, destination, "digest", "digest", 0, "its digest", now, now)
            at.decisions.append(decision)
        for note in self._planning.close(self._things.of(Plan), now):
            at.decisions += self._announce(note, "planned", now)
        return at.decisions

    def announce(self, incident: Incident, now: datetime) -> list[Decision]:
        """Tell everyone who would hear, in one post, of a past that needs no conversation."""
        return self._announce(incident, "backfill", now)

    def hushed(self) -> list[Incident]:
        """Return, once, the incidents of which it changed why they are not told."""
        found, self._hushed = self._hushed, {}
        return list(found.values())

    def posts(self) -> Iterator[Decision]:
        """Yield the first post of every conversation, with the incident as it was last told."""
        for talk in self._talks.values():
            for destination, last in talk.told.items():
                yield Decision(
                    last.incident, destination, "post", "first", 0, last.why, last.at, last.at
                )

    def forget(self, incident_id: str) -> None:
        """Let go of an incident that will not change any more."""
        talk = self._talks.pop(incident_id, Talk())
        self._inhibitions.forget(incident_id)
        self._planning.forget(incident_id)
        self._held.pop(incident_id, None)
        for bundle_id in self._bundling.forget(incident_id, talk.shared.values()):
            self._talks.pop(bundle_id, None)

    def tidy(self) -> None:
        """Let go of what belonged to things that stand no more."""
        self._planning.tidy(self._things.of(Plan))

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._talks.items())
        yield from streams.values(f"{name}/idle", [("", sorted(self._inhibitions.idle))])
        yield from streams.values(f"{name}/held", [("", list(self._held))])
        yield from self._bundling.save(streams, name)
        yield from self._planning.save(streams, f"{name}/plans")

    def restore(self, saved: Saved, name: str, incidents: Iterable[Incident]) -> None:
        """Take over what was saved; `incidents` are those that may still change."""
        self._talks = saved.values(name, Talk)
        idle = saved.values(f"{name}/idle", list[str]).get("", ())
        self._inhibitions.restore(idle, incidents)
        self._held = dict.fromkeys(saved.values(f"{name}/held", list[str]).get("", ()))
        self._bundling.restore(saved, name)
        self._planning.restore(saved, f"{name}/plans")
        dues = ((talk.due, incident_id) for incident_id, talk in self._talks.items())
        self._heap = [(due, incident_id) for due, incident_id in dues if due is not None]
        heapq.heapify(self._heap)

    def _touched(self, changed: Mapping[str, Incident], at: _Round) -> list[Incident]:
        """Return the incidents to consider: changed, due, or held by what is no longer there."""
        again: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= at.now:
            due, incident_id = heapq.heappop(self._heap)
            if self._due_of(incident_id) == due:
                again[incident_id] = None
        for incident in changed.values():
            self._inhibitions.note(incident)
        if self._is_stale or any(one.state != "firing" for one in changed.values()):
            again |= self._held
        if self._is_stale:
            again |= dict.fromkeys(self._talks)
        self._is_stale = False
        for incident in changed.values():
            again |= dict.fromkeys(self._count_to_plan(incident, at.now))
        at.bundles |= dict.fromkeys(i for i in again if self._bundling.get(i) is not None)
        found = [self._find(incident_id) for incident_id in again if incident_id not in changed]
        return [*changed.values(), *(one for one in found if one is not None)]

    def _count_to_plan(self, incident: Incident, now: datetime) -> list[str]:
        """Count an incident to the plan that takes it; return all of a plan now exceeded."""
        talk = self._talks.get(incident.incident_id, Talk())
        is_told = bool(talk.told or talk.shared)
        return self._planning.take(self._things.of(Plan), incident, is_told, now, self._find)

    def _see(self, incident: Incident, at: _Round, *, is_new: bool) -> None:
        """Consider an incident afresh, for those who know of it and for those who might."""
        talk = self._talks.setdefault(incident.incident_id, Talk())
        talk.due = None
        before = incident.quiet, incident.is_inhibited
        incident.quiet, incident.is_inhibited = "", False
        self._held.pop(incident.incident_id, None)
        targets = self._targets(labels_of(incident))
        self._inhibit(incident, talk, at.now)
        for destination, target in targets.items():
            knows = destination in talk.told or destination in talk.shared
            if not knows and not incident.is_inhibited:
                self._consider(_Candidate(incident, destination, target, "first"), at)
        gone = self._left()
        for destination, last in list(talk.told.items()):
            if destination in gone:
                continue
            policy = targets[destination].policy if destination in targets else Policy()
            if is_new or last.is_behind:
                self._follow_up(destination, last, incident, policy, at)
            self._nag(destination, last, incident, policy, at)
        at.bundles |= dict.fromkeys(talk.shared.values())
        if (incident.quiet, incident.is_inhibited) != before:
            self._hushed[incident.incident_id] = incident

    def _inhibit(self, incident: Incident, talk: Talk, now: datetime) -> None:
        """Note when another incident's notice says it already.

        Once it did, this is told only when it has doubled: a detector that remembers goes on for a
        while after a GPU was stopped.
        """
        is_told = talk.told or talk.shared
        if is_told or not (incident.state == "firing" or _is_late_news(incident, talk, now)):
            return
        if self._inhibitions.by_idle(incident):
            incident.is_inhibited = True
            talk.said_elsewhere = abs(incident.impact or ZERO)
        elif (source := self._inhibitions.by_rule(incident)) is not None:
            incident.is_inhibited = True
            incident.quiet = f"inhibited by incident {source[:12]}"
        if incident.is_inhibited:
            talk.was_held = True
            self._held[incident.incident_id] = None

    def _consider(self, one: _Candidate, at: _Round) -> None:
        """Let a destination that knows nothing of an incident hear of it, or wait, or not hear."""
        incident, policy = one.incident, one.target.policy
        talk = self._talks[incident.incident_id]
        said = 2 * (talk.said_elsewhere or ZERO)
        if incident.backfill or not self._reaches(incident, policy, said):
            return
        if incident.state != "firing":
            # What was over before it could be told is told later.
            waited = talk.waits.pop(one.destination, None) is not None
            if waited and incident.state == "resolved" and incident.status != "retracted":
                self._keep(one, at.now)
            if waited or not _is_late_news(incident, talk, at.now):
                return
        if not self._is_held(incident, at.now) and not self._is_in_plan(one, at):
            self._route(one, at)

    def _is_held(self, incident: Incident, now: datetime) -> bool:
        """Tell whether a silence, or a plan that is not used up, keeps everyone from hearing."""
        hold = silenced(self._things.of(Silence), labels_of(incident), now)
        plan = self._planning.plan_of(incident.incident_id, self._things.of(Plan), now)
        if hold is None and plan is not None and not self._planning.is_exceeded(plan):
            hold = planned(plan)
        if hold is not None:
            self._talks[incident.incident_id].was_held = True
            self._hold(incident, hold, now)
        return hold is not None

    def _is_in_plan(self, one: _Candidate, at: _Round) -> bool:
        """Tell an incident with all that went beyond the same plan, if there is one."""
        plans = self._things.of(Plan)
        plan = self._planning.plan_of(one.incident.incident_id, plans, at.now)
        if plan is None:
            return False
        about = f"beyond plan {plan.name} of {plan.starts_at:%d %b}"
        self._bundle("plan", one, about, f"{plan.team}'s plan {plan.name}", at)
        return True

    def _route(self, one: _Candidate, at: _Round) -> None:
        """Let an incident be posted, wait, or go into a digest, as the route asks."""
        incident, policy = one.incident, one.target.policy
        talk = self._talks[incident.incident_id]
        floor = policy.min_severity
        if floor is not None and not at_least(incident.severity, floor) and policy.digest is None:
            return
        if policy.digest is not None and (floor is None or not at_least(incident.severity, floor)):
            self._keep(one, at.now)
            return
        until = policy.quiet_until(incident.severity, at.now)
        if incident.state == "resolved":  # nothing more can come while it waits
            if until is None:
                at.posts.append(one)
            else:
                self._keep(one, at.now)
            return
        since = talk.waits.get(one.destination, at.now)
        until = until or max(since + policy.group_wait, at.now)
        if until <= at.now:
            at.posts.append(one)
            return
        talk.waits.setdefault(one.destination, at.now)
        self._hold(incident, Hold(until, f"{one.destination} hears of it later"), at.now)

    def _hold(self, incident: Incident, hold: Hold, now: datetime) -> None:
        incident.quiet = incident.quiet or hold.why
        self._held[incident.incident_id] = None
        self._wait(incident.incident_id, hold.until, now)

    def _keep(self, one: _Candidate, now: datetime) -> None:
        """Put an incident aside for a destination's digest, unless that had it before."""
        talk = self._talks[one.incident.incident_id]
        if one.destination not in talk.digested:
            talk.digested.append(one.destination)
            self._bundling.keep(one.incident, one.destination, one.target.policy, now)

    def _bundle(self, kind: Kind, one: _Candidate, about: str, why: str, at: _Round) -> None:
        """Let an incident be told with others."""
        incident_id, destination = one.incident.incident_id, one.destination
        bundle_id = self._bundling.add(kind, destination, about, why, incident_id, at.now)
        talk = self._talks[incident_id]
        talk.shared[destination] = bundle_id
        talk.waits.pop(destination, None)
        at.bundles[bundle_id] = None

    def _post(self, at: _Round) -> None:
        """Post what the destinations' budgets allow, most money first; sum up the rest."""
        for one in sorted(at.posts, key=self._rank):
            box, policy = self._bundling.box(one.destination), one.target.policy
            about, why = _about(policy, one.incident), one.target.why
            has_room = box.may_post(policy, at.now)
            if one.reason == "escalated" or (has_room and not policy.group_by):
                box.posts.append(at.now)
                self._begin(one, at)
            elif policy.group_by and (
                has_room or self._bundling.open_one("group", one.destination, about, at.now)
            ):
                self._bundle("group", one, about, why, at)
            else:
                why = f"{why}; {one.destination} has had its posts"
                self._bundle("summary", one, _beyond(policy), why, at)

    def _rank(self, one: _Candidate) -> tuple[Decimal, int, str, str]:
        severity = SEVERITIES.index(one.incident.severity)
        money = at_risk(one.incident, self._rates)
        return -money, -severity, one.incident.incident_id, one.destination

    def _begin(self, one: _Candidate, at: _Round) -> None:
        """Begin a conversation."""
        incident, why = one.incident, one.target.why
        talk = self._talks[incident.incident_id]
        talk.waits.pop(one.destination, None)
        told = talk.told[one.destination] = begin(incident, why, at.now)
        at.decisions.append(
            Decision(incident, one.destination, "post", one.reason, 0, why, at.now, at.now)
        )
        self._nag(one.destination, told, incident, one.target.policy, at)

    def _tell_bundle(self, bundle: Bundle, at: _Round) -> None:
        """Tell a bundle as it stands now; what its message cannot list goes into the digest."""
        whole = self._bundling.whole(bundle, at.now)
        if whole is None:
            return
        known = self._targets(labels_of(whole.first)).get(bundle.destination)
        target = Target("", bundle.why, known.policy if known is not None else Policy())
        talk = self._talks.setdefault(bundle.bundle_id, Talk())
        talk.due = None
        last = talk.told.get(bundle.destination)
        one = _Candidate(whole.incident, bundle.destination, target, _BEGINS[bundle.kind])
        if last is None:
            self._begin(one, at)
        else:
            self._follow_up(bundle.destination, last, whole.incident, target.policy, at)
        for left in whole.left:
            self._keep(one._replace(incident=left), at.now)

    def _announce(self, incident: Incident, reason: Reason, now: datetime) -> list[Decision]:
        return [
            _posted(incident, destination, reason, target.why, now)
            for destination, target in self._targets(labels_of(incident)).items()
            if reason == "planned" or self._reaches(incident, target.policy, ZERO)
        ]

    def _follow_up(
        self, destination: str, last: Told, incident: Incident, policy: Policy, at: _Round
    ) -> None:
        """Go on with a conversation."""
        silence = silenced(self._things.of(Silence), labels_of(incident), at.now)
        says = follow_up(last, incident, policy, at.now, is_silenced=silence is not None)
        for action in says.actions:
            self._say(destination, last, incident, (action, says.reason), at)
        self._wait(incident.incident_id, says.wait, at.now)

    def _nag(
        self, destination: str, last: Told, incident: Incident, policy: Policy, at: _Round
    ) -> None:
        """Remind of what nobody has acknowledged, then tell others."""
        if incident.kind in BUNDLES:
            return
        silence = silenced(self._things.of(Silence), labels_of(incident), at.now)
        until = policy.quiet_until(incident.severity, at.now)
        held_until = silence.until if silence is not None else until
        nags = nag(last, incident, policy, at.now, held_until)
        if nags.reminds:
            reason: Reason = "escalated" if nags.escalates else "reminder"
            self._say(destination, last, incident, ("thread", reason), at)
        if nags.escalates:
            self._escalate(destination, incident, policy, at)
        for until in nags.waits:
            self._wait(incident.incident_id, until, at.now)

    def _escalate(self, destination: str, incident: Incident, policy: Policy, at: _Round) -> None:
        talk = self._talks[incident.incident_id]
        why = f"{ESCALATED}: nobody acknowledged it at {destination}"
        target = Target(policy.escalate_to or "", why, Policy())
        for other in self._router.escalates_to(policy):
            is_posted = any((p.destination, p.incident) == (other, incident) for p in at.posts)
            if not (other in talk.told or is_posted or other in self._left()):
                talk.shared.pop(other, None)
                at.posts.append(_Candidate(incident, other, target, "escalated"))

    @staticmethod
    def _say(
        destination: str,
        last: Told,
        incident: Incident,
        what: tuple[Action, Reason],
        at: _Round,
    ) -> None:
        last.seq += 1
        at.decisions.append(
            Decision(incident, destination, *what, last.seq, last.why, at.now, last.at)
        )

    def _targets(self, labels: Mapping[str, str]) -> dict[str, Target]:
        found = self._router.destinations(labels, self._things.of(Subscription))
        gone = self._left()
        return {name: target for name, target in found.items() if name not in gone}

    def _left(self) -> frozenset[str]:
        return opted_out(self._things.of(OptOut))

    def _reaches(self, incident: Incident, policy: Policy, said: Decimal) -> bool:
        """Tell whether an incident has cost what a destination hears from, beyond what was said."""
        if incident.impact is None:
            return True
        amount, currency = abs(incident.impact) - said, incident.billing_currency
        return self._rates.reaches(amount, currency, incident.starts_at, policy.min_impact)

    def _wait(self, incident_id: str, until: datetime | None, now: datetime) -> None:
        """Look at an incident, or a bundle, again at a time that is to come."""
        talk = self._talks[incident_id]
        if until is not None and until > now and (talk.due is None or until < talk.due):
            talk.due = until
            heapq.heappush(self._heap, (until, incident_id))

    def _due_of(self, incident_id: str) -> datetime | None:
        talk = self._talks.get(incident_id)
        return None if talk is None else talk.due


def _posted(
    incident: Incident, destination: str, reason: Reason, why: str, now: datetime
) -> Decision:
    return Decision(incident, destination, "post", reason, 0, why, now, now)


def _is_late_news(incident: Incident, talk: Talk, now: datetime) -> bool:
    """Tell whether rows that come now say of something that is over what nobody could be told.

    What somebody said, did or silenced while it went on is no news any more.
    """
    return (
        incident.state == "resolved"
        and incident.status != "retracted"
        and incident.moved_at == now
        and not (talk.was_held or incident.marks or incident.feedback)
    )


def _about(policy: Policy, incident: Incident) -> str:
    """Say what the incidents of a group have in common."""
    labels = labels_of(incident)
    return "with " + ", ".join(f"{name}={labels[name]}" for name in policy.group_by)


def _beyond(policy: Policy) -> str:
    week = policy.max_posts_per_week
    weekly = "" if week is None else f" and {week} a week"
    return f"beyond the {policy.max_posts_per_hour} posts an hour{weekly}"
