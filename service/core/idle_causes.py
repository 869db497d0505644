"""Causes: why a GPU does nothing, read off its own past and its neighbours."""

import re
from typing import Final

from service.core.gpu_runs import SILENCE, Run, idle_pods
from service.core.gpus import MOST_BYTES, NEVER, Gpu, GpuHours
from service.core.idle_verdicts import Cause

HELD_BYTES: Final = 2**30  # a driver alone keeps a few hundred MiB
AT_WORK: Final = 1800  # seconds: who worked this recently works
BEFORE: Final = 600  # seconds by which a fault may come up before the work stops
FEW: Final = 3
# XIDs that NVIDIA's catalogue puts down to the application; all others are the board's or driver's.
APPLICATION_XIDS: Final = frozenset({13, 31, 43, 45})
_RANK: Final = re.compile(r"-\d+$")


class Neighbours:
    """Which GPUs share an instance or a job at one moment; a GPU split into parts is none."""

    def __init__(self, hours: GpuHours, now: int) -> None:
        self._now = now
        self._hosts: dict[str, list[Gpu]] = {}
        self._jobs: dict[tuple[str, str], list[Gpu]] = {}
        for key in sorted(hours.gpus):
            gpu = hours.gpus[key]
            if (
                now - max(gpu.last, gpu.first) > SILENCE
                or hours.split_at(gpu) >= gpu.last - SILENCE
            ):
                continue
            self._hosts.setdefault(gpu.host, []).append(gpu)
            if gpu.latest.pod:
                self._jobs.setdefault(_job(gpu), []).append(gpu)

    def of(self, host: str) -> list[Gpu]:
        """Return the GPUs and MIG instances of a host that were seen of late."""
        return self._hosts.get(host, [])

    def working_mates(self, gpu: Gpu) -> int:
        """Return how many other GPUs of its job work, if most do; else 0.

        A job is a pod, or pods that differ in a final number; without pods, the host.
        """
        if gpu.key[1]:
            return 0
        pod = gpu.latest.pod
        host = [mate for mate in self.of(gpu.host) if mate.key != gpu.key and not mate.key[1]]
        if pod:
            mates = [mate for mate in self._jobs.get(_job(gpu), []) if mate.key != gpu.key]
            alone = all(mate.latest.pod != pod for mate in mates)
        elif any(mate.pods for mate in host):
            return 0
        else:
            mates, alone = host, not memory_held(gpu)
        working = sum(0 <= self._now - mate.last_busy <= AT_WORK for mate in mates)
        if alone and len(mates) < FEW:
            return 0
        return working if 2 * working > len(mates) else 0

    def cause(self, gpu: Gpu, run: Run) -> Cause:
        """Name the cause of a run."""
        if new_fault(gpu, run) is not None:
            return "fault"
        if self.working_mates(gpu):
            return "rank_idle"
        worked = gpu.last_busy != NEVER
        for_pods = any(mate.pods or mate.latest.pod == "" for mate in self.of(gpu.host))
        if not gpu.latest.pod and for_pods and not worked:
            return "unallocated"
        if not worked or idle_pods(gpu):
            return "never_started"
        held = memory_held(gpu)
        return "stalled" if held or (held is None and gpu.latest.pod) else "finished"


def new_fault(gpu: Gpu, run: Run) -> int | None:
    """Return the hardware XID that came up when the run began or since, or None.

    The sensor shows the last XID for ever: one that was there from the start is an old story.
    """
    found = [
        (at, xid)
        for xid, at in gpu.xids.items()
        if xid not in APPLICATION_XIDS and at > gpu.first and at >= run.start - BEFORE
    ]
    return min(found)[1] if found else None


def memory_held(gpu: Gpu) -> bool | None:
    """Tell whether more memory is in use than a driver keeps for itself; None when unknown."""
    used = gpu.latest.memory_used_bytes
    return None if used is None or not 0 <= used < MOST_BYTES else used > HELD_BYTES


def _job(gpu: Gpu) -> tuple[str, str]:
    return gpu.latest.namespace or "", _RANK.sub("", gpu.latest.pod or "")
