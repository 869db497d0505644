"""GPUs: pools and hosts as the pipeline left them in the store."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request, Response
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from service.core.claims import Claim, claim_on, source_of
from service.core.gpu_hosts import GpuHost
from service.core.gpu_pools import Gpus, gpus_of
from service.core.owners import UNOWNED
from service.core.ports import Store
from service.entrypoints.api import views
from service.entrypoints.api.access import Access, access_of
from service.entrypoints.api.queries import Name


class GpuQuery(BaseModel):
    """Which hosts."""

    model_config = ConfigDict(extra="forbid")

    owner: Name | None = None
    pool: Name | None = None
    sub_account_id: Name | None = None
    region_id: Name | None = None
    limit: int = Field(100, ge=0, le=100, description="At most so many hosts.")


class GpuRoutes:
    """One method a route; its docstring is its description in the OpenAPI document."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    def gpus(self, query: Annotated[GpuQuery, Query()], request: Request) -> Response:
        """Say what GPUs there are by pool, what they do and did by the hour, and what is wasted.

        Hosts come with their devices, those that waste most first. A team sees its own.
        """
        return views.answer(self.seen(query, access_of(request)))

    def seen(self, query: GpuQuery, access: Access) -> Gpus:
        """Return what a reader may see of GPUs."""
        claims = [one for one in self._store.things("claim") if isinstance(one, Claim)]
        hosts = [
            host
            for host in (_owned(host, claims) for host in self._store.gpus())
            if access.sees(host.owner)
            and query.owner in (None, host.owner)
            and query.pool in (None, host.pool)
            and query.sub_account_id in (None, host.sub_account_id)
            and query.region_id in (None, host.region_id)
        ]
        return gpus_of(hosts, self._now(), query.limit)


def _owned(host: GpuHost, claims: list[Claim]) -> GpuHost:
    """Let a claim own what nothing else says the owner of."""
    if host.owner != UNOWNED:
        return host
    claim = claim_on(claims, host.resource_id, host.sub_account_id)
    return (
        host if claim is None else replace(host, owner=claim.owner, owner_source=source_of(claim))
    )
