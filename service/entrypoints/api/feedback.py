"""What a person says of an incident, handed to the pipeline and answered once it is in effect."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec
from fastapi import HTTPException, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.core.intents import Act, Feedback, Intent, Mark, Verdict
from service.core.ports import Store
from service.decoding import convert
from service.entrypoints.api import views
from service.entrypoints.api.access import access_of
from service.entrypoints.api.problems import RETRY_LATER

PATH: Final = "/v1/incidents/{incident_id}/feedback"
MARKS_PATH: Final = "/v1/incidents/{incident_id}/marks"
WITHIN_SECONDS: Final = 15.0

Follow = Callable[[Intent, float], str | None]


class Said(BaseModel):
    """What is said, and why; an admin may say it in another's name, `who`."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    why: str = Field(min_length=1, max_length=200)
    who: str | None = Field(None, min_length=1, max_length=120)
    via: Literal["api", "cli", "page"] = "api"


class Done(BaseModel):
    """What is done about an incident, and why; a comment is the `why`.

    A snooze has `until`, a time, or `until_growth`, by which share more it costs a day; to assign
    and to claim has `to`.
    """

    model_config = ConfigDict(extra="forbid")

    act: Act
    why: str = Field(min_length=1, max_length=200)
    until: AwareDatetime | None = None
    until_growth: float | None = Field(None, gt=0, le=1000)
    to: str | None = Field(None, min_length=1, max_length=200)
    who: str | None = Field(None, min_length=1, max_length=120)
    via: Literal["api", "cli", "page"] = "api"


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
        who = self._who(incident_id, said.who, request)
        intent = Feedback(
            at=self._now(), incident_id=incident_id, verdict=said.verdict, who=who, via=said.via,
            why=said.why,
        )  # fmt: skip
        return self._answer(intent)

    def mark(self, incident_id: views.Id, done: Done, request: Request) -> Response:
        """Acknowledge, snooze, assign, comment, resolve or claim an incident; or take that back.

        Answers with the incident as it is then, once it is in effect.
        """
        values = done.model_dump(exclude={"who"}) | {"incident_id": incident_id, "at": self._now()}
        values |= {"who": self._who(incident_id, done.who, request), "x_Intent": "mark"}
        try:
            return self._answer(convert(values, Mark))
        except msgspec.ValidationError as error:
            raise HTTPException(422, str(error)) from None

    def _who(self, incident_id: str, said: str | None, request: Request) -> str:
        """Return in whose name it is said; HTTPException when they may not see the incident."""
        check_json(request)
        access = access_of(request)
        known = self._store.incident(incident_id)
        if known is None or not access.sees(known.owner):
            raise HTTPException(404, "There is no such incident.")
        return said if said is not None and access.may("admin") else access.name

    def _answer(self, intent: Feedback | Mark) -> Response:
        refused = follow(self._follow, intent)
        if refused is not None:
            raise HTTPException(409, f"Nothing has changed: {refused}.")
        return views.answer(self._store.incident(intent.incident_id))


def follow(how: Follow | None, intent: Intent) -> str | None:
    """Let an intent be followed; return why it was refused, or None once it is in effect.

    HTTPException 501 when this process cannot hand it on, 503 when nobody came to it in time.
    """
    if how is None:
        raise HTTPException(501, "This process only reads: say it to the one that watches.")
    try:
        return how(intent, WITHIN_SECONDS)
    except TimeoutError:
        why = "The pipeline is busy, and nothing has changed: say it again."
        raise HTTPException(503, why, RETRY_LATER) from None


def check_json(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a form of a stranger's page cannot."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Say it as application/json.")
