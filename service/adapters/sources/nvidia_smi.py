"""What `nvidia-smi --query-gpu=... --format=csv` prints, with units or without.

Fields: `nvidia-smi --help-query-gpu`. Read are timestamp, uuid, name, utilization.gpu, .encoder and
.decoder, memory.used and power.draw; others are dropped. It says neither the host, which the
file's name begins with, nor the time zone: a time is UTC. Of a GPU that is cut into MIG instances
it tells memory and power alone.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from service.adapters.gpu.base import ratio_of, value_of
from service.adapters.sources.base import (
    BrokenFileError,
    Completion,
    Flaw,
    Head,
    Row,
    Source,
    first_bytes,
)
from service.adapters.sources.files import look
from service.adapters.sources.gpu_files import said_by_name
from service.adapters.sources.tables import read_table
from service.adapters.sources.values import moment
from service.core.events import GpuSample, flaw_of
from service.decoding import convert

MIB: Final = 1 << 20
MOST_WATTS: Final = 1e6
REQUIRED: Final = ("timestamp", "uuid")
# How nvidia-smi calls a field in a query, in either of its spellings; units stand behind.
_NAMES: Final[Mapping[str, str]] = {
    "timestamp": "timestamp",
    "uuid": "uuid",
    "gpuuuid": "uuid",
    "name": "model",
    "gpuname": "model",
    "utilization.gpu": "utilization",
    "utilization.encoder": "encoder_utilization",
    "utilization.decoder": "decoder_utilization",
    "memory.used": "memory_used_bytes",
    "power.draw": "power_watts",
}
_UNITS: Final = (" %", " MiB", " W")


def recognises(head: Head) -> bool:
    """Tell its table by utilization.gpu, as nothing else writes it."""
    return head.form == "csv" and "utilization" in map(_field, head.names)


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    table = read_table(path, look(path), ())
    fields = [_field(name) for name in table.columns]
    for name in REQUIRED:
        if name not in fields:
            raise BrokenFileError(1, "format", f"the header has no {name}: add it to the query")
    host, _ = said_by_name(path)
    for item in table.rows:
        if isinstance(item, Flaw):
            yield item
            continue
        number, cells = item
        values = {f: (cell or "").strip() for f, cell in zip(fields, cells, strict=False) if f}
        if values["uuid"] in ("uuid", "gpu_uuid"):
            continue  # a second run wrote its header behind the first
        yield _row(number, values, host, ",".join(cell or "" for cell in cells).encode())


def _field(column: str) -> str | None:
    return _NAMES.get(column.partition("[")[0])


def _row(number: int, values: Mapping[str, str], host: str, raw: bytes) -> Row | Flaw:
    try:
        fields: dict[str, Any] = {
            name: reading(values[name]) for name, reading in _READINGS.items() if name in values
        }
        named = {"hostname": host, "gpu_uuid": values["uuid"], "model": values.get("model")}
        sample = convert({"timestamp": _moment(values["timestamp"]), **named, **fields}, GpuSample)
    except ValueError as error:
        return Flaw(number, "type", str(error), first_bytes(raw))
    why = "the uuid is not known" if _is_blank(sample.gpu_uuid) else flaw_of(sample)
    return Row(number, sample) if why is None else Flaw(number, "range", why, first_bytes(raw))


def _moment(text: str) -> datetime:
    try:
        return moment(text.replace("/", "-"))
    except (ValueError, OverflowError):
        raise ValueError(f"timestamp {text[:40]!r} is not a time") from None


def _is_blank(text: str) -> bool:
    """Tell what it writes when it has nothing to say: [N/A], [Not Supported], [Unknown Error]."""
    return text in ("", "N/A") or (text.startswith("[") and text.endswith("]"))


def _number(text: str) -> float | None:
    if _is_blank(text):
        return None
    bare = next((text.removesuffix(unit) for unit in _UNITS if text.endswith(unit)), text)
    try:
        return value_of(float(bare))
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a reading") from None


def _percent(text: str) -> float | None:
    number = _number(text)
    return None if number is None else ratio_of(number, 100)


def _bytes(text: str) -> float | None:
    number = _number(text)
    return None if number is None else value_of(number * MIB)


def _watts(text: str) -> float | None:
    number = _number(text)
    return number if number is not None and number <= MOST_WATTS else None


_READINGS: Final[Mapping[str, Callable[[str], float | None]]] = {
    "utilization": _percent,
    "encoder_utilization": _percent,
    "decoder_utilization": _percent,
    "memory_used_bytes": _bytes,
    "power_watts": _watts,
}

SOURCE: Final = Source(
    recognises, read, appends=True, needs="nvidia-smi's timestamp, uuid and utilization.gpu"
)
