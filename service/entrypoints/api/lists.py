"""Lists that grow: a page at a time, with where the next one is, in the body and in a header."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import HTTPException, Query, Request, Response

from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.intents import Intent
from service.core.notices import Delivery
from service.core.pages import about_of, cursor_of, place_of, what_of
from service.core.ports import (
    DeliveryFilter,
    FindingFilter,
    IncidentFilter,
    IntentFilter,
    Place,
    Store,
)
from service.decoding import from_json
from service.entrypoints.api import queries, views
from service.entrypoints.api.access import access_of, owners_of

# What a token is known by is nobody's to read.
HIDDEN: Final = ("sha256",)
_T = TypeVar("_T", Delivery, Intent)


class AuditEntry(msgspec.Struct, kw_only=True):
    """What a person did: who, when, from where and why; `said` is all of it."""

    intent_id: str
    at: datetime
    who: str
    via: str
    why: str
    what: str
    about: str
    said: dict[str, Any]

    @classmethod
    def of(cls, intent: Intent) -> "AuditEntry":
        """Show an intent, without what is secret in it."""
        said = msgspec.to_builtins(intent)
        for name in HIDDEN:
            said.get("thing", {}).pop(name, None)
        return cls(
            intent_id=intent.intent_id,
            at=intent.at,
            who=intent.who,
            via=intent.via,
            why=intent.why,
            what=what_of(intent),
            about=about_of(intent),
            said=said,
        )


class ListRoutes:
    """The lists of incidents, findings, deliveries and intents."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def incidents(
        self, query: Annotated[queries.IncidentQuery, Query()], request: Request
    ) -> Response:
        """List incidents: the last changed first, the last opened, or the greatest impact.

        A page goes on after the last item of the one before: what does not change meanwhile is
        shown exactly once. In the order `opened` that is true of all.
        """
        where = IncidentFilter(**self._where(query, request))
        return self._written(request, where, query, Incident)

    def findings(
        self, query: Annotated[queries.FindingQuery, Query()], request: Request
    ) -> Response:
        """List findings: the newest first, or the greatest impact."""
        where = FindingFilter(**self._where(query, request))
        return self._written(request, where, query, Finding)

    def deliveries(
        self, query: Annotated[queries.DeliveryQuery, Query()], request: Request
    ) -> Response:
        """List deliveries: the last decided first, or the greatest impact.

        All but the state is as it was when the delivery was decided.
        """
        where = DeliveryFilter(**self._where(query, request))
        found = self._store.deliveries(where)
        return self._page(request, found, query, views.DeliveryView.of)

    def audit(self, query: Annotated[queries.AuditQuery, Query()], request: Request) -> Response:
        """List what people did and what took effect, the newest first.

        Teams see what is about their incidents and things; tokens and members are an admin's to
        see.
        """
        asked = self._where(query, request)
        where = IntentFilter(**asked, for_admins=access_of(request).may("admin"))
        return self._page(request, self._store.intents(where), query, AuditEntry.of)

    def _where(self, query: Any, request: Request) -> dict[str, Any]:
        """Return what the store is asked: one more than is shown tells whether there is more."""
        owners = owners_of(access_of(request), query.owner)
        try:
            return {**query.filters(), "owners": owners, "limit": query.limit + 1}
        except ValueError as error:
            raise HTTPException(422, str(error)) from None

    def _written(
        self,
        request: Request,
        where: IncidentFilter | FindingFilter,
        query: Any,
        kind: type[Incident | Finding],
    ) -> Response:
        found, more = self._store.written(where), None
        page = found[: query.limit]
        if len(found) > len(page):
            last = place_of(from_json(page[-1], kind), query.order)
            more = next_of(request, last, query.order)
        return views.listing([views.shown(one, kind) for one in page], self._now(), more)

    def _page(
        self,
        request: Request,
        found: list[_T],
        query: Any,
        show: Callable[[_T], Any],
    ) -> Response:
        shown, more = found[: query.limit], None
        if len(found) > query.limit:
            more = next_of(request, place_of(shown[-1], query.order), query.order)
        return views.listing([show(one) for one in shown], self._now(), more)


def next_of(request: Request, place: Place, order: str) -> str:
    """Return where the page after a place is."""
    url = request.url.include_query_params(cursor=cursor_of(place, order))
    return f"{url.path}?{url.query}"
