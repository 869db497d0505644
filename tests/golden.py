"""What each native row becomes in FOCUS, or as a GPU sample, written for people to read.

`python -m tests.golden` writes tests/data/golden afresh; read the difference before you keep it.
"""

import csv
import json
from itertools import groupby
from pathlib import Path

import msgspec

from service.adapters.sources import SOURCES
from service.adapters.sources.base import Completion

DATA = Path(__file__).parent / "data"


def sample_of(name):
    [path] = (DATA / "sources").glob(f"{name}.*")
    return path


def golden_of(name):
    return DATA / "golden" / f"{name}.txt"


def described(name):
    """Write every row of a source's sample: what the file says, and what it becomes."""
    path = sample_of(name)
    found = [*SOURCES[name].read(path)]
    lines = [list(items) for _, items in groupby(found, key=lambda item: item.number)]
    return "\n".join(
        f"line {items[0].number}\n{_listed(raw)}"
        + "".join(f"  =\n{_listed(_said(item))}" for item in items)
        for raw, items in zip(_raw(path), lines, strict=True)
    )


def _said(item):
    if isinstance(item, Completion):
        return {"completes the snapshot": item.snapshot_id, "of so many rows": item.rows}
    return _focus(item.event)


def _raw(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from csv.DictReader(file, skipinitialspace=True)
    else:
        for line in path.read_text().splitlines():
            yield dict(_leaves("", json.loads(line, parse_float=str)))


def _leaves(name, value):
    """Name what is nested by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}" if name else key, inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(f"{name}[{at}]", inner)
    else:
        yield name, value


def _focus(event):
    return {
        key: value
        for key, value in msgspec.to_builtins(event).items()
        if value is not None and not key.startswith("x_Event")
    }


def _listed(row):
    return "".join(
        f"  {key:<60} {value}\n" for key, value in row.items() if value not in ("", None)
    )


def main():
    for path in sorted((DATA / "golden").glob("*.txt")):
        path.write_text(described(path.stem))


if __name__ == "__main__":
    main()
