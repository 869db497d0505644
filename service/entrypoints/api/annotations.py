"""Incidents as flat rows, for tables and annotations of Grafana and its like."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Final

import msgspec
from fastapi import HTTPException, Query, Request, Response
from pydantic import Field

from service.core.incidents import Incident, State
from service.core.ports import IncidentFilter, Store
from service.core.severity import Severity, at_least
from service.entrypoints.api import views
from service.entrypoints.api.access import access_of, owners_of
from service.entrypoints.api.queries import Name, WindowQuery

MOST: Final = 10_000


class AnnotationQuery(WindowQuery):
    """Which incidents: those that go on at any moment of a window."""

    owner: Name | None = None
    state: State | None = None
    min_severity: Severity | None = None
    limit: int = Field(500, ge=1, le=2000, description="At most so many, the last changed.")


class Annotation(msgspec.Struct, kw_only=True):
    """One incident in plain values. Amounts are numbers here, for drawing and not for adding up."""

    time: datetime
    time_end: datetime
    title: str
    text: str
    tags: list[str]
    incident_id: str
    owner: str
    service_name: str
    sub_account_id: str
    region_id: str
    kind: str
    severity: Severity
    state: State
    impact: float | None
    run_rate_per_day: float | None
    billing_currency: str

    @classmethod
    def of(cls, incident: Incident, now: datetime) -> "Annotation":
        """Flatten an incident; one that goes on ends now."""
        reasons = [driver.reason for driver in incident.drivers[:1]]
        impact, rate = incident.impact, incident.run_rate_per_day
        return cls(
            time=incident.starts_at,
            time_end=incident.ends_at or max(now, incident.starts_at),
            title=incident.title,
            text=" ".join([f"{incident.owner}: {incident.state}, {incident.severity}.", *reasons]),
            tags=[incident.owner, incident.kind, incident.severity, incident.state],
            incident_id=incident.incident_id,
            owner=incident.owner,
            service_name=incident.service_name or "",
            sub_account_id=incident.sub_account_id,
            region_id=incident.region_id or "",
            kind=incident.kind,
            severity=incident.severity,
            state=incident.state,
            impact=None if impact is None else float(impact),
            run_rate_per_day=None if rate is None else float(rate),
            billing_currency=incident.billing_currency,
        )


class AnnotationRoutes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def annotations(self, query: Annotated[AnnotationQuery, Query()], request: Request) -> Response:
        """List the incidents of a window as flat rows, for Grafana's tables and annotations."""
        now = self._now()
        try:
            since, until = query.window(now)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        owners = owners_of(access_of(request), query.owner)
        where = IncidentFilter(state=query.state, owners=owners, limit=MOST)
        rows = [Annotation.of(one, now) for one in _chosen(self._store.incidents(where), query)]
        inside = [row for row in rows if row.time < until and row.time_end >= since]
        return views.answer(inside[: query.limit])


def _chosen(incidents: Iterable[Incident], query: AnnotationQuery) -> Iterable[Incident]:
    floor = query.min_severity
    return (one for one in incidents if floor is None or at_least(one.severity, floor))
