"""Standing things over the API: list, read, put and drop, each version by its ETag."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, HTTPException, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from service.core.intents import Drop, Put
from service.core.ports import Place, Store
from service.core.standing import Standing, etag_of
from service.decoding import convert, from_json
from service.entrypoints.api import queries, views
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.feedback import Follow, check_json, follow
from service.entrypoints.api.lists import next_of

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Why = Annotated[str, Query(min_length=1, max_length=200, description="Why; people will see it.")]
IfMatch = Annotated[str | None, Header(max_length=100)]
IfNoneMatch = Annotated[str | None, Header(max_length=100)]
NO_REASON: Final = "no reason given"
BY_NAME: Final = "name"


class ThingRoutes:
    """The routes of one kind of thing. A team sees and changes its own alone.

    `show` says how things are shown, unless as they are.
    """

    def __init__(
        self,
        kind: type[Standing],
        store: Store,
        now: Callable[[], datetime],
        follow: Follow | None,
        show: Callable[[list[Any]], list[Any]] = lambda things: things,
    ) -> None:
        self._show = show
        self._kind = kind
        self._tag = str(kind.__struct_config__.tag)
        self._store = store
        self._now = now
        self._follow = follow

    def list(self, query: Annotated[queries.PagedQuery, Query()], request: Request) -> Response:
        """List what stands, by name."""
        access = access_of(request)
        try:
            after = query.after(BY_NAME)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        mine = [one for one in self._store.things(self._tag) if is_theirs(access, one)]
        left = [one for one in mine if after is None or one.name > after.name]
        shown, more = left[: query.limit], None
        if len(left) > len(shown):
            more = next_of(request, Place(0.0, shown[-1].name), BY_NAME)
        items = [msgspec.Raw(views.answer(one).body) for one in self._show(shown)]
        return views.listing(items, self._now(), more)

    def get(self, name: Name, request: Request) -> Response:
        """Return one thing; its ETag names the version."""
        known = self._mine(name, access_of(request))
        if known is None:
            raise HTTPException(404, f"There is no {self._tag} {name!r}.")
        return self._answer(known)

    async def put(
        self,
        name: Name,
        request: Request,
        if_match: IfMatch = None,
        if_none_match: IfNoneMatch = None,
        why: Why = NO_REASON,
    ) -> Response:
        """Let a thing stand, in place of the one of this name; answers once it is in effect.

        With `If-Match` only if that one still is this version, with `If-None-Match: *` only if
        there is none.
        """
        check_json(request)
        body = await request.body()
        return await run_in_threadpool(
            self._put, name, body, request, _version(if_match, if_none_match), why
        )

    def drop(
        self, name: Name, request: Request, if_match: IfMatch = None, why: Why = NO_REASON
    ) -> Response:
        """Let a thing stand no more."""
        access = access_of(request)
        if self._mine(name, access) is None:
            raise HTTPException(404, f"There is no {self._tag} {name!r}.")
        intent = Drop(
            at=self._now(), who=access.name, via="api", why=why, kind=self._tag, name=name,
            if_match=_version(if_match, None),
        )  # fmt: skip
        _check(follow(self._follow, intent))
        return Response(status_code=204)

    def _put(
        self, name: str, body: bytes, request: Request, if_match: str | None, why: str
    ) -> Response:
        access = access_of(request)
        thing = self._read(name, body)
        known = self._store.thing(self._tag, name)
        if not is_theirs(access, thing) or (known is not None and not is_theirs(access, known)):
            raise HTTPException(403, f"This {self._tag} would not be one of your teams' own.")
        intent = Put(
            at=self._now(), who=access.name, via="api", why=why, thing=thing, if_match=if_match
        )
        _check(follow(self._follow, intent))
        return self._answer(thing)

    def _read(self, name: str, body: bytes) -> Standing:
        """Read a thing from JSON; its name and kind may be left out, for the path has them."""
        try:
            values = from_json(body, dict[str, Any])
            if values.setdefault("name", name) != name:
                raise HTTPException(422, "The name in the body is not the one in the path.")
            if values.setdefault("type", self._tag) != self._tag:
                raise HTTPException(422, f"This is where a {self._tag} is put.")
            return convert(values, self._kind, strict=False)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            raise HTTPException(422, str(error)) from None

    def _answer(self, thing: Standing) -> Response:
        (shown,) = self._show([thing])
        answer = views.answer(shown)
        answer.headers["ETag"] = f'"{etag_of(thing)}"'
        return answer

    def _mine(self, name: str, access: Access) -> Standing | None:
        known = self._store.thing(self._tag, name)
        return known if known is not None and is_theirs(access, known) else None


def is_theirs(access: Access, thing: Standing) -> bool:
    """Tell whether a thing is a team's own; what belongs to no one team is for all."""
    return access.teams is None or (bool(thing.owners) and access.teams >= set(thing.owners))


def _version(if_match: str | None, if_none_match: str | None) -> str | None:
    """Return which version may be replaced: None any, `""` none at all."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise HTTPException(422, "If-None-Match may only be *, and not beside If-Match.")
        return ""
    if if_match is None or if_match.strip() == "*":
        return None
    return if_match.strip().removeprefix("W/").strip('"')


def _check(refused: str | None) -> None:
    if refused is None:
        return
    if refused.endswith("changed meanwhile"):
        raise HTTPException(412, f"Nothing has changed: {refused}.")
    raise HTTPException(409, f"Nothing has changed: {refused}.")
