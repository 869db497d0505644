"""How the store stands, out of Redis in as few round trips as can be."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from service.core.pages import set_name
from service.core.ports import DestinationStatus, Glance, PartitionStatus, SourceStatus
from service.core.severity import SEVERITIES
from service.decoding import from_json

STATES: Final = ("ready", "sending", "unknown", "sent", "dead", "superseded")
# What of deliveries waits, and may still be sent.
WAITING: Final = ("ready", "sending", "unknown")
MOST_WAITING: Final = 1000
_FACTS: Final = ("sent", "dead", "sent_at", "failing", "error")


def glance(client: Any, prefix: str, partitions: str, owners: frozenset[str] | None) -> Glance:
    """Read it in one round trip; `partitions` is the key of theirs."""
    with client.pipeline(transaction=False) as asked:
        asked.mget(prefix + "offset", prefix + "rebuilding")
        asked.hgetall(prefix + "sources")
        asked.hgetall(partitions)
        asked.zrange(prefix + "outbox", 0, 0, withscores=True)
        for state in STATES:
            asked.zcard(f"{prefix}deliveries:{state}")
        firing = list(_ask_firing(asked, prefix, owners))
        (offset, until), sources, known, first, *counts = asked.execute()
    severities = {str(one): 0 for one in SEVERITIES}
    for severity, count in zip(firing, counts[len(STATES) :], strict=True):
        severities[severity] += count
    return Glance(
        offset=int(offset or 0),
        rebuilding=maybe_time(until),
        sources=_by_name(sources, SourceStatus),
        partitions=_by_name(known, PartitionStatus),
        deliveries=dict(zip(STATES, counts, strict=False)),
        next_due=time_of(first[0][1]) if first else None,
        firing=severities,
    )


def _ask_firing(asked: Any, prefix: str, owners: frozenset[str] | None) -> Iterable[str]:
    """Ask how many fire, by severity and owner; yield the severity of each question."""
    for severity in map(str, SEVERITIES):
        firing = f"{prefix}incidents:{set_name('firing severity', severity)}"
        if owners is None:
            asked.scard(firing)
            yield severity
        for owner in owners or ():
            asked.sintercard(2, [firing, f"{prefix}incidents:{set_name('owner', owner)}"])
            yield severity


def destinations(client: Any, script: Any, prefix: str) -> list[DestinationStatus]:
    """Return how each destination does, by name; of what waits the oldest thousand count."""
    with client.pipeline(transaction=False) as asked:
        keys = [prefix + "deliveries:", prefix + "delivery:"]
        script(keys=keys, args=[MOST_WAITING, *WAITING], client=asked)
        for fact in _FACTS:
            asked.hgetall(f"{prefix}destinations:{fact}")
        waiting, *facts = asked.execute()
    known = dict(zip(_FACTS, facts, strict=True))
    names = {*known["sent_at"], *known["failing"]}.union(*(one[::2] for one in waiting))
    counts = {
        state: dict(zip(found[::2], found[1::2], strict=True))
        for state, found in zip(WAITING, waiting, strict=True)
    }
    return [
        DestinationStatus(
            destination=name.decode(),
            sent=int(known["sent"].get(name, 0)),
            dead=int(known["dead"].get(name, 0)),
            pending=counts["ready"].get(name, 0) + counts["sending"].get(name, 0),
            unknown=counts["unknown"].get(name, 0),
            last_sent_at=maybe_time(known["sent_at"].get(name)),
            failing_since=maybe_time(known["failing"].get(name)),
            last_error=known["error"].get(name, b"").decode() or None,
        )
        for name in sorted(names)
    ]


def _by_name(rows: dict[bytes, bytes], kind: type[Any]) -> list[Any]:
    return [from_json(rows[name], kind) for name in sorted(rows)]


def time_of(score: float) -> datetime:
    """Read a time as the store holds it, in seconds."""
    return datetime.fromtimestamp(score, tz=UTC)


def maybe_time(score: bytes | None) -> datetime | None:
    """Read a time that may not be there."""
    return None if score is None else time_of(float(score))
