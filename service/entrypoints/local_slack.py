"""A local server that behaves as Slack does, for tests and for trying the service without Slack.

It knows the Web API methods that the service uses, with Slack's error codes, block limits, rate
limit, message metadata, threads and the delay with which files are processed; faults can be put
into any of them. Its page at `/` looks like the channel. Nothing is kept when it ends.
"""

import asyncio
import json
from asyncio import BaseTransport
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.config import ConfigError
from service.core.secret import Secret
from service.entrypoints.api.problems import SECURITY_HEADERS
from service.entrypoints.api.serve import serve as api_serve
from service.entrypoints.local_slack_hands import Hands
from service.entrypoints.local_slack_page import page
from service.entrypoints.local_slack_workspace import EVERYONE, Args, Fault, SlackError, Workspace
from service.entrypoints.stopping import Stop
from service.web.layout import STATIC


def build_app(
    *,
    channels: Sequence[str] = ("finops",),
    faults: Sequence[Fault] = (),
    rate_limit: bool = True,
    processing_seconds: float = 1.0,
    users: Mapping[str, str] = EVERYONE,
    names: Sequence[str] = (),
) -> FastAPI:
    """Build the server. `app.state.slack` is its `Workspace`, to be looked into and changed.

    With `rate_limit`, a second message to a channel within a second gets 429 and Retry-After.
    `users` are who can press and type, by Slack's id; `app.state.hands` does it for them, once it
    has been told where the app listens.
    `names` are hosts under which it may be called beside this machine's.
    """
    app = FastAPI(title="Local Slack", openapi_url=None)
    app.state.slack = slack = Workspace(channels, processing_seconds, users)
    app.state.hands = hands = Hands(slack)
    slack.faults.extend(faults)
    slack.rate_limit = rate_limit

    # A page of a stranger could point a name of its own at this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", *names])

    @app.post("/api/upload/{file_id}")
    async def upload(file_id: str, request: Request) -> Response:
        if file_id not in slack.files:
            return Response(status_code=404)
        slack.files[file_id].content = await request.body()
        return Response("OK - uploaded")

    @app.post("/api/{method}")
    async def call(method: str, request: Request) -> Response:
        try:
            return await _answer(slack, method, request)
        except SlackError as error:
            return JSONResponse({"ok": False, "error": str(error)})
        except ClientDisconnect:
            return Response()  # it was taken back: nobody hears this

    @app.get("/files/{file_id}")
    async def picture(file_id: str) -> Response:
        file = slack.files.get(file_id)
        if file is None:
            return Response(status_code=404)
        return Response(file.content, headers=SECURITY_HEADERS, media_type="image/png")

    _add_page(app, slack, hands)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    return app


