"""Groups: the idle GPUs of one instance that share a cause, and the verdict on them."""

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from detectors.base import start_of
from service.core.gpu_rates import Instance, Rate, Rates
from service.core.gpu_runs import IdleHour, Run, idle_pods, peak_utilization, watts_of_late
from service.core.gpus import HOUR, NEVER, Gpu, GpuKey
from service.core.idle_causes import Neighbours, memory_held, new_fault
from service.core.idle_verdicts import COMMITTED, Cause, Ending, IdleVerdict, Signs, reason_of
from service.core.money import ZERO


class Place(NamedTuple):
    """What a group is known by while it lasts: the host's key and the cause."""

    key: str
    cause: Cause


class Member(msgspec.Struct):
    """One idle GPU of a group, with its run as of the last look."""

    gpu: Gpu
    run: Run
    score: float
    parts: int = 1  # MIG instances that share the GPU

    @property
    def name(self) -> str:
        """Return the GPU's UUID, of a MIG instance with the instance."""
        return "/".join(part for part in self.gpu.key if part)


class Group(msgspec.Struct, kw_only=True):
    """Idle GPUs of one host and cause. `past` is what those that left had idled, by step."""

    place: Place
    since: int  # step, for good once told
    detected: int
    members: dict[GpuKey, Member] = {}
    past: dict[int, int] = {}
    past_samples: int = 0
    told: int = NEVER
    ending: Ending = ""
    until: int = NEVER
    verdict: IdleVerdict | None = None
    signs: Signs = msgspec.field(default_factory=Signs)

    def settle(self, hours: tuple[IdleHour, ...], parts: int) -> None:
        """Keep what a GPU that leaves had idled."""
        for hour in hours:
            self.past[hour.step] = self.past.get(hour.step, 0) + hour.seconds // parts
            self.past_samples += hour.samples

    def gpu_seconds(self) -> dict[int, int]:
        """Return idle GPU-seconds by step."""
        total = dict(self.past)
        for member in self.members.values():
            for hour in member.run.hours:
                total[hour.step] = total.get(hour.step, 0) + hour.seconds // member.parts
        return total


class SavedGroup(msgspec.Struct, kw_only=True):
    """A group as it is saved: its members without their GPUs, which are saved by themselves."""

    place: Place
    since: int
    detected: int
    members: list[tuple[GpuKey, Run, float, int]]
    past: dict[int, int]
    past_samples: int
    told: int
    ending: Ending
    until: int
    verdict: IdleVerdict | None
    signs: Signs

    @classmethod
    def of(cls, group: Group) -> "SavedGroup":
        """Return what is saved of a group."""
        known = {name: getattr(group, name) for name in Group.__struct_fields__}
        known["members"] = [(k, m.run, m.score, m.parts) for k, m in group.members.items()]
        return cls(**known)

    def group(self, gpus: Mapping[GpuKey, Gpu]) -> Group:
        """Return the group that was saved."""
        known = msgspec.structs.asdict(self)
        known["members"] = {
            key: Member(gpus[key], run, score, parts) for key, run, score, parts in self.members
        }
        return Group(**known)


def going_on(
    group: Group, neighbours: Neighbours, told: Container[GpuKey], rates: Rates, now: int
) -> IdleVerdict:
    """Say how a group stands that has members."""
    members = [group.members[key] for key in sorted(group.members)]
    lead = members[0].gpu
    around = neighbours.of(group.place.key)
    group.signs = _signs(members, neighbours)
    group.until = max(member.run.end for member in members)
    facts: dict[str, Any] = {name: lead.fact(name) for name in _FACTS}
    verdict = IdleVerdict(
        key=group.place.key,
        cause=group.place.cause,
        since=start_of(group.since, 1),
        started_at=_time(min(member.run.start for member in members)),
        until=_time(group.until),
        detected_at=_time(group.detected),
        updated_at=_time(now),
        gpus=tuple(member.name for member in members),
        gpu_count=len(members),
        gpus_of_instance=len({gpu.key[0] for gpu in around} | {m.gpu.key[0] for m in members}),
        score=max(member.score for member in members),
        resource_id=lead.named.resource_id,
        hostname=lead.latest.hostname,
        **facts,
    )
    group.verdict = _priced(group, verdict, rates, now, all(gpu.key in told for gpu in around))
    return group.verdict


def over(group: Group, told: IdleVerdict, rates: Rates, now: int) -> IdleVerdict:
    """Say how a group ended that has no member left, from what was told of it last."""
    verdict = msgspec.structs.replace(
        told,
        until=_time(group.until),
        updated_at=_time(now),
        ended=True,
        ending=group.ending,
        retracted=group.ending == "withdrawn" and not group.past,
    )
    group.verdict = _priced(group, verdict, rates, now, all_idle=False)
    return group.verdict


def _priced(
    group: Group, verdict: IdleVerdict, rates: Rates, now: int, all_idle: bool
) -> IdleVerdict:
    """Put what is idle into money, and all of it into words."""
    instance = Instance(
        verdict.resource_id,
        verdict.provider,
        verdict.instance_type,
        verdict.region_id,
        verdict.gpus_of_instance,
    )
    seconds = group.gpu_seconds()
    members = group.members.values()
    known: dict[str, Any] = {
        "samples": group.past_samples + sum(member.run.samples for member in members),
        "idle_gpu_seconds": sum(seconds.values()),
    }
    rate = rates.rate(instance, now // HOUR)
    if rate is not None:
        saves, why = _saving(rate, all_idle=all_idle, unseen=rate.gpus > instance.gpus_seen)
        known |= {
            "gpus_of_instance": rate.gpus,
            "price_per_gpu_hour": rate.per_gpu_hour,
            "price_source": rate.source,
            "wasted_per_hour": rate.of_gpus([member.parts for member in members]),
            "waste": rates.waste(instance, sorted(seconds.items())),
            "saves_per_hour": saves,
            "saves_why": why,
            "currency": rate.currency,
        }
    priced = msgspec.structs.replace(verdict, **known)
    return msgspec.structs.replace(priced, reason=reason_of(priced, group.signs))


def _saving(rate: Rate, *, all_idle: bool, unseen: bool) -> tuple[Decimal | None, str]:
    if rate.reserved:
        return ZERO, COMMITTED
    if not all_idle:
        return ZERO, "as the rest of it works"
    if unseen:
        return None, "as nothing is known of its other GPUs"
    kept = "as what is priced by the month, such as a disk, goes on" if rate.kept_per_hour else ""
    return rate.per_hour - rate.kept_per_hour, kept


def _signs(members: list[Member], neighbours: Neighbours) -> Signs:
    lead = members[0]
    peaks = [peak_utilization(member.gpu, member.run) for member in members]
    watts = [watts_of_late(member.gpu, member.run) for member in members]
    held = [memory_held(member.gpu) for member in members]
    pod_since = lead.gpu.pod_since
    return Signs(
        peak_utilization=max((peak for peak in peaks if peak is not None), default=None),
        watts=max((power for power in watts if power is not None), default=None),
        memory_held=None if None in held else any(held),
        working_mates=neighbours.working_mates(lead.gpu),
        xid=new_fault(lead.gpu, lead.run),
        idle_pods=idle_pods(lead.gpu),
        started_with_pod=pod_since != NEVER and pod_since == lead.run.start,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


_FACTS: Final = (
    "instance_type",
    "model",
    "provider",
    "region_id",
    "sub_account_id",
    "namespace",
    "pod",
    "container",
    "tags",
)
