"""GPU samples as NDJSON: one GPU at one moment a line.

What a sensor writes when it has nothing to say (an absurdly large number) is unknown, never a
value. Utilisation is a ratio: a percentage is refused, since 1 would mean two things.
"""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes
from service.adapters.sources.ndjson import NOT_DECODED, decoded, decoded_line
from service.core.events import GpuSample, flaw_of
from service.decoding import convert

SENTINEL: Final = 1e12
# DCGM's blanks of 32-bit sensors, 0x7ffffff0 to 0x7ffffff3 (dcgm_structs.h).
INT32_SENTINELS: Final = frozenset(range(0x7FFFFFF0, 0x7FFFFFF4))
RATIOS: Final = (
    "utilization", "engine_active", "encoder_utilization", "decoder_utilization",
)  # fmt: skip
PLACES: Final = ("resource_id", "sub_account_id", "region_id", "instance_type")
SENSORS: Final = (*RATIOS, "memory_used_bytes", "power_watts", "xid")


def recognises(head: Head) -> bool:
    """Tell samples by their GPU."""
    return head.form == "ndjson" and "gpuuuid" in head.names


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early."""
    for number, line, found in decoded(path, _SAMPLE.decode):
        yield _row(number, line, found)


def parse(number: int, line: bytes) -> Row | Flaw | None:
    """Read one line of a message, None if it is blank."""
    found = decoded_line(number, line, _SAMPLE.decode)
    return None if found is None else _row(number, line, found)


def _row(number: int, line: bytes, found: GpuSample | Flaw) -> Row | Flaw:
    sample = _without_sentinels(line, found) if isinstance(found, Flaw) else found
    if isinstance(sample, Flaw):
        return sample
    why = flaw_of(sample)
    if why is not None:
        return Flaw(number, "range", why, first_bytes(line))
    return Row(number, _tidy(sample))


def _without_sentinels(line: bytes, flaw: Flaw) -> GpuSample | Flaw:
    """Read a line again with its sentinels taken for null; the flaw when that does not help."""
    if flaw.kind != "type":
        return flaw
    try:
        row = _ANY.decode(line)
    except NOT_DECODED:
        return flaw
    if not isinstance(row, dict):
        return flaw
    for name in SENSORS:
        value = row.get(name)
        if isinstance(value, int | float) and (value > SENTINEL or value in INT32_SENTINELS):
            row[name] = None
    try:
        return convert(row, GpuSample)
    except msgspec.ValidationError as error:
        return flaw._replace(reason=_explain(str(error), row))


def _explain(reason: str, row: dict[str, Any]) -> str:
    for name in RATIOS:
        if reason.endswith(f"`$.{name}`") and "=" in reason:
            return f"{name} is {row[name]}, outside 0..1: it is a ratio, not a percentage"
    return reason


def _tidy(sample: GpuSample) -> GpuSample:
    """Bring times into UTC; a sentinel that fits its field is unknown, and so is an empty name."""
    changes: dict[str, Any] = {}
    if sample.timestamp.tzinfo is not UTC:
        changes["timestamp"] = sample.timestamp.astimezone(UTC)
    if sample.x_arrived_at is not None and sample.x_arrived_at.tzinfo is not UTC:
        changes["x_arrived_at"] = sample.x_arrived_at.astimezone(UTC)
    if sample.memory_used_bytes is not None and sample.memory_used_bytes > SENTINEL:
        changes["memory_used_bytes"] = None
    if sample.xid is not None and (sample.xid > SENTINEL or sample.xid in INT32_SENTINELS):
        changes["xid"] = None
    changes |= {name: None for name in PLACES if getattr(sample, name) == ""}
    return msgspec.structs.replace(sample, **changes) if changes else sample


_SAMPLE: Final = msgspec.json.Decoder(GpuSample)
_ANY: Final = msgspec.json.Decoder()

SOURCE: Final = Source(recognises, read, appends=True, needs="JSON lines with gpu_uuid")
