"""Labelled GPU traces, one per trap: what is true of each, and what was said of it.

`python -m tests.benchmarks.detection.idle_gpu_scenarios` prints the truth table.

Every trace is a deterministic generator of (arrived_at, sample). What a GPU at work shows comes
from the quantile functions of real A100 clusters (tests/data/gpu). `idle_from` is when the
statement "this GPU does nothing" becomes true: when the last work ended; for what never worked,
after half an hour of start-up; where it pauses by habit, when the next piece of work failed to
come; where samples are missing, later by as much. A trace without truths must stay silent.
"""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from detectors.idle_gpu import IdleGpuColumns
from service.adapters.prices import load_prices
from service.core.events import GpuSample
from service.core.gpu_rates import HourCost
from service.core.idle import IdleGpus
from service.core.idle_verdicts import IdleVerdict

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = 3600
GIB = 2**30
GOLDEN = 0.6180339887498949
QUANTILES = Path(__file__).parents[2] / "data" / "gpu" / "acme_dcgm_quantiles.csv"

Reading = dict[str, Any] | None  # None: no sample
Feed = list[tuple[datetime, GpuSample]]


class Truth(NamedTuple):
    """GPUs of `key` that do nothing from `idle_from` hours on, and by when that must be said."""

    key: str
    cause: str
    idle_from: float
    gpus: int = 1
    within: float = 2.0


class Scenario(NamedTuple):
    name: str
    feed: Callable[[], Feed]
    truths: tuple[Truth, ...] = ()
    costs: tuple[HourCost, ...] = ()


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


def bills(status: str | None) -> tuple[HourCost, ...]:
    return tuple(
        HourCost("i-0a1", T0 + timedelta(hours=h), Decimal("12.80"), "USD", status)
        for h in range(4)
    )


def batch(every: float, length: float, stops: float = 1e9) -> Callable[[float], bool]:
    return lambda hour: hour < stops and hour % every < length


