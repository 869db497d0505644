"""Signing in with a browser: the token moves into a cookie that no script can read."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from service.entrypoints.api.access import COOKIE, Gate, check_own_page
from service.web.page import sign_in_page

LASTS: Final = timedelta(days=7)


class SessionRoutes:
    """The sign-in page, signing in, and signing out."""

    def __init__(self, gate: Gate, now: Callable[[], datetime]) -> None:
        self._gate = gate
        self._now = now

    def page(self) -> Response:
        """Ask for a token."""
        return Response(sign_in_page(self._now(), refused=False), media_type="text/html")

    async def enter(self, request: Request) -> Response:
        """Take a token from the sign-in form, and go to the page."""
        check_own_page(request)
        body = (await request.body()).decode("utf-8", "replace")
        token = parse_qs(body, max_num_fields=10).get("token", [""])[0].strip()
        access = await run_in_threadpool(self._gate.by_token, token)
        if access is None:
            return Response(sign_in_page(self._now(), refused=True), 401, media_type="text/html")
        answer = Response(status_code=303, headers={"Location": "/"})
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
