"""Why somebody was told of a finding, or was not."""

from collections.abc import Callable
from datetime import datetime

from fastapi import HTTPException, Request, Response

from service.core.ports import Store
from service.core.rates import Rates
from service.core.routing import Router
from service.core.standing import Things
from service.core.trace import Rules, trace_of
from service.entrypoints.api import views
from service.entrypoints.api.access import access_of

KINDS = ("silence", "plan", "subscription")


class TraceRoutes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(
        self, store: Store, now: Callable[[], datetime], router: Router, rates: Rates
    ) -> None:
        self._store = store
        self._now = now
        self._router = router
        self._rates = rates

    def trace(self, finding_id: views.Id, request: Request) -> Response:
        """Say why a finding was told, or was not: its incident, route, holds and deliveries.

        What is not `recorded` is worked out anew from the routes and from what stands now.
        """
        finding = self._store.finding(finding_id)
        access = access_of(request)
        if finding is None or not access.sees(finding.owner):
            raise HTTPException(404, "There is no such finding.")
        incident = self._store.incident_of(finding_id)
        if incident is not None and not access.sees(incident.owner):
            incident = None
        told = [] if incident is None else self._store.told(incident.incident_id)
        things = Things(thing for kind in KINDS for thing in self._store.things(kind))
        rules = Rules(self._router, self._rates, things)
        return views.answer(trace_of(finding, incident, told, rules, self._now()))
