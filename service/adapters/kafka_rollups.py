"""The topic `cost.rollups`: what each partition of the input adds to sums that cross partitions.

A report holds what changed since the one before, each value in place of what was said of the same
cell and step, in a chain for each partition. Orders about what the sums showed come in between.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from service.adapters.kafka_client import MAX_MESSAGE_BYTES
from service.core.chain import Link
from service.core.looks import Look
from service.core.partials import CellPart, LevelPart


class Report(msgspec.Struct, kw_only=True, frozen=True, tag_field="x_Record", tag="partials"):
    """What one partition said, after its message at `offset`.

    What it holds came before the moment `mark`; up to `passed` nothing more will be said. Its
    `contacts` are when sources were first met there. One that is too large for a message is
    several, numbered by `part`.
    """

    topic: str
    partition: int
    previous: int
    offset: int
    mark: datetime
    passed: datetime
    contacts: dict[str, datetime]
    cells: list[CellPart]
    levels: list[LevelPart] = []
    looks: list[Look] = []
    part: int = 0
    parts: int = 1

    @property
    def link(self) -> Link:
        """Return the report's place in the chain of its partition."""
        return Link(self.previous, self.offset)


def encode(report: Report) -> list[bytes]:
    """Write a report as messages, each small enough."""
    rows: list[tuple[list[CellPart], list[Look]]] = [([], [])]
    size = 0
    said: list[CellPart | Look] = [*report.cells, *report.looks]
    for row in said:
        length = len(_ENCODE(row))
        if size and size + length > MAX_MESSAGE_BYTES // 2:
            rows.append(([], []))
            size = 0
        if isinstance(row, Look):
            rows[-1][1].append(row)
        else:
            rows[-1][0].append(row)
        size += length
    return [
        _ENCODE(
            msgspec.structs.replace(
                report,
                cells=some,
                looks=looks,
                levels=[] if part else report.levels,
                part=part,
                parts=len(rows),
            )
        )
        for part, (some, looks) in enumerate(rows)
    ]


def decode(value: bytes) -> Report:
    """Read one message."""
    return _DECODE(value)


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final[Callable[[bytes], Report]] = msgspec.json.Decoder(Report).decode
