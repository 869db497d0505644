"""Spend: what was spent by any dimension, and who moved it, from the ledger's history."""

from collections.abc import Callable, Hashable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.adapters.history import History
from service.adapters.slices import Around, Slices
from service.core.claims import Claim
from service.core.moves import Moves, moves_of
from service.core.ports import Store
from service.core.slices import (
    BY_TAG,
    DIMENSIONS,
    Cut,
    Grain,
    Sliced,
    check_dimension,
    lines_of,
    starts_of,
)
from service.entrypoints.api import views
from service.entrypoints.api.access import access_of
from service.entrypoints.api.kept import Kept
from service.entrypoints.api.problems import RETRY_LATER
from service.entrypoints.api.queries import Name, Time

MOST_BY: Final = 3
LONGEST: Final[dict[Grain, timedelta]] = {"hour": timedelta(days=31), "day": timedelta(days=400)}
USUAL: Final = timedelta(days=14)
WEEK: Final = timedelta(days=7)
# How long who asks is kept waiting for what has to be added up, in seconds.
PATIENCE: Final = 30.0
# Of some megabytes each, at worst.
ANSWERS_KEPT: Final = 32
Values = Annotated[list[Name], Field(max_length=100)]


class _Where(BaseModel):
    """Which charges: of a dimension any of the values, of dimensions all; empty for none."""

    model_config = ConfigDict(extra="forbid")

    by: list[Name] = Field([], max_length=MOST_BY, description="service_name, tag:team, …")
    owner: Values = []
    source: Values = []
    billing_account_id: Values = []
    sub_account_id: Values = []
    sub_account_name: Values = []
    service_category: Values = []
    service_name: Values = []
    region_id: Values = []
    resource_id: Values = []
    resource_name: Values = []
    resource_type: Values = []
    billing_currency: Values = []
    charge_category: Values = []
    sku_id: Values = []
    commitment_discount_status: Values = []
    tag: Values = Field([], description="KEY=VALUE; KEY= for what has no such tag.")
    until: Time | None = Field(None, description="Default: now.")
    limit: int = Field(20, ge=1, le=100, description="At most so many lines, the largest.")

    def dimensions(self) -> tuple[str, ...]:
        """Return by what to cut; ValueError for what is no dimension."""
        return tuple(dict.fromkeys(check_dimension(one) for one in self.by))

    def where(self) -> dict[str, frozenset[str]]:
        """Return the filters by dimension; ValueError for a tag without a value."""
        found = {name: set(getattr(self, name, ())) for name in DIMENSIONS}
        for tag in self.tag:
            key, equals, value = tag.partition("=")
            if not equals:
                message = f"tag: {tag!r} is not like team=search"
                raise ValueError(message)
            found.setdefault(check_dimension(BY_TAG + key), set()).add(value)
        return {name: frozenset(values) for name, values in found.items() if values}


