"""JSON documents as providers' APIs answer, cut into records without holding a whole file.

A record is an object at the top, in a list at the top, or in the list `data` of one of those: so
pages saved one after the other, a list of pages, a bare list and JSON lines read alike.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from service.adapters.sources.base import BrokenFileError, Flaw, Row, first_bytes
from service.adapters.sources.files import chunks, lines, look
from service.adapters.sources.ndjson import NOT_DECODED
from service.adapters.sources.values import tidy
from service.core.events import CostEvent, flaw_of

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
MAX_DEPTH: Final = 200

_T = TypeVar("_T")
# All up to the next bracket that is in no text, and the bracket.
_TO_BRACKET: Final = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+([{}\[\]])', re.DOTALL)
_DATA: Final = re.compile(rb'(?<!\\)"data"\s*:\s*\Z')
_PAIRS: Final = {b"}": b"{", b"]": b"["}
_MARK: Final = b"\xef\xbb\xbf"
_BETWEEN: Final = b" \t\r\n,"

Role = Literal["list", "record", "wrapper", "inner"]


def records(path: Path, decode: Callable[[bytes], _T]) -> Iterator[tuple[int, bytes, _T | Flaw]]:
    """Yield (number, its bytes, record or what is wrong with it), numbered by position or line.

    BrokenFileError where the file ends early or is no JSON.
    """
    if look(path).form == "ndjson":
        for number, line in lines(path):
            yield from _of_line(number, line, decode)
        return
    number = 0
    try:
        for number, raw in enumerate(_Splitter().split(chunks(path)), 1):
            yield number, raw, _decoded(number, raw, decode)
    except BrokenFileError as error:
        raise BrokenFileError(number, error.flaw.kind, error.flaw.reason) from None


def _of_line(
    number: int, line: bytes, decode: Callable[[bytes], _T]
) -> Iterator[tuple[int, bytes, _T | Flaw]]:
    try:
        found = list(_Splitter().split([line]))
    except BrokenFileError:
        # Whatever it is, the decoder says it best.
        found = [line]
    for raw in found:
        yield number, raw, _decoded(number, raw, decode)


def _decoded(number: int, raw: bytes, decode: Callable[[bytes], _T]) -> _T | Flaw:
    if raw[:1] != b"{":
        return Flaw(number, "type", "is no object", first_bytes(raw))
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        return Flaw(number, "type", str(error), first_bytes(raw))
    except NOT_DECODED as error:
        return Flaw(number, "format", f"is not JSON: {error}", first_bytes(raw))


def row(number: int, raw: bytes, event: CostEvent, dataset: str = "") -> Row | Flaw:
    """Take what a record says, or say what keeps it from being an event."""
    why = flaw_of(event)
    if why is not None:
        return Flaw(number, "range", why, first_bytes(raw))
    return Row(number, tidy(event), dataset)


class _Splitter:
    """Cuts JSON at its brackets; what is inside a record is left to the decoder."""

    def __init__(self) -> None:
        self._text = b""
        self._at = 0
        self._start = 0
        self._open: list[tuple[bytes, Role]] = []

    def split(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield records, and what stands between them that is none."""
        for count, piece in enumerate(pieces):
            self._text += piece.removeprefix(_MARK) if count == 0 else piece
            yield from self._scan()
            self._let_go()
        if self._open:
            raise BrokenFileError(0, "file", "the file ends in the middle of a record")
        if rest := self._text.strip(_BETWEEN):
            yield rest

    def _scan(self) -> Iterator[bytes]:
        while found := _TO_BRACKET.match(self._text, self._at):
            mark, end = found[1], found.end()
            if self._is_between and (rest := self._text[self._at : end - 1].strip(_BETWEEN)):
                yield rest
            if mark not in _PAIRS:
                self._opens(mark, end - 1)
            elif self._closes(mark):
                yield self._text[self._start : end]
            self._at = end

    @property
    def _is_between(self) -> bool:
        return not self._open or self._open[-1][1] == "list"

    def _opens(self, mark: bytes, at: int) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise BrokenFileError(0, "size", "is nested too deeply")
        role: Role = "inner"
        if self._is_between:
            role = "record" if mark == b"{" else "list"
            self._start = at
        elif mark == b"[" and self._open[-1][1] in ("record", "wrapper") and self._is_data(at):
            self._open[-1] = (b"{", "wrapper")
            role = "list"
        self._open.append((mark, role))

    def _is_data(self, at: int) -> bool:
        return _DATA.search(self._text, self._at, at) is not None

    def _closes(self, mark: bytes) -> bool:
        opened, role = self._open.pop() if self._open else (b"", "inner")
        if opened != _PAIRS[mark]:
            raise BrokenFileError(0, "format", "is not JSON: brackets that do not match")
        return role == "record"

    def _let_go(self) -> None:
        """Drop what has been read, but for a record that is still open and the key before it."""
        is_record = any(role == "record" for _, role in self._open)
        keep = self._start if is_record else self._at
        if len(self._text) - keep > MAX_RECORD_BYTES:
            raise BrokenFileError(0, "size", f"a record longer than {MAX_RECORD_BYTES} bytes")
        self._text = self._text[keep:]
        self._at -= keep
        self._start -= keep
