"""The routes of spend, movers, GPUs, previews and traces, each with its rule."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from service.adapters.history import History
from service.core.budgets import Budget
from service.core.gpu_pools import Gpus
from service.core.hold_previews import HoldPreview
from service.core.moves import Moves
from service.core.plans import Plan
from service.core.ports import Store
from service.core.previews import BudgetPreview, SubscriptionPreview
from service.core.rates import Rates
from service.core.routing import Route, Router
from service.core.silences import Silence
from service.core.slices import Sliced
from service.core.subscriptions import Subscription
from service.core.trace import Trace
from service.entrypoints.api.annotations import Annotation, AnnotationRoutes
from service.entrypoints.api.gpus import GpuRoutes
from service.entrypoints.api.previews import PreviewRoutes
from service.entrypoints.api.spend import SpendRoutes
from service.entrypoints.api.trace import TraceRoutes

SPEND_SHAPES: Final = (
    Sliced,
    Moves,
    Gpus,
    SubscriptionPreview,
    BudgetPreview,
    HoldPreview,
    Trace,
    Annotation,
)
_TAKES_ALL: Final = Router(Route(receiver="nobody"), {"nobody": []})


class Hearing(NamedTuple):
    """By what the config says who hears, and how currencies compare."""

    router: Router = _TAKES_ALL
    rates: Rates = Rates()


def add_spend(
    add: Callable[..., None],
    store: Store,
    history: History | None,
    now: Callable[[], datetime],
    settles_after: Callable[[str], timedelta],
    hearing: Hearing,
) -> None:
    """Add the routes."""
    spend = SpendRoutes(store, history, now, settles_after)
    gpus = GpuRoutes(store, now)
    annotations = AnnotationRoutes(store, now)
    trace = TraceRoutes(store, now, hearing.router, hearing.rates)
    rows: tuple[tuple[str, Callable[..., Any], Any, set[int]], ...] = (
        ("/v1/spend", spend.spend, Sliced, {422, 501}),
        ("/v1/annotations", annotations.annotations, list[Annotation], {422}),
        ("/v1/findings/{finding_id}/trace", trace.trace, Trace, {404, 422}),
        ("/v1/gpus", gpus.gpus, Gpus, {422}),
        ("/v1/movers", spend.movers, Moves, {422, 501}),
    )
    for path, endpoint, answers, errors in rows:
        add("GET", path, endpoint, "viewer", answers, errors)
    previews = PreviewRoutes(store, history, now, settles_after, hearing.rates)
    asked: tuple[tuple[type, Callable[..., Any], Any, set[int]], ...] = (
        (Subscription, previews.subscription, SubscriptionPreview, set()),
        (Silence, previews.silence, HoldPreview, set()),
        (Plan, previews.plan, HoldPreview, set()),
        (Budget, previews.budget, BudgetPreview, {501}),
    )
    for kind, endpoint, answers, errors in asked:
        path = f"/v1/{kind.__struct_config__.tag}s/preview"  # type: ignore[attr-defined]  # structs
        add("POST", path, endpoint, "viewer", answers, {415, 422} | errors, asks=kind)
