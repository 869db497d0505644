"""The routes of spend, movers, GPUs and previews, each with its rule."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from service.adapters.history import History
from service.core.gpu_pools import Gpus
from service.core.moves import Moves
from service.core.ports import Store
from service.core.slices import Sliced
from service.entrypoints.api.gpus import GpuRoutes
from service.entrypoints.api.spend import SpendRoutes

SPEND_SHAPES: Final = (Sliced, Moves, Gpus)


def add_spend(
    add: Callable[..., None],
    store: Store,
    history: History | None,
    now: Callable[[], datetime],
    settles_after: Callable[[str], timedelta],
) -> None:
    """Add the routes."""
    spend = SpendRoutes(store, history, now, settles_after)
    gpus = GpuRoutes(store, now)
    rows: tuple[tuple[str, Callable[..., Any], Any, set[int]], ...] = (
        ("/v1/spend", spend.spend, Sliced, {422, 501}),
        ("/v1/gpus", gpus.gpus, Gpus, {422}),
        ("/v1/movers", spend.movers, Moves, {422, 501}),
    )
    for path, endpoint, answers, errors in rows:
        add("GET", path, endpoint, "viewer", answers, errors)
