"""What is done to every request and answer, whatever the route."""

import time
from typing import Final

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.entrypoints.api.limits import largest_body
from service.entrypoints.api.problems import SECURITY_HEADERS, problem
from service.telemetry import Metrics

NO_ROUTE: Final = "none"


class Edge:
    """Checks the host, adds the security headers, counts and times by route.

    `hosts` are the names that may be asked for; empty means any. A body that is too large is
    refused before it is read whole.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, hosts: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        # Asked for the head of a page, a route answers the page; the server sends no body.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._chosen(scope)(inner, _bounded(receive, scope["path"]), send_on)
        finally:
            # The route's pattern, never the path: strangers choose paths, we choose routes.
            # A mounted folder has no route, but becomes the root of what is beneath it.
            route = getattr(inner.get("route"), "path", inner.get("root_path") or NO_ROUTE)
            self._metrics.api_requests.labels(route, str(status)).inc()
            self._metrics.api_seconds.labels(route).observe(time.perf_counter() - began)

    def _chosen(self, scope: Scope) -> ASGIApp:
        """Return what answers a request: the application, or why it is not let through."""
        headers = Headers(scope=scope)
        if not self._may_ask(headers):
            return _wrong_host
        length = headers.get("content-length", "0")
        largest = largest_body(scope["path"])
        if not length.isascii() or not length.isdigit() or int(length) > largest:
            return problem(413, too_large(largest))
        return self._app

    def _may_ask(self, headers: Headers) -> bool:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return not self._hosts or name.lower() in self._hosts


def _bounded(receive: Receive, path: str) -> Receive:
    """Let no more of a body through than is allowed, whatever its length was said to be."""
    read, largest = 0, largest_body(path)

    async def bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > largest:
            raise HTTPException(413, too_large(largest))
        return message

    return bounded


def too_large(largest: int) -> str:
    """Say how large a body may be."""
    return f"A body holds at most {largest // 2**20} MiB."


_wrong_host: Final = problem(400, "This service is not known under that name.")
