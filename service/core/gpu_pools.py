"""GPU pools: hosts added up, and the waste that one could stop, the largest first."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from detectors.base import start_of, step_of
from service.core import money
from service.core.gpu_hosts import KEPT_HOURS, GpuHost
from service.core.gpus import HOUR


class GpuPool(msgspec.Struct, kw_only=True):
    """The hosts of one pool that are paid in one currency.

    GPUs are counted now; MIG instances as parts of one. Money is by the hour, of what was told as
    idle; `saves_per_hour` is what stopping would save under the commitments there are. Hours go by
    the starts: `idle_share` is of what is known of an hour, null where nothing is.
    """

    pool: str
    billing_currency: str
    hosts: int
    provisioned: float
    allocated: float | None
    active: float
    idle: float
    unknown: float
    wasted_per_hour: Decimal
    saves_per_hour: Decimal
    unpriced: int
    idle_share: list[float | None]
    provisioned_hours: list[float]
    active_hours: list[float]
    idle_hours: list[float]
    allocated_hours: list[float | None]


class Gpus(msgspec.Struct, kw_only=True):
    """All pools, and the hosts, those that waste most first; hours are told by pool alone."""

    as_of: datetime
    starts: list[datetime]
    pools: list[GpuPool]
    hosts: list[GpuHost]
    hosts_left_out: int


def gpus_of(hosts: Iterable[GpuHost], now: datetime, most: int) -> Gpus:
    """Add hosts up by pool, over the last week of hours that are over."""
    last = step_of(now, 1)
    steps = range(last - KEPT_HOURS, last)
    found = sorted(hosts, key=lambda host: (-_wasted(host), host.host))
    pools: dict[tuple[str, str], list[GpuHost]] = {}
    for host in found:
        pools.setdefault((host.pool, host.billing_currency), []).append(host)
    added = [_pool(key, some, steps) for key, some in pools.items()]
    added.sort(key=lambda pool: (-pool.wasted_per_hour, pool.pool, pool.billing_currency))
    return Gpus(
        as_of=now,
        starts=[start_of(step, 1) for step in steps],
        pools=added,
        hosts=[replace(host, hours=[]) for host in found[:most]],
        hosts_left_out=max(0, len(found) - most),
    )


def _wasted(host: GpuHost) -> Decimal:
    return money.total(one.wasted_per_hour or money.ZERO for one in host.idle)


def _pool(key: tuple[str, str], hosts: Sequence[GpuHost], steps: range) -> GpuPool:
    counts = {"active": 0.0, "idle": 0.0}
    held: float | None = None
    for host in hosts:
        parts: dict[str, int] = {}
        for device in host.devices:
            parts[device.gpu_uuid] = parts.get(device.gpu_uuid, 0) + 1
        for device in host.devices:
            share = 1 / parts[device.gpu_uuid]
            if device.state in counts:
                counts[device.state] += share
            if device.allocated is not None:
                held = (held or 0.0) + share * device.allocated
    provisioned = float(sum(host.gpus for host in hosts))
    told = [one for host in hosts for one in host.idle]
    return GpuPool(
        pool=key[0],
        billing_currency=key[1],
        hosts=len(hosts),
        provisioned=provisioned,
        allocated=None if held is None else round(held, 3),
        active=round(counts["active"], 3),
        idle=round(counts["idle"], 3),
        unknown=round(max(0.0, provisioned - counts["active"] - counts["idle"]), 3),
        wasted_per_hour=money.total(one.wasted_per_hour or money.ZERO for one in told),
        saves_per_hour=_saves(hosts),
        unpriced=sum(one.wasted_per_hour is None for one in told),
        **_hours(hosts, steps),
    )


def _saves(hosts: Sequence[GpuHost]) -> Decimal:
    """Add up what stopping saves: the whole instance, once, whatever its GPUs are idle for."""
    return money.total(
        max((one.saves_per_hour or money.ZERO for one in host.idle), default=money.ZERO)
        for host in hosts
    )


def _hours(hosts: Sequence[GpuHost], steps: range) -> dict[str, Any]:
    count = len(steps)
    provisioned, active, idle = [0] * count, [0] * count, [0] * count
    held: list[int | None] = [None] * count
    for host in hosts:
        for hour in host.hours:
            at = hour.step - steps.start
            if 0 <= at < count:
                provisioned[at] += hour.provisioned
                active[at] += hour.active
                idle[at] += hour.idle
                if hour.allocated is not None:
                    held[at] = (held[at] or 0) + hour.allocated
    known = [worked + rested for worked, rested in zip(active, idle, strict=True)]
    return {
        "idle_share": [
            round(rested / seconds, 4) if seconds else None
            for rested, seconds in zip(idle, known, strict=True)
        ],
        "provisioned_hours": [round(seconds / HOUR, 3) for seconds in provisioned],
        "active_hours": [round(seconds / HOUR, 3) for seconds in active],
        "idle_hours": [round(seconds / HOUR, 3) for seconds in idle],
        "allocated_hours": [None if one is None else round(one / HOUR, 3) for one in held],
    }
