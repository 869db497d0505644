"""Scrapes of NVIDIA's DCGM exporter, kept as files: one scrape a file, as `curl` writes it.

A scrape is of the time in the file's name, else of when the file was last written; the host is in
the labels, or in the file's name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.adapters.gpu.exporter import MAX_BYTES, samples_of
from service.adapters.sources.base import (
    BrokenFileError,
    Completion,
    Flaw,
    Head,
    Row,
    Source,
    first_bytes,
)
from service.adapters.sources.files import chunks
from service.adapters.sources.gpu_files import changed, said_by_name
from service.core.events import flaw_of

_BEGINS: Final = ("#helpdcgm", "#typedcgm", "dcgmfi", "dcgmexp")


def recognises(head: Head) -> bool:
    """Tell a scrape by its first line, a metric of DCGM's."""
    return head.form == "csv" and any(name.startswith(_BEGINS) for name in head.names)


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when it is no whole scrape, or of no GPU."""
    data = b""
    for piece in chunks(path):
        data += piece
        if len(data) > MAX_BYTES:
            raise BrokenFileError(0, "size", f"longer than {MAX_BYTES} bytes")
    host, at = said_by_name(path)
    try:
        samples = samples_of(data.decode(), at or changed(path), host)
    except ValueError as error:
        reason = str(error).splitlines()[0] if str(error) else "is damaged"
        raise BrokenFileError(0, "format", f"not an exporter's text: {reason}") from None
    if not samples:
        raise BrokenFileError(0, "format", "names no GPU by its UUID")
    for number, sample in enumerate(samples, 1):
        why = flaw_of(sample)
        if why is None:
            yield Row(number, sample)
        else:
            yield Flaw(number, "range", why, first_bytes(sample.gpu_uuid.encode()))


SOURCE: Final = Source(recognises, read, appends=True, needs="DCGM_ metrics in Prometheus text")
