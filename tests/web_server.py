"""A real HTTP server for tests, in the test's own event loop, with faults; and one as PagerDuty."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web


class Received(NamedTuple):
    path: str
    headers: dict
    body: bytes


class Web:
    """What arrived, and what is answered. `lost`: it is taken, and the answer never comes.

    `hangs`: the status comes, and of the body only the beginning.
    """

    def __init__(self):
        self.received = []
        self.status = 200
        self.headers = {}
        self.answer = b"ok"
        self.lost = False
        self.hangs = False
        self.slow_seconds = 0.0

    def take(self, received):
        """Return status and body."""
        self.received.append(received)
        return self.status, self.answer

    async def handle(self, request):
        received = Received(request.path_qs, dict(request.headers), await request.read())
        status, answer = self.take(received)
        await asyncio.sleep(self.slow_seconds)
        if self.lost:
            request.transport.abort()
        if self.hangs:
            return await self.hang(request, status, answer)
        return web.Response(status=status, headers=self.headers, body=answer)

    async def hang(self, request, status, answer):
        response = web.StreamResponse(status=status)
        response.content_length = len(answer) + 1
        await response.prepare(request)
        await response.write(answer)
        await asyncio.sleep(30)


class PagerDutyServer(Web):
    """Takes events as the Events API v2 does: checked, answered with 202, joined by dedup_key."""

    KEY = "do-not-tell-" + "0" * 20

    def __init__(self):
        super().__init__()
        self.status = None
        self.alerts = {}
        self.triggers = []

    def take(self, received):
        event = json.loads(received.body)
        errors = self.errors(event)
        if self.status is not None:
            self.received.append(received)
            return self.status, self.answer
        if received.path != "/v2/enqueue" or errors:
            said = {"status": "invalid event", "message": "Event object is invalid"}
            return 400, json.dumps(said | {"errors": errors}).encode()
        self.received.append(received)
        key, action = event["dedup_key"], event["event_action"]
        if action == "trigger":
            self.triggers.append(event)
            if self.alerts.get(key, "resolved") == "resolved":
                self.alerts[key] = "triggered"
        elif key in self.alerts:
            self.alerts[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        done = {"status": "success", "message": "Event processed", "dedup_key": key}
        return 202, json.dumps(done).encode()

    def errors(self, event):
        found = []
        if event.get("routing_key") != self.KEY:
            found.append(f"Invalid routing key {event.get('routing_key')}")
        if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
            found.append("'event_action' is invalid")
        if not 1 <= len(event.get("dedup_key", "")) <= 255:
            found.append("Length of 'dedup_key' is incorrect (should be at most 255 characters)")
        if event.get("event_action") == "trigger":
            payload = event.get("payload", {})
            if not 1 <= len(payload.get("summary", "")) <= 1024 or not payload.get("source"):
                found.append("'payload.summary' or 'payload.source' is missing or blank")
            if payload.get("severity") not in ("critical", "error", "warning", "info"):
                found.append("'payload.severity' is invalid")
        return found


@asynccontextmanager
async def serve_web(server, tls=None):
    """Serve on a free port of loopback; yields the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
