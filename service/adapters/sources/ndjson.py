"""NDJSON files line by line: decoded, or why not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from service.adapters.sources.base import Flaw, first_bytes
from service.adapters.sources.blocks import Blocks
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
        line = without_bom(number, line)  # noqa: PLW2901 - the mark is no part of the line
        found = decoded_line(number, line, decode)
        if found is not None:
            yield number, line, found


def blocks_of(
    path: Path, decode: Callable[[bytes], list[_T]]
) -> Iterator[tuple[int, list[_T] | None, list[bytes]]]:
    """Yield (number of the first line, values, lines) of one block of whole lines after another.

    There are no values where a line is blank, not one object, or cannot be decoded: such a block is
    read line by line. BrokenFileError where the file ends early.
    """
    blocks = Blocks(path)
    while True:
        block = blocks.block()
        if not block:
            found = next(blocks, None)
            if found is None:
                return
            yield found[0], None, [found[1]]
            continue
        lines = block.split(b"\n")[:-1]
        yield blocks.number + 1, _decoded_block(block, len(lines), decode), lines
        blocks.skip(block, len(lines))


def _decoded_block(block: bytes, size: int, decode: Callable[[bytes], list[_T]]) -> list[_T] | None:
    ends = block.count(b"}\n{") + block.count(b"}\r\n{")
    if ends != size - 1 or not block.startswith(b"{"):
        return None
    try:
        found = decode(block)
    except NOT_DECODED:
        return None
    return found if len(found) == size else None


def without_bom(number: int, line: bytes) -> bytes:
    """Take the byte order mark off a file's first line."""
    return line.removeprefix(_BOM) if number == 1 else line


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
