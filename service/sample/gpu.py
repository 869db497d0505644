"""GPU samples: what an agent on four hosts reported every ten minutes, one file for each month.

Values are drawn from the quantile functions of real A100 clusters (Acme: Seren) and of a shared
research cluster (Philly): the same rank in every function, so that a busy GPU is hot and an idle
one is not. A host reports only while it runs.
"""

import gzip
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.sample.carriers import rows
from service.sample.estate import END, HOURS, SEED, Fault, Resource, hour_of
from service.sample.focus import stamp
from service.sample.usage import Meter

EVERY: Final = timedelta(minutes=10)
MIB: Final = 1 << 20
# Of Acme's samples 26 to 32 % are of an idle GPU: ranks below this are idle, above it busy.
IDLE_RANK: Final = 0.25
BUSY_RANK: Final = 0.34


Span = tuple[datetime, datetime]


class Host(NamedTuple):
    """A host with GPUs, and from when until when its agent ran each time."""

    resource: str
    model: str
    instance_type: str
    gpus: int
    memory_gib: int
    watts: float
    spans: Sequence[Span]
    serving: bool
    namespace: str
    pod: str


def _august(first: int, last: int) -> Span:
    return datetime(2026, 8, first, tzinfo=UTC), datetime(2026, 8, last, tzinfo=UTC)


_SEPTEMBER: Final = (datetime(2026, 9, 11, tzinfo=UTC), END)

HOSTS: Final[Sequence[Host]] = (
    Host("nightly-finetune", "NVIDIA A100-SXM4-80GB", "p4de.24xlarge", 8, 80, 1.0,
         (_august(3, 16), _SEPTEMBER), False, "research", "finetune-0"),
    Host("research-a100-shared", "NVIDIA A100-SXM4-40GB", "p4d.24xlarge", 8, 40, 1.0,
         (_august(7, 11), _SEPTEMBER), False, "research", "pretrain-worker-0"),
    Host("llm-serving-a", "NVIDIA L40S", "g6e.2xlarge", 1, 48, 0.8,
         (_august(3, 16), _SEPTEMBER), True, "assistant", "vllm-7c9d5b6f4-a"),
    Host("llm-serving-b", "NVIDIA L40S", "g6e.2xlarge", 1, 48, 0.8,
         (_august(3, 16), _SEPTEMBER), True, "assistant", "vllm-7c9d5b6f4-b"),
)  # fmt: skip


class _Curves:
    """The quantile functions, as arrays over 1000 ranks."""

    def __init__(self) -> None:
        table = list(rows("acme_dcgm_quantiles"))
        self._columns = {
            name: np.array([float(row[name] or "nan") for row in table]) for name in table[0]
        }

    def at(self, name: str, rank: float) -> float:
        """Return the value that a share `rank` of all samples does not exceed."""
        column = self._columns[name]
        return float(column[min(int(rank * len(column)), len(column) - 1)])


def write(folder: Path, meters: Sequence[Meter], faults: Sequence[Fault]) -> Mapping[str, int]:
    """Write the samples of each month in order of time; return how many are in each file."""
    lines = sorted((f"{at:%Y-%m}", json.dumps(row)) for at, row in _samples(meters, faults))
    counts: dict[str, int] = {}
    for month, group in groupby(lines, key=itemgetter(0)):
        name = f"gpu_samples-{month}.ndjson.gz"
        content = [f"{line}\n".encode() for _, line in group]
        _write(folder / name, content)
        counts[name] = len(content)
    return counts


def _write(path: Path, lines: Sequence[bytes]) -> None:
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as packed,
    ):
        packed.writelines(lines)


def _samples(
    meters: Sequence[Meter], faults: Sequence[Fault]
) -> Iterator[tuple[datetime, dict[str, object]]]:
    curves = _Curves()
    for host in HOSTS:
        meter = next(m for m in meters if m.resource.name == host.resource)
        idle = _idle(host, faults)
        for gpu in range(host.gpus):
            name = f"{host.resource}/{gpu}"
            seed = int(uuid.uuid5(uuid.NAMESPACE_DNS, f"{SEED}/{name}"))
            random = np.random.Generator(np.random.PCG64(seed))
            fixed = _fixed(host, meter.resource, name)
            held = curves.at("seren_gpu_mem_used_pct_of_80gb", random.uniform(0.6, 0.95)) / 100
            for at in _times(host):
                hour = hour_of(at)
                if meter.counts[hour]:
                    rank = _rank(host, random, idle=bool(idle[hour]))
                    values = _values(host, curves, rank, held)
                    yield at, {"timestamp": stamp(at)} | fixed | values


def _times(host: Host) -> Iterator[datetime]:
    for first, last in host.spans:
        for number in range((last - first) // EVERY):
            yield first + number * EVERY


def _idle(host: Host, faults: Sequence[Fault]) -> NDArray[np.bool_]:
    hour = np.arange(HOURS)
    idle = np.zeros(HOURS, dtype=bool)
    for fault in faults:
        if fault.kind == "idle_gpu" and host.resource in fault.resources:
            idle |= (hour >= hour_of(fault.start)) & (hour < hour_of(fault.end))
    return idle


def _fixed(host: Host, resource: Resource, name: str) -> dict[str, object]:
    return {
        "gpu_uuid": f"GPU-{uuid.uuid5(uuid.NAMESPACE_DNS, name)}",
        "gpu_instance_id": None,
        "resource_id": resource.id,
        "hostname": f"{host.resource}.internal.example",
        "model": host.model,
        "xid": None,
        "namespace": host.namespace,
        "pod": host.pod,
        "container": "main",
        "tags": resource.tags,
        "instance_type": host.instance_type,
        "region_id": "us-east-1",
        "sub_account_id": resource.account,
        "provider": "AWS",
    }


def _rank(host: Host, random: np.random.Generator, *, idle: bool) -> float:
    """Draw how busy a GPU was, as a rank among real samples.

    Training is busy but for one sample in twenty (checkpoints, start-up); serving does nothing in
    two samples of five, between requests.
    """
    if idle or random.random() < (0.4 if host.serving else 0.05):
        return float(random.uniform(0.0, IDLE_RANK))
    return float(random.uniform(BUSY_RANK, 0.75 if host.serving else 1.0))


def _values(host: Host, curves: _Curves, rank: float, held: float) -> dict[str, object]:
    cluster = "philly" if host.serving else "seren"
    watts = curves.at("seren_gpu_power_w", max(rank, 0.002)) * host.watts
    return {
        "utilization": round(curves.at(f"{cluster}_gpu_util_pct", rank) / 100, 2),
        "engine_active": round(curves.at("seren_sm_active_pct", rank) / 100, 3),
        "memory_used_bytes": int(held * host.memory_gib * 1024) * MIB,
        "power_watts": round(watts, 1),
    }
