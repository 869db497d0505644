"""Runs the whole detection benchmark, prints its tables and writes them into docs/detection.md.

    python -m tests.benchmarks.detection                      # everything, about half an hour
    python -m tests.benchmarks.detection --quick              # a few series each, page left alone
    python -m tests.benchmarks.detection --only compare rates # some sections

`ours` runs the default detectors alone on seeds for design.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.benchmarks.detection import (
    carriers,
    compare,
    idle_gpu_rhythms,
    idle_gpu_truth,
    less,
    microsoft,
    nab,
    plan,
    rates,
    speed,
)
from tests.benchmarks.detection.page import PAGE, put

SECTIONS: Final[Mapping[str, Callable[[plan.Size], str]]] = {
    "compare": compare.section,
    "alone": compare.alone,
    "rates": rates.section,
    "less": less.section,
    "carriers": carriers.section,
    "microsoft": microsoft.section,
    "nab": nab.section,
    "idle-gpu": idle_gpu_truth.section,
    "idle-gpu-rhythms": idle_gpu_rhythms.section,
    "speed": speed.section,
}


def processor() -> str:
    """What the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def made(sections: list[str]) -> str:
    """How, when, from what and on what figures were made."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout.strip()
    load = os.getloadavg()[1]
    return (
        f"`make bench-detection` on {datetime.now(UTC):%Y-%m-%d} ({', '.join(sections)}), commit "
        f"{commit}; {os.cpu_count()} shared cores ({processor()}), load {load:.1f} in the last "
        f"five minutes; Python {platform.python_version()}, River {version('river')}, numpy "
        f"{version('numpy')}, numba {version('numba')}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few series each; writes no page")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    size = plan.QUICK if given.quick else plan.FULL
    for name in given.only:
        begun = time.monotonic()
        text = SECTIONS[name](size)
        print(f"## {name}\n\n{text}\n\n({time.monotonic() - begun:.0f} s)\n", flush=True)
        if not given.quick:
            page = put(PAGE.read_text(), name, text)
            PAGE.write_text(put(page, f"made-{name}", made([name])))


if __name__ == "__main__":
    sys.exit(main())