SCENARIOS = (
    Scenario("training at work all day", lambda: eight(works_until(99), 12)),
    Scenario(
        "job finished",
        lambda: eight(works_until(6 + 1 / 3), 12),
        (Truth("i-0a1", "finished", 6 + 1 / 3, 8),),
    ),
    Scenario(
        "job stalled, memory held",
        lambda: eight(works_until(5.1, held=True), 12),
        (Truth("i-0a1", "stalled", 5.1, 8),),
    ),
    Scenario(
        "never started", lambda: eight(never_works, 6), (Truth("i-0a1", "never_started", 0.5, 8),)
    ),
    Scenario("new pod never starts", new_pod_never_starts, (Truth("i-0a1", "never_started", 5.5),)),
    Scenario("pods crash in a loop", crash_loop, (Truth("i-0a1", "never_started", 0.5),)),
    Scenario("pods hang, one an hour", retries, (Truth("i-0a1", "never_started", 4.0),)),
    Scenario("one rank of a pod idle", rank_idle, (Truth("i-0a1", "rank_idle", 4 + 1 / 6),)),
    Scenario("one rank of many pods idle", ranks_of_many_pods, (Truth("i-2", "rank_idle", 4.0),)),
    Scenario("half a node unallocated", half_allocated, (Truth("i-0a1", "unallocated", 0.5, 4),)),
    Scenario(
        "whole node unallocated",
        lambda: eight(never_works, 5, pod=""),
        (Truth("i-0a1", "unallocated", 0.5, 8),),
    ),
    Scenario(
        "no resource id",
        lambda: trace("GPU-0", works_until(4), 9, resource_id=None),
        (Truth("node-i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "short job on a new GPU",
        lambda: trace("GPU-0", works_until(1), 9),
        (Truth("i-0a1", "finished", 1.0, within=4.0 + 5 / 60),),
    ),
    Scenario(
        "idle, with a tenth of the scrapes missing",
        lambda: missing(trace("GPU-0", works_until(4), 9, every=30), 0.1),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "idle, but half of the scrapes missing",
        lambda: missing(trace("GPU-0", works_until(4), 9, every=30), 0.5),
    ),
    Scenario(
        "idle around an exporter gap of one hour",
        lambda: trace("GPU-0", lambda h, n: None if 5 <= h < 6 else works_until(4)(h, n), 9),
        (Truth("i-0a1", "finished", 5.0),),
    ),
    Scenario(
        "exporter gap between work",
        lambda: trace("GPU-0", lambda h, n: None if 4 <= h < 9 else busy(n), 14),
    ),
    Scenario(
        "exporter stops for good",
        lambda: (
            trace("GPU-0", lambda h, n: None if h >= 4 else busy(n), 12)
            + trace("GPU-9", works_until(99), 12, host="i-9")
        ),
    ),
    Scenario(
        "null sensors",
        lambda: trace(
            "GPU-0",
            lambda h, n: (
                busy(n)
                if h < 4
                else {"utilization": None, "engine_active": None, "power_watts": None}
            ),
            14,
        ),
    ),
    Scenario(
        "only power and memory known",
        lambda: trace(
            "GPU-0", always(lambda n: idle(n) | {"utilization": None, "engine_active": None}), 9
        ),
    ),
    Scenario(
        "sentinels instead of readings",
        lambda: trace(
            "GPU-0",
            lambda h, n: (
                busy(n)
                if h < 4
                else {
                    "utilization": 9223372036854775794 / 100,
                    "engine_active": 140737488355328.0,
                    "power_watts": 2147483632.0,
                    "memory_used_bytes": 140737488355328.0,
                    "xid": 2147483632,
                }
            ),
            14,
        ),
    ),
    Scenario("a part of a MIG GPU idle", mig, (Truth("i-0a1", "finished", 5.0),)),
    Scenario("MIG GPU whose parts are not scraped", unscraped_mig),
    Scenario(
        "encoder only",
        lambda: trace(
            "GPU-0", always(lambda n: idle(n, held=True) | {"encoder_utilization": 0.4}), 12
        ),
    ),
    Scenario(
        "decoder only, now and then",
        lambda: trace(
            "GPU-0",
            always(lambda n: idle(n, held=True) | {"decoder_utilization": 0.1 * (n % 20 == 0)}),
            12,
        ),
    ),
    Scenario(
        "serving little: 2 % every five minutes",
        lambda: trace(
            "GPU-0",
            always(lambda n: idle(n, held=True) | {"utilization": 0.02 * (n % 10 == 0)}),
            24,
            every=30,
        ),
    ),
    Scenario(
        "engine works, utilisation blank",
        lambda: trace("GPU-0", always(lambda n: busy(n) | {"utilization": None}), 12),
    ),
    Scenario("batch of 1 h every 3 h", lambda: trace("GPU-0", during(batch(3, 1)), 48)),
    Scenario("batch of 15 min every 3 h", lambda: trace("GPU-0", during(batch(3, 0.25)), 72)),
    Scenario(
        "batch every 3 h, then no more",
        lambda: trace("GPU-0", during(batch(3, 0.25, 48)), 60),
        (Truth("i-0a1", "finished", 48.0),),
    ),
    Scenario(
        "work pauses for 105 min every 4 h", lambda: trace("GPU-0", during(batch(4, 2.25)), 72)
    ),
    Scenario(
        "checkpoints of 20 min every 2 h",
        lambda: trace(
            "GPU-0", during(lambda h: h % 2 < 5 / 3, otherwise=lambda n: idle(n, held=True)), 36
        ),
    ),
    Scenario(
        "all ranks wait 50 min for a straggler",
        lambda: eight(
            during(lambda h: not 5 <= h < 5 + 5 / 6, otherwise=lambda n: idle(n, held=True)), 10
        ),
    ),
    Scenario(
        "model loads for 45 min, then works",
        lambda: trace(
            "GPU-0", during(lambda h: h >= 0.75, otherwise=lambda n: idle(n, held=True)), 9
        ),
    ),
    Scenario(
        "node drained after an idle hour",
        lambda: (
            trace("GPU-0", lambda h, n: None if h > 5 else works_until(4)(h, n), 5)
            + trace("GPU-9", works_until(99), 12, host="i-9")
        ),
    ),
    Scenario(
        "node drained after it was told",
        lambda: (
            trace("GPU-0", lambda h, n: None if h > 7 else works_until(4)(h, n), 7)
            + trace("GPU-9", works_until(99), 12, host="i-9")
        ),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "late, twice and out of order",
        lambda: tangled(eight(works_until(6 + 1 / 3), 12)),
        (Truth("i-0a1", "finished", 6 + 1 / 3, 8),),
    ),
    Scenario(
        "host clock 25 min ahead",
        lambda: trace("GPU-0", works_until(4), 9, ahead=25 / 60),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "host clock 1.5 h behind",
        lambda: trace("GPU-0", works_until(4), 9, ahead=-1.5),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "exporter restarted, 15 s to 60 s",
        lambda: trace("GPU-0", works_until(4), 9, every=lambda h: 15 if h < 4.8 else 60),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "scraped every 5 min",
        lambda: trace("GPU-0", works_until(4), 9, every=300),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "scraped twice, by two exporters 8 s apart",
        lambda: together(
            trace("GPU-0", works_until(4), 9, every=30),
            [
                (at + timedelta(seconds=8), replaced(sample, seconds=8))
                for at, sample in trace("GPU-0", works_until(4), 9, every=30)
            ],
        ),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "time-sliced: one pod's line says 0 %, the other's works",
        lambda: together(
            trace("GPU-0", works_until(99), 9, namespace="ml", pod="a"),
            trace("GPU-0", never_works, 9, namespace="ml", pod="b"),
        ),
    ),
    Scenario(
        "XID 79: the board fell off the bus", lambda: fault(79), (Truth("i-0a1", "fault", 5.0),)
    ),
    Scenario("XID 31: the program failed", lambda: fault(31), (Truth("i-0a1", "finished", 5.0),)),
    Scenario(
        "an old XID in the gauge",
        lambda: trace("GPU-0", works_until(4), 9, xid=79),
        (Truth("i-0a1", "finished", 4.0),),
    ),
    Scenario(
        "reserved instance",
        lambda: eight(works_until(4), 8),
        (Truth("i-0a1", "finished", 4.0, 8),),
        bills("Used"),
    ),
)


BOOK = load_prices()


class Hit(NamedTuple):
    """A truth that was told: the verdict with the most GPUs, and hours from truth to word."""

    truth: Truth
    verdict: IdleVerdict
    delay: float


class Outcome(NamedTuple):
    """All verdicts on a trace, and what became of its truths."""

    verdicts: list[IdleVerdict]
    hits: list[Hit]
    missed: list[Truth]
    false: list[IdleVerdict]


def replay(scenario: Scenario) -> Iterator[IdleVerdict]:
    """Yield every verdict on a trace, as the samples arrive."""
    gpus = IdleGpus(IdleGpuColumns(), BOOK)
    feed = scenario.feed()
    gpus.hours.resources |= {cost.resource_id for cost in scenario.costs}
    for cost in scenario.costs:
        gpus.observe_cost(cost)
    for at, sample in feed:
        gpus.observe(at, sample)
        yield from gpus.advance(at)


def judged(scenario: Scenario) -> Outcome:
    """Hold what was said of each group of GPUs against the truth."""
    verdicts = list(replay(scenario))
    groups: dict[tuple[str, str, datetime], list[IdleVerdict]] = {}
    for verdict in verdicts:
        groups.setdefault((verdict.key, verdict.cause, verdict.since), []).append(verdict)
    hits, false, missed = [], [], list(scenario.truths)
    for (key, cause, _), told in groups.items():
        truth = next((t for t in missed if (t.key, t.cause) == (key, cause)), None)
        if truth is None:
            false.append(told[0])
            continue
        missed.remove(truth)
        true_from = T0 + timedelta(hours=truth.idle_from)
        delay = (told[0].detected_at - true_from) / timedelta(hours=1)
        hits.append(Hit(truth, max(told, key=lambda verdict: verdict.gpu_count), delay))
    return Outcome(verdicts, hits, missed, false)


def main() -> None:
    delays = []
    right = wrong = missed = 0
    for scenario in SCENARIOS:
        outcome = judged(scenario)
        delays += [hit.delay for hit in outcome.hits]
        right, wrong = right + len(outcome.hits), wrong + len(outcome.false)
        missed += len(outcome.missed)
        said = [
            f"{h.verdict.cause} x{h.verdict.gpu_count} after {h.delay:.2f} h" for h in outcome.hits
        ]
        said += [f"FALSE: {verdict.reason}" for verdict in outcome.false]
        said += [f"MISSED: {truth}" for truth in outcome.missed]
        print(f"{scenario.name:48} {'; '.join(said) or 'silent'}")
    print(
        f"{len(SCENARIOS)} traces: precision {right / (right + wrong):.2f}, "
        f"recall {right / (right + missed):.2f}, delay median {median(delays):.2f} h, "
        f"longest {max(delays):.2f} h"
    )


if __name__ == "__main__":
    main()
