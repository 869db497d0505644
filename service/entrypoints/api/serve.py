"""A web server for an application, in a thread of its own, that stops when it is told to."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.entrypoints.api.sign_on import PEER

LOCAL: Final = "127.0.0.1"
STARTS_WITHIN_SECONDS: Final = 10.0
ENDS_WITHIN_SECONDS: Final = 1


@contextmanager
def serve(
    app: ASGIApp,
    host: str = LOCAL,
    port: int = 0,
    *,
    http: type[asyncio.Protocol] | Literal["auto"] = "auto",
) -> Iterator[str]:
    """Serve within the `with` block; yields the address, `http://host:port`.

    Port 0 takes any free one. OSError when the port is taken, before anything is served. On the
    way out, requests under way have `ENDS_WITHIN_SECONDS` to end. `http` is uvicorn's protocol.
    """
    try:
        listener = socket.create_server((host, port), family=_family(host))
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error.strerror}") from None
    # asyncio sets this only on sockets that name their protocol; without it a keep-alive answer
    # waits 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        _Placed(ProxyHeadersMiddleware(app)),  # type: ignore[arg-type]  # one protocol, spelt twice
        proxy_headers=False,  # here, so that where a request really came from is kept
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=ENDS_WITHIN_SECONDS,
        lifespan="off",
        ws="none",
        http=http,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="api", daemon=True)
    thread.start()
    try:
        server.up.wait(STARTS_WITHIN_SECONDS)
        yield f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    finally:
        end_signals(app)
        server.should_exit = True
        thread.join()
        listener.close()


def end_signals(app: ASGIApp) -> None:
    """End the signals of an application that has any: a server that stops would wait for them."""
    live = getattr(getattr(app, "state", None), "live", None)
    if live is not None:
        live.end()


class _Placed:
    """Notes where requests come from, before a header on that is believed."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope[PEER] = scope.get("client")
        await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
