"""Every page, and what it is made from. A team's reader is shown what the API would answer them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from fastapi import HTTPException, Request, Response

from service.core.budget_figures import BudgetStatus
from service.core.budgets import Budget
from service.core.events import SeriesKey
from service.core.incidents import Incident
from service.core.moves import Moves
from service.core.plans import Plan
from service.core.ports import DeliveryFilter, IntentFilter, StoreUnavailableError
from service.core.silences import Silence
from service.core.slices import Cut, Grain, Sliced
from service.core.standing import Standing
from service.core.subscriptions import Subscription
from service.entrypoints.api import views
from service.entrypoints.api.access import Access
from service.entrypoints.api.gpus import GpuQuery, GpuRoutes
from service.entrypoints.api.kept import Kept
from service.entrypoints.api.pages.known import Known
from service.entrypoints.api.routes import Parts
from service.entrypoints.api.spend import SpendRoutes, key_of
from service.entrypoints.api.things import Name, is_theirs
from service.web import budgets, explore, gpus, incident, incidents, mine, overview, status
from service.web.layout import Frame, no_store_page, render, render_part
from service.web.series import Line, Point, line_of

DELIVERIES_SHOWN: Final = 100
INTENTS_SHOWN: Final = 50
SHOWN_BEFORE: Final = timedelta(days=7)
SHOWN_AT_MOST: Final = timedelta(days=35)
# How long a page waits for what has to be added up before it is shown without.
PATIENCE: Final = 0.6
_Show = Callable[[Frame, Access], str]


class Pages:
    """One method a page."""

    def __init__(self, parts: Parts, known: Known, spend: SpendRoutes, gpus: GpuRoutes) -> None:
        self._parts = parts
        self._known = known
        self._spend = spend
        self._gpus = gpus
        self._slices: Kept[Sliced] = Kept()
        self._moves: Kept[Moves] = Kept()

    def overview(self, request: Request) -> Response:
        """Show what is burning now, whose it is, how much and since when."""

        def show(frame: Frame, access: Access) -> str:
            store = self._parts.store
            facts = overview.Facts(
                rows=self._known.rows(access),
                incident=store.incident,
                notice=store.latest_notice,
                budgets=self._budgets(access),
                sources=store.sources(),
            )
            return overview.overview_page(frame, facts)

        return self._page(request, show)

    def incidents(self, request: Request) -> Response:
        """List incidents: filtered, sorted, page by page."""
        return self._page(
            request, lambda frame, access: incidents.incidents_page(frame, self._known.rows(access))
        )

    def incident(self, incident_id: views.Id, request: Request) -> Response:
        """Show one incident: its series, its causes, what was sent and done."""

        def show(frame: Frame, access: Access) -> str:
            store = self._parts.store
            found = store.incident(incident_id)
            if found is None or not access.sees(found.owner):
                raise HTTPException(404, "There is no such incident.")
            notice = store.latest_notice(incident_id)
            chart = None if notice is None else notice.chart
            line = self._line(found) if chart is None else line_of(chart, found.settled_until)
            findings = [store.finding(finding_id) for finding_id in found.finding_ids[:100]]
            facts = incident.Facts(
                incident=found,
                deliveries=store.told(incident_id),
                findings=[one for one in findings if one is not None],
                line=line,
                data_until=None if notice is None else notice.data_until,
            )
            return incident.incident_page(frame, facts)

        return self._page(request, show)

    def spend(self, request: Request) -> Response:
        """Show what was spent, by any dimension, and who moved it."""

        def show(frame: Frame, access: Access) -> str:
            view = explore.View.of(frame.query, frame.now)
            try:
                sliced = self._sliced(view.cut(access.teams), view.grain, explore.LINES)
                moves = self._compared(view.both(access.teams), view.since)
            except TimeoutError:
                return explore.waiting_page(frame, view)
            return explore.spend_page(frame, view, sliced, moves)

        return self._page(request, show)

    def days(self, request: Request) -> Response:
        """Show what was spent by day and service: a part of the overview."""

        def show(frame: Frame, access: Access) -> str:
            view = explore.View.of({"days": "30"}, frame.now)
            cut = view.cut(access.teams)
            return explore.days_part(self._sliced(cut, "day", explore.STACKED_BY_DAY))

        return self._part(request, show)

    def burn(self, name: Name, request: Request) -> Response:
        """Show how a budget is spent day by day: a part of the budgets."""

        def show(_: Frame, access: Access) -> str:
            for one in self._budgets(access):
                if one.figures.name == name:
                    cut = budgets.cut_of(one)
                    return budgets.burn_part(one, self._sliced(cut, "day", 1))
            raise HTTPException(404, "There is no such budget.")

        return self._part(request, show)

    def gpus(self, request: Request) -> Response:
        """Show what GPUs do, and what idles."""

        def show(frame: Frame, access: Access) -> str:
            told = self._gpus.seen(GpuQuery(limit=100), access)
            rows = self._known.rows(access)
            incident_of = {finding: row.incident_id for row in rows for finding in row.idle}
            return gpus.gpus_page(frame, told, incident_of)

        return self._page(request, show)

    def budgets(self, request: Request) -> Response:
        """Show every budget: what was spent, and what it will be."""

        def show(frame: Frame, access: Access) -> str:
            owners = sorted({row.owner for row in self._known.rows(access)})
            set_here = self._things(Budget, access)
            return budgets.budgets_page(frame, self._budgets(access), set_here, owners)

        return self._page(request, show)

    def mine(self, request: Request) -> Response:
        """Show subscriptions, silences and plans, and let them be made and removed."""

        def show(frame: Frame, access: Access) -> str:
            rows = self._known.rows(access)
            subscriptions = self._things(Subscription, access)
            facts = mine.Facts(
                subscriptions=subscriptions,
                silences=self._things(Silence, access),
                plans=self._things(Plan, access),
                owners=sorted({row.owner for row in rows}),
                destinations=sorted({one.destination for one in subscriptions}),
            )
            return mine.mine_page(frame, facts)

        return self._page(request, show)

    def status(self, request: Request) -> Response:
        """Show how the service is: sources, deliveries, and what people did."""

        def show(frame: Frame, access: Access) -> str:
            parts, store = self._parts, self._parts.store
            sees_all = access.teams is None
            facts = status.Facts(
                sources=store.sources(),
                counts=store.delivery_counts(),
                deliveries=store.deliveries(
                    DeliveryFilter(limit=DELIVERIES_SHOWN, owners=access.teams)
                ),
                destinations=store.destinations() if sees_all else [],
                partitions=store.glance().partitions if sees_all else [],
                gaps=list(parts.gaps()) if sees_all else [],
                intents=store.intents(
                    IntentFilter(
                        limit=INTENTS_SHOWN, owners=access.teams, for_admins=access.may("admin")
                    )
                ),
                started_at=parts.started_at,
                offset=store.offset(),
            )
            return status.status_page(frame, facts)

        return self._page(request, show)

    def _page(self, request: Request, show: _Show) -> Response:
        """Show a page to whom it may be shown; ask who that is of everyone else."""
        access = request.state.access
        if access is None or not access.may("viewer"):
            return Response(status_code=303, headers={"Location": sign_in(request)})
        now = self._parts.now()
        try:
            frame = self._frame(request, access, now)
            try:
                page, code = show(frame, access), 200
            except HTTPException as error:
                page, code = render("missing.html", frame, why=error.detail), error.status_code
        except StoreUnavailableError:
            page, code = no_store_page(now), 503
        return Response(page, code, media_type="text/html")

    def _part(self, request: Request, show: _Show) -> Response:
        """Show a part of a page; what cannot be shown is said in its place."""
        access = request.state.access
        if access is None or not access.may("viewer"):
            return Response(status_code=303, headers={"Location": sign_in(request)})
        now = self._parts.now()
        try:
            part = show(self._frame(request, access, now), access)
        except HTTPException as error:
            part = render_part("not_now.html", why=error.detail)
        except StoreUnavailableError:
            part = render_part("not_now.html", why="The store does not answer.")
        except TimeoutError:
            part = render_part("not_yet.html", path=request.url.path)
        return Response(part, media_type="text/html")

    def _frame(self, request: Request, access: Access, now: datetime) -> Frame:
        return Frame(
            path=request.url.path,
            query=dict(request.query_params),
            health=self._parts.health(now),
            now=now,
            version=self._parts.version,
            name=access.name,
            teams=access.teams,
            may_edit=access.may("editor"),
        )

    def _budgets(self, access: Access) -> list[BudgetStatus]:
        return [one for one in self._parts.store.budgets() if access.sees(one.owner)]

    def _sliced(self, cut: Cut, grain: Grain, most: int) -> Sliced:
        question = key_of(cut), grain, most
        return self._slices.get(
            question, lambda: self._spend.sliced(cut, grain, most, self._parts.now()), PATIENCE
        )

    def _compared(self, cut: Cut, since: datetime) -> Moves:
        most = explore.MOVES_ASKED
        return self._moves.get(
            (key_of(cut), since),
            lambda: self._spend.compared(cut, since, most, self._parts.now()),
            PATIENCE,
        )

    def _things(self, kind: type[Standing], access: Access) -> list[Any]:
        known = self._parts.store.things(str(kind.__struct_config__.tag))
        return [one for one in known if is_theirs(access, one)]

    def _line(self, found: Incident) -> Line | None:
        """Read the series of the biggest driver from the history, where nothing was told of it."""
        history = self._parts.history
        if history is None or not found.drivers:
            return None
        name = found.drivers[0].series
        try:
            key = SeriesKey.parse(name)
            until = found.odd_until + timedelta(days=1)
            since = max(found.starts_at - SHOWN_BEFORE, until - SHOWN_AT_MOST)
            cells = history.series(name, since, until)
        except (ValueError, OSError):
            return None
        usage = [cell for cell in cells if cell.charge_category == "Usage"]
        settled = found.settled_until
        points = [
            Point(
                at=cell.charge_period_start,
                actual=float(cell.cost),
                is_odd=found.starts_at <= cell.charge_period_start < found.odd_until,
                is_settled=settled is None or cell.charge_period_end <= settled,
            )
            for cell in usage
        ]
        step = 1 if key.grain == "hour" else 24
        return Line(name, key.billing_currency, step, points) if points else None


def sign_in(request: Request) -> str:
    """Return where to say who one is, and to come back from."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return "/sign-in" if path == "/" else f"/sign-in?to={quote(path, safe='/')}"
