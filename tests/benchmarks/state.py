"""What it costs to save and restore many series.

python -m tests.benchmarks.state [--part] [series] [DIR]

Every series has a full history and learnt detectors; the ledger holds two to four hours of each.
`--part` is a worker's partition, whose sums are another's to judge; else it is all of one machine.
The restore runs in a process of its own, with the files in the page cache, and takes in an hour of
all series afterwards, which finds what the restore has put off. A restore needs six KiB of memory a
series, which is dear where the system has to get it from a host first: so what a GiB of it costs is
said besides, and what a restore does that has had as much just before.
"""

import argparse
import re
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
import sys
from pathlib import Path
from tests.benchmarks.state import restore
is_part, is_warm = (said == "True" for said in sys.argv[3:])
restore(Path(sys.argv[1]), int(sys.argv[2]), is_part=is_part, is_warm=is_warm)
"""


def build(*, is_part):
    return build_pipeline(
        Settings(), {"events": "effective"}, tells_history=True, keeps_history=False,
        is_part=is_part,
    )  # fmt: skip


def memory():
    # Not what getrusage says, which counts that of whoever started the process.
    (most,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return f"{int(most) / 2**20:.2f} GiB of memory at most"


def restore(folder, count, *, is_part, is_warm):
    def back():
        pipeline = build(is_part=is_part)
        checkpoint = next(Checkpoints(folder).newest_first())
        with checkpoint.open() as saved:
            assert pipeline.restore(saved) == []
        return pipeline

    if is_warm:
        np.ones(2**10 * count)
        timed("restored into memory that was had just before", back)
        return
    pipeline, random = timed(f"restored {count} series", back), np.random.default_rng(8)
    print(memory())
    for number in (4, 5):
        step(pipeline, number, count, random)
    print(memory())
    timed("a GiB of memory that was not used before", lambda: np.ones(2**27))


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


def run(folder, count, *, is_part):
    random = np.random.default_rng(7)
    pipeline, checkpoints = build(is_part=is_part), Checkpoints(folder)
    step(pipeline, 0, count, random)
    fill(pipeline)
    step(pipeline, 1, count, random)
    save("first save", pipeline, checkpoints, count)
    for number in (2, 3):
        step(pipeline, number, count, random)
        save("hourly save", pipeline, checkpoints, count)
    report("on disk", sum(path.stat().st_size for path in folder.iterdir()), count)
    print(memory(), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("series", type=int, nargs="?", default=100_000)
    parser.add_argument("dir", nargs="?")
    parser.add_argument("--part", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
        run(Path(folder), asked.series, is_part=asked.part)
        for is_warm in (False, True):
            arguments = folder, str(asked.series), str(asked.part), str(is_warm)
            subprocess.run([sys.executable, "-c", RESTORES, *arguments], check=True)


if __name__ == "__main__":
    main()
