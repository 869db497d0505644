"""All incidents that are not over, ready to be told as alerts, kept up with the store."""

import threading
from typing import NamedTuple

from service.core.holds import IDLE, labels_of
from service.core.incidents import Incident
from service.core.ports import Store
from service.core.routing import Router, Target
from service.decoding import from_json
from service.entrypoints.api import alertmanager_shapes as shapes


class Ready(NamedTuple):
    """One incident: its labels, it as an alert, and who hears.

    `said` is what people said that keeps it from being told; of one that is inhibited, `hushed` are
    the names of what may do that: an incident's short id, or an idle resource.
    """

    incident_id: str
    owner: str
    labels: dict[str, str]
    alert: shapes.Alert
    targets: list[Target]
    said: list[str]
    hushed: list[str] | None
    idle: list[str]
    is_history: bool


class Seen(NamedTuple):
    """All incidents that are not over, by their ids, and the same ones for the same `version`."""

    version: int
    all: list[Ready]


class Mirror:
    """Reads of the store only what was saved since it was asked last."""

    def __init__(self, store: Store, router: Router, public_url: str) -> None:
        self._store = store
        self._router = router
        self._public = public_url
        self._lock = threading.Lock()
        self._offset = 0
        self._ready: dict[str, Ready] = {}
        self._seen = Seen(0, [])

    def look(self) -> Seen:
        """Return all that are not over, as the store has them now."""
        with self._lock:
            offset, changed = self._store.changed(self._offset)
            is_lost = offset < self._offset  # it is filled again
            if is_lost:
                self._ready.clear()
                offset, changed = self._store.changed(0)
            for written in changed:
                incident = from_json(written, Incident)
                if incident.state == "resolved":
                    self._ready.pop(incident.incident_id, None)
                else:
                    self._ready[incident.incident_id] = self._prepared(incident)
            self._offset = offset
            if changed or is_lost:
                listed = [self._ready[name] for name in sorted(self._ready)]
                self._seen = Seen(self._seen.version + 1, listed)
            return self._seen

    def _prepared(self, incident: Incident) -> Ready:
        labels = labels_of(incident)
        targets = self._router.targets(labels)
        resources = [driver.resource for driver in incident.drivers]
        by = incident.quiet.removeprefix("inhibited by incident ")
        alert = shapes.alert_of(incident, [one.receiver for one in targets], self._public)
        return Ready(
            incident_id=incident.incident_id,
            owner=incident.owner,
            labels=labels | {shapes.NAME: incident.kind},
            alert=alert,
            targets=targets,
            said=shapes.said_of(incident),
            hushed=[by, *resources] if incident.is_inhibited else None,
            idle=resources if incident.kind == IDLE else [],
            is_history=incident.backfill,
        )


def status_of(
    one: Ready, silenced: list[str], inhibitors: dict[str, str]
) -> shapes.AlertStatus | None:
    """Tell what keeps an incident from being told; None when it is told, as any other."""
    silenced_by = silenced + one.said
    inhibited_by = []
    if one.hushed is not None:
        found = {inhibitors[name] for name in one.hushed if name in inhibitors}
        inhibited_by = sorted(found) or ["unknown"]
    if silenced_by or inhibited_by:
        return shapes.AlertStatus(
            state="suppressed", silenced_by=silenced_by, inhibited_by=inhibited_by
        )
    return shapes.HISTORY if one.is_history else None


def inhibitors_of(some: list[Ready]) -> dict[str, str]:
    """Return what may keep others from being told: incidents by short id, idle ones by resource."""
    found: dict[str, str] = {}
    if all(one.hushed is None for one in some):
        return found
    for one in some:
        found[one.incident_id[:12]] = one.incident_id
        found |= dict.fromkeys(one.idle, one.incident_id)
    return found
