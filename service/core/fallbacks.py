"""Fallbacks: who hears of a severe incident when its destination does not take the notice."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.core.incidents import Incident
from service.core.notices import Notice, delivery_id_of
from service.core.phrases import duration
from service.core.wording import text_of

# So that it has been read, or could have been, a quarter of an hour after it was due.
WAITS: Final = timedelta(minutes=14)

Fallbacks = Mapping[str, Sequence[str]]


def stand_ins(fallbacks: Fallbacks, destination: str) -> list[str]:
    """Return who stands in for a destination: those named for it, else those for its kind.

    >>> stand_ins({"slack": ["email:a@b.example"], "slack:#x": ["console:"]}, "slack:#x")
    ['console:']
    >>> stand_ins({"slack": ["email:a@b.example"]}, "slack:#y"), stand_ins({}, "slack:#y")
    (['email:a@b.example'], [])
    """
    kind = destination.partition(":")[0]
    chosen = fallbacks.get(destination, fallbacks.get(kind, ()))
    return [other for other in chosen if other != destination]


def posts_instead(
    notice: Notice, incident: Incident, others: Sequence[str], now: datetime
) -> list[Notice]:
    """Tell others what could not be told, by a post of the incident as it is now.

    It has the name that a route's first post there would have, so that whoever hears of the
    incident there anyway does not hear of it twice. Nothing follows it.
    """
    late = duration(now - notice.at)
    return [
        msgspec.structs.replace(
            notice,
            delivery_id=delivery_id_of(notice.incident_id, other, 0),
            destination=other,
            action="post",
            seq=0,
            at=now,
            reason="first",
            text=text_of(incident, "post", "first"),
            incident=incident,
            why_here=f"the fallback for {notice.destination}, which did not take it for {late}",
        )
        for other in others
    ]


def is_severe(incident: Incident | None) -> bool:
    """Tell whether an incident is worth a fallback: it fires, and its severity is high."""
    return incident is not None and incident.state == "firing" and incident.severity == "high"
