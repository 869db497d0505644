"""Health: one word for the whole service, and the reasons for it in plain sentences."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from service.core.phrases import moment
from service.core.ports import SourceStatus

State = Literal["ok", "degraded", "rebuilding", "unavailable"]

# A daily export is at most a day old when it comes; one that missed its turn is a silent stop.
STALE_AFTER: Final = timedelta(hours=48)
# A worker lets time pass every few minutes where nothing comes, and says so.
SILENT_AFTER: Final = timedelta(minutes=30)
OVERDUE_AFTER: Final = timedelta(minutes=5)
REJECTED_SHARE: Final = 0.01


class Reason(NamedTuple):
    """One thing that is wrong: `text` says it with its figures, `key` names it while it lasts."""

    key: str
    text: str


class Health(NamedTuple):
    """The word, and why it is not `ok`; a reason names the source or the part it is about."""

    state: State
    reasons: tuple[str, ...]


UNAVAILABLE: Final = Health("unavailable", ("The store does not answer.",))


def health_of(
    sources: Iterable[SourceStatus],
    deliveries: Mapping[str, int],
    next_due: datetime | None,
    now: datetime,
    *,
    rebuilding: bool,
    faults: Sequence[str] = (),
) -> Health:
    """Judge the service by what the store says of its sources and its outbox.

    `faults` are what the process knows of itself, in sentences.
    """
    reasons = [one.text for one in reasons_of(sources, next_due, now, faults)]
    if dead := deliveries.get("dead"):
        reasons.append(f"{_count(dead, 'notice')} could not be delivered.")
    if unknown := deliveries.get("unknown"):
        reasons.append(f"{_count(unknown, 'notice')} may or may not have arrived.")
    if rebuilding:
        return Health("rebuilding", ("The store is being rebuilt from the log.", *reasons))
    return Health("degraded" if reasons else "ok", tuple(reasons))


def reasons_of(
    sources: Iterable[SourceStatus],
    next_due: datetime | None,
    now: datetime,
    faults: Iterable[str] = (),
) -> list[Reason]:
    """Return what is wrong now, and can be right again."""
    found = [Reason(text.partition(" since ")[0], text) for text in faults]
    found += [reason for source in sources for reason in _faults(source, now)]
    if next_due is not None and now - next_due > OVERDUE_AFTER:
        found.append(Reason("outbox", f"Notices wait to be sent since {moment(next_due)}."))
    return found


def is_stale(source: SourceStatus, now: datetime) -> bool:
    """Tell whether a source has been silent for longer than `STALE_AFTER`."""
    return source.last_arrived_at is not None and now - source.last_arrived_at > STALE_AFTER


def _faults(source: SourceStatus, now: datetime) -> Iterable[Reason]:
    name = source.source
    if source.last_error:
        yield Reason(f"error of {name}", f"Source {name}: {source.last_error}")
    if is_stale(source, now):
        text = f"Source {name}: nothing arrived for over {STALE_AFTER.days * 24} h."
        yield Reason(f"silence of {name}", text)
    seen = source.events + source.rejected
    if source.rejected > REJECTED_SHARE * seen:
        text = f"Source {name}: {source.rejected} of {seen} rows were rejected."
        yield Reason(f"rejected of {name}", text)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
