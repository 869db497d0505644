"""The desk: what people are told, and what they said and set up. Pure: values in, values out.

On one machine it is the second half of the pipeline; in the distributed service it is the router,
which has no detectors, only their findings.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from service.core.backfill import summary_of
from service.core.budget_findings import Budgets
from service.core.budgets import KIND as BUDGET
from service.core.budgets import Budget
from service.core.bundles import BUNDLES
from service.core.claiming import claims_of, owned, owner_of
from service.core.deliveries import Decision, Deliveries
from service.core.drivers import Member
from service.core.events import SeriesKey
from service.core.findings import OddPoint
from service.core.incidents import Incident, Incidents
from service.core.intents import Drop, Feedback, Intent, Mark, Order, Put, in_effect
from service.core.marks import in_effect as done
from service.core.notices import Chart, Notice, delivery_id_of
from service.core.phrases import duration
from service.core.plans import Plan
from service.core.ports import Changes, SourceStatus
from service.core.silences import Silence
from service.core.spend import Spent
from service.core.standing import Standing, Things, etag_of, key_of
from service.core.state import Chunk, Saved, Streams
from service.core.subscriptions import Subscription
from service.core.wording import text_of

Knows = Callable[[str], Mapping[int, OddPoint] | None]


class Parts(NamedTuple):
    """The wired parts of a desk, in the order in which data meets them.

    `unreachable` says why nobody can be told at a destination, or None.
    """

    incidents: Incidents
    deliveries: Deliveries
    things: Things
    budgets: Budgets
    unreachable: Callable[[str], str | None] = lambda _: None


class Desk:
    """Takes changed findings and intents, and says what is to be saved and told of them.

    `chart` draws an incident's leading series, None when there is nothing to draw.
    """

    def __init__(self, parts: Parts, chart: Callable[[Incident], Chart | None]) -> None:
        self._parts = parts
        self._chart = chart
        self._offset = 0
        self._past: dict[str, Incident] = {}
        self._followed: list[Intent] = []
        self._caught_up: list[Decision] = []
        self._changed: dict[str, Incident] = {}
        parts.deliveries.reads(parts.things, parts.incidents.get)

    @property
    def offset(self) -> int:
        """Return the log's position that the state stands for."""
        return self._offset

    def refusal(self, intent: Intent) -> str | None:
        """Say in one line why an intent cannot be followed, or None."""
        if isinstance(intent, Feedback):
            return self._refusal_of_feedback(intent)
        if isinstance(intent, Mark):
            return self._parts.incidents.refusal(intent)
        kind, name = _about(intent)
        known = self._parts.things.get(kind, name)
        if kind == BUDGET and name in self._parts.budgets.fixed:
            return f"budget {name!r} is set in the config, and changed there"
        if known is None and isinstance(intent, Drop):
            return f"there is no {kind} {name!r}"
        etag = "" if known is None else etag_of(known)
        if intent.if_match is not None and intent.if_match != etag:
            return f"{kind} {name!r} was changed meanwhile"
        if isinstance(intent, Put) and isinstance(intent.thing, Subscription):
            return self._parts.unreachable(intent.thing.destination)
        if isinstance(intent, Put) and (end := _end_of(intent.thing)) and end <= intent.at:
            return f"{kind} {name!r} is over already"
        return None

    def order(self, feedback: Feedback) -> Order:
        """Say what feedback that is not refused asks of the detectors."""
        incident = self._parts.incidents.get(feedback.incident_id)
        if incident is None:
            return Order(feedback=feedback, finding_ids=[], undoes=None)
        undoes = None
        if feedback.verdict == "undo":
            undoes = in_effect(incident.feedback)[-1].intent_id
        return Order(feedback=feedback, finding_ids=list(incident.finding_ids), undoes=undoes)

    def follow(self, intent: Intent) -> None:
        """Put an intent into effect that is not refused; the next `tell` returns what changed."""
        self._followed.append(intent)
        if isinstance(intent, Feedback):
            self._parts.incidents.say(intent)
            return
        if isinstance(intent, Mark):
            self._mark(intent)
            return
        if isinstance(intent, Put):
            self._parts.things.put(intent.thing)
            if isinstance(intent.thing, Budget):
                self._parts.budgets.put(intent.thing, intent.at)
        else:
            self._parts.things.drop(intent.kind, intent.name)
            if intent.kind == BUDGET:
                self._parts.budgets.drop(intent.name)
        self._restand(_about(intent)[0])

    def _mark(self, mark: Mark) -> None:
        """Follow a mark; a claim stands for what comes later too, until it is taken back."""
        incidents, things = self._parts.incidents, self._parts.things
        incident = incidents.get(mark.incident_id)
        last = done(incident.marks)[-1:] if incident is not None else []
        undone = [one.mark for one in last if mark.act == "undo" and one.mark.act == "claim"]
        for claim in claims_of(mark, incidents.findings_of(mark.incident_id)):
            if mark.act == "claim":
                things.put(claim)
            elif undone:
                things.drop("claim", claim.name)
        if mark.act == "claim" or undone:
            self._restand("claim")
        incidents.mark(mark)

    def _restand(self, kind: str) -> None:
        """Let what stands now have its effect, if it is of a kind that has one here."""
        if kind == "claim":
            things = self._parts.things
            self._parts.incidents.reown(lambda finding: owner_of(finding, things))
        if kind in ("claim", "silence", "subscription", "plan", "optout"):
            self._parts.deliveries.restand()

    def budgets(self) -> list[Budget]:
        """Return the budgets that people set."""
        return [one for one in self._parts.things.all(BUDGET) if isinstance(one, Budget)]

    def note_spent(self, spent: Sequence[Spent], part: str = "") -> None:
        """Take in what a part knows of budgets; the next `tell` judges them."""
        self._parts.budgets.take(spent, part)

    def tell(
        self,
        members: Sequence[Member],
        now: datetime,
        offset: int,
        sources: Collection[SourceStatus],
        ends_backfill: str | None = None,
    ) -> Changes:
        """Take in changed findings and let time pass to `now`; return all that is to be saved.

        `offset` is the log's position after them. `ends_backfill` names a source whose past has now
        been read: it is summed up in one notice.
        """
        parts = self._parts
        self.catch_up(now)
        found = [*members, *parts.budgets.judge(now)]
        members = [owned(member, parts.things) for member in found]
        self._pass(members, now)
        decisions, self._caught_up = self._caught_up, []
        incidents, self._changed = self._changed, {}
        self._past |= {i.incident_id: i for i in incidents.values() if i.backfill}
        if ends_backfill is not None:
            summary = summary_of(ends_backfill, self._past.values(), now)
            self._past.clear()
            if summary is not None:
                incidents[summary.incident_id] = summary
                decisions += parts.deliveries.announce(summary, now)
        previous, self._offset = self._offset, offset
        followed, self._followed = self._followed, []
        return Changes(
            previous=previous,
            offset=offset,
            findings=[member.finding for member in members],
            incidents=list(incidents.values()),
            notices=self._notices(decisions, sources, now),
            sources=list(sources),
            things=parts.things.drain(),
            budgets=parts.budgets.changed(),
            intents=followed,
        )

    def due(self) -> datetime | None:
        """Return when time alone has something told next."""
        dues = (self._parts.incidents.due(), self._parts.deliveries.due())
        return min((due for due in dues if due is not None), default=None)

    def catch_up(self, now: datetime) -> None:
        """Let time pass to `now`, each thing at the time it was due; the next `tell` returns it.

        To be called before an intent is looked at: what was due before it comes first.
        """
        while (due := self.due()) is not None and due <= now:
            self._pass([], due)

    def _pass(self, members: Sequence[Member], now: datetime) -> None:
        """Take in members and what is due at `now`."""
        parts = self._parts
        incidents = parts.incidents.update(members, now)
        self._caught_up += parts.deliveries.decide(incidents, now)
        for one in (*incidents, *parts.deliveries.hushed()):
            self._changed[one.incident_id] = one

    def forget(self, edge: datetime) -> list[Incident]:
        """Let go of incidents that were over before a time, and return them."""
        gone = self._parts.incidents.forget(edge)
        for incident in gone:
            self._parts.deliveries.forget(incident.incident_id)
            self._past.pop(incident.incident_id, None)
        self._parts.budgets.forget(edge)
        things = self._parts.things
        ending: list[Standing] = [*things.of(Silence), *things.of(Plan)]
        for thing in ending:
            if (end := _end_of(thing)) is not None and end < edge:
                things.drop(*key_of(thing))
        self._parts.deliveries.tidy()
        return gone

    def knows(self, incident_id: str) -> bool:
        """Tell whether an incident may still change."""
        return self._parts.incidents.get(incident_id) is not None

    def everything(self, now: datetime, sources: Collection[SourceStatus]) -> Changes:
        """Return all that is known, for a store that has lost it.

        Of each conversation its first post comes again, under its old name: to be looked for before
        it is sent, and to be found by what follows.
        """
        parts = self._parts
        return Changes(
            previous=0,
            offset=self._offset,
            findings=parts.incidents.findings(),
            incidents=parts.incidents.all(),
            notices=self._notices(list(parts.deliveries.posts()), sources, now),
            sources=list(sources),
            things=parts.things.everything(),
            budgets=parts.budgets.everything(),
        )

    def save(self, streams: Streams, knows: Knows) -> Iterator[Chunk]:
        """Yield what changed since the last save; `knows` returns a finding's live periods."""
        yield from self._parts.incidents.save(streams, "incidents", knows)
        yield from self._parts.deliveries.save(streams, "deliveries")
        yield from self._parts.things.save(streams, "things")
        yield from self._parts.budgets.save(streams, "budgets")
        yield from streams.values("past", self._past.items())
        yield from streams.values("desk", [("", _Rest(self._offset))])

    def restore(self, saved: Saved, knows: Knows, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved, with the findings of the series that are kept."""
        self._parts.incidents.restore(saved, "incidents", knows, keep)
        self._parts.deliveries.restore(saved, "deliveries", self._parts.incidents.all())
        self._parts.things.restore(saved, "things")
        self._parts.budgets.restore(saved, "budgets", self.budgets())
        self._past = saved.values("past", Incident)
        (rest,) = saved.values("desk", _Rest).values()
        self._offset = rest.offset

    def _refusal_of_feedback(self, feedback: Feedback) -> str | None:
        incident = self._parts.incidents.get(feedback.incident_id)
        if incident is None:
            return "there is no such incident that may still change"
        if feedback in incident.feedback:
            return "this was said before"
        if feedback.verdict == "undo" and not in_effect(incident.feedback):
            return "there is nothing to take back"
        return None

    def _notices(
        self, decisions: Sequence[Decision], sources: Collection[SourceStatus], now: datetime
    ) -> list[Notice]:
        if not decisions:
            return []
        until = max((s.last_period_end for s in sources if s.last_period_end), default=now)
        charts: dict[str, Chart | None] = {}
        for one in decisions:
            incident = one.incident
            if incident.incident_id not in charts:
                has_none = incident.kind in BUNDLES or not incident.drivers
                charts[incident.incident_id] = None if has_none else self._chart(incident)
        return [
            Notice(
                delivery_id=delivery_id_of(one.incident.incident_id, one.destination, one.seq),
                incident_id=one.incident.incident_id,
                destination=one.destination,
                action=one.action,
                seq=one.seq,
                at=one.at,
                reason=one.reason,
                text=text_of(one.incident, one.action, one.reason),
                incident=one.incident,
                chart=charts[one.incident.incident_id],
                why_here=one.why_here,
                data_until=until,
                told_after=_delay(one.incident, one.told_at),
            )
            for one in decisions
        ]


class _Rest(msgspec.Struct, array_like=True):
    """What is saved of the desk itself."""

    offset: int


def _about(intent: Put | Drop) -> tuple[str, str]:
    """Name the kind and the thing that an intent is about."""
    return key_of(intent.thing) if isinstance(intent, Put) else (intent.kind, intent.name)


def _end_of(thing: Standing) -> datetime | None:
    """Return when a thing is over by itself."""
    if isinstance(thing, Silence):
        return thing.ends_at
    return thing.until if isinstance(thing, Plan) else None


def _delay(incident: Incident, told_at: datetime) -> str:
    """Say how long it took from the first odd period until the destination first heard of it."""
    crossed = incident.budget.crossed if incident.budget is not None else ()
    if crossed:
        return f"{duration(told_at - min(one.at for one in crossed))} after it was crossed"
    whole = f"{duration(told_at - incident.starts_at)} after it began"
    period_end, arrived_at = incident.period_end, incident.arrived_at
    if period_end is None or arrived_at is None:
        return whole
    parts = (
        ("its row came", arrived_at - period_end, "after the period ended"),
        ("scored", incident.opened_at - arrived_at, "later"),
        ("told here", told_at - incident.opened_at, "later"),
    )
    said = [
        f"{what} {f'{duration(span)} {then}' if span >= timedelta(minutes=1) else 'at once'}"
        for what, span, then in parts
    ]
    return f"{whole}: {', '.join(said)}"
