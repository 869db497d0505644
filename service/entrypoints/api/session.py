"""Signing in with a browser: the token moves into a cookie that no script can read."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Final
from urllib.parse import parse_qs

from fastapi import Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.entrypoints.api.access import COOKIE, Gate, check_own_page
from service.web.layout import sign_in_page

LASTS: Final = timedelta(days=7)


class SessionRoutes:
    """The sign-in page, signing in, and signing out."""

    def __init__(self, gate: Gate, now: Callable[[], datetime]) -> None:
        self._gate = gate
        self._now = now

    def page(self, to: Annotated[str, Query(max_length=2000)] = "/") -> Response:
        """Ask for a token."""
        page = sign_in_page(self._now(), refused=False, to=own_path(to))
        return Response(page, media_type="text/html")

    async def enter(self, request: Request) -> Response:
        """Take a token from the sign-in form, and go to the page."""
        check_own_page(request)
        body = (await request.body()).decode("utf-8", "replace")
        form = parse_qs(body, max_num_fields=10)
        token, to = (form.get(name, [""])[0].strip() for name in ("token", "to"))
        access = await run_in_threadpool(self._gate.by_token, token)
        if access is None:
            page = sign_in_page(self._now(), refused=True, to=own_path(to))
            return Response(page, 401, media_type="text/html")
        answer = Response(status_code=303, headers={"Location": own_path(to)})
        answer.set_cookie(
            COOKIE,
            token,
            max_age=int(LASTS.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    def leave(self, request: Request) -> Response:
        """Forget the token in this browser."""
        check_own_page(request)
        answer = Response(status_code=303, headers={"Location": "/sign-in"})
        answer.delete_cookie(COOKIE)
        return answer


def own_path(to: str) -> str:
    """Return a path of this service, such as one comes back to; `/` for whatever leads elsewhere.

    >>> own_path("/incidents?state=all"), own_path("//evil.example"), own_path("https://evil.example")
    ('/incidents?state=all', '/', '/')
    """
    is_own = to[:1] == "/" and to[1:2] not in ("/", "\\") and to.isascii() and to.isprintable()
    return to if is_own else "/"