class SpendQuery(_Where):
    """Which spend, cut by what, by hour or by day of UTC."""

    grain: Grain = "day"
    since: Time | None = Field(
        None, description="Default: 14 days before `until`, by day from where that day begins."
    )

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the window asked for; ValueError when it is empty or too long."""
        until = self.until or now
        since = self.since or starts_of(until - USUAL, until, self.grain)[0]
        _check(since, until, LONGEST[self.grain])
        return since, until


class MoversQuery(_Where):
    """Which spend, and which two windows of one length to compare."""

    since: Time | None = Field(None, description="Default: 7 days before `until`.")
    before: Time | None = Field(
        None, description="Where the window before begins. Default: so that it ends at `since`."
    )

    def windows(self, now: datetime) -> tuple[datetime, datetime, datetime]:
        """Return where both windows begin, and where the second ends; ValueError otherwise."""
        until = self.until or now
        since = self.since or until - WEEK
        _check(since, until, LONGEST["day"] / 2)
        before = self.before or since - (until - since)
        _check(before, since, LONGEST["day"])
        if before > since - (until - since):
            raise ValueError("the window `before` runs into the one that begins at `since`")
        return before, since, until


class SpendRoutes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(
        self,
        store: Store,
        history: History | None,
        now: Callable[[], datetime],
        settles_after: Callable[[str], timedelta],
    ) -> None:
        self._store = store
        self._slices = None if history is None else Slices(history, settles_after)
        self._now = now
        self._kept: Kept[Response] = Kept(most=ANSWERS_KEPT)

    def spend(self, query: Annotated[SpendQuery, Query()], request: Request) -> Response:
        """Say what was spent, by hour or day and by up to three dimensions, in each currency.

        A team sees what its own resources cost. A series counts with all of the window to what its
        newest row names. The same is not added up for each who asks: `as_of` says how old it is.
        """
        now = self._minute()
        try:
            since, until = query.window(now)
            cut = Cut(since, until, query.dimensions(), query.where(), access_of(request).teams)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return self._once(
            (key_of(cut), query.grain, query.limit),
            lambda: views.answer(self.sliced(cut, query.grain, query.limit, now)),
        )

    def movers(self, query: Annotated[MoversQuery, Query()], request: Request) -> Response:
        """Say who moved spend between two windows, by price, by quantity, as new or as gone."""
        now = self._minute()
        try:
            before, since, until = query.windows(now)
            by = query.dimensions() or ("resource_id", "service_name")
            cut = Cut(before, until, by, query.where(), access_of(request).teams)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return self._once(
            (key_of(cut), since, query.limit),
            lambda: views.answer(self.compared(cut, since, query.limit, now)),
        )

    def sliced(self, cut: Cut, grain: Grain, most: int, now: datetime) -> Sliced:
        """Cut spend; HTTPException when there is no history, or it cannot be read."""
        totals, cells, others, left_out = self._ask(
            lambda slices: slices.spend(cut, grain, most, self._around(now))
        )
        starts = starts_of(cut.since, cut.until, grain)
        return Sliced(
            as_of=now,
            since=cut.since,
            until=cut.until,
            grain=grain,
            by=list(cut.by),
            starts=starts,
            totals=totals,
            lines=lines_of(cut.by, starts, cells),
            others=lines_of((), starts, others),
            lines_left_out=left_out,
        )

    def compared(self, cut: Cut, since: datetime, most: int, now: datetime) -> Moves:
        """Compare what of a cut came before and after `since`; HTTPException as for `sliced`."""
        rows = self._ask(lambda slices: slices.moves(cut, since, self._around(now)))
        moves, totals = moves_of(cut.by, rows)
        return Moves(
            as_of=now,
            before=cut.since,
            since=since,
            until=cut.until,
            by=list(cut.by),
            totals=totals,
            items=moves[:most],
            moves_left_out=max(0, len(moves) - most),
        )

    def _once(self, question: Hashable, find: Callable[[], Response]) -> Response:
        """Answer what many ask at once as one does; each gets a response of their own."""
        try:
            found = self._kept.get(question, find, PATIENCE)
        except TimeoutError:
            raise HTTPException(503, "It is still being added up.", RETRY_LATER) from None
        return Response(found.body, media_type=found.media_type)

    def _minute(self) -> datetime:
        """Return the present, so that who asks within a minute asks the same."""
        return self._now().replace(second=0, microsecond=0)

    def _ask(self, question: Callable[[Slices], Any]) -> Any:
        if self._slices is None:
            raise HTTPException(501, "This process keeps no history: ask the one that watches.")
        try:
            return question(self._slices)
        except OSError:
            raise HTTPException(503, "The history cannot be read.", RETRY_LATER) from None

    def _around(self, now: datetime) -> Around:
        sources = [status.source for status in self._store.sources()]
        claims = [one for one in self._store.things("claim") if isinstance(one, Claim)]
        return Around(now, sources, claims)


def key_of(cut: Cut) -> Hashable:
    """Name what is asked for, and for whose eyes."""
    return cut._replace(where=tuple(sorted(cut.where.items())))  # type: ignore[arg-type]  # hashed


def _check(since: datetime, until: datetime, longest: timedelta) -> None:
    if not timedelta(0) < until - since <= longest:
        message = f"a window must not be empty, nor longer than {longest.days} days"
        raise ValueError(message)
