"""The desk: what people are told, and what they said and set up. Pure: values in, values out.

On one machine it is the second half of the pipeline; in the distributed service it is the router,
which has no detectors, only their findings.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from service.core.backfill import summary_of
from service.core.budget_findings import Budgets
from service.core.budgets import KIND as BUDGET
from service.core.budgets import Budget
from service.core.deliveries import Chart, Decision, Deliveries, Notice, delivery_id_of
from service.core.drivers import Member
from service.core.events import SeriesKey
from service.core.findings import OddPoint
from service.core.incidents import Incident, Incidents
from service.core.intents import Drop, Feedback, Intent, Order, Put, in_effect
from service.core.phrases import duration
from service.core.ports import Changes, SourceStatus
from service.core.spend import Spent
from service.core.standing import Things, etag_of, key_of
from service.core.state import Chunk, Saved, Streams
from service.core.wording import text_of

Knows = Callable[[str], Mapping[int, OddPoint] | None]


class Parts(NamedTuple):
    """The wired parts of a desk, in the order in which data meets them."""

    incidents: Incidents
    deliveries: Deliveries
    things: Things
    budgets: Budgets


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

    @property
    def offset(self) -> int:
        """Return the log's position that the state stands for."""
        return self._offset

    def refusal(self, intent: Intent) -> str | None:
        """Say in one line why an intent cannot be followed, or None."""
        if isinstance(intent, Feedback):
            return self._refusal_of_feedback(intent)
        kind, name = _about(intent)
        known = self._parts.things.get(kind, name)
        if kind == BUDGET and name in self._parts.budgets.fixed:
            return f"budget {name!r} is set in the config, and changed there"
        if known is None and isinstance(intent, Drop):
            return f"there is no {kind} {name!r}"
        etag = "" if known is None else etag_of(known)
        if intent.if_match is not None and intent.if_match != etag:
            return f"{kind} {name!r} was changed meanwhile"
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
        parts = self._parts
        if isinstance(intent, Feedback):
            parts.incidents.say(intent)
        elif isinstance(intent, Put):
            parts.things.put(intent.thing)
            if isinstance(intent.thing, Budget):
                parts.budgets.put(intent.thing, intent.at)
        else:
            parts.things.drop(intent.kind, intent.name)
            if intent.kind == BUDGET:
                parts.budgets.drop(intent.name)

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
        members = [*members, *parts.budgets.judge(now)]
        incidents = parts.incidents.update(members, now)
        notices = [
            notice
            for incident in incidents
            for notice in self._notices(
                incident, parts.deliveries.decide(incident, now), now, sources
            )
        ]
        self._past |= {i.incident_id: i for i in incidents if i.backfill}
        if ends_backfill is not None:
            summary = summary_of(ends_backfill, self._past.values(), now)
            self._past.clear()
            if summary is not None:
                incidents.append(summary)
                decisions = parts.deliveries.announce(summary, now)
                notices += self._notices(summary, decisions, now, sources)
        previous, self._offset = self._offset, offset
        followed, self._followed = self._followed, []
        return Changes(
            previous=previous,
            offset=offset,
            findings=[member.finding for member in members],
            incidents=incidents,
            notices=notices,
            sources=list(sources),
            things=parts.things.drain(),
            budgets=parts.budgets.changed(),
            intents=followed,
        )

    def forget(self, edge: datetime) -> list[Incident]:
        """Let go of incidents that were over before a time, and return them."""
        gone = self._parts.incidents.forget(edge)
        for incident in gone:
            self._parts.deliveries.forget(incident.incident_id)
            self._past.pop(incident.incident_id, None)
        self._parts.budgets.forget(edge)
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
            notices=[
                notice
                for incident, post in parts.deliveries.posts()
                for notice in self._notices(incident, [post], now, sources)
            ],
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
        self._parts.deliveries.restore(saved, "deliveries")
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
        self,
        incident: Incident,
        decisions: Sequence[Decision],
        now: datetime,
        sources: Collection[SourceStatus],
    ) -> list[Notice]:
        if not decisions:
            return []
        until = max((s.last_period_end for s in sources if s.last_period_end), default=now)
        chart = self._chart(incident)
        return [
            Notice(
                delivery_id=delivery_id_of(incident.incident_id, one.destination, one.seq),
                incident_id=incident.incident_id,
                destination=one.destination,
                action=one.action,
                seq=one.seq,
                at=now,
                reason=one.reason,
                text=text_of(incident, one.action, one.reason),
                incident=incident,
                chart=chart,
                why_here=one.why_here,
                data_until=until,
                told_after=_delay(incident, one.told_at),
            )
            for one in decisions
        ]


class _Rest(msgspec.Struct, array_like=True):
    """What is saved of the desk itself."""

    offset: int


def _about(intent: Put | Drop) -> tuple[str, str]:
    """Name the kind and the thing that an intent is about."""
    return key_of(intent.thing) if isinstance(intent, Put) else (intent.kind, intent.name)


def _delay(incident: Incident, told_at: datetime) -> str:
    """Say how long after the first odd period began the destination first heard of it."""
    crossed = incident.budget.crossed if incident.budget is not None else ()
    if crossed:
        return f"{duration(told_at - min(one.at for one in crossed))} after it was crossed"
    return f"{duration(told_at - incident.starts_at)} after it began"
