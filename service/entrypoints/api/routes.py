"""Every route of the API, and what it answers from the store and the history."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple
from urllib.parse import unquote

from fastapi import HTTPException, Query, Request, Response

from service.adapters.history import History
from service.core.cost_words import headline
from service.core.estimates import Gap
from service.core.events import SeriesKey
from service.core.experiments import RunBill
from service.core.health import UNAVAILABLE, Health, health_of
from service.core.ports import FindingFilter, Glance, Store, StoreUnavailableError
from service.entrypoints.api import queries, views
from service.entrypoints.api.access import access_of
from service.entrypoints.api.problems import RETRY_LATER, unavailable
from service.telemetry import CONTENT_TYPE, Metrics

CHARTS_KEPT: Final = 64
SERIES_PATH: Final = "/v1/series/"


class Parts(NamedTuple):
    """What the routes answer from."""

    store: Store
    history: History | None
    metrics: Metrics
    started_at: datetime
    now: Callable[[], datetime]
    version: str
    settles_after: Callable[[str], timedelta]
    rebuilding: Callable[[], bool]
    faults: Callable[[], Sequence[str]]
    runs: Callable[[], Sequence[RunBill]]
    gaps: Callable[[], Sequence[Gap]]

    def health(self, now: datetime, glance: Glance | None = None) -> Health:
        """Judge the service by its store and by what this process knows of itself."""
        seen = self.store.glance() if glance is None else glance
        return health_of(
            seen.sources,
            seen.deliveries,
            seen.next_due,
            now,
            rebuilding=self.rebuilding(),
            faults=self.faults(),
        )


class Routes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._charts: dict[str, bytes] = {}

    def live(self) -> Response:
        """Answer as long as the process does; asks nothing of anything else."""
        return Response("ok\n", media_type="text/plain")

    def ready(self) -> Response:
        """Answer 200 when the store answers and is whole, 503 otherwise."""
        self._parts.store.ping()
        if self._parts.rebuilding():
            return unavailable("The store is being rebuilt from the log.")
        return Response("ok\n", media_type="text/plain")

    def metrics(self) -> Response:
        """Return this process's metrics, and the store's state, in Prometheus text format."""
        metrics, store = self._parts.metrics, self._parts.store
        try:
            seen = store.glance()
            metrics.outbox(seen.deliveries)
            metrics.firing(seen.firing)
            metrics.offset.set(seen.offset)
            for source in seen.sources:
                if source.last_arrived_at is not None:
                    at = source.last_arrived_at.timestamp()
                    metrics.last_arrival.labels(source.source).set(at)
            metrics.store_up.set(1)
        except StoreUnavailableError:
            # What this process counts itself is true without the store.
            metrics.store_up.set(0)
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    def status(self, request: Request) -> Response:
        """Say how the service is: one word, the reasons, and the facts behind them."""
        parts, access = self._parts, access_of(request)
        now = parts.now()
        try:
            seen = parts.store.glance(access.teams)
            health = parts.health(now, seen)
            sees_all = access.teams is None
            status = views.Status(
                state=health.state,
                reasons=list(health.reasons),
                as_of=seen.rebuilding or now,
                version=parts.version,
                started_at=parts.started_at,
                offset=seen.offset,
                sources=[views.Source.of(source, now) for source in seen.sources],
                deliveries=seen.deliveries,
                incidents_firing=sum(seen.firing.values()),
                estimates=list(parts.gaps()) if sees_all else [],
                partitions=[views.Partition.of(one, now) for one in seen.partitions if sees_all],
                destinations=parts.store.destinations() if sees_all else [],
            )
        except StoreUnavailableError:
            reasons = list(UNAVAILABLE.reasons)
            return unavailable(reasons[0], state=UNAVAILABLE.state, reasons=reasons)
        return views.answer(status)

    def incident(self, incident_id: views.Id, request: Request) -> Response:
        """Return one incident."""
        found = self._parts.store.incident(incident_id)
        if found is None or not access_of(request).sees(found.owner):
            raise HTTPException(404, "There is no such incident.")
        return views.answer(found)

    def chart(self, incident_id: views.Id, request: Request) -> Response:
        """Draw the series behind an incident's biggest driver, as it was last told."""
        notice = self._parts.store.latest_notice(incident_id)
        if (
            notice is None
            or notice.chart is None
            or not access_of(request).sees(notice.incident.owner)
        ):
            raise HTTPException(404, "There is no chart of such an incident.")
        name = notice.delivery_id
        # The page asks again each time it refreshes; the picture changes with the notice alone.
        headers = {"ETag": f'"{name}"', "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        image = self._charts.get(name)
        if image is None:
            from service.adapters import charts  # noqa: PLC0415  loads matplotlib

            image = charts.png(notice.chart, title=headline(notice.incident))
            self._charts[name] = image
            for old in list(self._charts)[:-CHARTS_KEPT]:
                self._charts.pop(old, None)
        return Response(image, media_type="image/png", headers=headers)

    def experiments(self, request: Request) -> Response:
        """Say what experiments and their runs cost, the dearest first."""
        parts, access = self._parts, access_of(request)
        seen = [run for run in parts.runs() if access.sees(run.team)]
        return views.answer(views.Experiments.of(seen, parts.now()))

    def finding(self, finding_id: views.Id, request: Request) -> Response:
        """Return one finding."""
        found = self._parts.store.finding(finding_id)
        if found is None or not access_of(request).sees(found.owner):
            raise HTTPException(404, "There is no such finding.")
        return views.answer(found)

    def series(
        self, key: str, query: Annotated[queries.WindowQuery, Query()], request: Request
    ) -> Response:
        """Return one series: what each of its periods costs now, and its findings.

        A team sees the series on which it was told of something.
        """
        series = _series_in(key, request)
        now = self._parts.now()
        try:
            since, until = query.window(now)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        teams = access_of(request).teams
        findings = self._parts.store.findings(FindingFilter(series=str(series), owners=teams))
        may_see = teams is None or findings
        periods = self._periods(series, since, until, now) if may_see else []
        if not findings and not periods:
            raise HTTPException(404, "Nothing is known of such a series in this window.")
        return views.answer(
            views.Series(
                **series._asdict(),
                series=str(series),
                since=since,
                until=until,
                current=periods[-1] if periods else None,
                periods=periods,
                findings=findings,
            )
        )

    def budgets(self, query: Annotated[queries.BudgetQuery, Query()], request: Request) -> Response:
        """List budgets by name: what was spent, the forecast with its range, what was crossed."""
        teams = access_of(request).teams
        found = [
            budget
            for budget in self._parts.store.budgets()
            if (teams is None or budget.owner in teams)
            and query.owner in (None, budget.owner)
            and query.state in (None, budget.state)
        ]
        return views.answer(views.Listing(items=found[: query.limit], as_of=self._parts.now()))

    def _periods(
        self, series: SeriesKey, since: datetime, until: datetime, now: datetime
    ) -> list[views.Period] | None:
        if self._parts.history is None:
            return None
        try:
            rows = self._parts.history.series(str(series), since, until)
        except OSError:
            raise HTTPException(503, "The history cannot be read.", RETRY_LATER) from None
        settles_after = self._parts.settles_after(series.source)
        return [views.Period.of(row, settles_after, now) for row in rows]


def _series_in(key: str, request: Request) -> SeriesKey:
    """Read the series from the path, whether its %2F were encoded once more or pasted as is."""
    # A name pasted as is arrives with its %2F turned into slashes: then the raw path has it.
    raw = request.scope["raw_path"].decode("ascii", "replace").partition(SERIES_PATH)[2]
    parts = (unquote(part).replace("%", "%25").replace("/", "%2F") for part in raw.split("/"))
    for name in (key, "/".join(parts)):
        try:
            return SeriesKey.parse(name)
        except ValueError:
            continue
    raise HTTPException(422, "This is not the name of a series.")
