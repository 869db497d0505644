"""The Slack app: hears buttons, `/spend` and the Home tab, and hands on what people do.

slack-bolt takes requests apart and answers them; the door before it lets in what Slack signed. A
listener answers Slack first, within its three seconds, and then does what was asked.
"""

import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI, Request, Response
from slack_bolt import Ack, App, BoltRequest, BoltResponse
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient
from starlette.concurrency import run_in_threadpool

from service.adapters.slack_api import make_client
from service.bootstrap import build_slack, slack_members
from service.config import Settings
from service.core.ports import Store
from service.entrypoints.api.feedback import Follow
from service.entrypoints.api.problems import problem
from service.entrypoints.slack_deeds import Deeds, Setup, code_of
from service.entrypoints.slack_door import Door, body_of
from service.entrypoints.slack_views import ASKED, Question, answer_of

PATH: Final = "/slack/events"
COMMAND: Final = "/spend"
_SLACK_HOSTS: Final = (".slack.com", ".slack-gov.com")
_log = structlog.get_logger("slack")


class SlackApp:
    """Answers what comes to `PATH`."""

    def __init__(self, setup: Setup) -> None:
        self._client = setup.client
        self._deeds = Deeds(setup)
        self._door = Door(setup.signing_secret)
        self._bolt = _bolt(setup)
        self._listen()

    def mount(self, app: FastAPI) -> None:
        """Add the one route; it is not part of the API, and has a lock of its own."""
        app.add_api_route(PATH, self.answer, methods=["POST"], include_in_schema=False)

    async def answer(self, request: Request) -> Response:
        """Answer one request; nothing of it is read before its size, age and signature are."""
        body = await body_of(request)
        if body is None:
            return problem(413, "That is larger than anything that Slack sends.")
        headers = request.headers
        entry = self._door.judge(
            body,
            headers.get("x-slack-request-timestamp", ""),
            headers.get("x-slack-signature", ""),
        )
        if entry == "refused":
            return problem(401, "That is not signed by Slack, or not now.")
        if entry == "again":
            return Response(status_code=200)
        return await run_in_threadpool(self._dispatch, body, dict(headers))

    def _dispatch(self, body: bytes, headers: dict[str, Any]) -> Response:
        try:
            said = self._bolt.dispatch(BoltRequest(body=body.decode(), headers=headers))
        except (ValueError, AttributeError, TypeError, LookupError, RecursionError):
            # slack-bolt takes whatever is signed to be what Slack says it is.
            return problem(400, "That is not what Slack sends.")
        return Response(said.body, said.status, said.first_headers_without_set_cookie())

    def _listen(self) -> None:
        """Name what is heard. A link is heard too, and asks for nothing."""
        anything = re.compile("")
        self._bolt.action(re.compile(r"^open(?:/|$)"))(_nothing)
        self._bolt.action(anything)(self._pressed)
        self._bolt.view(anything)(self._submitted)
        self._bolt.command(COMMAND)(self._commanded)
        self._bolt.event("app_home_opened")(self._opened)
        self._bolt.error(_failed)

    def _pressed(self, ack: Ack, body: dict[str, Any]) -> None:
        ack()
        user, channel = _id(body.get("user")), _id(body.get("channel"))
        note = self._deeds.press(body, user, channel)
        if note and channel:
            self._whisper(channel, user, note)
        elif not channel:
            self._show_home(user, note)

    def _submitted(self, ack: Ack, body: dict[str, Any]) -> None:
        view = body.get("view") or {}
        question, answer = Question.unpack(str(view.get("private_metadata"))), answer_of(view)
        if question is None or not answer:
            ack(response_action="errors", errors={ASKED: "Say it in a few words."})
            return
        ack()
        user = _id(body.get("user"))
        note = self._deeds.answer(question.press, user, answer)
        if question.channel:
            self._whisper(question.channel, user, note)
        else:
            self._show_home(user, note)

    def _commanded(self, ack: Ack, request: BoltRequest, body: dict[str, Any]) -> None:
        ack()
        # The moment that Slack signed: the same command, heard twice, is one intent.
        signed_at = next(iter(request.headers.get("x-slack-request-timestamp", [])), "")
        self._reply(str(body.get("response_url")), self._deeds.command(body, signed_at))

    def _opened(self, event: dict[str, Any]) -> None:
        if event.get("tab") == "home":
            self._show_home(str(event.get("user")), "")

    def _show_home(self, user: str, note: str) -> None:
        view = self._deeds.home(user, note)
        self._call(self._client.views_publish, user_id=user, view=view)

    def _whisper(self, channel: str, user: str, text: str) -> None:
        """Say something that only one person sees."""
        self._call(self._client.chat_postEphemeral, channel=channel, user=user, text=text)

    def _reply(self, address: str, text: str) -> None:
        """Answer a command where it was given, also where the app is no member."""
        if not self._is_slacks(address):
            _log.warning("slack_reply_to_a_stranger")
            return
        try:
            WebhookClient(address, timeout=5, logger=_quiet()).send(
                text=text, response_type="ephemeral"
            )
        except OSError as error:
            _log.warning("slack_reply_failed", error=type(error).__name__)

    def _is_slacks(self, address: str) -> bool:
        """Tell whether an address is Slack's, or that of whatever stands for Slack."""
        given, base = urlsplit(address), urlsplit(self._client.base_url)
        if (given.scheme, given.netloc) == (base.scheme, base.netloc):
            return True
        return given.scheme == "https" and (given.hostname or "").endswith(_SLACK_HOSTS)

    def _call(self, method: Callable[..., Any], **words: Any) -> None:
        """Make a call whose failure changes nothing but what is seen."""
        try:
            method(**words)
        except SlackApiError as error:
            _log.warning("slack_refused", method=method.__name__, error=code_of(error))
        except OSError as error:
            _log.warning("slack_unreachable", error=type(error).__name__)


def _bolt(setup: Setup) -> App:
    """Build slack-bolt's app: it takes requests apart, and keeps nothing."""
    token = setup.client.token
    return App(
        name="spendwatch",
        logger=_quiet(),
        client=setup.client,
        signing_secret=setup.signing_secret.reveal(),
        # Who asks is told by the signature; there is one workspace, and one token.
        authorize=lambda enterprise_id, team_id: AuthorizeResult(
            enterprise_id=enterprise_id, team_id=team_id, bot_token=token
        ),
    )


def _quiet() -> logging.Logger:
    """Return a logger for libraries that would quote what people said, or a token."""
    silent = logging.getLogger("spendwatch.slack_bolt")
    silent.setLevel(logging.CRITICAL)
    return silent


def _nothing(ack: Ack) -> None:
    ack()


def _failed(error: Exception) -> BoltResponse:
    """Note what broke; unless Slack was answered before, it hears that this was not understood."""
    _log.error("slack_listener_failed", error=type(error).__name__)
    return BoltResponse(status=400)


def _id(thing: Any) -> str:
    return str(thing["id"]) if isinstance(thing, dict) and "id" in thing else ""


def mount(
    app: FastAPI,
    settings: Settings,
    store: Store,
    follow: Follow | None,
    moment: Callable[[datetime], datetime] = lambda at: at,
) -> None:
    """Add the Slack app to the web process, if the config has the secret that Slack signs with."""
    slack = build_slack(settings)
    if slack is None or slack.signing_secret is None:
        return
    setup = Setup(
        store,
        make_client(slack.token, slack.base_url, slack.timeout_seconds),
        slack.signing_secret,
        slack_members(settings),
        follow,
        slack.public_url,
        moment,
        {one for known in settings.receivers.values() for one in known},
    )
    SlackApp(setup).mount(app)
