"""Previews: what a thing would have told, or kept back, before it is put."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.adapters.history import History
from service.adapters.slices import Around, Slices
from service.core import money
from service.core.budgets import Budget, day_of, start_of_day
from service.core.claims import Claim
from service.core.hold_previews import preview_plan, preview_silence
from service.core.incidents import Incident
from service.core.plans import Plan
from service.core.ports import IncidentFilter, Store
from service.core.previews import preview_budget, preview_subscription
from service.core.rates import Rates
from service.core.silences import Silence
from service.core.slices import BY_TAG, Cut, check_dimension
from service.core.subscriptions import Subscription
from service.decoding import convert, from_json
from service.entrypoints.api import views
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.feedback import check_json
from service.entrypoints.api.problems import RETRY_LATER

MOST_INCIDENTS: Final = 100_000
MOST_LINES: Final = 10_000
# Taxes and credits stand beside a budget, and do not count to it.
NOT_COUNTED: Final = ("Tax", "Credit")
MOST_DAYS: Final = 400
USUAL_DAYS: Final = 30
UNNAMED: Final = "preview"
# What says who put a thing and why, and changes nothing of what it would have done.
SAID: Final = ("name", "author", "comment")
# How far back a budget is looked at if nothing is said: two whole periods and the running one.
BUDGET_DAYS: Final = {"month": 92, "quarter": 276, "year": MOST_DAYS}
_Thing = TypeVar("_Thing", Subscription, Budget, Silence, Plan)


class PreviewQuery(BaseModel):
    """How far to look back."""

    model_config = ConfigDict(extra="forbid")

    days: int | None = Field(
        None,
        ge=1,
        le=MOST_DAYS,
        description="30 if not said; of a budget as many as two of its periods and this one have.",
    )


class PreviewRoutes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(
        self,
        store: Store,
        history: History | None,
        now: Callable[[], datetime],
        settles_after: Callable[[str], timedelta],
        rates: Rates,
    ) -> None:
        self._store = store
        self._slices = None if history is None else Slices(history, settles_after)
        self._now = now
        self._rates = rates

    async def subscription(
        self, query: Annotated[PreviewQuery, Query()], request: Request
    ) -> Response:
        """Say what a subscription would have sent in the last days, and what it would have caught.

        Nothing is put. The name may be left out.
        """
        wanted = _read(await request.body(), Subscription, request)
        return await run_in_threadpool(self._subscription, wanted, query, access_of(request))

    def _subscription(self, wanted: Subscription, query: PreviewQuery, access: Access) -> Response:
        found, since, now = self._opened(query, access)
        return views.answer(preview_subscription(wanted, found, since, now, self._rates))

    async def silence(self, query: Annotated[PreviewQuery, Query()], request: Request) -> Response:
        """Say what a silence would have kept from being told in the last days.

        Nothing is put. Name, author and comment may be left out; its times do not matter.
        """
        wanted = _read(await request.body(), Silence, request)
        return await run_in_threadpool(self._silence, wanted, query, access_of(request))

    def _silence(self, wanted: Silence, query: PreviewQuery, access: Access) -> Response:
        return views.answer(preview_silence(wanted, *self._opened(query, access)))

    async def plan(self, query: Annotated[PreviewQuery, Query()], request: Request) -> Response:
        """Say what a plan would have taken in in the last days, and whether its amount held it.

        Nothing is put. Name and comment may be left out; its times do not matter.
        """
        wanted = _read(await request.body(), Plan, request)
        return await run_in_threadpool(self._plan, wanted, query, access_of(request))

    def _plan(self, wanted: Plan, query: PreviewQuery, access: Access) -> Response:
        return views.answer(preview_plan(wanted, *self._opened(query, access)))

    def _opened(
        self, query: PreviewQuery, access: Access
    ) -> tuple[list[Incident], datetime, datetime]:
        """Return the incidents that may be seen, and the window to look at."""
        now = self._now()
        found = self._store.incidents(IncidentFilter(owners=access.teams, limit=MOST_INCIDENTS))
        return found, now - timedelta(days=query.days or USUAL_DAYS), now

    async def budget(self, query: Annotated[PreviewQuery, Query()], request: Request) -> Response:
        """Say what would have counted to a budget in the last days, and what it would have told.

        Nothing is put. The name may be left out. A period that began before is left out.
        """
        budget = _read(await request.body(), Budget, request)
        return await run_in_threadpool(self._budget, budget, query, access_of(request))

    def _budget(self, budget: Budget, query: PreviewQuery, access: Access) -> Response:
        if self._slices is None:
            raise HTTPException(501, "This process keeps no history: ask the one that watches.")
        now = self._now()
        days = (
            query.days or BUDGET_DAYS.get(budget.period) or min(3 * (budget.days or 1), MOST_DAYS)
        )
        first = day_of(now) - days
        costs = self._costs(self._slices, budget, first, access, now)
        return views.answer(preview_budget(budget, costs, first, day_of(now)))

    def _costs(
        self, slices: Slices, budget: Budget, first: int, access: Access, now: datetime
    ) -> dict[int, Decimal]:
        """Return what counts to a budget by day."""
        by, wanted = ["charge_category"], ""
        if budget.tag is not None:
            key, _, wanted = budget.tag.partition("=")
            by.append(_checked(BY_TAG + key))
        scope = {
            "owner": budget.owner,
            "service_name": budget.service,
            "sub_account_id": budget.sub_account,
            "billing_currency": budget.currency,
        }
        where = {name: frozenset({value}) for name, value in scope.items() if value is not None}
        cut = Cut(start_of_day(first), now, tuple(by), where, access.teams)
        sources = [status.source for status in self._store.sources()]
        claims = [one for one in self._store.things("claim") if isinstance(one, Claim)]
        try:
            cells = slices.spend(cut, "day", MOST_LINES, Around(now, sources, claims)).cells
        except OSError:
            raise HTTPException(503, "The history cannot be read.", RETRY_LATER) from None
        costs: dict[int, Decimal] = {}
        for cell in cells:
            is_it = budget.tag is None or _plain(cell.values[1]) == _plain(wanted)
            if is_it and cell.start is not None and cell.values[0] not in NOT_COUNTED:
                day = day_of(cell.start)
                costs[day] = money.add(costs.get(day, money.ZERO), cell.amounts.cost)
        return costs


def _read(body: bytes, kind: type[_Thing], request: Request) -> _Thing:
    """Read what is to be previewed; HTTPException for what is none, or another team's."""
    check_json(request)
    tag = kind.__struct_config__.tag
    try:
        values = from_json(body, dict[str, Any])
        unsaid = {name: UNNAMED for name in SAID if name in kind.__struct_fields__}
        thing = convert(unsaid | {"type": tag} | values, kind, strict=False)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise HTTPException(422, str(error)) from None
    access = access_of(request)
    if access.teams is not None and not (thing.owners and access.teams >= set(thing.owners)):
        raise HTTPException(403, f"This {tag} would not be one of your teams' own.")
    return thing


def _checked(dimension: str) -> str:
    try:
        return check_dimension(dimension)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


def _plain(value: str) -> str:
    return " ".join(value.split()).lower()
