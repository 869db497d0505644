"""The pages of an application, their files, and their signals."""

from typing import Any, Final, Protocol

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service.entrypoints.api.access import Rule
from service.entrypoints.api.gpus import GpuRoutes
from service.entrypoints.api.pages.known import Known
from service.entrypoints.api.pages.live import Live
from service.entrypoints.api.pages.routes import Pages
from service.entrypoints.api.routes import Parts
from service.entrypoints.api.spend import SpendRoutes
from service.web.layout import STATIC

EVENTS: Final = "text/event-stream"


class Add(Protocol):
    """What adds a route with its rule."""

    def __call__(
        self, method: str, path: str, endpoint: Any, rule: Rule, answers: Any, errors: Any = ()
    ) -> None:
        """Add one route."""
        ...


def add_pages(app: FastAPI, add: Add, parts: Parts) -> None:
    """Add every page. Who has not said who they are is asked, by a redirect, in the page itself."""
    spend = SpendRoutes(parts.store, parts.history, parts.now, parts.settles_after)
    pages = Pages(parts, Known(parts.store), spend, GpuRoutes(parts.store, parts.now))
    rows: tuple[tuple[str, Any, set[int]], ...] = (
        ("/", pages.overview, {503}),
        ("/incidents", pages.incidents, {503}),
        ("/incidents/{incident_id}", pages.incident, {404, 422, 503}),
        ("/spend", pages.spend, {501, 503}),
        ("/gpus", pages.gpus, {503}),
        ("/budgets", pages.budgets, {503}),
        ("/mine", pages.mine, {503}),
        ("/status", pages.status, {503}),
        ("/parts/days", pages.days, set()),
        ("/parts/burn/{name}", pages.burn, {422}),
    )
    for path, endpoint, errors in rows:
        add("GET", path, endpoint, "open", "text/html", errors)
    live = Live(parts.store)
    add("GET", "/live", live.signals, "viewer", EVENTS, {503})
    app.state.live = live
    app.mount("/static", Files(directory=STATIC), name="static")


class Files(StaticFiles):
    """Files that a browser keeps, and asks for again only when they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file, or that the one the browser has is still good."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "no-cache"
        return answer
