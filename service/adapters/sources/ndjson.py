"""NDJSON files line by line: decoded, or why not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from service.adapters.sources.base import Flaw, first_bytes
from service.adapters.sources.files import lines
from service.core.events import MAX_LINE_BYTES

_T = TypeVar("_T")
_BOM: Final = b"\xef\xbb\xbf"

NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decoded(path: Path, decode: Callable[[bytes], _T]) -> Iterator[tuple[int, bytes, _T | Flaw]]:
    """Yield (number, line, value or flaw) for each line that is not blank.

    BrokenFileError where the file ends early.
    """
    for number, line in lines(path):
        if number == 1:
            line = line.removeprefix(_BOM)  # noqa: PLW2901 - the mark is no part of the line
        found = decoded_line(number, line, decode)
        if found is not None:
            yield number, line, found


def decoded_line(number: int, line: bytes, decode: Callable[[bytes], _T]) -> _T | Flaw | None:
    """Return a line's value or its flaw, None for a blank line."""
    try:
        return decode(line)
    except NOT_DECODED as error:
        return _flaw(number, line, error) if line.strip() else None


def _flaw(number: int, line: bytes, error: Exception) -> Flaw:
    raw = first_bytes(line)
    if len(line) > MAX_LINE_BYTES:
        return Flaw(number, "size", f"longer than {MAX_LINE_BYTES} bytes", raw)
    if isinstance(error, msgspec.ValidationError):
        return Flaw(number, "type", str(error), raw)
    if isinstance(error, UnicodeDecodeError):
        return Flaw(number, "encoding", "is not UTF-8", raw)
    if isinstance(error, RecursionError):
        return Flaw(number, "size", "is nested too deeply", raw)
    return Flaw(number, "format", f"is not JSON: {error}", raw)
