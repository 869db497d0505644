"""The service itself: how fresh its sources are, and what became of what it sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from service.core.estimates import Gap
from service.core.health import SILENT_AFTER, is_stale
from service.core.intents import Feedback, Intent, Mark, named
from service.core.notices import Delivery
from service.core.phrases import clean, duration
from service.core.ports import DestinationStatus, PartitionStatus, SourceStatus
from service.web.layout import Frame, render

ID_SHOWN: Final = 12


class Facts(NamedTuple):
    """What the page is made from.

    Destinations, partitions and `gaps` are for who sees everyone's spend; `intents`, what people
    did, are those that the reader may see.
    """

    sources: Sequence[SourceStatus]
    counts: Mapping[str, int]
    deliveries: Sequence[Delivery]
    destinations: Sequence[DestinationStatus]
    partitions: Sequence[PartitionStatus]
    gaps: Sequence[Gap]
    intents: Sequence[Intent]
    started_at: datetime
    offset: int


class SourceLine(NamedTuple):
    """One source as the page shows it; `word` says how it is."""

    source: SourceStatus
    word: str
    age: str
    complete: str


class Did(NamedTuple):
    """What a person did, and the incident that it is about, if it is."""

    incident_id: str | None
    at: datetime
    who: str
    what: str
    why: str


def status_page(frame: Frame, facts: Facts) -> str:
    """Render the page."""
    return render(
        "status.html",
        frame,
        facts=facts,
        sources=[source_line(source, frame.now) for source in facts.sources],
        destinations=[(one, _word(one)) for one in facts.destinations],
        partitions=[(one, frame.now - one.at > SILENT_AFTER) for one in facts.partitions],
        gaps=[(gap, off_by(gap)) for gap in facts.gaps],
        done=[did(one) for one in facts.intents],
    )


def did(intent: Intent) -> Did:
    """Say what a person did."""
    about = intent.incident_id if isinstance(intent, Feedback | Mark) else None
    what = named(intent)
    if about is not None:
        what = what.replace(about, about[:ID_SHOWN])
    why = clean(intent.why, 200)
    return Did(about, intent.at, clean(intent.who, 80), clean(what.replace("_", " "), 120), why)


def off_by(gap: Gap) -> str:
    """Say how far an estimate was from the bill, in percent of the bill.

    >>> from decimal import Decimal
    >>> money = {"estimated": Decimal(110), "billed": Decimal(100)}
    >>> off_by(Gap(service_name="EC2", billing_currency="USD", hours=3, **money))
    '+10.0 %'
    """
    return (
        f"{(gap.estimated - gap.billed) / gap.billed:+.1%}".replace("%", " %") if gap.billed else ""
    )


def source_line(source: SourceStatus, now: datetime) -> SourceLine:
    """Say how a source is, in a word."""
    at, usual = source.last_arrived_at, source.series_usual
    share = min(source.series_arrived / usual, 1) if usual else None
    complete = "" if share is None else f"{share:.0%}".replace("%", " %")
    if at is None:
        return SourceLine(source, "error" if source.last_error else "waiting", "never", complete)
    word = "error" if source.last_error else "stale" if is_stale(source, now) else "fresh"
    return SourceLine(source, word, f"{duration(now - at)} ago", complete)


def _word(destination: DestinationStatus) -> str:
    if destination.failing_since is not None:
        return "failing"
    return "fine" if destination.sent else "waiting"
