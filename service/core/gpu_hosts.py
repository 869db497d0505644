"""GPU hosts: what each has, what its GPUs do now and did by the hour, and what idleness costs.

A GPU is active while it worked within half an hour, unknown when nothing was heard of it for two
hours, and idle otherwise; whether that is worth telling is the idle detector's to say. A host is
listed for a day after its last sample.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from service.core.events import TagValue
from service.core.gpu_rates import Instance
from service.core.gpu_runs import SILENCE, covered
from service.core.gpus import HOUR, NEVER, Gpu
from service.core.idle import IdleGpus
from service.core.idle_causes import AT_WORK
from service.core.idle_verdicts import Cause, IdleVerdict
from service.core.owners import Owners, plain_key
from service.core.state import Chunk, Saved, Streams

State = Literal["active", "idle", "unknown"]
LISTED: Final = 24 * HOUR
KEPT_HOURS: Final = 168
# How many hours that are over are counted again, for samples that came late.
RECOUNTED: Final = 3
# The tag that names a pool; what has none is of the pool of its kind and region.
POOL_TAGS: Final = ("gpu_pool", "pool", "node_pool", "nodepool", "cluster")


class GpuDevice(msgspec.Struct, kw_only=True, frozen=True):
    """One GPU or MIG instance. `since` is when it began to do nothing, or was last heard of.

    `allocated` tells whether a pod holds it, None where nobody says so of any.
    """

    gpu_uuid: str
    gpu_instance_id: str | None
    model: str | None
    state: State
    since: datetime | None
    cause: Cause | None
    allocated: bool | None
    namespace: str | None
    pod: str | None


class IdleGroup(msgspec.Struct, kw_only=True, frozen=True):
    """What was told of GPUs that do nothing, and still stands; None when no price is known."""

    finding_id: str
    cause: Cause
    since: datetime
    gpu_count: int
    wasted_per_hour: Decimal | None
    waste: Decimal | None
    saves_per_hour: Decimal | None
    saves_why: str
    reason: str


class HourCount(msgspec.Struct, frozen=True, array_like=True):
    """What the GPUs of a host did in one hour, in GPU-seconds; the rest is unknown.

    `allocated` is None where nobody says which GPU a pod holds.
    """

    step: int
    provisioned: int
    active: int
    idle: int
    allocated: int | None


class GpuHost(msgspec.Struct, kw_only=True, frozen=True):
    """One instance with GPUs, or capacity that is kept for one, as it stands.

    `gpus` counts those that its kind has, seen or not. `reserved`: a commitment pays for it.
    """

    host: str
    resource_id: str | None
    owner: str
    owner_source: str
    sub_account_id: str
    region_id: str | None
    provider: str | None
    instance_type: str | None
    model: str | None
    pool: str
    gpus: int
    billing_currency: str
    price_per_gpu_hour: Decimal | None
    price_source: str
    reserved: bool
    devices: list[GpuDevice]
    idle: list[IdleGroup]
    hours: list[HourCount]


def as_news(host: GpuHost | None) -> GpuHost | None:
    """Return what is new of a host that changed: of its hours those that were counted again."""
    return None if host is None else replace(host, hours=host.hours[-RECOUNTED:])


def joined(before: GpuHost | None, news: GpuHost) -> GpuHost:
    """Put the hours that are known of a host before those that are new."""
    known = {} if before is None else {one.step: one for one in before.hours}
    known |= {one.step: one for one in news.hours}
    return replace(news, hours=[known[step] for step in sorted(known)[-KEPT_HOURS:]])


class GpuHosts:
    """All hosts as they were told last."""

    def __init__(self) -> None:
        self._told: dict[str, GpuHost] = {}

    def all(self) -> Mapping[str, GpuHost]:
        """Return every host, by name."""
        return self._told

    def update(
        self, idle: IdleGpus, now: datetime, owners: Owners, name: Callable[[IdleVerdict], str]
    ) -> dict[str, GpuHost | None]:
        """Return the hosts that changed since the last call; None for one that is no more.

        `name` returns the finding that a verdict is told as.
        """
        at = int(now.timestamp())
        verdicts: dict[str, list[IdleVerdict]] = {}
        for verdict in idle.standing():
            verdicts.setdefault(verdict.key, []).append(verdict)
        found = {
            host: _host(
                gpus, verdicts.pop(host, []), (idle, owners, name), at, self._told.get(host)
            )
            for host, gpus in _hosts(idle, at).items()
        }
        found |= {
            host: _reserved(said, owners, name)
            for host, said in verdicts.items()
            if all(verdict.cause == "reserved_unused" for verdict in said)
        }
        changed: dict[str, GpuHost | None] = {
            host: one for host, one in found.items() if self._told.get(host) != one
        }
        changed |= dict.fromkeys(self._told.keys() - found.keys())
        self._told = found
        return changed

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._told.items())

    def restore(self, saved: Saved, name: str, keep: Callable[[str], bool]) -> None:
        """Take over what was saved of the hosts that are kept."""
        told = saved.values(name, GpuHost)
        self._told = {host: one for host, one in told.items() if keep(host)}


def _hosts(idle: IdleGpus, now: int) -> dict[str, list[Gpu]]:
    """Return the GPUs of each host of late, without those that are split into parts."""
    hosts: dict[str, list[Gpu]] = {}
    for key in sorted(idle.hours.gpus):
        gpu = idle.hours.gpus[key]
        split = idle.hours.split_at(gpu)
        if now - gpu.arrived <= LISTED and (split == NEVER or split < gpu.arrived - SILENCE):
            hosts.setdefault(gpu.host, []).append(gpu)
    return hosts


def _host(
    gpus: list[Gpu],
    verdicts: list[IdleVerdict],
    known: tuple[IdleGpus, Owners, Callable[[IdleVerdict], str]],
    now: int,
    before: GpuHost | None,
) -> GpuHost:
    idle, owners, name = known
    lead = max(gpus, key=lambda gpu: (gpu.arrived, gpu.key))
    facts = {fact: lead.fact(fact) for fact in ("provider", "instance_type", "region_id", "model")}
    account, resource = lead.fact("sub_account_id") or "", lead.named.resource_id
    owner = owners.of(lead.fact("tags"), account, resource)
    seen = len({gpu.key[0] for gpu in gpus})
    instance = Instance(
        resource, facts["provider"], facts["instance_type"], facts["region_id"], seen
    )
    rate = idle.rates.rate(instance, now // HOUR)
    count = seen if rate is None else rate.gpus
    causes = idle.causes()
    return GpuHost(
        host=lead.host,
        resource_id=resource,
        owner=owner.name,
        owner_source=owner.source,
        sub_account_id=account,
        pool=_pool(lead.fact("tags"), facts["instance_type"] or facts["model"], facts["region_id"]),
        gpus=count,
        billing_currency="USD" if rate is None else rate.currency,
        price_per_gpu_hour=None if rate is None else rate.per_gpu_hour,
        price_source="" if rate is None else rate.source,
        reserved=rate is not None and rate.reserved,
        devices=[_device(gpu, causes.get(gpu.key), now) for gpu in gpus],
        idle=[_said(verdict, name) for verdict in verdicts],
        hours=_hours(gpus, count, now, [] if before is None else before.hours),
        **facts,
    )


def _reserved(
    verdicts: list[IdleVerdict], owners: Owners, name: Callable[[IdleVerdict], str]
) -> GpuHost:
    """Return capacity that is kept for an instance, and that none uses."""
    lead = verdicts[0]
    owner = owners.of(lead.tags, lead.sub_account_id, lead.resource_id)
    return GpuHost(
        host=lead.key,
        resource_id=lead.resource_id,
        owner=owner.name,
        owner_source=owner.source,
        sub_account_id=lead.sub_account_id or "",
        region_id=lead.region_id,
        provider=lead.provider,
        instance_type=lead.instance_type,
        model=lead.model,
        pool=_pool(lead.tags, lead.instance_type, lead.region_id),
        gpus=0,
        billing_currency=lead.currency,
        price_per_gpu_hour=None,
        price_source=lead.price_source,
        reserved=not lead.saves_per_hour,
        devices=[],
        idle=[_said(verdict, name) for verdict in verdicts],
        hours=[],
    )


def _pool(tags: Mapping[str, TagValue] | None, kind: str | None, region: str | None) -> str:
    plain = {plain_key(key): value for key, value in sorted((tags or {}).items())}
    named = next((str(plain[key]) for key in POOL_TAGS if plain.get(key)), None)
    return named or " · ".join(part for part in (kind or "unknown", region) if part)


def _device(gpu: Gpu, cause: Cause | None, now: int) -> GpuDevice:
    worked = gpu.last_busy != NEVER
    if now - gpu.last > SILENCE:
        state, since = "unknown", max(gpu.last, gpu.first)
    elif worked and now - gpu.last_busy <= AT_WORK:
        state, since = "active", NEVER
    else:
        state, since = "idle", gpu.last_busy if worked else gpu.first
    return GpuDevice(
        gpu_uuid=gpu.key[0],
        gpu_instance_id=gpu.key[1] or None,
        model=gpu.fact("model"),
        state=state,  # type: ignore[arg-type]  # the branches above name no other
        since=None if since == NEVER else datetime.fromtimestamp(since, UTC),
        cause=cause,
        allocated=bool(gpu.latest.pod) if gpu.pods or gpu.latest.pod is not None else None,
        namespace=gpu.latest.namespace,
        pod=gpu.latest.pod or None,
    )


def _said(verdict: IdleVerdict, name: Callable[[IdleVerdict], str]) -> IdleGroup:
    return IdleGroup(
        finding_id=name(verdict),
        cause=verdict.cause,
        since=verdict.started_at,
        gpu_count=verdict.gpu_count,
        wasted_per_hour=verdict.wasted_per_hour,
        waste=verdict.waste,
        saves_per_hour=verdict.saves_per_hour,
        saves_why=verdict.saves_why,
        reason=verdict.reason,
    )


def _hours(gpus: list[Gpu], count: int, now: int, before: Iterable[HourCount]) -> list[HourCount]:
    """Count the hours that are just over, and keep those before as they were counted."""
    step = now // HOUR
    fresh = {at: _counted(gpus, count, at) for at in range(step - RECOUNTED, step)}
    kept = {one.step: one for one in before if one.step >= step - KEPT_HOURS}
    kept |= {at: one for at, one in fresh.items() if one.active or one.idle}
    return [kept[at] for at in sorted(kept)]


def _counted(gpus: list[Gpu], count: int, step: int) -> HourCount:
    parts: dict[str, int] = {}
    for gpu in gpus:
        parts[gpu.key[0]] = parts.get(gpu.key[0], 0) + 1
    active = idle = allocated = 0.0
    for gpu in gpus:
        seconds, worked, held = _seconds(gpu, step)
        share = 1 / parts[gpu.key[0]]
        active += worked * share
        idle += (seconds - worked) * share
        allocated += held * share
    for_pods = any(gpu.pods or gpu.latest.pod == "" for gpu in gpus)
    provisioned = max(count, len(parts)) * HOUR
    return HourCount(
        step, provisioned, round(active), round(idle), round(allocated) if for_pods else None
    )


def _seconds(gpu: Gpu, step: int) -> tuple[float, float, float]:
    """Return how long samples vouch for a GPU in an hour, how long it worked, and was held."""
    hour = gpu.hours.get(step)
    if hour is None:
        return 0.0, 0.0, 0.0
    begin, end = step * HOUR, (step + 1) * HOUR
    seconds, _ = covered(gpu, step, begin, end)
    worked = seconds * hour.busy.bit_count() / max(hour.minutes(), 1)
    held = sum(max(0, min(last, end) - max(first, begin)) for first, last in gpu.pods.values())
    return float(seconds), worked, float(min(held, seconds))
