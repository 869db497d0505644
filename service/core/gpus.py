"""GPU-hours: what each GPU did in each hour, from samples in any order and any number of times.

A sample is known by GPU, MIG instance and second. Everything kept is a set, a minimum or a maximum,
so that order and repetition change nothing; where two samples of one second disagree, the busier
one counts. A sample whose sensors say nothing is unknown: it is neither work nor idleness.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import I64
from service.core.events import GpuSample, content_hash
from service.core.state import Chunk, Saved, Streams

HOUR: Final = 3600
NOISE: Final = 0.01  # an exporter's noise floor; below it nothing runs
REOPENS: Final = 48 * HOUR  # how late a sample may be
AHEAD: Final = HOUR  # how far a host's clock may be ahead
MOST_BYTES: Final = 1e12  # DCGM's "not available" values are above these
MOST_WATTS: Final = 1e4
MOST_XID: Final = 0x7FFF_FFF0
REMEMBERED: Final = 8  # pods and XIDs of one GPU

GpuKey = tuple[str, str]  # UUID, MIG instance ("" for a whole GPU)
NEVER: Final = -1


class GpuHour(msgspec.Struct):
    """One GPU in one hour. Seconds are counted from the hour's start; -1 is unknown or never."""

    seen: bytearray = msgspec.field(default_factory=lambda: bytearray(HOUR // 8))
    peaks: bytearray | None = None  # highest utilisation per minute, in percent
    first: int = HOUR
    last: int = NEVER
    busy: int = 0  # one bit per minute
    first_busy: int = HOUR
    last_busy: int = NEVER
    utilization: float = -1.0
    engine_active: float = -1.0
    codec: float = -1.0
    memory_used_bytes: float = -1.0
    most_watts: float = -1.0
    least_watts: float = MOST_WATTS
    learnt: bool = False
    covered: tuple[tuple[int, ...], tuple[int, int]] | None = None  # for what, and how much

    def times(self) -> I64:
        """Return the seconds at which samples that say something were seen, in order."""
        return self._bits().nonzero()[0]

    def minutes(self) -> int:
        """Return in how many minutes samples that say something were seen."""
        return int(np.count_nonzero(self._bits().reshape(-1, 60).any(axis=1)))

    def _bits(self) -> NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(self.seen, np.uint8), bitorder="little")


class Gpu(msgspec.Struct):
    """One GPU or MIG instance: its hours, and what was ever seen of it. Times are Unix seconds."""

    key: GpuKey
    first: int
    latest: GpuSample
    named: GpuSample
    arrived: int
    last: int = NEVER
    last_busy: int = NEVER
    learnt_busy: int = NEVER
    interval: int = 0
    kept_from: int = 0  # step
    hold_from: int | None = None  # step from which on hours are still needed
    hours: dict[int, GpuHour] = {}
    folded: list[tuple[int, int, int]] = []  # idle hours too old to be kept: step, seconds, samples
    folded_until: int = NEVER
    pods: dict[tuple[str, str], list[int]] = {}
    xids: dict[int, int] = {}

    @property
    def host(self) -> str:
        """Return the instance, or the host's name where no instance is known."""
        return self.named.resource_id or self.latest.hostname

    def fact(self, name: str) -> Any:
        """Return a descriptive field of the newest sample, or of the newest with an instance."""
        value = getattr(self.latest, name)
        return getattr(self.named, name) if value is None else value

    @property
    def pod_since(self) -> int:
        """When the pod that holds the GPU now was first seen on it; -1 without a pod."""
        pod = self.latest.pod
        spell = self.pods.get((self.latest.namespace or "", pod)) if pod else None
        return spell[0] if spell else NEVER


class GpuHours:
    """All GPUs and their hours.

    An hour is closed `closes_after` its end by the arrival clock; a sample that comes later, up to
    48 h, still counts. `late` counts those, `skewed` those older still or more than an hour ahead.
    """

    def __init__(self, closes_after: timedelta = timedelta(minutes=10)) -> None:
        self._closes_after = int(closes_after.total_seconds())
        self._closed = 0
        self.gpus: dict[GpuKey, Gpu] = {}
        self.resources: set[str] = set()
        self._split: dict[str, int] = {}
        self.late = 0
        self.skewed = 0

    def observe(self, arrived: int, sample: GpuSample) -> None:
        """Take in one sample that arrived at a Unix second."""
        at = int(sample.timestamp.timestamp())
        if not arrived - REOPENS <= at <= arrived + AHEAD:
            self.skewed += 1
            return
        instance = sample.gpu_instance_id
        key = (sample.gpu_uuid, "" if instance is None else str(instance))
        gpu = self.gpus.get(key)
        if gpu is None:
            gpu = Gpu(key=key, first=at, latest=sample, named=sample, arrived=arrived)
            self.gpus[key] = gpu
        step = at // HOUR
        if step <= self._closed:
            self.late += 1
            if step < gpu.kept_from:
                return
        if sample.resource_id:
            self.resources.add(sample.resource_id)
        if key[1] and at > self._split.get(key[0], NEVER):
            self._split[key[0]] = at
        _describe(gpu, sample, at, arrived)
        _measure(gpu, sample, at)

    def close(self, now: int) -> Iterator[tuple[Gpu, int, GpuHour]]:
        """Yield every hour that is over and not yet learnt, as GPU, step and hour; oldest first."""
        closed = (now - self._closes_after) // HOUR - 1
        if closed <= self._closed:
            return
        self._closed = closed
        due = [
            (step, gpu.key)
            for gpu in self.gpus.values()
            for step, hour in gpu.hours.items()
            if step <= closed and not hour.learnt
        ]
        for step, key in sorted(due):
            gpu = self.gpus[key]
            hour = gpu.hours[step]
            yield gpu, step, hour
            hour.learnt = True
            if hour.last_busy >= 0:
                gpu.learnt_busy = max(gpu.learnt_busy, step * HOUR + hour.last_busy)
            gaps = np.diff(hour.times())
            gpu.interval = int(np.median(gaps)) if len(gaps) else gpu.interval

    def split_at(self, gpu: Gpu) -> int:
        """When MIG instances of a whole GPU were last seen: until then it says nothing itself."""
        return NEVER if gpu.key[1] else self._split.get(gpu.key[0], NEVER)

    def forget(self, keys: Iterable[GpuKey]) -> set[str]:
        """Let GPUs go; return the resources that went with them."""
        for key in keys:
            del self.gpus[key]
            self._split.pop(key[0], None)
        left = {gpu.named.resource_id or "" for gpu in self.gpus.values()}
        gone, self.resources = self.resources - left, self.resources & left
        return gone

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        gpus = (("\0".join(key), gpu) for key, gpu in self.gpus.items())
        yield from streams.values(f"{name}/gpus", gpus)
        rest = _Rest(self._closed, sorted(self.resources), self._split, self.late, self.skewed)
        yield from streams.values(f"{name}/hours", [("", rest)])

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self.gpus = {gpu.key: gpu for gpu in saved.values(f"{name}/gpus", Gpu).values()}
        for rest in saved.values(f"{name}/hours", _Rest).values():
            self._closed, self._split = rest.closed, rest.split
            self.resources, self.late, self.skewed = set(rest.resources), rest.late, rest.skewed


class _Rest(msgspec.Struct, array_like=True):
    """What is saved of all GPUs together."""

    closed: int
    resources: list[str]
    split: dict[str, int]
    late: int
    skewed: int


def _measure(gpu: Gpu, sample: GpuSample, at: int) -> None:
    """Note what the sensors say, if any says something of work.

    Of a MIG instance, utilisation is the whole device's or meaningless: only the engine counts.
    """
    busy = -1.0 if gpu.key[1] else _ratio(sample.utilization)
    engine = _ratio(sample.engine_active)
    codec = max(_ratio(sample.encoder_utilization), _ratio(sample.decoder_utilization))
    level = max(busy, engine, codec if codec > NOISE else -1.0)
    if level < 0:
        return
    step, second = divmod(at, HOUR)
    hour = gpu.hours.get(step)
    if hour is None:
        hour = gpu.hours[step] = GpuHour()
    hour.seen[second >> 3] |= 1 << (second & 7)
    hour.covered = None
    if not hour.first <= second <= hour.last:
        hour.first, hour.last = min(hour.first, second), max(hour.last, second)
        gpu.last = max(gpu.last, at)
    if level > NOISE:
        _mark(gpu, hour, at, max(busy, 0.0))
    if busy > hour.utilization or engine > hour.engine_active or codec > hour.codec:
        hour.utilization = max(hour.utilization, busy)
        hour.engine_active = max(hour.engine_active, engine)
        hour.codec = max(hour.codec, codec)
    memory, watts = sample.memory_used_bytes, sample.power_watts
    if memory is not None and hour.memory_used_bytes < memory < MOST_BYTES:
        hour.memory_used_bytes = memory
    if watts is None or hour.least_watts <= watts <= hour.most_watts:
        return
    if 0 <= watts < MOST_WATTS:
        hour.least_watts = min(hour.least_watts, watts)
        hour.most_watts = max(hour.most_watts, watts)


def _ratio(value: float | None) -> float:
    return value if value is not None and 0 <= value <= 1 else -1.0


def _mark(gpu: Gpu, hour: GpuHour, at: int, busy: float) -> None:
    second = at % HOUR
    minute = second // 60
    hour.busy |= 1 << minute
    if hour.peaks is None:
        hour.peaks = bytearray(60)
    hour.peaks[minute] = max(hour.peaks[minute], int(busy * 100 + 0.5))
    if not hour.first_busy <= second <= hour.last_busy:
        hour.first_busy = min(hour.first_busy, second)
        hour.last_busy = max(hour.last_busy, second)
        gpu.last_busy = max(gpu.last_busy, at)


def _describe(gpu: Gpu, sample: GpuSample, at: int, arrived: int) -> None:
    if _newer(sample, gpu.latest):
        gpu.latest, gpu.arrived = sample, arrived
    elif at < gpu.first:
        gpu.first = at
    if sample.resource_id and (not gpu.named.resource_id or _newer(sample, gpu.named)):
        gpu.named = sample
    if sample.pod:
        _note_pod(gpu.pods, (sample.namespace or "", sample.pod), at)
    if sample.xid and 0 < sample.xid < MOST_XID:
        gpu.xids[sample.xid] = min(gpu.xids.get(sample.xid, at), at)
        if len(gpu.xids) > REMEMBERED:
            del gpu.xids[min(gpu.xids, key=lambda known: (gpu.xids[known], known))]


def _note_pod(pods: dict[tuple[str, str], list[int]], pod: tuple[str, str], at: int) -> None:
    spell = pods.get(pod)
    if spell is not None:
        if not spell[0] <= at <= spell[1]:
            spell[0], spell[1] = min(spell[0], at), max(spell[1], at)
        return
    pods[pod] = [at, at]
    if len(pods) > REMEMBERED:
        del pods[min(pods, key=lambda known: (pods[known][1], known))]


def _newer(sample: GpuSample, known: GpuSample) -> bool:
    if sample.timestamp != known.timestamp:
        return sample.timestamp > known.timestamp
    if sample is known:
        return False
    return _rank(sample) > _rank(known)


def _rank(sample: GpuSample) -> tuple[bool, str]:
    return bool(sample.pod), content_hash(msgspec.json.encode(sample, order="sorted"))
