"""Notices: what one destination is told, and the delivery that carries it."""

from datetime import datetime
from typing import Literal

import msgspec

from service.core.events import content_hash
from service.core.incidents import Incident
from service.core.talks import Action, Reason

DeliveryState = Literal["ready", "sending", "unknown", "sent", "dead", "superseded"]


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


def delivery_id_of(incident_id: str, destination: str, seq: int) -> str:
    """Name a delivery: the same transition told to the same destination has one name."""
    return content_hash({"incident": incident_id, "destination": destination, "seq": seq})
