"""The routes of allocation: spend that tags do not tell apart, and what units cost."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from fastapi import Request, Response

from service.core.lapses import Lapse
from service.core.unit_costs import UnitBill
from service.core.untagged import Gap, Unallocated
from service.entrypoints.api import views
from service.entrypoints.api.access import access_of

NOTHING: Final = Unallocated([], [])


class Allocated(NamedTuple):
    """What a pipeline knows of allocation, taken from it while nothing else touches it."""

    unallocated: Unallocated = NOTHING
    units: Sequence[UnitBill] = ()


class TagPolicies(msgspec.Struct, kw_only=True):
    """What of the last 30 days cannot be allocated, the dearest first, and which lapses stand."""

    as_of: datetime
    gaps: list[Gap]
    lapses: list[Lapse]


ALLOCATION_SHAPES: Final = (TagPolicies, views.Listing[UnitBill])


class AllocationRoutes:
    """Answers from memory; a team sees its own."""

    def __init__(self, known: Callable[[], Allocated], now: Callable[[], datetime]) -> None:
        self._known = known
        self._now = now

    def tag_policies(self, request: Request) -> Response:
        """Say which tags are missing, of what is nobody's, and what stands until it is mended."""
        found, access = self._known().unallocated, access_of(request)
        return views.answer(
            TagPolicies(
                as_of=self._now(),
                gaps=[gap for gap in found.gaps if access.sees(gap.owner)],
                lapses=[lapse for lapse in found.lapses if access.sees(lapse.owner)],
            )
        )

    def unit_costs(self, request: Request) -> Response:
        """Say what units cost by day, the newest first."""
        access = access_of(request)
        seen = [bill for bill in self._known().units if access.sees(bill.owner)]
        return views.answer(views.Listing(items=seen, as_of=self._now()))


def add_allocation(
    add: Callable[..., None], known: Callable[[], Allocated], now: Callable[[], datetime]
) -> None:
    """Add the routes."""
    routes = AllocationRoutes(known, now)
    rows: tuple[tuple[str, Callable[..., Any], Any], ...] = (
        ("/v1/tag-policy", routes.tag_policies, TagPolicies),
        ("/v1/unit-costs", routes.unit_costs, views.Listing[UnitBill]),
    )
    for path, endpoint, answers in rows:
        add("GET", path, endpoint, "viewer", answers)
