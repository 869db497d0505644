"""Measures what a point costs: our column and scalar forms beside River's objects.

    python -m tests.benchmarks.detection.speed 100000
    python -m tests.benchmarks.detection.speed 100000 48

prints the column form at that many series over that many hours, by step. CPU time of the
process, so that neighbours on the machine matter little. A point is scored, recorded and learnt.
"""

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from detectors.fleet import Fleet
from detectors.history import HOURS
from detectors.registry import DETECTORS
from detectors.warm import warm
from tests.benchmarks.detection import plan
from tests.benchmarks.detection.page import table
from tests.benchmarks.detection.peers_river import RIVER, loda

DISTINCT = 2_000
BEGIN = 491_904 - 491_904 % HOURS
TIMED = 24  # hours a repeat
BATCH = 32_768  # points a call
STEPS = ("score", "record", "learn")
LEARNT = 110  # points that an object of River has seen before: GaussianScorer is silent until 100
OBJECTS = {**RIVER, "LODA": loda}
LARGE = 20_000  # bytes of an object from which there are no 100,000 of it


def columns(fleet) -> dict:
    """All state of a fleet by name."""
    owners = {"history": fleet.history, **fleet.detectors}
    return {
        f"{owner}/{name}": part
        for owner, own in owners.items()
        for name, part in own.columns().items()
    }


def costs_of(count, hours):
    r = np.random.default_rng(0)
    rhythm = 1 + 0.4 * np.cos(np.arange(hours) * 2 * np.pi / 24)
    level = r.lognormal(1, 1, (count, 1)) * np.exp(0.05 * r.normal(size=(count, 1)))
    costs = level * rhythm
    return costs * np.exp(0.05 * r.normal(size=costs.shape))


def filled(count, hours=48):
    """A fleet of `count` rows with six weeks behind them, and the costs of the hours after."""
    few = Fleet(1, {name: {} for name in DETECTORS})
    few.resize(min(count, DISTINCT))
    rows = np.arange(few.rows)
    costs = costs_of(few.rows, HOURS + hours)
    for h in range(HOURS):
        points = rows, np.full(few.rows, BEGIN + h), costs[:, h].copy()
        few.learn(*points)
        few.record(*points)
    large = Fleet(1, {name: {} for name in DETECTORS})
    large.resize(count)
    own = columns(few)
    for name, part in columns(large).items():
        for at in range(0, count, few.rows):
            part[at : at + few.rows] = own[name][: count - at]
    return large, costs[:, HOURS:]


def hour_of(fleet, costs, h) -> dict[str, float]:
    """Score, record and learn one hour of every series in batches; return each step's seconds."""
    spent = dict.fromkeys(STEPS, 0.0)
    every = np.arange(fleet.rows)
    for rows in np.split(every, range(BATCH, fleet.rows, BATCH)):
        steps = np.full(len(rows), BEGIN + HOURS + h)
        points = rows, steps, costs[rows % len(costs), h]
        for name in STEPS:
            begun = time.process_time()
            getattr(fleet, name)(*points)
            spent[name] += time.process_time() - begun
    return spent


def column_form(count, repeats) -> tuple[list[float], float]:
    """Microseconds a point of all detectors, one number a repeat, and bytes a series."""
    fleet, costs = filled(count, TIMED * repeats if count < DISTINCT * 100 else 3 * repeats)
    hours = costs.shape[1] // repeats
    took = [
        sum(sum(hour_of(fleet, costs, n * hours + h).values()) for h in range(hours))
        for n in range(repeats)
    ]
    size = sum(part.nbytes for part in columns(fleet).values()) / count
    return [1e6 * seconds / count / hours for seconds in took], size


def scalar_form(repeats) -> list[float]:
    """Microseconds a point of all detectors' scalar forms on one series."""
    ones = [forms.one() for forms in DETECTORS.values()]
    costs = costs_of(1, HOURS + 200 * repeats)[0].tolist()
    for step, cost in enumerate(costs[:HOURS], BEGIN):
        for one in ones:
            one.learn_one({"step": step, "cost": cost})
    took = []
    for n in range(repeats):
        begun = time.process_time()
        for h in range(HOURS + 200 * n, HOURS + 200 * (n + 1)):
            x = {"step": BEGIN + h, "cost": costs[h]}
            for one in ones:
                one.score_one(x)
                one.learn_one(x)
        took.append(1e6 * (time.process_time() - begun) / 200)
    return took


