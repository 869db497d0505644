"""Calls to Slack's Web API, each answered by data or by a verdict on whether to repeat it.

slack_sdk's own retries are off: by default it sends a post twice when the reply is lost. A verdict
never quotes what Slack or the network said but for an error code, so that it holds no secret.
"""

import asyncio
import logging
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.error import URLError
from urllib.request import HTTPHandler, HTTPSHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse

from service.core.ports import Refused, Retry, Unknown
from service.core.secret import Secret

MOST_PAGES: Final = 20
_CODE: Final = re.compile(r"[a-z_]{2,64}")
_BUSY: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
# With `duplicate_…` Slack says that it knows the message already, which no one sent on purpose.
_UNSURE: Final = frozenset(
    {
        "duplicate_channel_not_found",
        "duplicate_message_not_found",
        "fatal_error",
        "internal_error",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
_PROCESSED_AFTER_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
_INVITE: Final = "invite the app to the channel: /invite @Spendwatch"
_NEW_TOKEN: Final = "install the app again and give Spendwatch its new token"  # noqa: S105  advice
_ADVICE: Final[Mapping[str, str]] = {
    "channel_not_found": f"no such channel, or a private one: check its name, or {_INVITE}",
    "not_in_channel": _INVITE,
    "is_archived": "the channel is archived: route to another one",
    "restricted_action": "an admin has restricted who may post in this channel",
    "invalid_auth": _NEW_TOKEN,
    "not_authed": "no token was given: set the token of the Slack app",
    "token_revoked": _NEW_TOKEN,
    "token_expired": _NEW_TOKEN,
    "account_inactive": _NEW_TOKEN,
    "missing_scope": "install the app again from deploy/slack-manifest.yaml: a scope is missing",
}

Trouble = Retry | Refused | Unknown


class Answer(NamedTuple):
    """What a call came to: data when Slack took it, else Slack's code and the verdict."""

    data: Mapping[str, Any]
    error: str = ""
    trouble: Trouble | None = None


def make_client(token: Secret, base_url: str, timeout_seconds: int) -> WebClient:
    """Return a client that tries once, takes back what got no answer, and logs nothing itself."""
    # It would log the text of exceptions, which can quote the Authorization header.
    silent = logging.getLogger("spendwatch.slack_sdk")
    silent.setLevel(logging.CRITICAL)
    return _Client(
        token.reveal(), base_url, timeout=timeout_seconds, retry_handlers=[], logger=silent
    )


async def ask(method: Callable[..., SlackResponse], **words: Any) -> Answer:
    """Make one call in a thread. Never raises for what Slack or the network does."""
    try:
        response = await asyncio.to_thread(method, **words)
    except SlackApiError as error:
        return _refusal(error.response)
    except URLError as error:
        return Answer({}, trouble=_no_connection(error))
    except (SlackClientError, OSError, HTTPException, ValueError, LookupError) as error:
        return Answer({}, trouble=Unknown(f"no answer from Slack ({type(error).__name__})"))
    except AttributeError:
        # slack_sdk takes the body for an object without looking.
        return Answer({}, trouble=Unknown("Slack's answer was not a JSON object"))
    return Answer(response.data if isinstance(response.data, dict) else {})


async def upload(client: WebClient, png: bytes) -> str | None:
    """Upload a picture to no channel and return its id once Slack has processed it, or None.

    A message that shows it earlier is refused as invalid (slackapi/python-slack-sdk#1521).
    """
    answer = await ask(client.files_upload_v2, content=png, filename="cost.png", title="Cost")
    file_id = next((str(file.get("id")) for file in listed(answer, "files")), None)
    for wait in _PROCESSED_AFTER_SECONDS if file_id else ():
        await asyncio.sleep(wait)
        info = await ask(client.files_info, file=file_id)
        file = info.data.get("file")
        if isinstance(file, dict) and file.get("mimetype"):
            return file_id
    return None


def listed(answer: Answer, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list in an answer; nothing where there is none."""
    items = answer.data.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


async def pages(method: Callable[..., SlackResponse], **words: Any) -> AsyncIterator[Answer]:
    """Yield one answer a page: all of them, or those up to one that tells of trouble."""
    for _ in range(MOST_PAGES):
        answer = await ask(method, **words)
        yield answer
        match answer.data:
            case {"response_metadata": {"next_cursor": str(cursor)}} if cursor:
                words["cursor"] = cursor
            case _:
                return
    yield Answer({}, trouble=Unknown(f"there are more than {MOST_PAGES} pages"))


def _no_connection(error: URLError) -> Trouble:
    """Tell a connection that was never made, so that nothing was sent, from one that broke."""
    never = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)
    why = f"cannot reach Slack ({type(error.reason).__name__})"
    return Retry(why) if isinstance(error.reason, never) else Unknown(why)


def _refusal(response: SlackResponse) -> Answer:
    status, said = response.status_code, response.get("error")
    code = said if isinstance(said, str) and _CODE.fullmatch(said) else ""
    if status == 429 or code in _BUSY:
        return Answer({}, code, Retry("Slack asks to slow down", _retry_after(response.headers)))
    if 400 <= status < 500 and not code:
        return Answer({}, "", Retry(f"something before Slack answered with status {status}"))
    if status >= 500 or code in _UNSURE or not code:
        return Answer({}, code, Unknown(f"Slack failed: {code or f'status {status}'}"))
    return Answer({}, code, Refused(advice_for(code)))


def advice_for(code: str) -> str:
    """Say what Slack said, and what to do about it where that is known."""
    advice = _ADVICE.get(code)
    return f"Slack said {code}: {advice}" if advice else f"Slack: {code}"


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    value = next((v for name, v in headers.items() if name.lower() == "retry-after"), "")
    return timedelta(seconds=int(value)) if re.fullmatch(r"\d{1,5}", value) else None


class _TakesBack(HTTPConnection):
    """Ends by a reset until an answer comes, so that nothing of the request is delivered later.

    Else the system goes on delivering it for a minute and more after the process has closed the
    connection or was killed, while someone has looked for it already, and sent it again.
    """

    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_AT_ALL)

    def getresponse(self) -> HTTPResponse:
        line = self.sock
        response = super().getresponse()
        if line.fileno() >= 0:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AS_USUAL)
        return response


class _TakesBackSafely(_TakesBack, HTTPSConnection):
    """The same over TLS."""


class _Plain(HTTPHandler):
    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_TakesBack, req)


class _Safe(HTTPSHandler):
    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_TakesBackSafely, req)


class _Client(WebClient):
    def _perform_urllib_http_request_internal(self, _url: str, req: Request) -> dict[str, Any]:
        """Do as slack_sdk does, over connections that take back."""
        with build_opener(_Plain, _Safe).open(req, timeout=self.timeout) as response:
            body = response.read().decode(response.headers.get_content_charset() or "utf-8")
            return {"status": response.status, "headers": response.headers, "body": body}


# Of SO_LINGER: whether to wait for what is not delivered, and how long; at once is a reset.
_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)
_AS_USUAL: Final = struct.pack("ii", 0, 0)
