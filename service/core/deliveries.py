"""Deliveries: one message of one incident transition to one destination, sent once."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from service.core.budget_figures import Figures
from service.core.budgets import KIND as BUDGET
from service.core.drivers import Driver
from service.core.events import SeriesKey, content_hash
from service.core.incidents import CAUSES, ONCE, SEVERITIES, Incident
from service.core.money import ZERO
from service.core.routing import Router
from service.core.state import Chunk, Saved, Streams

# A thread is for what a person must notice: at most one line in three hours, but for an end or a
# rise in severity. The figures are from the routing policy measured in ARCHITECTURE.md.
QUIET_IN_THREAD: Final = timedelta(hours=3)
NEW_DRIVER_SHARE: Final = Decimal("0.2")
GROWTH: Final = Decimal("1.5")
IDLE: Final = "idle_gpu"
EDIT_SHARE: Final = Decimal("0.05")
BUDGET_EDIT_SHARE: Final = Decimal("0.1")

Action = Literal["post", "edit", "thread"]
DeliveryState = Literal["ready", "sending", "unknown", "sent", "dead", "superseded"]
Reason = Literal[
    "first", "new_driver", "growth", "severity_up", "confirmed", "retracted", "resolved",
    "reopened", "update", "backfill", "feedback", "threshold",
]  # fmt: skip


class Chart(msgspec.Struct, kw_only=True, frozen=True):
    """The series behind an incident's biggest driver. All lists have one length; None is a gap."""

    series: str
    currency: str
    step_hours: int
    starts: list[datetime]
    actual: list[float | None]
    expected: list[float | None]
    low: list[float | None]
    high: list[float | None]
    odd: list[bool]


class Notice(msgspec.Struct, kw_only=True, frozen=True):
    """What one destination is to be told. `seq` counts an incident's transitions there from 0.

    `action` says how: `post` begins the conversation, `edit` replaces that post with the incident's
    present state, `thread` adds `text` beneath it. `text` is plain words, whole without the blocks.
    `why_here` says which route chose the destination, `told_after` how long after it began that
    first heard of it. A notice holds all that rendering needs.
    """

    delivery_id: str
    incident_id: str
    destination: str
    action: Action
    seq: int
    at: datetime
    reason: Reason
    text: str
    incident: Incident
    chart: Chart | None
    why_here: str
    data_until: datetime
    told_after: str


class Delivery(msgspec.Struct, kw_only=True):
    """A notice on its way: the outbox row."""

    notice: Notice
    state: DeliveryState
    due: datetime
    attempts: int = 0
    claim: int = 0
    error: str | None = None
    ref: dict[str, str] | None = None
    parent: dict[str, str] | None = None
    updated_at: datetime | None = None


class _Told(msgspec.Struct):
    """What a destination was last told of an incident, and which series and thresholds ever."""

    seq: int
    why: str
    at: datetime
    incident: Incident
    drivers: set[str]
    run_rate: Decimal
    thread_at: datetime
    thresholds: list[str] = []


class _Saved(msgspec.Struct, kw_only=True):
    """What is saved of one incident."""

    told: dict[str, _Told]
    said_elsewhere: Decimal | None


