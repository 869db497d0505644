"""Alertmanager's API v2 over incidents and silences, for amtool, Karma, Grafana and what else asks.

Incidents come from data alone, so alerts cannot be posted. Errors are JSON strings, as there.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from fastapi import HTTPException, Query, Request, Response

from service.core.matchers import pattern_of
from service.core.ports import Store
from service.core.routing import Router, Target
from service.core.silences import Silence
from service.core.standing import etag_of
from service.entrypoints.api import alertmanager_shapes as shapes
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.alertmanager_silences import (
    SilenceRoutes,
    Tests,
    answer,
    silences_in,
    tests_in,
)
from service.entrypoints.api.mirror import Mirror, Ready, inhibitors_of, status_of
from service.entrypoints.api.problems import ALERTMANAGER

BODIES_KEPT: Final = 8
MINUTE: Final = timedelta(minutes=1)
Pattern = Annotated[str | None, Query(max_length=200, description="A whole receiver's name.")]
SHAPES: Final = (
    shapes.AlertmanagerStatus,
    shapes.AlertGroup,
    shapes.GettableSilence,
    shapes.PostableSilence,
    shapes.SilenceMade,
)
_ENCODER: Final = msgspec.json.Encoder()


class AlertmanagerRoutes:
    """One method a route. A team sees its own incidents and silences alone."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime],
        started_at: datetime,
        release: str,
        router: Router,
        public_url: str,
    ) -> None:
        self._store = store
        self._now = now
        self._started_at = started_at
        self._release = release
        self._router = router
        self._lock = threading.Lock()
        self._bodies: OrderedDict[Hashable, bytes] = OrderedDict()
        self._mirror = Mirror(store, router, public_url.rstrip("/"))

    def status(self, request: Request) -> Response:
        """Say which Alertmanager's API this is; its routes to those who see everything."""
        self._store.ping()
        is_whole = access_of(request).teams is None
        version = shapes.VersionInfo(
            version=shapes.API_VERSION,
            revision=self._release,
            branch="spendwatch",
            build_user="",
            build_date="",
            go_version="",
        )
        text = shapes.routes_text(self._router) if is_whole else ""
        return answer(
            shapes.AlertmanagerStatus(
                cluster=shapes.ClusterStatus(status="disabled"),
                version_info=version,
                config=shapes.ConfigText(original=text),
                uptime=self._started_at,
            )
        )

    def receivers(self, request: Request) -> Response:
        """List who hears; to a team, who hears of its incidents now."""
        access = access_of(request)
        names: Iterable[str] = self._router.receivers
        if access.teams is not None:
            mine = (one.targets for one in self._mirror.look().all if access.sees(one.owner))
            names = sorted({target.receiver for targets in mine for target in targets})
        return answer([shapes.Receiver(name=name) for name in names])

    def alerts(
        self,
        request: Request,
        filter: Tests = [],  # noqa: A002, B006  its name there; FastAPI copies it
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        unprocessed: bool = True,
        receiver: Pattern = None,
    ) -> Response:
        """List the incidents that are not over, as alerts."""
        shown = {"active": active, "unprocessed": unprocessed}
        asked = _Asked(filter, receiver, silenced, inhibited, shown)

        def written(sight: _Sight) -> bytes:
            return _ENCODER.encode([alert for alert, _ in _found(sight, asked)])

        return self._kept(request, written)

    def groups(
        self,
        request: Request,
        filter: Tests = [],  # noqa: A002, B006  its name there; FastAPI copies it
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        receiver: Pattern = None,
    ) -> Response:
        """List them by receiver, and by what its route groups by."""
        asked = _Asked(filter, receiver, silenced, inhibited, {"active": active})

        def written(sight: _Sight) -> bytes:
            return _ENCODER.encode(_grouped(_found(sight, asked), asked))

        return self._kept(request, written)

    def _kept(self, request: Request, write: Callable[["_Sight"], bytes]) -> Response:
        """Answer as was written before, as long as nothing that it is made of has changed."""
        now, access = self._now(), access_of(request)
        silences = [one for one in silences_in(self._store) if one.starts_at <= now < one.ends_at]
        # To the minute: what is told stands for some minutes anyway.
        stands = (now + shapes.STANDS_FOR).replace(second=0, microsecond=0) + MINUTE
        with self._lock:  # the same is not written by many at once
            seen = self._mirror.look()
            said = tuple(etag_of(one) for one in silences)
            key = seen.version, said, stands, access.teams, str(request.url)
            body = self._bodies.pop(key, None)
            if body is None:
                body = write(_Sight(seen.all, silences, now, stands, access))
            self._bodies[key] = body
            while len(self._bodies) > BODIES_KEPT:
                self._bodies.popitem(last=False)
        return Response(body, media_type="application/json")


