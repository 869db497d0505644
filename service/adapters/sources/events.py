"""Events as NDJSON: one FOCUS row a line, in FOCUS's spelling, with the x_ fields beside it.

Decoding is strict: the sender speaks our contract. Of a key that a line has twice, the last counts.
A row without x_EventId is named by its content and its turn among such rows of its file, for which
a digest is kept in memory while the file is read.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes
from service.adapters.sources.ndjson import NOT_DECODED, decoded, decoded_line
from service.adapters.sources.values import tidy
from service.core.events import CostEvent, content_hash, flaw_of


def recognises(head: Head) -> bool:
    """Tell events by a charge period, or by the line that completes a snapshot."""
    return head.form == "ndjson" and not head.names.isdisjoint(
        {"chargeperiodstart", "chargeperiodend", "billedcost", "xsnapshotid"}
    )


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early."""
    seen: Counter[str] = Counter()
    for number, line, event in decoded(path, _EVENT.decode):
        if isinstance(event, Flaw):
            yield _completion(number, line) or event
        else:
            yield _row(number, line, event, seen)


def parse(number: int, line: bytes, seen: Counter[str]) -> Row | Flaw | None:
    """Read one line of a message, None if it is blank; `seen` counts its rows without a name."""
    event = decoded_line(number, line, _EVENT.decode)
    return _row(number, line, event, seen) if isinstance(event, CostEvent) else event


def _row(number: int, line: bytes, event: CostEvent, seen: Counter[str]) -> Row | Flaw:
    why = flaw_of(event)
    if why is not None:
        return Flaw(number, "range", why, first_bytes(line))
    if event.x_event_id or event.x_snapshot_id is not None:
        return Row(number, tidy(event))
    content = _content(line)
    named = msgspec.structs.replace(event, x_event_id=f"{content}-{seen[content]}")
    seen[content] += 1
    return Row(number, tidy(named))


def _completion(number: int, line: bytes) -> Completion | None:
    if b'"complete"' not in line:
        return None
    try:
        end = _END.decode(line)
    except NOT_DECODED:
        return None
    return Completion(number, end.x_snapshot_id, end.rows) if end.complete else None


def _content(line: bytes) -> str:
    """Hash what a line says, whatever the order of its keys, and not when it arrived."""
    try:
        row: dict[str, Any] = _ANY.decode(line)
        row.pop("x_ArrivedAt", None)
        return content_hash(row)
    except (*NOT_DECODED, OverflowError):
        return content_hash(line.strip())


class _End(msgspec.Struct):
    x_snapshot_id: str = msgspec.field(name="x_SnapshotId")
    complete: bool
    rows: int | None = None


_EVENT: Final = msgspec.json.Decoder(CostEvent)
_END: Final = msgspec.json.Decoder(_End)
_ANY: Final = msgspec.json.Decoder(float_hook=str)

SOURCE: Final = Source(
    recognises, read, appends=True, needs="JSON lines with ChargePeriodStart and BilledCost"
)
