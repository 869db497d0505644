"""Counting what was saved, and telling the log of it, alike on one machine and in the router."""

from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime

import structlog

from service.core.ports import Changes, SourceStatus
from service.telemetry import Metrics

_log = structlog.get_logger("incidents")


class Counting:
    """Moves the counters by what changed from one batch to the next."""

    def __init__(
        self, metrics: Metrics, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._status: dict[str, str] = {}
        self._counted: dict[str, SourceStatus] = {}

    def count(self, changes: Changes, *, is_news: bool) -> None:
        """Count what changed; what is no news was counted by a run before, and is remembered."""
        for finding in changes.findings:
            if is_news and self._status.get(finding.finding_id) != finding.status:
                self._metrics.finding(finding)
            if finding.ended_at is None or finding.status == "provisional":
                self._status[finding.finding_id] = finding.status
            else:
                self._status.pop(finding.finding_id, None)
        for source in changes.sources:
            if is_news:
                self._count(source)
            self._counted[source.source] = copy(source)

    def _count(self, source: SourceStatus) -> None:
        old = self._counted.get(source.source, SourceStatus(source=source.source))
        duplicates = source.duplicates - old.duplicates
        count = self._metrics.event
        count(source.source, "duplicate", number=duplicates)
        count(source.source, "rejected", number=source.rejected - old.rejected)
        newest = source.last_arrived_at if source.events > old.events else None
        age = None if newest is None else self._clock() - newest
        count(source.source, "new", age, source.events - old.events - duplicates)


def tell_log(changes: Changes) -> None:
    """Write a line for every incident that changed."""
    for incident in changes.incidents:
        _log.info(
            "incident",
            incident_id=incident.incident_id,
            state=incident.state,
            status=incident.status,
            severity=incident.severity,
            owner=incident.owner,
            findings=len(incident.finding_ids),
        )
