"""Holds: why something that is worth telling is not told, and until when."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from service.core.events import SeriesKey
from service.core.incidents import CAUSES, Incident
from service.core.phrases import clean, moment
from service.core.plans import Plan
from service.core.routing import Router
from service.core.silences import Silence

IDLE: Final = "idle_gpu"


class Hold(NamedTuple):
    """Why nothing is said now, and when to look again."""

    until: datetime
    why: str


def silenced(silences: Iterable[Silence], labels: Mapping[str, str], at: datetime) -> Hold | None:
    """Return the silence that lasts longest of those that are in the way, or None."""
    found = [one for one in silences if one.mutes(labels, at)]
    if not found:
        return None
    last = max(found, key=lambda one: (one.ends_at, one.name))
    said = f"{clean(last.author, 100)} ({clean(last.comment, 200)})"
    return Hold(last.ends_at, f"silenced until {moment(last.ends_at)} by {said}")


def planned(plan: Plan) -> Hold:
    """Say that something is part of a plan."""
    said = f"{clean(plan.team, 100)} until {moment(plan.until)} ({clean(plan.comment, 200)})"
    return Hold(plan.until, f"planned by {said}")


def labels_of(incident: Incident) -> dict[str, str]:
    """Return what routes may match on."""
    return {
        "owner": incident.owner,
        "sub_account_id": incident.sub_account_id,
        "service_name": incident.service_name or "",
        "region_id": incident.region_id or "",
        "kind": incident.kind,
        "severity": incident.severity,
        "incident_id": incident.incident_id,
    }


class Inhibitions:
    """Which incidents keep others from being told: by the config's rules, and by one of our own.

    What an idle GPU costs is in the notice about it, so an incident about the same resource's cost
    is not told while that one fires.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.idle: set[str] = set()
        self._sources: dict[str, dict[str, str]] = {}

    def note(self, incident: Incident) -> None:
        """Take in an incident as it stands now."""
        fires = incident.state == "firing" or incident.state in ("acknowledged", "snoozed")
        if incident.kind == IDLE:
            resources = _resources(incident)
            if incident.state != "resolved":
                self.idle |= resources
            else:
                self.idle -= resources
        if self._router.has_inhibit_rules and fires and not incident.backfill:
            self._sources[incident.incident_id] = labels_of(incident)
        else:
            self._sources.pop(incident.incident_id, None)

    def by_idle(self, incident: Incident) -> bool:
        """Tell whether the notice about an idle GPU says it already."""
        return CAUSES.get(incident.kind) == "more" and _resources(incident) <= self.idle

    def by_rule(self, incident: Incident) -> str | None:
        """Return the incident that keeps this one from being told, or None."""
        if not self._sources:
            return None
        labels = labels_of(incident)
        for incident_id, source in self._sources.items():
            if incident_id != incident.incident_id and self._router.inhibits(source, labels):
                return incident_id
        return None

    def forget(self, incident_id: str) -> None:
        """Let go of an incident that will not change any more."""
        self._sources.pop(incident_id, None)

    def restore(self, idle: Collection[str], incidents: Iterable[Incident]) -> None:
        """Take over what was saved."""
        for incident in incidents:
            self.note(incident)
        self.idle = set(idle)


def _resources(incident: Incident) -> set[str]:
    return {SeriesKey.parse(driver.series).resource for driver in incident.drivers}
