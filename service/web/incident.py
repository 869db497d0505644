"""One incident: its series, what drives it, what was sent to whom, and what to do about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.intents import Feedback, Mark, in_effect
from service.core.marks import in_effect as marks_in_effect
from service.core.notices import Delivery, DeliveryState
from service.core.owners import UNOWNED
from service.core.phrases import clean
from service.core.state_words import done_in_words, status
from service.core.talks import Reason
from service.web.layout import Frame, render
from service.web.overview import Card, card_of
from service.web.series import Line

_STATES: Final[Mapping[DeliveryState, str]] = {
    "ready": "waits",
    "sending": "on its way",
    "unknown": "may have arrived",
    "sent": "delivered",
    "dead": "failed",
    "superseded": "overtaken",
}
_REASONS: Final[Mapping[Reason, str]] = {
    "first": "First told",
    "update": "Figures brought up to date",
    "growth": "Told that it grew",
    "severity_up": "Told of a higher severity",
    "new_driver": "Told of more behind it",
    "reopened": "Told that it is back",
    "confirmed": "Told that it is confirmed",
    "retracted": "Withdrawn",
    "resolved": "Told that it is over",
    "backfill": "Told in a summary of the past",
    "feedback": "Told what was said of it",
    "threshold": "Told of a threshold",
    "mark": "Told what was done",
    "reminder": "Reminded",
    "escalated": "Told that others were told",
    "snooze_over": "Told that the snooze is over",
    "summary": "Told in a summary",
    "digest": "Told in a digest",
    "planned": "Told about a plan",
}


class Entry(NamedTuple):
    """One thing that happened: `kind` is life, told or done; `state` is of a delivery.

    `is_minor`: it brought a message up to date, and another did so after it.
    """

    at: datetime
    kind: str
    what: str
    detail: str = ""
    state: str = ""
    word: str = ""
    error: str = ""
    is_minor: bool = False


class Part(NamedTuple):
    """A series' part in an incident."""

    resource: str
    reason: str
    rate: Decimal | None
    impact: Decimal | None
    share: int
    href: str


class Facts(NamedTuple):
    """What the page is made from; `line` None when no history of the series is at hand."""

    incident: Incident
    deliveries: Sequence[Delivery]
    findings: Sequence[Finding]
    line: Line | None
    data_until: datetime | None


class Doable(NamedTuple):
    """Which buttons there are now."""

    acknowledge: bool
    unacknowledge: bool
    resolve: bool
    claim: bool
    undo: bool
    undo_said: bool

    @classmethod
    def of(cls, incident: Incident) -> "Doable":
        """Return what would not be refused."""
        is_open = incident.state != "resolved"
        return cls(
            acknowledge=incident.state == "firing",
            unacknowledge=incident.state in ("acknowledged", "snoozed"),
            resolve=is_open,
            claim=incident.owner == UNOWNED,
            undo=bool(marks_in_effect(incident.marks)),
            undo_said=bool(in_effect(incident.feedback)),
        )


def incident_page(frame: Frame, facts: Facts) -> str:
    """Render the page."""
    incident = facts.incident
    card: Card = card_of(incident)
    return render(
        "incident.html",
        frame,
        c=card,
        status=status(incident),
        line=facts.line,
        data_until=facts.data_until,
        parts=[_part(incident, place) for place in range(len(incident.drivers))],
        findings=facts.findings,
        timeline=timeline(incident, facts.deliveries),
        can=Doable.of(incident),
    )


def timeline(incident: Incident, deliveries: Iterable[Delivery]) -> list[Entry]:
    """Return all that is known to have happened, the newest first."""
    found = [
        Entry(incident.starts_at, "life", "It began"),
        Entry(incident.opened_at, "life", "Found"),
        *_told(deliveries),
        *(_done(marked.mark) for marked in incident.marks),
        *map(_done, incident.feedback),
    ]
    if incident.ends_at is not None:
        found.append(Entry(incident.ends_at, "life", "It ended"))
    return sorted(found, key=lambda entry: entry.at)[::-1]


def _told(deliveries: Iterable[Delivery]) -> Iterator[Entry]:
    """Say what was sent: once for all destinations that were told the same in the same way."""
    newest: dict[str, str] = {}
    alike: dict[tuple[object, ...], list[Delivery]] = {}
    for delivery in deliveries:
        notice = delivery.notice
        if notice.action == "edit" and delivery.state != "superseded":
            newest[notice.destination] = notice.delivery_id
        key = notice.at, notice.action, notice.reason, delivery.state, delivery.error
        alike.setdefault(key, []).append(delivery)
    for group in alike.values():
        ids = {delivery.notice.delivery_id for delivery in group}
        yield _said_to(group, is_last=bool(ids & set(newest.values())))


def _said_to(group: Sequence[Delivery], *, is_last: bool) -> Entry:
    delivery = group[0]
    notice = delivery.notice
    text = notice.text.splitlines() or [""]
    to = ", ".join(clean(one.notice.destination, 120) for one in group)
    is_done = notice.action == "edit" and delivery.state in ("sent", "superseded")
    return Entry(
        notice.at,
        "told",
        f"{_REASONS[notice.reason]}: {to}",
        clean(" ".join(text) if notice.action == "thread" else text[0], 300),
        delivery.state,
        _STATES[delivery.state],
        clean(delivery.error or "", 200) if delivery.state in ("dead", "unknown", "ready") else "",
        is_done and not is_last,
    )


def _done(one: Mark | Feedback) -> Entry:
    return Entry(one.at, "done", done_in_words(one), f"by {clean(one.via, 20)}")


def _part(incident: Incident, place: int) -> Part:
    driver = incident.drivers[place]
    return Part(
        clean(driver.resource, 120),
        clean(driver.reason, 500),
        driver.run_rate_per_day,
        driver.impact,
        round(min(max(driver.share, 0), 1) * 100),
        f"/v1/series/{driver.series}",
    )
