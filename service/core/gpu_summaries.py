"""Summaries: one GPU-hour in plain values, for people and for what is not a detector."""

from datetime import datetime
from typing import NamedTuple

import numpy as np

from detectors.base import start_of
from service.core.events import TagValue
from service.core.gpu_runs import covered
from service.core.gpus import HOUR, Gpu


class HourSummary(NamedTuple):
    """One GPU-hour in plain values; None is unknown. Utilisations are ratios."""

    gpu_uuid: str
    gpu_instance_id: str | None
    start: datetime
    samples: int
    coverage: float
    max_utilization: float | None
    mean_utilization: float | None
    max_engine_active: float | None
    max_codec_utilization: float | None
    max_memory_used_bytes: float | None
    max_power_watts: float | None
    new_xids: tuple[int, ...]
    hostname: str
    resource_id: str | None
    model: str | None
    instance_type: str | None
    namespace: str | None
    pod: str | None
    container: str | None
    tags: dict[str, TagValue] | None


def summary(gpu: Gpu, step: int) -> HourSummary | None:
    """Return one GPU-hour; None when nothing is known of it any more.

    Mean utilisation is the mean over minutes of the busiest sample, to 1 %.
    """
    hour = gpu.hours.get(step)
    if hour is None:
        return None
    seconds, samples = covered(gpu, step, step * HOUR, (step + 1) * HOUR)
    minutes = len(np.unique(hour.times() // 60))
    return HourSummary(
        gpu_uuid=gpu.key[0],
        gpu_instance_id=gpu.key[1] or None,
        start=start_of(step, 1),
        samples=samples,
        coverage=seconds / HOUR,
        max_utilization=_known(hour.utilization),
        mean_utilization=None if hour.utilization < 0 else sum(hour.peaks or b"") / minutes / 100,
        max_engine_active=_known(hour.engine_active),
        max_codec_utilization=_known(hour.codec),
        max_memory_used_bytes=_known(hour.memory_used_bytes),
        max_power_watts=_known(hour.most_watts),
        new_xids=tuple(sorted(xid for xid, at in gpu.xids.items() if at // HOUR == step)),
        hostname=gpu.latest.hostname,
        resource_id=gpu.named.resource_id,
        model=gpu.fact("model"),
        instance_type=gpu.fact("instance_type"),
        namespace=gpu.latest.namespace,
        pod=gpu.latest.pod,
        container=gpu.latest.container,
        tags=gpu.fact("tags"),
    )


def _known(value: float) -> float | None:
    return None if value < 0 else value
