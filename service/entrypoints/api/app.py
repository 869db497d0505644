"""The application: routes, errors, headers and metrics put together."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from service.adapters.history import History
from service.core.budget_figures import BudgetStatus
from service.core.budgets import Budget
from service.core.estimates import Gap
from service.core.experiments import RunBill
from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.members import Member
from service.core.ports import Posting, Store
from service.core.secret import Secret
from service.core.standing import KINDS
from service.core.tokens import Token
from service.entrypoints.api import alertmanager, problems, views
from service.entrypoints.api.access import NO_LOCAL, SAFE, Gate, Local, Rule
from service.entrypoints.api.acts import add_acts
from service.entrypoints.api.alertmanager_silences import SilenceRoutes
from service.entrypoints.api.allocation import ALLOCATION_SHAPES, Allocated, add_allocation
from service.entrypoints.api.edge import Edge
from service.entrypoints.api.events import PATH as EVENTS
from service.entrypoints.api.events import EventRoute, Taken
from service.entrypoints.api.feedback import MARKS_PATH, PATH, Done, FeedbackRoute, Follow, Said
from service.entrypoints.api.limits import Rates
from service.entrypoints.api.lists import AuditEntry, ListRoutes
from service.entrypoints.api.pages import add_pages
from service.entrypoints.api.problems import ALERTMANAGER, Problem
from service.entrypoints.api.routes import SERIES_PATH, Parts, Routes
from service.entrypoints.api.session import SessionRoutes
from service.entrypoints.api.spend_table import SPEND_SHAPES, Hearing, add_spend
from service.entrypoints.api.things import ThingRoutes
from service.telemetry import Metrics

SETTLES_AFTER: Final = timedelta(hours=72)
_SCHEMAS: Final = "#/components/schemas/{name}"
_SHAPES: Final = (
    views.Status,
    views.Listing[Incident],
    views.Listing[Finding],
    views.Listing[BudgetStatus],
    views.Listing[views.DeliveryView],
    views.Listing[AuditEntry],
    Taken,
    views.Series,
    views.Experiments,
    *alertmanager.SHAPES,
    *KINDS,
    views.TokenView,
    views.Listing[views.TokenView],
    *(views.Listing[kind] for kind in KINDS if kind not in (Token, Budget)),  # type: ignore[valid-type]
    *SPEND_SHAPES,
    *ALLOCATION_SHAPES,
    Problem,
)

WITHOUT_BODY: Final = (204, 303)
# Who may see, and who may set, things of a kind.
_OF_TEAMS: Final[tuple[Rule, Rule]] = ("viewer", "editor")
_OF_ADMINS: Final[tuple[Rule, Rule]] = ("admin", "admin")


def build_app(  # noqa: PLR0913  one place where everything meets
    *,
    store: Store,
    history: History | None,
    metrics: Metrics,
    started_at: datetime,
    now: Callable[[], datetime],
    settles_after: Callable[[str], timedelta] = lambda _source: SETTLES_AFTER,
    rebuilding: Callable[[], bool] = lambda: False,
    faults: Callable[[], Sequence[str]] = tuple,
    runs: Callable[[], Sequence[RunBill]] = tuple,
    gaps: Callable[[], Sequence[Gap]] = tuple,
    allocated: Callable[[], Allocated] = Allocated,
    hosts: Collection[str] = (),
    follow: Follow | None = None,
    local: Local = NO_LOCAL,
    rates: Rates | None = None,
    public_url: str = "",
    posting: Posting | None = None,
    link_keys: Sequence[Secret] = (),
    hearing: Hearing = Hearing(),  # noqa: B008 - it cannot change
) -> FastAPI:
    """Build the API and the page over one store.

    `now` is what ages are told against: the clock, or the end of what a demo replays.
    `settles_after` says of a source how long its periods may change. `rebuilding` tells while the
    store is filled again from the log, `faults` what is wrong with this process, `runs` what
    experiments cost, `gaps` how far estimates were from the bill, `allocated` what tags tell apart
    and what units cost. `hosts` are the names it may be asked under, none meaning any: a page of a
    stranger could point a name of its own at an address that only you can reach. `local` says
    whether requests from this machine need a token, `rates` how much one caller may ask.
    `link_keys` sign the links in mails, `hearing` is who hears of what. People come to the page by
    `public_url`, and events that are sent go to `posting`.
    """
    release = version("spendwatch")
    parts = Parts(
        store,
        history,
        metrics,
        started_at,
        now,
        release,
        settles_after,
        rebuilding,
        faults,
        runs,
        gaps,
    )
    app = FastAPI(
        title="Spendwatch",
        version=release,
        summary="What cloud and GPU spend is odd, whose it is, and who was told.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    gate = Gate(store, now, local, rates)
    add = _Adder(app, gate)
    _add_reading(add, Routes(parts))
    add_pages(app, add, parts)
    _add_lists(add, ListRoutes(store, now))
    add("POST", EVENTS, EventRoute(posting).post, "ingest", Taken,
        {408, 413, 415, 422, 501, 503}, 202)  # fmt: skip
    _add_sessions(add, SessionRoutes(gate, now))
    add_allocation(add, allocated, now)
    add_spend(add, store, history, now, settles_after, hearing)
    feedback = FeedbackRoute(store, now, follow)
    errors = {400, 403, 404, 409, 415, 422, 501, 503}
    add("POST", PATH, feedback.say, "editor", Incident, errors)
    add("POST", MARKS_PATH, feedback.mark, "editor", Incident, errors)
    add_acts(add, store, now, follow, link_keys)
    tokens = ThingRoutes(Token, store, now, follow, lambda some: _shown(some, store))
    _add_things(add, Token, tokens, views.TokenView, "admin", "admin")
    for kind in KINDS:
        if kind is not Token:
            routes_of = ThingRoutes(kind, store, now, follow)
            # Who is who in Slack decides what they may, and is an admin's to say.
            rules = _OF_ADMINS if kind is Member else _OF_TEAMS
            _add_things(add, kind, routes_of, kind, *rules)
    speaker = alertmanager.AlertmanagerRoutes(
        store, now, started_at, release, hearing.router, public_url
    )
    _add_alertmanager(add, speaker, SilenceRoutes(store, now, follow))
    problems.install(app)
    app.add_middleware(Edge, metrics=metrics, hosts=frozenset(hosts))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # the documented way
    return app


class _Adder:
    """Adds routes, each with the rule that says who may use it: none can be added without."""

    def __init__(self, app: FastAPI, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def __call__(  # noqa: PLR0913, PLR0917  what a route is
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        rule: Rule,
        answers: Any,
        errors: Collection[int] = (),
        code: int = 200,
        asks: type | None = None,
        tells: type = Problem,
    ) -> None:
        def let_in(request: Request) -> None:
            request.state.access = self._gate.let_in(request, rule)

        known = {*errors, 429} if rule == "open" else {*errors, 401, 403, 429, 503}
        known |= set() if method in SAFE else {413}
        told = _content(answers) if code not in WITHOUT_BODY else {"description": "Done."}
        failed = _content(tells)
        if answers == "text/html":  # a page tells some errors as a page
            failed["content"] |= _content(answers)["content"]
        self._app.add_api_route(
            path,
            endpoint,
            methods=[method],
            dependencies=[Depends(let_in)],
            status_code=code,
            response_class=Response,
            responses={code: told, **dict.fromkeys(sorted(known), failed)},
            openapi_extra={"x-rule": rule} | ({} if asks is None else _asked(asks)),
        )


def _add_reading(add: _Adder, routes: Routes) -> None:
    rows: tuple[tuple[str, Callable[..., Response], Rule, Any, set[int]], ...] = (
        ("/v1/status", routes.status, "viewer", views.Status, set()),
        ("/v1/incidents/{incident_id}", routes.incident, "viewer", Incident, {404, 422}),
        ("/v1/incidents/{incident_id}/chart.png", routes.chart, "viewer", "image/png", {404, 422}),
        ("/v1/findings/{finding_id}", routes.finding, "viewer", Finding, {404, 422}),
        (SERIES_PATH + "{key:path}", routes.series, "viewer", views.Series, {404, 422}),
        ("/v1/experiments", routes.experiments, "viewer", views.Experiments, set()),
        ("/v1/budgets", routes.budgets, "viewer", views.Listing[BudgetStatus], {422}),
        ("/livez", routes.live, "open", "text/plain", set()),
        ("/readyz", routes.ready, "open", "text/plain", {503}),
        ("/metrics", routes.metrics, "viewer", "text/plain", set()),
    )
    for path, endpoint, rule, answers, errors in rows:
        add("GET", path, endpoint, rule, answers, errors)


def _add_lists(add: _Adder, routes: ListRoutes) -> None:
    rows: tuple[tuple[str, Callable[..., Response], Any], ...] = (
        ("/v1/incidents", routes.incidents, views.Listing[Incident]),
        ("/v1/findings", routes.findings, views.Listing[Finding]),
        ("/v1/deliveries", routes.deliveries, views.Listing[views.DeliveryView]),
        ("/v1/audit", routes.audit, views.Listing[AuditEntry]),
    )
    for path, endpoint, answers in rows:
        add("GET", path, endpoint, "viewer", answers, {422})


def _add_alertmanager(
    add: _Adder, routes: alertmanager.AlertmanagerRoutes, silences: SilenceRoutes
) -> None:
    for method, path, endpoint, answers, asks in alertmanager.rows(routes, silences):
        errors = {400, 404, 503} if method == "GET" else {400, 404, 409, 415, 501, 503}
        rule: Rule = "viewer" if method == "GET" else "editor"
        add(method, path, endpoint, rule, answers, errors, asks=asks, tells=str)


def _add_sessions(add: _Adder, routes: SessionRoutes) -> None:
    add("GET", "/sign-in", routes.page, "open", "text/html", {422})
    add("POST", "/sign-in", routes.enter, "open", "text/html", {401, 403, 503}, 303)
    add("POST", "/sign-out", routes.leave, "open", "text/html", {403}, 303)


def _add_things(
    add: _Adder, kind: Any, routes: ThingRoutes, shown: Any, sees: Rule, sets: Rule
) -> None:
    """Add what lists, reads, puts and drops things of a kind."""
    every = f"/v1/{kind.__struct_config__.tag}s"
    one = every + "/{name}"
    refused = {404, 409, 412, 415, 422, 501}
    if kind is not Budget:  # they are listed with what they come to
        add("GET", every, routes.list, sees, views.Listing[shown], {422})
    add("GET", one, routes.get, sees, shown, {404, 422})
    add("PUT", one, routes.put, sets, shown, refused, asks=kind)
    add("DELETE", one, routes.drop, sets, "text/plain", refused, 204)


def _shown(tokens: Sequence[Token], store: Store) -> list[views.TokenView]:
    used = store.tokens_used()
    return [
        views.TokenView(
            name=token.name,
            teams=token.teams,
            role=token.role,
            expires_at=token.expires_at,
            used_at=used.get(token.name),
        )
        for token in tokens
    ]


def _content(answers: type | str) -> dict[str, Any]:
    if isinstance(answers, str):
        return {"description": "As asked.", "content": {answers: {"schema": {"type": "string"}}}}
    (schema,), _ = msgspec.json.schema_components([answers], ref_template=_SCHEMAS)
    media_type = problems.MEDIA_TYPE if answers is Problem else "application/json"
    description = "Why there is no answer." if answers in (Problem, str) else "As asked."
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _asked(kind: type) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_SCHEMAS)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API; the shapes come from the very types that are sent."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        for path, operations in document["paths"].items():
            for operation in operations.values() if path.startswith(ALERTMANAGER) else ():
                operation["responses"].pop("422", None)  # it is told as 400 there
        _, shapes = msgspec.json.schema_components(_SHAPES, ref_template=_SCHEMAS)
        for body in (Said, Done):
            asked = body.model_json_schema(ref_template="#/components/schemas/{model}")
            shapes = shapes | {body.__name__: asked}
        document["components"] = {"schemas": dict(sorted(shapes.items()))}
        app.openapi_schema = document
    return app.openapi_schema
