"""GPU traces: what sensors show at work and at rest, and how samples arrive.

Every trace is a deterministic generator of (arrived_at, sample). What a GPU at work shows comes
from the quantile functions of real A100 clusters (tests/data/gpu).
"""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from service.core.events import GpuSample

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = 3600
GIB = 2**30
GOLDEN = 0.6180339887498949
QUANTILES = Path(__file__).parents[2] / "data" / "gpu" / "acme_dcgm_quantiles.csv"

Reading = dict[str, Any] | None  # None: no sample
Feed = list[tuple[datetime, GpuSample]]


def _columns() -> dict[str, list[float]]:
    with QUANTILES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


REAL = _columns()


def quantile(name: str, share: float) -> float:
    column = REAL[name]
    return column[min(int(share * len(column)), len(column) - 1)]


def busy(number: int) -> dict[str, Any]:
    """Return what an A100 of the Seren cluster shows at work: the upper 60 % of its samples."""
    share = 0.4 + 0.6 * (number * GOLDEN % 1)
    return {
        "utilization": max(quantile("seren_gpu_util_pct", share) / 100, 0.02),
        "engine_active": max(quantile("seren_sm_active_pct", share) / 100, 0.02),
        "power_watts": quantile("seren_gpu_power_w", share),
        "memory_used_bytes": quantile("seren_gpu_mem_used_pct_of_80gb", share) / 100 * 80 * GIB,
    }


def idle(number: int, *, held: bool = False) -> dict[str, Any]:
    """Return what it shows at rest: the lowest quarter of the real power readings."""
    return {
        "utilization": 0.0,
        "engine_active": 0.0,
        "power_watts": quantile("seren_gpu_power_w", 0.02 + 0.2 * (number * GOLDEN % 1)),
        "memory_used_bytes": 23.6 * GIB if held else 0.0,
    }


def trace(
    name: str,
    show: Callable[[float, int], Reading],
    hours: float,
    *,
    every: int | Callable[[float], int] = 60,
    host: str = "i-0a1",
    ahead: float = 0.0,
    **labels: Any,
) -> Feed:
    """Return one GPU's samples: `show(hour, number)` is what its sensors say."""
    facts = {
        "hostname": f"node-{host}",
        "resource_id": host,
        "instance_type": "a2-highgpu-1g",
        "provider": "gcp",
        "region_id": "us-central1",
        "model": "NVIDIA A100-SXM4-80GB",
    }
    feed: Feed = []
    second, number = 7, 0
    while second < hours * HOUR:
        reading = show(second / HOUR, number)
        at = T0 + timedelta(seconds=second)
        if reading is not None:
            stamp = at + timedelta(hours=ahead)
            sample = GpuSample(timestamp=stamp, gpu_uuid=name, **facts | labels | reading)
            feed.append((at + timedelta(seconds=3), sample))
        number += 1
        second += every(second / HOUR) if callable(every) else every
    return feed


def together(*feeds: Feed) -> Feed:
    return sorted((entry for feed in feeds for entry in feed), key=lambda entry: entry[0])


def works_until(end: float, *, held: bool = False) -> Callable[[float, int], Reading]:
    return lambda hour, n: busy(n) if hour < end else idle(n, held=held)


def always(reading: Callable[[int], Reading]) -> Callable[[float, int], Reading]:
    return lambda _hour, n: reading(n)


def never_works(_hour: float, number: int) -> Reading:
    return idle(number)


def during(
    windows: Callable[[float], bool], *, otherwise: Callable[[int], Reading] = idle
) -> Callable[[float, int], Reading]:
    return lambda hour, n: busy(n) if windows(hour) else otherwise(n)


P4D = {"instance_type": "p4d.24xlarge", "provider": "aws", "region_id": "us-east-1"}


def eight(show: Callable[[float, int], Reading], hours: float, **labels: Any) -> Feed:
    return together(*(trace(f"GPU-{i}", show, hours, **(P4D | labels)) for i in range(8)))


def missing(feed: Feed, share: float) -> Feed:
    """Leave out about `share` of the samples, without any pattern."""
    return [entry for n, entry in enumerate(feed) if crc32(b"%d" % n) / 2**32 >= share]


