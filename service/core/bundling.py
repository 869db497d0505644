"""Bundling: which bundles are open at which destination, and what waits for a digest there."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from service.core.boxes import WEEK, Box
from service.core.bundles import (
    LISTED,
    Bundle,
    Kind,
    at_risk,
    bundle_id_of,
    digest_of,
    incident_of,
)
from service.core.incidents import REOPENS_WITHIN, Incident
from service.core.rates import Rates
from service.core.routing import Policy
from service.core.state import Chunk, Saved, Streams


class Whole(NamedTuple):
    """A bundle shown as one incident, its incidents, and those of them that it cannot list."""

    incident: Incident
    first: Incident
    left: list[Incident]


class Bundling:
    """Keeps bundles and boxes; `find` returns an incident as it is now."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._bundles: dict[str, Bundle] = {}
        self._boxes: dict[str, Box] = {}
        self.find: Callable[[str], Incident | None] = lambda _: None

    def get(self, bundle_id: str) -> Bundle | None:
        """Return one bundle."""
        return self._bundles.get(bundle_id)

    def box(self, destination: str) -> Box:
        """Return what a destination has had, and has yet to get."""
        return self._boxes.setdefault(destination, Box())

    def due(self) -> datetime | None:
        """Return when a digest is due next."""
        dues = (box.digest_at for box in self._boxes.values())
        return min((due for due in dues if due is not None), default=None)

    def add(
        self, kind: Kind, destination: str, about: str, why: str, incident_id: str, now: datetime
    ) -> str:
        """Put an incident into the bundle that is open for it, or open one; return its name."""
        bundle = self.open_one(kind, destination, about, now)
        if bundle is None:
            name = bundle_id_of(kind, destination, about, now)
            bundle = self._bundles[name] = Bundle(
                bundle_id=name,
                kind=kind,
                destination=destination,
                about=about,
                why=why,
                opened_at=now,
                incident_ids=[],
            )
            self.box(destination).posts.append(now)
        bundle.incident_ids.append(incident_id)
        return bundle.bundle_id

    def open_one(self, kind: Kind, destination: str, about: str, now: datetime) -> Bundle | None:
        """Return the bundle that takes in what is alike, or None."""
        for known in self._bundles.values():
            is_it = (known.kind, known.destination, known.about) == (kind, destination, about)
            if is_it and self._is_open(known, now):
                return known
        return None

    def whole(self, bundle: Bundle, now: datetime) -> Whole | None:
        """Show a bundle as one incident; None when nothing in it may still change."""
        incidents = self._found(bundle.incident_ids)
        if not incidents:
            return None
        shown = incident_of(bundle, incidents, self._rates, now)
        listed = {driver.series for driver in shown.drivers}
        left = [one for one in incidents if one.incident_id not in listed]
        return Whole(shown, incidents[0], left)

    def keep(self, incident: Incident, destination: str, policy: Policy, now: datetime) -> None:
        """Put an incident aside for a destination's digest."""
        self.box(destination).keep(incident.incident_id, policy, now)

    def digests(self, now: datetime) -> Iterator[tuple[str, Incident]]:
        """Yield the digests that are due, by destination, each as one incident."""
        for destination in sorted(self._boxes):
            box = self._boxes[destination]
            if box.digest_at is None or box.digest_at > now:
                continue
            found = [one for one in self._found(box.take_digest()) if one.status != "retracted"]
            found.sort(key=lambda one: (-at_risk(one, self._rates), one.incident_id))
            for first in range(0, len(found), LISTED):
                about = "in the digest" + (f", part {first // LISTED + 1}" if first else "")
                bundle = digest_of(destination, about, "its digest", now)
                part = found[first : first + LISTED]
                yield destination, incident_of(bundle, part, self._rates, now)

    def forget(self, incident_id: str, bundle_ids: Iterable[str]) -> list[str]:
        """Let go of an incident that will not change any more; return the bundles now empty."""
        empty = []
        for bundle_id in bundle_ids:
            bundle = self._bundles.get(bundle_id)
            if bundle is not None and incident_id in bundle.incident_ids:
                bundle.incident_ids.remove(incident_id)
                if not bundle.incident_ids:
                    del self._bundles[bundle_id]
                    empty.append(bundle_id)
        return empty

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/bundles", self._bundles.items())
        yield from streams.values(f"{name}/boxes", self._boxes.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._bundles = saved.values(f"{name}/bundles", Bundle)
        self._boxes = saved.values(f"{name}/boxes", Box)

    def _found(self, incident_ids: Iterable[str]) -> list[Incident]:
        found = map(self.find, incident_ids)
        return [incident for incident in found if incident is not None]

    def _is_open(self, bundle: Bundle, now: datetime) -> bool:
        """Tell whether a bundle still takes incidents: it is young, and not all of it long over."""
        if bundle.kind == "plan":
            return True
        if bundle.kind == "summary":
            return now - bundle.opened_at < WEEK
        return any(not _is_long_over(one, now) for one in self._found(bundle.incident_ids))


def _is_long_over(incident: Incident, now: datetime) -> bool:
    over = incident.ends_at if incident.state == "resolved" else None
    return over is not None and now - over >= REOPENS_WITHIN
