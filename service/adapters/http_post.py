"""One POST, tried once and with limits, that says whether it can have been taken.

No redirect is followed, no proxy of the environment asked, and no connection used twice. A verdict
quotes nothing of the URL or the answer, so that it holds no secret.
"""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractCookieJar

from service.core.ports import Refused, Retry, Unknown

LONGEST_ANSWER: Final = 64 * 1024
CONNECTS_WITHIN_SECONDS: Final = 5.0

Verdict = Retry | Refused | Unknown
AddressInfo = tuple[object, ...]


class Request(NamedTuple):
    """What to send. `may_reach` is asked for every address, right before it is connected to."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    timeout_seconds: float
    tls: ssl.SSLContext
    may_reach: Callable[[str], bool] = lambda _address: True


class Answer(NamedTuple):
    """What the server said; why, if it did not take it; and when it wants to be asked again."""

    status: int
    body: bytes
    after: timedelta | None


class ForbiddenAddressError(OSError):
    """An address that must not be connected to."""


async def post(request: Request) -> Answer | Verdict:
    """Send; a verdict when no answer came, and Retry alone means that nothing was sent."""
    timeout = aiohttp.ClientTimeout(
        total=request.timeout_seconds, connect=min(request.timeout_seconds, CONNECTS_WITHIN_SECONDS)
    )
    connector = aiohttp.TCPConnector(
        ssl=request.tls, force_close=True, socket_factory=_guarded(request.may_reach)
    )
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                auto_decompress=False,
                cookie_jar=_no_cookies(),
            ) as session,
            session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response,
        ):
            return Answer(response.status, await _said(response), _after(response.headers))
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        return _not_sent(error)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Unknown(f"no answer ({type(error).__name__})")


def judge(answer: Answer) -> Verdict | None:
    """Judge a status that means the same everywhere; None when it was taken (2xx)."""
    if 200 <= answer.status < 300:
        return None
    said = f"it answered with status {answer.status}"
    if answer.status == 429:
        return Retry("it asks to slow down", answer.after)
    if answer.status >= 500:
        return Unknown(said)
    if 300 <= answer.status < 400:
        return Refused(f"{said}: redirects are not followed, give it the new address")
    return Retry(said, answer.after)


async def _said(response: aiohttp.ClientResponse) -> bytes:
    """Read how a refusal begins. The status counts without it, however slow or broken it is."""
    found = b""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        while response.status >= 300 and len(found) < LONGEST_ANSWER:
            piece = await response.content.read(LONGEST_ANSWER - len(found))
            if not piece:
                break
            found += piece
    return found


def _not_sent(error: Exception) -> Verdict:
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    if isinstance(cause, ForbiddenAddressError):
        return Refused(
            "its address is not public, or not asked over TLS: allow it in allowed_networks if it "
            "is meant"
        )
    return Retry(f"cannot connect ({type(cause).__name__})")


def _guarded(may_reach: Callable[[str], bool]) -> Callable[[tuple[object, ...]], socket.socket]:
    """Make sockets for allowed addresses alone: what was checked is what is connected to."""

    def make(info: tuple[object, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        host = address[0] if isinstance(address, tuple) else ""
        if not may_reach(str(host)):
            raise ForbiddenAddressError("the address is not allowed")
        return socket.socket(family, kind, protocol)  # type: ignore[arg-type]  # of getaddrinfo

    return make


def _no_cookies() -> AbstractCookieJar:
    return aiohttp.DummyCookieJar()


def _after(headers: Mapping[str, str]) -> timedelta | None:
    value = headers.get("Retry-After", "")
    return timedelta(seconds=int(value)) if re.fullmatch(r"\d{1,5}", value) else None