class Deliveries:
    """Decides what each destination is told of an incident, and when it is told no more.

    The first post waits for nothing but the route's `min_impact`; numbers that moved edit it;
    what a person must notice goes beneath it as well. Every decision is counted by `seq`, so that
    the same history gives the same delivery ids.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._told: dict[str, dict[str, _Told]] = {}
        self._idle: set[str] = set()
        self._said_elsewhere: dict[str, Decimal] = {}

    def decide(self, incident: Incident, now: datetime) -> list["Decision"]:
        """Return what is to be said now, in the order in which it is to be said."""
        told = self._told.setdefault(incident.incident_id, {})
        decisions: list[Decision] = []
        self._note_idle(incident)
        incident.is_inhibited = not told and self._is_inhibited(incident)
        if incident.is_inhibited:
            self._said_elsewhere[incident.incident_id] = abs(incident.impact or ZERO)
            return []
        said = self._said_elsewhere.get(incident.incident_id, ZERO)
        for destination, target in self._router.destinations(labels_of(incident)).items():
            if destination not in told and _is_worth(incident, 2 * said + target.min_impact):
                told[destination] = _Told(
                    seq=0,
                    why=target.why,
                    at=now,
                    incident=incident,
                    drivers={d.series for d in incident.drivers},
                    run_rate=incident.run_rate_per_day or ZERO,
                    thread_at=now,
                    thresholds=_thresholds(incident),
                )
                decisions.append(Decision(destination, "post", "first", 0, target.why, now))
        for destination, last in told.items():
            if last.incident is not incident:
                decisions += self._follow_up(destination, last, incident, now)
        return decisions

    def announce(self, incident: Incident, now: datetime) -> list["Decision"]:
        """Tell everyone who would hear, in one post, of a past that needs no conversation."""
        return [
            Decision(destination, "post", "backfill", 0, target.why, now)
            for destination, target in self._router.destinations(labels_of(incident)).items()
            if abs(incident.impact or ZERO) >= target.min_impact
        ]

    def posts(self) -> Iterator[tuple[Incident, "Decision"]]:
        """Yield the first post of every conversation, with the incident as it was last told."""
        for told in self._told.values():
            for destination, last in told.items():
                yield last.incident, Decision(destination, "post", "first", 0, last.why, last.at)

    def forget(self, incident_id: str) -> None:
        """Let go of an incident that will not change any more."""
        self._told.pop(incident_id, None)
        self._said_elsewhere.pop(incident_id, None)

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        said = self._said_elsewhere
        packed = (
            (incident_id, _Saved(told=told, said_elsewhere=said.get(incident_id)))
            for incident_id, told in self._told.items()
        )
        yield from streams.values(name, packed)
        yield from streams.values(f"{name}/idle", [("", sorted(self._idle))])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        for incident_id, packed in saved.values(name, _Saved).items():
            self._told[incident_id] = packed.told
            if packed.said_elsewhere is not None:
                self._said_elsewhere[incident_id] = packed.said_elsewhere
        self._idle = set(saved.values(f"{name}/idle", list[str]).get("", ()))

    def _note_idle(self, incident: Incident) -> None:
        if incident.kind == IDLE:
            resources = _resources(incident)
            if incident.state != "resolved":
                self._idle |= resources
            else:
                self._idle -= resources

    def _is_inhibited(self, incident: Incident) -> bool:
        """Tell whether it is said already: what an idle GPU costs is in the notice about it.

        Once it was, it is told only when it has doubled: a detector that remembers goes on for a
        while after the GPU was stopped.
        """
        if CAUSES.get(incident.kind) != "more":
            return False
        return _resources(incident) <= self._idle

    def _follow_up(
        self, destination: str, last: _Told, incident: Incident, now: datetime
    ) -> list["Decision"]:
        if last.incident.state == incident.state == "expected":
            return []  # nothing more is to be said of it
        reason = _material(last, incident, now)
        if reason is None and not _moved(last.incident, incident):
            return []
        actions: list[Action] = ["edit"] if reason is None else ["edit", "thread"]
        found = []
        for action in actions:
            last.seq += 1
            said = reason or "update"
            found.append(Decision(destination, action, said, last.seq, last.why, last.at))
        last.incident = incident
        if reason is not None:
            last.drivers |= {d.series for d in incident.drivers}
            last.thresholds += _untold(last, incident)
            last.run_rate = max(last.run_rate, incident.run_rate_per_day or ZERO, key=abs)
            last.thread_at = now
        return found


class Decision(NamedTuple):
    """One thing to say to one destination, which first heard of it at `told_at`."""

    destination: str
    action: Action
    reason: Reason
    seq: int
    why_here: str
    told_at: datetime


def labels_of(incident: Incident) -> dict[str, str]:
    """Return what routes may match on."""
    return {
        "owner": incident.owner,
        "sub_account_id": incident.sub_account_id,
        "service_name": incident.service_name or "",
        "region_id": incident.region_id or "",
        "kind": incident.kind,
        "severity": incident.severity,
    }


def delivery_id_of(incident_id: str, destination: str, seq: int) -> str:
    """Name a delivery: the same transition told to the same destination has one name."""
    return content_hash({"incident": incident_id, "destination": destination, "seq": seq})


def _resources(incident: Incident) -> set[str]:
    return {SeriesKey.parse(driver.series).resource for driver in incident.drivers}


def _thresholds(incident: Incident) -> list[str]:
    """Name the thresholds that are crossed, each with when: at another amount it is another one."""
    crossed = incident.budget.crossed if incident.budget is not None else ()
    return [f"{one.what} {one.at.isoformat()}" for one in crossed]


def _untold(last: _Told, incident: Incident) -> list[str]:
    return [one for one in _thresholds(incident) if one not in last.thresholds]


def _is_worth(incident: Incident, min_impact: Decimal) -> bool:
    if incident.state != "firing" or incident.backfill:
        return False
    return incident.impact is None or abs(incident.impact) >= min_impact


def _material(last: _Told, incident: Incident, now: datetime) -> Reason | None:
    """Name the first reason why a person should look again, or None."""
    before = last.incident
    if incident.status == "retracted" and before.status != "retracted":
        return "retracted"
    if incident.feedback != before.feedback:
        return "feedback"
    if _untold(last, incident):
        return "threshold"
    if incident.state == "resolved":
        is_news = before.state == "firing" and incident.kind != ONCE and not _kept(incident)
        return "resolved" if is_news else None
    if before.state == "resolved":
        return "reopened"
    return None if incident.kind == BUDGET else _worse(last, incident, now)


def _worse(last: _Told, incident: Incident, now: datetime) -> Reason | None:
    """Name the first reason why it is worse than it was said to be, or None."""
    if SEVERITIES.index(incident.severity) > SEVERITIES.index(last.incident.severity):
        return "severity_up"
    if now - last.thread_at < QUIET_IN_THREAD:
        return None
    rate = incident.run_rate_per_day or ZERO
    if any(_is_new_driver(driver, last, rate) for driver in incident.drivers):
        return "new_driver"
    grew = last.run_rate and abs(rate) >= GROWTH * abs(last.run_rate)
    return "growth" if grew else None


def _is_new_driver(driver: Driver, last: _Told, rate: Decimal) -> bool:
    """Tell whether a series nobody was told of makes up a good part of what it costs now."""
    if driver.series in last.drivers or driver.run_rate_per_day is None or not rate:
        return False
    return driver.run_rate_per_day / rate >= NEW_DRIVER_SHARE


def _moved(before: Incident, after: Incident) -> bool:
    """Tell whether the numbers or the status in a post are worth an edit."""
    if before.state == "expected" != after.state:
        return True
    if (before.status, before.severity, len(before.finding_ids)) != (
        after.status,
        after.severity,
        len(after.finding_ids),
    ):
        return True
    if (before.exhausts is None) != (after.exhausts is None):
        return True
    if before.budget is not None and after.budget is not None:
        return _moved_budget(before.budget, after.budget)
    figures = (
        (before.impact, after.impact),
        (before.run_rate_per_day, after.run_rate_per_day),
    )
    return any(_differ(old or ZERO, new or ZERO) for old, new in figures)


def _kept(incident: Incident) -> bool:
    """Tell whether a budget's period has ended within its amount."""
    figures = incident.budget
    return figures is not None and figures.is_over and figures.spent < figures.amount


def _moved_budget(before: Figures, after: Figures) -> bool:
    """Tell whether a budget's figures moved by a good part of its amount, or what is crossed."""
    if (before.amount, before.crossed) != (after.amount, after.crossed):
        return True
    if not after.crossed:
        return False
    figures = ((before.spent, after.spent), (before.forecast, after.forecast))
    least = BUDGET_EDIT_SHARE * after.amount
    return any(abs((new or ZERO) - (old or ZERO)) >= least for old, new in figures)


def _differ(old: Decimal, new: Decimal) -> bool:
    return new != old and abs(new - old) >= EDIT_SHARE * max(abs(old), abs(new))