def resident() -> int:
    """Bytes that the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def objects(name, count, repeats) -> tuple[list[float], float]:
    """Microseconds a point of one River object a series, in turn, and bytes an object.

    To be run in a process of its own, or the bytes are what an earlier user let go.
    """
    make = OBJECTS[name]
    make()
    before = resident()
    models = [make() for _ in range(count)]
    hours = LEARNT + 2 * repeats
    costs = costs_of(1, hours)[0].tolist()
    for model in models:
        for cost in costs[:LEARNT]:
            model.teach(cost, cost)
    size = (resident() - before) / count
    took = []
    for n in range(repeats):
        begun = time.process_time()
        for h in range(LEARNT + 2 * n, LEARNT + 2 * n + 2):
            for model in models:
                model.ask(costs[h], costs[h - 1])
                model.teach(costs[h], costs[h - 1])
        took.append(1e6 * (time.process_time() - begun) / count / 2)
    return took, size


def saved_and_restored(count) -> tuple[float, float, float]:
    """Wall seconds to write all state into a folder and to fill a new fleet from it; and MB."""
    fleet, _ = filled(count, 1)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        for n, part in enumerate(columns(fleet).values()):
            np.save(Path(folder) / f"{n}.npy", part, allow_pickle=False)
        wrote = time.perf_counter() - begun
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        begun = time.perf_counter()
        anew = Fleet(1, {name: {} for name in DETECTORS})
        anew.resize(count)
        for n, part in enumerate(columns(anew).values()):
            part[:] = np.load(Path(folder) / f"{n}.npy", mmap_mode="r", allow_pickle=False)
        return wrote, time.perf_counter() - begun, size / 1e6


def line(name, count, took, size) -> tuple:
    middle = float(np.median(took))
    return (
        name,
        f"{count:,}",
        f"{middle:.2f} ({min(took):.2f} to {max(took):.2f})",
        f"{1e6 / middle:,.0f}",
        f"{size:,.0f}" if size else "-",
    )


def river_lines(size: plan.Size):
    fresh = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **fresh) as pool:
        for name in OBJECTS:
            for count in size.objects:
                took, held = pool.submit(objects, name, count, size.repeats).result()
                yield line(f"River {name}, 1 object a series", count, took, held)
                if held > LARGE:
                    break


def section(size: plan.Size) -> str:
    warm()
    rows = [line("**Spendwatch**, scalar form", 1, scalar_form(size.repeats), 0)]
    for count in size.fleets:
        took, held = column_form(count, size.repeats)
        rows.append(
            line(f"**Spendwatch**, column form, {len(DETECTORS)} detectors", count, took, held)
        )
    rows += river_lines(size)
    head = ("form", "series", "us of CPU a point (range)", "points/s of one core", "bytes a series")
    count = min(100_000, size.fleets[-1])
    wrote, filled_again, megabytes = saved_and_restored(count)
    return (
        f"{table(head, rows)}\n\n{size.repeats} repeats, at most {BATCH:,} points a call. "
        f"All state of {count:,} series, {megabytes:.0f} MB: written to files in {wrote:.2f} s, "
        f"a new fleet filled from them in {filled_again:.2f} s (wall time)."
    )


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    hours = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    warm()
    fleet, costs = filled(count, hours)
    spent = dict.fromkeys(STEPS, 0.0)
    for h in range(hours):
        for name, seconds in hour_of(fleet, costs, h).items():
            spent[name] += seconds
    scale = 1e6 / count / hours
    print({name: round(seconds * scale, 3) for name, seconds in spent.items()})
    total = sum(spent.values()) * scale
    held = sum(part.nbytes for part in columns(fleet).values()) / count
    print(
        f"{count} series: {total:.2f} us a point, {1 / total:.2f} M points/s, {held:.0f} B a series"
    )


if __name__ == "__main__":
    main()
