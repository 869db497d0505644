"""Silences as Alertmanager's API v2 has them: the same that stand everywhere else here."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from service.core.intents import Drop, Intent, Put
from service.core.matchers import Matcher
from service.core.ports import Store, WrittenDownError
from service.core.silences import Silence
from service.core.standing import etag_of
from service.decoding import convert, from_json
from service.entrypoints.api import alertmanager_shapes as shapes
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.feedback import Follow, check_json, follow

CALLED: Final = "silence"
Tests = Annotated[list[Annotated[str, Field(max_length=1000)]], Query(max_length=20)]
SilenceId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_NO_SUCH: Final = "There is no such silence."
_ENCODER: Final = msgspec.json.Encoder()


class SilenceRoutes:
    """One method a route. A team sees and sets its own alone."""

    def __init__(self, store: Store, now: Callable[[], datetime], follow: Follow | None) -> None:
        self._store = store
        self._now = now
        self._follow = follow

    def silences(
        self,
        request: Request,
        filter: Tests = [],  # noqa: A002, B006  its name there; FastAPI copies it
        creator: Tests = [],  # noqa: B006  likewise
    ) -> Response:
        """List silences: those that hold first, then those to come, then those that are over."""
        tests, now = tests_in(filter), self._now()
        mine = [one for one in silences_in(self._store) if _is_theirs(access_of(request), one)]
        found = [shapes.silence_shape(one, now) for one in mine]
        kept = [
            one
            for one in found
            if (not creator or one.created_by in creator)
            and shapes.passes(tests, {matcher.name: matcher.value for matcher in one.matchers})
        ]
        order = ("active", "pending", "expired")
        kept.sort(key=lambda one: (order.index(one.status.state), one.ends_at, one.id))
        return answer(kept)

    def silence(self, silence_id: SilenceId, request: Request) -> Response:
        """Return one silence."""
        return answer(shapes.silence_shape(self._mine(silence_id, request), self._now()))

    async def post(self, request: Request) -> Response:
        """Let a silence stand, or change the one of this id; answers once it is in effect.

        A team's is held to what it owns. What begins in the past begins now.
        """
        check_json(request)
        body = await request.body()
        return await run_in_threadpool(self._post, body, request)

    def end(self, silence_id: SilenceId, request: Request) -> Response:
        """End a silence. Silences that are over are not kept: the audit has them."""
        known, access = self._mine(silence_id, request), access_of(request)
        self._say(
            Drop(
                at=self._now(),
                who=access.name,
                via="alertmanager",
                why="expired",
                kind=CALLED,
                name=known.name,
                if_match=etag_of(known),
            )
        )
        return Response(status_code=200)

    def _post(self, body: bytes, request: Request) -> Response:
        access, now = access_of(request), self._now()
        try:
            asked = from_json(body, shapes.PostableSilence)
            known = self._mine(asked.id, request) if asked.id else None
            thing = _thing(asked, known, access, now)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise HTTPException(400, str(error)) from None
        if not _is_theirs(access, thing):
            raise HTTPException(403, "This silence would not be one of your teams' own.")
        self._say(
            Put(
                at=now,
                who=access.name,
                via="alertmanager",
                why=thing.comment,
                thing=thing,
                if_match="" if known is None else etag_of(known),
            )
        )
        return answer(shapes.SilenceMade(silence_id=thing.name))

    def _say(self, intent: Intent) -> None:
        try:
            refused = follow(self._follow, intent)
        except WrittenDownError:
            return  # it will be followed, and no answer of Alertmanager's says so
        if refused is not None:
            raise HTTPException(409, f"Nothing has changed: {refused}.")

    def _mine(self, name: str, request: Request) -> Silence:
        known = self._store.thing(CALLED, name)
        if not isinstance(known, Silence) or not _is_theirs(access_of(request), known):
            raise HTTPException(404, _NO_SUCH)
        return known


def silences_in(store: Store) -> list[Silence]:
    """Return the silences that stand."""
    return [one for one in store.things(CALLED) if isinstance(one, Silence)]


def tests_in(texts: list[str]) -> list[Matcher]:
    """Read what is asked of labels; HTTPException 400 when it cannot be."""
    try:
        return [shapes.matcher_in(text) for text in texts]
    except ValueError as error:
        raise HTTPException(400, f"filter: {error}") from None


def answer(value: Any) -> Response:
    """Write a value as Alertmanager does."""
    return Response(_ENCODER.encode(value), media_type="application/json")


def _thing(
    asked: shapes.PostableSilence, known: Silence | None, access: Access, now: datetime
) -> Silence:
    """Return the silence that is asked for; ValueError when there can be none like it."""
    matchers = shapes.matchers_of(asked.matchers)
    if asked.ends_at <= now:
        raise ValueError("endsAt is in the past")
    if access.teams is not None and len(access.teams) == 1:
        own = f'owner="{next(iter(access.teams))}"'
        matchers += [own] if own not in matchers else []
    runs = known is not None and known.starts_at <= now
    began = known.starts_at if known is not None and runs else max(asked.starts_at, now)
    said = {
        "name": known.name if known is not None else str(uuid.uuid4()),
        "matchers": matchers,
        "starts_at": began,
        "ends_at": asked.ends_at,
        "author": asked.created_by,
        "comment": asked.comment,
    }
    return convert(said, Silence)


def _is_theirs(access: Access, silence: Silence) -> bool:
    return access.teams is None or (bool(silence.owners) and access.teams >= set(silence.owners))
