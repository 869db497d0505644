"""What goes wrong, told as problem details (RFC 9457), and what every answer carries."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.core.ports import LogUnavailableError, StoreUnavailableError, WrittenDownError

MEDIA_TYPE: Final = "application/problem+json"
# Beneath it, errors are told as Alertmanager tells them: its clients read nothing else.
ALERTMANAGER: Final = "/api/v2/"
RETRY_LATER: Final[Mapping[str, str]] = {"Retry-After": "5"}
LONGEST_DETAIL: Final = 500

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a request got no answer. `type` is `about:blank`: the status says it all."""

    type: str = msgspec.field(default="about:blank")
    title: str
    status: int
    detail: str
    # Of /v1/status alone: the overall word, which is known even when nothing else is.
    state: str = ""
    reasons: list[str] = []


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Response:
    """Answer with problem details."""
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail[:LONGEST_DETAIL], **more
    )
    return Response(
        msgspec.json.encode(body),
        status,
        {**SECURITY_HEADERS, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def unavailable(detail: str, **more: Any) -> Response:
    """Say that something behind the service does not answer, and when to ask again."""
    return problem(503, detail, RETRY_LATER, **more)


def install(app: FastAPI) -> None:
    """Let every error of an app, foreseen or not, end as problem details without a stack."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StoreUnavailableError, _no_store)
    app.add_exception_handler(LogUnavailableError, _no_log)
    app.add_exception_handler(WrittenDownError, _written_down)
    # The server behind it logs the exception: Starlette raises it again once this is sent.
    app.add_exception_handler(Exception, _unforeseen)


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _told(request, error.status_code, str(error.detail), error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    said = [
        f"{'.'.join(str(part) for part in flaw['loc'][1:]) or flaw['loc'][0]}: {flaw['msg']}"
        for flaw in error.errors()
    ]
    return _told(request, 400 if _is_alertmanagers(request) else 422, "; ".join(said))


def _no_store(request: Request, _error: Exception) -> Response:
    return _told(request, 503, "The store does not answer.", RETRY_LATER)


def _no_log(request: Request, _error: Exception) -> Response:
    why = "The log does not answer: it may not be written down. Say it again."
    return _told(request, 503, why, RETRY_LATER)


def _written_down(_request: Request, _error: Exception) -> Response:
    return problem(202, "It is written down, and takes effect when the router comes to it.")


def _told(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    if not _is_alertmanagers(request):
        return problem(status, detail, headers)
    body = msgspec.json.encode(detail[:LONGEST_DETAIL])
    headers = {**SECURITY_HEADERS, **(headers or {})}
    return Response(body, status, headers, media_type="application/json")


def _is_alertmanagers(request: Request) -> bool:
    return request.url.path.startswith(ALERTMANAGER)


def _unforeseen(_request: Request, _error: Exception) -> Response:
    return problem(500, "This is a fault of the service, and it is in its log.")
