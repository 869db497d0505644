"""Labelled GPU traces, one per trap: what is true of each.

`idle_from` is when the statement "this GPU does nothing" becomes true: when the last work ended;
for what never worked, after half an hour of start-up; where it pauses by habit, when the next piece
of work failed to come; where samples are missing, later by as much. A trace without truths must
stay silent.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from service.core.gpu_rates import HourCost
from tests.benchmarks.detection.idle_gpu_traces import (
    T0,
    Feed,
    always,
    busy,
    crash_loop,
    during,
    eight,
    fault,
    half_allocated,
    idle,
    mig,
    missing,
    never_works,
    new_pod_never_starts,
    rank_idle,
    ranks_of_many_pods,
    replaced,
    retries,
    tangled,
    together,
    trace,
    unscraped_mig,
    works_until,
)


class Truth(NamedTuple):
    """GPUs of `key` that do nothing from `idle_from` hours on, and by when that must be said."""

    key: str
    cause: str
    idle_from: float
    gpus: int = 1
    within: float = 2.0


class Scenario(NamedTuple):
    """A trace and what is true of it; without truths, `otherwise` says why nothing may be said."""

    name: str
    feed: Callable[[], Feed]
    truths: tuple[Truth, ...] = ()
    costs: tuple[HourCost, ...] = ()
    otherwise: str = "at work"


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
        otherwise="unknown",
    ),
    Scenario(
        "idle around an exporter gap of one hour",
        lambda: trace("GPU-0", lambda h, n: None if 5 <= h < 6 else works_until(4)(h, n), 9),
        (Truth("i-0a1", "finished", 5.0),),
    ),
    Scenario(
        "exporter gap between work",
        lambda: trace("GPU-0", lambda h, n: None if 4 <= h < 9 else busy(n), 14),
        otherwise="unknown",
    ),
    Scenario(
        "exporter stops for good",
        lambda: (
            trace("GPU-0", lambda h, n: None if h >= 4 else busy(n), 12)
            + trace("GPU-9", works_until(99), 12, host="i-9")
        ),
        otherwise="unknown",
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
        otherwise="unknown",
    ),
    Scenario(
        "only power and memory known",
        lambda: trace(
            "GPU-0", always(lambda n: idle(n) | {"utilization": None, "engine_active": None}), 9
        ),
        otherwise="unknown",
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
        otherwise="unknown",
    ),
    Scenario("a part of a MIG GPU idle", mig, (Truth("i-0a1", "finished", 5.0),)),
    Scenario("MIG GPU whose parts are not scraped", unscraped_mig, otherwise="unknown"),
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
        otherwise="idle for an hour, then gone",
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
