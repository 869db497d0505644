"""The signals that tell pages what changed: to whom, how long, and what ends them."""

import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest

from service.adapters.redis_store import RedisStore
from service.core.ports import Changes
from service.core.tokens import Token
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.pages import live
from service.telemetry import Metrics
from tests.factories import NOW, make_incident
from tests.store_server import StoreServer

ADMIN, ML, WEB = "an-admin", "of-ml", "of-web"
WITHIN = 15.0


@pytest.fixture
def app(store, monkeypatch):
    monkeypatch.setattr(live, "LOOKS_EVERY_SECONDS", 0.05)
    tokens = [
        Token(name=name, sha256=digest(name), teams=[name.removeprefix("of-")], role="viewer")
        for name in (ML, WEB)
    ]
    things = {("token", one.name): one for one in tokens}
    store.save(Changes(previous=0, offset=1, things=things))
    return build_app(
        store=store, history=None, metrics=Metrics("1"), started_at=NOW,
        now=lambda: NOW + timedelta(seconds=time.monotonic()),
        local=Local(None, digest(ADMIN)),
    )  # fmt: skip


class Listener:
    """Hears signals in a thread of its own."""

    def __init__(self, url, token):
        self.url, self.lines, self.is_over = url, [], threading.Event()
        self._answer = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url, token), daemon=True)
        self._thread.start()
        assert self._answer.wait(WITHIN)

    def _read(self, url, token):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", url + "/live", headers=headers, timeout=WITHIN) as answer:
            self.status, self.kind = answer.status_code, answer.headers["content-type"]
            self._answer.set()
            for line in answer.iter_lines():
                self.lines.append(line)
        self.is_over.set()

    def heard(self, part):
        return until(lambda: f"data: {part}" in self.lines)


def until(happened):
    deadline = time.monotonic() + WITHIN
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened()


@contextmanager
def listening(app, *tokens):
    with serve(app) as url:
        listeners = [Listener(url, token) for token in tokens]
        # What comes before the first look is no news.
        until(lambda: app.state.live.has_looked)
        yield listeners


def test_each_hears_of_what_it_may_see_and_only_that_it_changed(app, store):
    with listening(app, ADMIN, ML, WEB) as (everyone, ml, web):
        assert (ml.status, ml.kind) == (200, "text/event-stream; charset=utf-8")
        incident = make_incident(owner="ml")
        store.save(Changes(previous=1, offset=2, incidents=[incident]))
        assert everyone.heard("incidents")
        assert ml.heard("incidents")
        store.save(Changes(previous=2, offset=3, incidents=[make_incident(owner="web")]))
        assert web.heard("incidents")
        assert incident.incident_id not in "".join(everyone.lines + ml.lines + web.lines)
        known = {"", "retry: 1000", "event: changed", "data: incidents", "data: status"}
        assert set(everyone.lines + ml.lines + web.lines) <= known


def test_what_is_another_teams_is_not_heard_of(app, store):
    with listening(app, ML, WEB) as (ml, web):
        store.save(Changes(previous=1, offset=2, incidents=[make_incident(owner="ml")]))
        assert ml.heard("incidents")
        assert "data: incidents" not in web.lines


def test_all_hear_once_that_the_store_is_lost_and_once_that_it_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LOOKS_EVERY_SECONDS", 0.05)
    server = StoreServer(tmp_path / "store").start()
    store = RedisStore.connect(server.url)
    try:
        local = Local(None, digest(ADMIN))
        metrics = Metrics("1")
        app = build_app(
            store=store, history=None, metrics=metrics, started_at=NOW, now=lambda: NOW, local=local
        )
        with listening(app, ADMIN) as (first,):
            server.kill()
            assert until(lambda: "event: lost" in first.lines)
            late = Listener(first.url, ADMIN)
            assert until(lambda: "event: lost" in late.lines)
            server.start()
            for one in (first, late):
                assert until(lambda one=one: "event: found" in one.lines)
                assert one.lines.count("event: lost") == one.lines.count("event: found") == 1
    finally:
        store.close()
        server.kill()


def test_a_server_that_stops_ends_its_signals_at_once(app):
    with listening(app, ML) as (ml,):
        began = time.monotonic()
    assert ml.is_over.wait(WITHIN)
    assert time.monotonic() - began < live.LASTS_SECONDS / 2


def test_signals_end_after_a_while_so_that_a_revoked_token_is_found_out(app, store, monkeypatch):
    monkeypatch.setattr(live, "LASTS_SECONDS", 0.2)
    with serve(app) as url:
        first = Listener(url, ML)
        assert first.is_over.wait(WITHIN)
        store.save(Changes(previous=1, offset=2, things={("token", ML): None}))
        assert until(lambda: httpx.get(url + "/live", headers=bearer(ML)).status_code == 401)


def test_only_so_many_may_listen(app, monkeypatch):
    monkeypatch.setattr(live, "MOST", 1)
    with listening(app, ML) as (ml,):
        answer = httpx.get(ml.url + "/live", headers=bearer(WEB))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0


def bearer(token):
    return {"Authorization": f"Bearer {token}"}