def _add_page(app: FastAPI, slack: Workspace, hands: Hands) -> None:
    """Add the page, what its forms do, and the addresses at which the app answers them."""

    @app.post("/replies/{name}")
    async def reply(name: str, request: Request) -> Response:
        said = await request.json()
        is_taken = hands.take_reply(name, str(said.get("text") or ""))
        return Response("ok") if is_taken else Response("expired_url", 404)

    @app.get("/")
    async def channel_page(request: Request, channel: str = "", home: bool = False) -> HTMLResponse:
        user = slack.user(request.query_params.get("as", ""))
        if home and user not in slack.homes and hands.is_heard:
            await asyncio.to_thread(hands.open_home, user)
        return HTMLResponse(page(slack, channel, user, home=home), headers=SECURITY_HEADERS)

    @app.post("/hands/{act}")
    async def use_hands(act: str, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return Response("A page of another site may not do this.", 403)
        form = {k: str(v) for k, v in dict(parse_qsl((await request.body()).decode())).items()}
        user = slack.user(form.pop("as", ""))
        back = {"as": user, "channel": form.get("back", ""), "home": form.pop("home", "")}
        form.pop("back", None)
        try:
            await asyncio.to_thread(hands.do, act, user, form, str(request.base_url))
        except (SlackError, LookupError, OSError) as error:
            slack.hear(user, back["channel"], f"Slack could not reach the app: {error}")
        query = urlencode({name: value for name, value in back.items() if value})
        return RedirectResponse(f"/?{query}", 303)


async def _answer(slack: Workspace, method: str, request: Request) -> Response:
    try:
        args = _args(await request.body(), request.headers.get("content-type", ""))
    except (ValueError, RecursionError):
        raise SlackError("invalid_arguments") from None
    slack.calls.append((method, args))
    fault = slack.next_fault(method)
    if fault.dropped:
        return await _drop(request)
    if fault.status == 429:
        return _too_fast(fault.retry_after)
    if fault.status:
        return HTMLResponse("<html>Something went wrong</html>", fault.status)
    wait = slack.seconds_to_wait(method, args)
    if wait:
        return _too_fast(wait)
    try:
        slack.check_token(request.headers.get("authorization", ""))
        data = slack.call(method, args, fault.error)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # Slack checks the type of each argument before anything else, and says no more than this.
        raise SlackError("invalid_arguments") from None
    if "upload_url" in data:
        data["upload_url"] = f"{request.base_url}api/{data['upload_url']}"
    await asyncio.sleep(fault.slow_seconds)
    if fault.lost:
        return await _drop(request)
    return HTMLResponse("<html>Bad gateway</html>") if fault.garbage else JSONResponse(data)


def _too_fast(seconds: int | None) -> Response:
    after = {} if seconds is None else {"Retry-After": str(seconds)}
    return JSONResponse({"ok": False, "error": "ratelimited"}, 429, after)


def _args(body: bytes, content_type: str) -> Args:
    """Read arguments as JSON or as a form, whose structured values are JSON again.

    ValueError for anything else, and for text that cannot be sent back.
    """
    if content_type.startswith("application/json"):
        args: Args = json.loads(body or b"{}")
    else:
        form = dict(parse_qsl(body.decode()))
        args = {k: json.loads(v) if v[:1] in ("[", "{") else v for k, v in form.items()}
    if not isinstance(args, dict):
        raise ValueError("not an object")  # noqa: TRY004 - of all that is wrong with a body, one error
    json.dumps(args, ensure_ascii=False, allow_nan=False).encode()
    return args


async def _drop(request: Request) -> Response:
    """Close the connection without a word; nothing of the response returned here is sent."""
    client = request.client
    transport = _Protocol.open.get((client.host, client.port)) if client else None
    if transport is None:
        return Response(status_code=502)
    transport.abort()
    await asyncio.sleep(0.01)
    return Response()


class _Protocol(H11Protocol):
    """HTTP that knows its connections, so that a handler can break one."""

    open: ClassVar[dict[tuple[str, int], Any]] = {}

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]  # as uvicorn's own
        if self.client is not None:
            self.open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.client is not None:
            self.open.pop(self.client, None)
        super().connection_lost(exc)


class App(NamedTuple):
    """The app that hears what is pressed here: where it listens, what is signed with, by whom.

    `called` is how it calls this Slack, with a slash at the end; `users` names people by their ids.
    """

    events: str
    signing_secret: Secret
    called: str = ""
    users: Mapping[str, str] = EVERYONE


def app_of(
    events: str | None, secret_file: Path | None, called: str, users: Sequence[str]
) -> App | None:
    """Read who hears; None when nobody does. ConfigError for what cannot be meant."""
    if events is None or secret_file is None:
        if events is not None or secret_file is not None:
            raise ConfigError("events and signing-secret-file go together")
        return None
    named = [one.partition("=") for one in users]
    if not all(id_ and name for id_, _, name in named):
        raise ConfigError("user is written ID=NAME")
    try:
        secret = Secret(secret_file.read_text("utf-8").strip())
    except OSError as error:
        raise ConfigError(f"{secret_file}: {error.strerror}") from None
    people = {id_: name for id_, _, name in named}
    return App(events, secret, called, people or EVERYONE)


def stand_in(
    channels: Sequence[str],
    host: str,
    port: int,
    names: Sequence[str],
    say: Callable[[str], None],
    hears: App | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    stop = Stop()
    users = EVERYONE if hears is None else hears.users
    app = build_app(channels=channels, names=names, users=users)
    if hears is not None:
        app.state.hands.reach(hears.events, hears.signing_secret, hears.called)
    with api_serve(app, host, port, http=_Protocol) as address:
        say(f"local Slack: {address}")
        stop.wait()


def serve(app: FastAPI, port: int = 0) -> AbstractContextManager[str]:
    """Serve in a thread within the `with` block; yields the address, without a slash at its end.

    The Web API is at `/api/` below it, the page at `/`. Port 0 takes a free one.
    """
    return api_serve(app, port=port, http=_Protocol)
