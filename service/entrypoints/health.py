"""Health: whether a process without an API of its own lives, is ready, and what it counts.

Served only where it is asked for; nothing here needs a token, and nothing here says what is spent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.config import ConfigError
from service.entrypoints.api.serve import LOCAL, serve
from service.telemetry import CONTENT_TYPE, Metrics

LAST_PORT: Final = 65535


@contextmanager
def healthy(
    address: str | None, metrics: Metrics, why_not_ready: Callable[[], str | None]
) -> Iterator[None]:
    """Serve /livez, /readyz and /metrics at host:port or a port of this machine; None: nowhere."""
    if address is None:
        yield
        return

    def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    def ready(_: Request) -> Response:
        why = why_not_ready()
        return PlainTextResponse(f"{why or 'ok'}\n", 200 if why is None else 503)

    def measured(_: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    routes = [Route("/livez", live), Route("/readyz", ready), Route("/metrics", measured)]
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > LAST_PORT:
        raise ConfigError(f"--health: {address!r} is not host:port")
    with serve(Starlette(routes=routes), host.strip("[]") or LOCAL, int(port)):
        yield
