"""What it costs to save and restore many series: python -m tests.benchmarks.state [series] [DIR].

Every series has a full history and learnt detectors; the ledger holds two to four hours of each.
The restore runs in a process of its own, with the files in the page cache.
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np

from service.adapters.checkpoints import Checkpoints
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from tests.factories import make_event

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
RESTORES = """
import sys, time, resource
from pathlib import Path
from service.adapters.checkpoints import Checkpoints
from tests.benchmarks.state import build
begun, worked = time.perf_counter(), time.process_time()
checkpoints, pipeline = Checkpoints(Path(sys.argv[1])), build()
checkpoint = next(checkpoints.newest_first())
with checkpoint.open() as saved:
    assert pipeline.restore(saved) == []
spent, worked = time.perf_counter() - begun, time.process_time() - worked
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"restored {pipeline.series} series: {spent:.1f} s, {worked:.1f} s of a core")
print(f"{memory:.1f} GiB of memory at most")
"""


def build():
    return build_pipeline(
        Settings(), {"events": "effective"}, tells_history=True, keeps_history=False
    )


def hour_of(number, count, random):
    start = T0 + number * HOUR
    for series, cost in enumerate(random.lognormal(1, 0.1, count).tolist()):
        event = make_event(
            charge_period_start=start, charge_period_end=start + HOUR,
            effective_cost=Decimal(f"{cost:.4f}"), billed_cost=Decimal(f"{cost:.4f}"),
            resource_id=f"i-{series:017x}", x_event_id=f"{series:x}-{number}",
            tags={"team": f"team-{series % 50}", "env": "prod"},
        )  # fmt: skip
        yield Arrival(start + HOUR, "events", event)


def timed(what, call):
    begun, worked = time.perf_counter(), time.process_time()
    found = call()
    spent, worked = time.perf_counter() - begun, time.process_time() - worked
    print(f"{what}: {spent:.1f} s, {worked:.1f} s of a core", flush=True)
    return found


def step(pipeline, number, count, random):
    batch = list(hour_of(number, count, random))
    now = T0 + (number + 1) * HOUR
    return timed(
        f"hour {number} through the pipeline", lambda: pipeline.step(batch, now, number + 1)
    )


def fill(pipeline):
    """Give every series a past: random, so that nothing of it compresses or repeats."""
    random = np.random.default_rng(1)
    for name, column in pipeline._parts.scorings[1]._fleet.columns().items():
        if column.dtype == np.float32 and column.ndim == 2:
            for first in range(0, len(column), 4096):
                column[first : first + 4096] = random.random(
                    column[first : first + 4096].shape, np.float32
                )
                if name.startswith("history/"):
                    column[first : first + 4096] += 1


def report(what, size, count):
    print(f"{what}: {size / 2**20:,.0f} MiB, {size / count:,.0f} bytes a series")


def save(what, pipeline, checkpoints, count):
    written = timed(what, lambda: checkpoints.save(pipeline.offset, pipeline.save))
    report("written", written, count)


def run(folder, count):
    random = np.random.default_rng(7)
    pipeline, checkpoints = build(), Checkpoints(folder)
    step(pipeline, 0, count, random)
    fill(pipeline)
    step(pipeline, 1, count, random)
    save("first save", pipeline, checkpoints, count)
    for number in (2, 3):
        step(pipeline, number, count, random)
        save("hourly save", pipeline, checkpoints, count)
    report("on disk", sum(path.stat().st_size for path in folder.iterdir()), count)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{memory:.1f} GiB of memory at most", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        run(Path(folder), count)
        subprocess.run([sys.executable, "-c", RESTORES, folder], check=True)


if __name__ == "__main__":
    main()
