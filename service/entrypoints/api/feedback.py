"""The one route that changes something: what a person says of an incident.

It is open to this machine alone, for there are no tokens yet: not through a proxy, and not for the
pages of strangers in a browser on this machine.
"""

from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from typing import Final, Literal

from fastapi import HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.core.intents import Feedback, Verdict
from service.core.ports import Store
from service.entrypoints.api import views
from service.entrypoints.api.problems import RETRY_LATER

PATH: Final = "/v1/incidents/{incident_id}/feedback"
WITHIN_SECONDS: Final = 15.0
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

Follow = Callable[[Feedback, float], str | None]


class Said(BaseModel):
    """What is said, by whom and why."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    why: str = Field(min_length=1, max_length=200)
    who: str = Field("someone on this machine", min_length=1, max_length=200)
    via: Literal["api", "cli"] = "api"


class FeedbackRoute:
    """Hands intents to the pipeline; `follow` is None where another process moves it."""

    def __init__(self, store: Store, now: Callable[[], datetime], follow: Follow | None) -> None:
        self._store = store
        self._now = now
        self._follow = follow

    def say(self, incident_id: views.Id, said: Said, request: Request) -> Response:
        """Say of an incident that it is expected, the new level, or no issue; or take that back.

        Answers with the incident as it is then, once the feedback is in effect.
        """
        _check_caller(request)
        if self._follow is None:
            raise HTTPException(501, "This process only reads: say it to the one that watches.")
        if self._store.incident(incident_id) is None:
            raise HTTPException(404, "There is no such incident.")
        intent = Feedback(at=self._now(), incident_id=incident_id, **said.model_dump())
        try:
            refused = self._follow(intent, WITHIN_SECONDS)
        except TimeoutError:
            why = "The pipeline is busy, and nothing has changed: say it again."
            raise HTTPException(503, why, RETRY_LATER) from None
        if refused is not None:
            raise HTTPException(409, f"Nothing has changed: {refused}.")
        return views.answer(self._store.incident(incident_id))


def _check_caller(request: Request) -> None:
    """Refuse who is not on this machine, and pages that a browser on it shows for others."""
    headers = request.headers
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Say it as application/json.")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise HTTPException(403, "A page of another site may not say this.")
    peer = request.client.host if request.client is not None else ""
    if any(name in headers for name in _FORWARDED) or not _is_loopback(peer):
        raise HTTPException(403, "Feedback is taken from this machine only.")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
