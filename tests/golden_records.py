"""What each record of a JSON source, and each GPU of a scrape, becomes, written for people to read.

`python -m tests.golden_records` writes tests/data/golden/*.md afresh; read the difference before
you keep it.
"""

import json
import re
from itertools import groupby
from pathlib import Path

import msgspec

from service.adapters.sources import SOURCES
from service.adapters.sources.documents import records

DATA = Path(__file__).parent / "data"
BILLS = ("litellm", "openai", "anthropic", "opencost")
RUNS = ("mlflow", "wandb")
NAMES = (*BILLS, *RUNS, "dcgm")


def golden_of(name):
    return DATA / "golden" / f"{name}.md"


def described(name):
    """Write every record of a source's sample: what the file says, and the rows it becomes."""
    [path] = (DATA / "sources").glob(f"{name}.*")
    if name == "dcgm":
        return described_scrape(path)
    raw = {number: text for number, text, _ in records(path, json.loads)}
    what, column = ("FOCUS rows", "FOCUS column") if name in BILLS else ("runs", "field")
    parts = [f"# {name}: records of {path.name}, and the {what} they become\n"]
    rows = SOURCES[name].read(path)
    for number, items in groupby(rows, key=lambda item: item.number):
        record = json.dumps(json.loads(raw[number]), indent=1)
        if name in RUNS:
            # A point of a metric's history is a line.
            record = re.sub(r"\{[^{}\[\]]*\}", lambda found: " ".join(found[0].split()), record)
        parts.append(f"\n## Record {number}\n\n```json\n{record}\n```\n")
        for item in items:
            parts.append(f"\n| {column} | value |\n|---|---|\n")
            parts += [f"| {key} | {_shown(value)} |\n" for key, value in _focus(item.event)]
    return "".join(parts)


def described_scrape(path):
    """Write every GPU of a scrape: the lines that name it, and the sample they become."""
    parts = [f"# dcgm: GPUs of {path.name}, and the samples they become\n"]
    lines = path.read_text().splitlines()
    for item in SOURCES["dcgm"].read(path):
        named = [line for line in lines if f'UUID="{item.event.gpu_uuid}"' in line]
        parts.append("\n## GPU {}\n\n```\n{}\n```\n".format(item.number, "\n".join(named)))
        parts.append("\n| field | value |\n|---|---|\n")
        parts += [f"| {key} | {_shown(value)} |\n" for key, value in _focus(item.event)]
    return "".join(parts)


def _focus(event):
    for key, value in msgspec.to_builtins(event).items():
        if value is not None and key != "x_EventId":
            yield key, value


def _shown(value):
    return json.dumps(value) if isinstance(value, dict) else str(value)


def main():
    for name in NAMES:
        if name in SOURCES:
            golden_of(name).write_text(described(name))


if __name__ == "__main__":
    main()
