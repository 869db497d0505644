"""Runs: for how long a GPU is known to have done nothing, and what the idle detector sees of it.

An hour counts if samples vouch for `COVERAGE` of it or more. One that they do not counts nothing,
and breaks nothing off; a silence of more than two hours does.
"""

from typing import Final, NamedTuple

import numpy as np

from detectors.base import I64
from service.core.gpus import HOUR, NEVER, REOPENS, Gpu, GpuHour, GpuHours

COVERAGE: Final = 0.8
SILENCE: Final = 2 * HOUR
SETTLES: Final = HOUR // 2  # how long a pod must last before it begins a run of its own
LONGEST_INTERVAL: Final = 900  # seconds; sparser samples say nothing about the time between them
RESTLESS: Final = 3  # pods without work after which the next one is not waited for
CLOSE: Final = 10  # seconds
FEW: Final = 5
WINDOW: Final = 15
UNKNOWN: Final = float("nan")


class IdleHour(NamedTuple):
    """How many seconds of an hour count as idle, and from how many samples."""

    step: int
    seconds: int
    samples: int


class Run(NamedTuple):
    """A stretch without work, from `start` to the newest sample at `end`, in Unix seconds."""

    start: int
    end: int
    hours: tuple[IdleHour, ...]

    @property
    def seconds(self) -> int:
        """Return how many seconds of it are known to be idle."""
        return sum(hour.seconds for hour in self.hours)

    @property
    def samples(self) -> int:
        """Return how many samples say so."""
        return sum(hour.samples for hour in self.hours)


def run_of(hours: GpuHours, gpu: Gpu) -> Run:
    """Return the run that goes on at the newest sample; without hours before the first one.

    It begins when the GPU last worked, was first seen, was last split into MIG instances, came back
    after a silence, or was given to a pod that lasted. Pods that come and go without work do not
    begin it anew.
    """
    start = max(gpu.first if gpu.last_busy == NEVER else gpu.last_busy, hours.split_at(gpu))
    if gpu.last - gpu.pod_since >= SETTLES and idle_pods(gpu) < RESTLESS:
        start = max(start, gpu.pod_since)
    start = _after_silence(gpu, start)
    return Run(start, max(gpu.last, start), idle_between(gpu, start, gpu.last))


def idle_pods(gpu: Gpu) -> int:
    """Return how many pods have come since the GPU last worked."""
    return sum(first > gpu.last_busy for first, _ in gpu.pods.values())


def _after_silence(gpu: Gpu, start: int) -> int:
    until = max(start, gpu.folded_until)
    for step in sorted(gpu.hours):
        hour = gpu.hours[step]
        first, last = step * HOUR + hour.first, step * HOUR + hour.last
        if last <= until:
            continue
        if first - until > SILENCE:
            start = first
        until = last
    return start


def idle_between(gpu: Gpu, begin: int, end: int) -> tuple[IdleHour, ...]:
    """Return the hours between two moments without work, with what is known of each."""
    found = [IdleHour(*hour) for hour in gpu.folded if hour[0] * HOUR >= begin - HOUR]
    for step in sorted(gpu.hours):
        first, last = max(begin, step * HOUR), min(end, (step + 1) * HOUR)
        if first >= last:
            continue
        seconds, samples = covered(gpu, step, first, last)
        if seconds >= COVERAGE * (last - first):
            found.append(IdleHour(step, last - first, samples))
    return tuple(found)


def covered(gpu: Gpu, step: int, begin: int, end: int) -> tuple[int, int]:
    """Return how many seconds of an hour between `begin` and `end` samples vouch for, and how many.

    A sample vouches for the time since the one before it, or for one usual interval where that is
    much longer. The usual interval is a short one (the 20th percentile) of the fifteen around: so
    missing samples do not pass for a longer interval, and a restart with another one is followed.
    """
    hour = gpu.hours[step]
    before, after = gpu.hours.get(step - 1), gpu.hours.get(step + 1)
    last = (step - 1) * HOUR + before.last if before else NEVER
    first = (step + 1) * HOUR + after.first if after else NEVER
    place = (begin, end, last, first, gpu.interval)
    if hour.covered is None or hour.covered[0] != place:
        own = hour.times() + step * HOUR
        times = np.concatenate([[last], own, [first]])[0 if before else 1 : None if after else -1]
        samples = int(np.searchsorted(own, end, "right") - np.searchsorted(own, begin))
        hour.covered = place, (_vouched(times, begin, end, gpu.interval), samples)
    return hour.covered[1]


