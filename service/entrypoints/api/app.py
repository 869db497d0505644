"""The application: routes, errors, headers and metrics put together."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

import msgspec
from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

from service.adapters.history import History
from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.ports import Store
from service.entrypoints.api import problems, views
from service.entrypoints.api.edge import Edge
from service.entrypoints.api.feedback import PATH, FeedbackRoute, Follow, Said
from service.entrypoints.api.problems import Problem
from service.entrypoints.api.routes import SERIES_PATH, Parts, Routes
from service.telemetry import Metrics
from service.web import page

SETTLES_AFTER: Final = timedelta(hours=72)
_SCHEMAS: Final = "#/components/schemas/{name}"
_SHAPES: Final = (
    views.Status,
    views.Listing[Incident],
    views.Listing[Finding],
    views.Listing[views.DeliveryView],
    views.Series,
    Problem,
)


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
    hosts: Collection[str] = (),
    follow: Follow | None = None,
) -> FastAPI:
    """Build the API and the page over one store.

    `now` is what ages are told against: the clock, or the end of what a demo replays.
    `settles_after` says of a source how long its periods may change. `rebuilding` tells while the
    store is filled again from the log, `faults` what is wrong with this process. `hosts` are the
    names it may be asked under, none meaning any: a page of a stranger could point a name of its
    own at an address that only you can reach.
    """
    release = version("spendwatch")
    routes = Routes(
        Parts(store, history, metrics, started_at, now, release, settles_after, rebuilding, faults)
    )
    app = FastAPI(
        title="Spendwatch",
        version=release,
        summary="What cloud and GPU spend is odd, whose it is, and who was told.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    app.include_router(_router(routes))
    app.add_api_route(
        PATH,
        FeedbackRoute(store, now, follow).say,
        methods=["POST"],
        response_class=Response,
        responses={
            200: _content(Incident),
            **{code: _content(Problem) for code in (403, 404, 409, 415, 422, 501, 503)},
        },
    )
    app.mount("/static", StaticFiles(directory=page.STATIC), name="static")
    problems.install(app)
    app.add_middleware(Edge, metrics=metrics, hosts=frozenset(hosts))
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # the documented way
    return app


def _router(routes: Routes) -> APIRouter:
    router = APIRouter()
    for path, endpoint, answers, errors in (
        ("/v1/status", routes.status, views.Status, {503}),
        ("/v1/incidents", routes.incidents, views.Listing[Incident], {422, 503}),
        ("/v1/incidents/{incident_id}", routes.incident, Incident, {404, 422, 503}),
        ("/v1/incidents/{incident_id}/chart.png", routes.chart, "image/png", {404, 422, 503}),
        ("/v1/findings", routes.findings, views.Listing[Finding], {422, 503}),
        ("/v1/findings/{finding_id}", routes.finding, Finding, {404, 422, 503}),
        (SERIES_PATH + "{key:path}", routes.series, views.Series, {404, 422, 503}),
        ("/v1/deliveries", routes.deliveries, views.Listing[views.DeliveryView], {422, 503}),
        ("/livez", routes.live, "text/plain", set()),
        ("/readyz", routes.ready, "text/plain", {503}),
        ("/metrics", routes.metrics, "text/plain", set()),
        ("/", routes.home, "text/html", {503}),
    ):
        router.add_api_route(
            path,
            endpoint,
            response_class=Response,
            responses={200: _content(answers), **{code: _content(Problem) for code in errors}},
        )
    return router


def _content(answers: type | str) -> dict[str, Any]:
    if isinstance(answers, str):
        return {"description": "As asked.", "content": {answers: {"schema": {"type": "string"}}}}
    (schema,), _ = msgspec.json.schema_components([answers], ref_template=_SCHEMAS)
    media_type = problems.MEDIA_TYPE if answers is Problem else "application/json"
    description = "Why there is no answer." if answers is Problem else "As asked."
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API; the shapes come from the very types that are sent."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        _, shapes = msgspec.json.schema_components(_SHAPES, ref_template=_SCHEMAS)
        asked = Said.model_json_schema(ref_template="#/components/schemas/{model}")
        shapes = shapes | {Said.__name__: asked}
        document["components"] = {"schemas": dict(sorted(shapes.items()))}
        app.openapi_schema = document
    return app.openapi_schema
