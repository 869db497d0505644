"""Troubles: what is wrong with the service itself, told to those who run it, from first to last."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from service.core import money
from service.core.events import content_hash
from service.core.health import REJECTED_SHARE, Reason
from service.core.incidents import TROUBLE, Incident
from service.core.notices import Notice, delivery_id_of
from service.core.phrases import duration
from service.core.ports import SourceStatus
from service.core.talks import Action
from service.core.talks import Reason as Why
from service.core.wording import text_of

# What goes away by itself within this is none; what comes back within it never went.
LASTS: Final = timedelta(minutes=5)
# Over so long something rises or does not.
WINDOW: Final = timedelta(hours=1)
LEAST_REJECTED: Final = 10
# Whoever should be heard of and is not for so long has stopped.
SILENT: Final = timedelta(minutes=10)


class Known(msgspec.Struct, kw_only=True):
    """A trouble that was told, and since when it has been there."""

    key: str
    text: str
    since: datetime


class Rising:
    """Which counts rose lately, of those that never fall."""

    def __init__(self) -> None:
        self._seen: list[tuple[datetime, Mapping[str, int]]] = []

    def note(self, counts: Mapping[str, int], now: datetime) -> Mapping[str, int]:
        """Take in the counts as of now; return by how much each rose within WINDOW."""
        self._seen = [(at, known) for at, known in self._seen if at > now - WINDOW]
        self._seen.append((now, counts))
        first = self._seen[0][1]
        # What was never counted before has not risen: this process has only begun to look.
        return {name: count - first.get(name, count) for name, count in counts.items()}


def counts_of(sources: Iterable[SourceStatus], deliveries: Mapping[str, int]) -> dict[str, int]:
    """Return what `Rising` is to watch."""
    found = {"dead": deliveries.get("dead", 0)}
    for source in sources:
        found[f"rejected/{source.source}"] = source.rejected
        found[f"events/{source.source}"] = source.events + source.rejected
    return found


def rising(rose: Mapping[str, int]) -> list[Reason]:
    """Say which of the counts that rose are a trouble."""
    found = []
    if dead := rose.get("dead"):
        text = f"Deliveries fail for good: {dead} more within the hour."
        found.append(Reason("dead deliveries", text))
    for name, more in rose.items():
        kind, _, source = name.partition("/")
        every = rose.get(f"events/{source}", 0)
        if kind == "rejected" and more >= LEAST_REJECTED and more > REJECTED_SHARE * every:
            text = f"Source {source}: {more} of its last {every} rows became dead letters."
            found.append(Reason(f"dead letters of {source}", text))
    return found


class Watch:
    """Decides when a trouble begins and ends: it must last, and stay away, for LASTS."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}
        self._gone: dict[str, datetime] = {}

    def look(
        self, reasons: Sequence[Reason], known: Iterable[Known], now: datetime
    ) -> tuple[list[Known], list[Known]]:
        """Return what begins and what ends now, of what is there and what was told."""
        there = {reason.key: reason for reason in reasons}
        told = {one.key: one for one in known}
        self._since = {key: self._since.get(key, now) for key in there}
        self._gone = {key: self._gone.get(key, now) for key in told if key not in there}
        begins = [
            Known(key=key, text=there[key].text, since=since)
            for key, since in self._since.items()
            if key not in told and now - since >= LASTS
        ]
        ends = [told[key] for key, since in self._gone.items() if now - since >= LASTS]
        return begins, ends


def begun(trouble: Known, destinations: Iterable[str], now: datetime) -> list[Notice]:
    """Tell of a trouble that began."""
    incident = _incident(trouble, None, now)
    return [_notice(trouble, one, incident, 0, ("post", "first"), now) for one in destinations]


def ended(trouble: Known, destinations: Iterable[str], now: datetime) -> list[Notice]:
    """Tell that a trouble is over, in the same conversations."""
    incident = _incident(trouble, now, now)
    actions: tuple[Action, ...] = ("edit", "thread")
    return [
        _notice(trouble, destination, incident, seq, (action, "resolved"), now)
        for destination in destinations
        for seq, action in enumerate(actions, 1)
    ]


def _notice(
    trouble: Known,
    destination: str,
    incident: Incident,
    seq: int,
    what: tuple[Action, Why],
    now: datetime,
) -> Notice:
    action, reason = what
    return Notice(
        delivery_id=delivery_id_of(incident.incident_id, destination, seq),
        incident_id=incident.incident_id,
        destination=destination,
        action=action,
        seq=seq,
        at=now,
        reason=reason,
        text=text_of(incident, action, reason),
        incident=incident,
        chart=None,
        why_here="[ops] in the config",
        data_until=now,
        told_after=f"{duration(now - trouble.since)} after it was seen first",
    )


def _incident(trouble: Known, ended_at: datetime | None, now: datetime) -> Incident:
    name = content_hash({"trouble": trouble.key, "since": trouble.since})
    return Incident(
        incident_id=name,
        fingerprint=content_hash({"trouble": trouble.key}),
        owner="ops",
        owner_source="who runs the service",
        state="firing" if ended_at is None else "resolved",
        severity="medium",
        starts_at=trouble.since,
        ends_at=ended_at,
        impact=None,
        run_rate_per_day=None,
        billing_currency="XXX",
        finding_ids=[],
        drivers=[],
        opened_at=trouble.since,
        updated_at=now,
        title=trouble.text,
        kind=TROUBLE,
        status="confirmed",
        sub_account_id="",
        service_name=None,
        region_id=None,
        actual=money.ZERO,
        expected=money.ZERO,
        expected_low=money.ZERO,
        expected_high=money.ZERO,
        confidence="",
        odd_until=now,
    )