def _vouched(times: I64, begin: int, end: int, interval: int) -> int:
    gaps = times[1:] - times[:-1]
    if gaps.min(initial=CLOSE) < CLOSE:
        times = _apart(times)
        gaps = times[1:] - times[:-1]
    if not len(gaps):
        return 0
    if 2 * gaps.max() <= 3 * min(gaps.min(), LONGEST_INTERVAL):  # as regular as most hours are
        return int(max(0, min(times[-1], end) - max(times[0], begin)))
    usual = np.minimum(_usual(gaps, interval), LONGEST_INTERVAL)
    reach = np.where(2 * gaps <= 3 * usual, gaps, usual)
    known = np.minimum(times[1:], end) - np.maximum(times[1:] - reach, begin)
    return int(np.maximum(known, 0).sum())


def _apart(times: I64) -> I64:
    """Leave out samples so close to the one before that they are no interval of their own."""
    kept = [int(times[0])]
    for at in times[1:].tolist():
        if at - kept[-1] >= CLOSE:
            kept.append(at)
    return np.array(kept, np.int64)


def _usual(gaps: I64, interval: int) -> I64:
    if len(gaps) < FEW:
        middle = (len(gaps) - 1) // 2
        return np.full(len(gaps), interval or np.partition(gaps, middle)[middle])
    width = min(WINDOW, len(gaps))
    windows = np.lib.stride_tricks.sliding_window_view(gaps, width)
    low = np.partition(windows, width // 5, axis=1)[:, width // 5]
    before = (width - 1) // 2
    return np.pad(low, (before, width - 1 - before), mode="edge")


def to_score(gpu: Gpu, run: Run) -> tuple[float, float, float]:
    """Return what the detector scores: run hours, fresh hours, highest power of late.

    The power of a MIG instance is that of the whole device and says nothing of the instance.
    """
    pod_since = gpu.pod_since if idle_pods(gpu) < RESTLESS else run.start
    fresh = run.end - max(gpu.first, pod_since)
    watts = None if gpu.key[1] else watts_of_late(gpu, run)
    return run.seconds / HOUR, fresh / HOUR, UNKNOWN if watts is None else watts


def watts_of_late(gpu: Gpu, run: Run) -> float | None:
    """Return the most power drawn in the last two hours that lie within a run; None if unknown."""
    return max((h.most_watts for h in _within(gpu, run)[-2:] if h.most_watts >= 0), default=None)


def peak_utilization(gpu: Gpu, run: Run) -> float | None:
    """Return the highest activity that any sensor showed within a run; None if unknown."""
    peaks = [max(hour.utilization, hour.engine_active) for hour in _within(gpu, run)]
    return max((peak for peak in peaks if peak >= 0), default=None)


def _within(gpu: Gpu, run: Run) -> list[GpuHour]:
    """Return the hours that a run fills, the first one left out: it saw the end of the work."""
    steps = [hour.step for hour in run.hours if hour.step * HOUR > run.start]
    return [gpu.hours[step] for step in steps if step in gpu.hours]


def to_learn(gpu: Gpu, step: int, hour: GpuHour) -> tuple[float, ...]:
    """Return what the detector learns of an hour that is over.

    The hour, the pause that ended in it, hours watched, hours worked, and the least power.
    """
    seconds, _ = covered(gpu, step, step * HOUR, (step + 1) * HOUR)
    gap = 0.0
    if hour.last_busy != NEVER:
        begin = gpu.first if gpu.learnt_busy == NEVER else gpu.learnt_busy
        end = step * HOUR + hour.first_busy
        length = end - begin
        if length >= HOUR:
            idle = sum(known.seconds for known in idle_between(gpu, begin, end))
            gap = length / HOUR if idle >= COVERAGE * length else 0.0
    least = hour.least_watts if hour.most_watts >= 0 else UNKNOWN
    minutes = len(np.unique(hour.times() // 60))
    watched = seconds / HOUR
    return step, gap, watched, watched * hour.busy.bit_count() / max(minutes, 1), least


def let_go(gpu: Gpu, run: Run | None, now: int) -> None:
    """Drop the hours that nothing depends on, and fold those of a run that no sample may change."""
    needed = gpu.first if gpu.learnt_busy == NEVER else gpu.learnt_busy
    keep = needed // HOUR
    if gpu.hold_from is not None:
        keep = min(keep, gpu.hold_from)
    settled = (now - REOPENS) // HOUR - 1
    if gpu.hold_from is None and (run is None or run.start // HOUR > settled):
        gpu.folded, gpu.folded_until = [], NEVER
    idle = {hour.step: hour for hour in run.hours} if run else {}
    for step in sorted(step for step in gpu.hours if step < keep or step <= settled):
        hour = gpu.hours.pop(step)
        if step in idle:
            gpu.folded.append((step, idle[step].seconds, idle[step].samples))
            gpu.folded_until = max(gpu.folded_until, step * HOUR + hour.last)
    gpu.kept_from = max(gpu.kept_from, keep, settled + 1)
