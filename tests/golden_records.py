"""What each record of a JSON source becomes in FOCUS, written for people to read.

`python -m tests.golden_records` writes tests/data/golden/*.md afresh; read the difference before
you keep it.
"""

import json
from itertools import groupby
from pathlib import Path

import msgspec

from service.adapters.sources import SOURCES
from service.adapters.sources.documents import records

DATA = Path(__file__).parent / "data"
NAMES = ("litellm", "openai", "anthropic", "opencost")


def golden_of(name):
    return DATA / "golden" / f"{name}.md"


def described(name):
    """Write every record of a source's sample: what the file says, and the rows it becomes."""
    [path] = (DATA / "sources").glob(f"{name}.*")
    raw = {number: text for number, text, _ in records(path, json.loads)}
    parts = [f"# {name}: records of {path.name}, and the FOCUS rows they become\n"]
    rows = SOURCES[name].read(path)
    for number, items in groupby(rows, key=lambda item: item.number):
        record = json.dumps(json.loads(raw[number]), indent=1)
        parts.append(f"\n## Record {number}\n\n```json\n{record}\n```\n")
        for item in items:
            parts.append("\n| FOCUS column | value |\n|---|---|\n")
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