class _Asked:
    """Which alerts are asked for; HTTPException when it cannot be told."""

    def __init__(
        self,
        tests: list[str],
        receiver: str | None,
        silenced: bool,
        inhibited: bool,
        states: dict[str, bool],
    ) -> None:
        self.tests = tests_in(tests)
        self._silenced = silenced
        self._inhibited = inhibited
        self._states = states
        try:
            self._receiver = None if receiver is None else pattern_of(receiver)
        except ValueError as error:
            raise HTTPException(400, f"receiver: {error}") from None

    def shows(self, status: shapes.AlertStatus) -> bool:
        """Tell whether alerts of such a state are asked for."""
        hidden = (status.silenced_by and not self._silenced) or (
            status.inhibited_by and not self._inhibited
        )
        return not hidden and self._states.get(status.state, True)

    def names(self, receiver: str) -> bool:
        """Tell whether a receiver is asked for."""
        return self._receiver is None or self._receiver.fullmatch(receiver) is not None


class _Sight(NamedTuple):
    """What an answer is made of: what is not over, what silences it, for whom, and until when."""

    all: list[Ready]
    silences: list[Silence]
    now: datetime
    ends_at: datetime
    access: Access


def _found(sight: _Sight, asked: _Asked) -> list[tuple[shapes.Alert, list[Target]]]:
    found, replace = [], msgspec.structs.replace
    inhibitors = inhibitors_of(sight.all)
    for one in sight.all:
        if not sight.access.sees(one.owner) or not shapes.passes(asked.tests, one.labels):
            continue
        silenced = [by.name for by in sight.silences if by.mutes(one.labels, sight.now)]
        status = status_of(one, silenced, inhibitors) or shapes.TOLD
        if asked.shows(status) and any(asked.names(to.receiver) for to in one.targets):
            alert = replace(one.alert, status=status, ends_at=sight.ends_at)
            found.append((alert, one.targets))
    return found


def _grouped(
    found: list[tuple[shapes.Alert, list[Target]]], asked: _Asked
) -> list[shapes.AlertGroup]:
    """Group by receiver, and by what its route groups by."""
    groups: dict[tuple[str, tuple[str, ...]], shapes.AlertGroup] = {}
    for alert, targets in found:
        for target in targets:
            if not asked.names(target.receiver):
                continue
            by = [name for name in target.policy.group_by if name in alert.labels]
            labels = {name: alert.labels[name] for name in by}
            place = target.receiver, tuple(f"{name}={labels[name]}" for name in by)
            new = shapes.AlertGroup(
                labels=labels, receiver=shapes.Receiver(name=target.receiver), alerts=[]
            )
            groups.setdefault(place, new).alerts.append(alert)
    return [groups[place] for place in sorted(groups)]


def rows(
    routes: AlertmanagerRoutes, silences: SilenceRoutes
) -> list[tuple[str, str, Callable[..., Any], Any, Any]]:
    """Return method, path, endpoint, what it answers and what it asks for, of every route."""
    at = ALERTMANAGER
    return [
        ("GET", at + "status", routes.status, shapes.AlertmanagerStatus, None),
        ("GET", at + "receivers", routes.receivers, list[shapes.Receiver], None),
        ("GET", at + "alerts", routes.alerts, list[shapes.Alert], None),
        ("GET", at + "alerts/groups", routes.groups, list[shapes.AlertGroup], None),
        ("GET", at + "silences", silences.silences, list[shapes.GettableSilence], None),
        ("GET", at + "silence/{silence_id}", silences.silence, shapes.GettableSilence, None),
        ("POST", at + "silences", silences.post, shapes.SilenceMade, shapes.PostableSilence),
        ("DELETE", at + "silence/{silence_id}", silences.end, "text/plain", None),
    ]