def replaced(sample: GpuSample, *, seconds: float) -> GpuSample:
    later = sample.timestamp + timedelta(seconds=seconds)
    return msgspec.structs.replace(sample, timestamp=later)


def tangled(feed: Feed) -> Feed:
    """Deliver up to nine minutes late, out of order, and every third sample twice."""
    late = [
        (at + timedelta(seconds=540 * (n * GOLDEN % 1)), sample)
        for n, (at, sample) in enumerate(feed)
    ]
    again = [(at + timedelta(seconds=400 * (n * GOLDEN % 1)), s) for n, (at, s) in enumerate(late)]
    return together(late, again[::3])


def mig() -> Feed:
    """One A100 in three parts: two work; the device itself says 0 %, as DCGM does under MIG."""
    hidden = {"utilization": 0.0, "engine_active": None}

    def part(level: float) -> Callable[[float, int], Reading]:
        return lambda hour, n: (
            idle(n)
            | hidden
            | {"engine_active": level if hour < 5 or level > 0.2 else 0.0, "power_watts": 310.0}
        )

    return together(
        trace("GPU-0", lambda _h, n: idle(n) | hidden | {"power_watts": 310.0}, 12),
        *(
            trace("GPU-0", part(level), 12, gpu_instance_id=number)
            for number, level in ((1, 0.3), (2, 0.7), (5, 0.1))
        ),
    )


def unscraped_mig() -> Feed:
    """A partitioned GPU whose parts the exporter does not name: 0 %, and the power of work."""
    return trace(
        "GPU-0",
        always(
            lambda n: (
                busy(n) | {"utilization": 0.0, "engine_active": None, "power_watts": 265.0 + n % 40}
            )
        ),
        24,
    )


def rank_idle() -> Feed:
    """A pod of eight ranks, of which the fourth does nothing from 4 h 10 min on."""
    return together(
        *(
            trace(
                f"GPU-{i}",
                works_until(4 + 10 / 60 if i == 3 else 99, held=True),
                10,
                namespace="ml",
                pod="trainer-0",
            )
            for i in range(8)
        )
    )


def ranks_of_many_pods() -> Feed:
    """A job of four pods, one GPU and one node each; one rank does nothing."""
    return together(
        *(
            trace(
                f"GPU-{i}",
                works_until(4 if i == 2 else 99, held=True),
                10,
                host=f"i-{i}",
                namespace="ml",
                pod=f"trainer-worker-{i}",
            )
            for i in range(4)
        )
    )


def half_allocated() -> Feed:
    """A node of eight GPUs of which four were never given to a pod."""
    return together(
        *(
            trace(f"GPU-{i}", works_until(99), 6, namespace="ml", pod=f"serve-{i}")
            if i < 4
            else trace(f"GPU-{i}", never_works, 6)
            for i in range(8)
        )
    )


def new_pod_never_starts() -> Feed:
    """A pod works and goes; two hours later another pod comes and never works."""

    def show(hour: float, number: int) -> Reading:
        if hour < 4:
            return busy(number) | {"namespace": "ml", "pod": "first"}
        if hour < 5:
            return idle(number)
        return idle(number, held=True) | {"namespace": "ml", "pod": "second"}

    return trace("GPU-0", show, 12)


def crash_loop() -> Feed:
    """A new pod every twenty minutes, and none ever works."""
    return trace(
        "GPU-0",
        lambda hour, n: idle(n) | {"namespace": "ml", "pod": f"try-{int(hour * 3):05x}-zz"},
        9,
    )


def retries() -> Feed:
    """Every hour a new pod that hangs for 40 minutes, on a GPU that worked before."""

    def show(hour: float, number: int) -> Reading:
        if hour < 4:
            return busy(number) | {"namespace": "ml", "pod": "try-0"}
        if hour % 1 > 2 / 3:
            return idle(number)
        return idle(number, held=True) | {"namespace": "ml", "pod": f"try-{int(hour)}"}

    return trace("GPU-0", show, 10)


def fault(xid: int, at: float = 5.0) -> Feed:
    return trace(
        "GPU-0",
        lambda hour, n: (busy(n) if hour < at else idle(n)) | {"xid": 0 if hour < at else xid},
        9,
    )
