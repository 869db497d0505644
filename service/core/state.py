"""State as it is saved: streams of chunks, each what one part holds, then what changed since.

Nothing here is executed when it is read back: values are msgpack, checked against their types;
columns are raw little-endian arrays whose dtype and shape are saved beside them. Of columns, blocks
of rows are compared field by field, so that an hour of data costs what it changed and not what
there is; what they are compared by is saved with them, so that they are read straight into place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.decoding import from_msgpack

VERSION: Final = 6
BLOCK: Final = 4096  # rows
# A stream is written whole again once its changes weigh more than this share of it.
MOST_CHANGES: Final = 0.5
FORMS: Final = "forms"

Words = NDArray[np.uint32]
Sign = Callable[[Words], NDArray[np.uint64]]
GONE: Final = msgspec.Raw(b"\xc0")  # msgpack's nil: no value is one
_T = TypeVar("_T")


class StateError(ValueError):
    """What keeps saved state from being used, in one line."""


class Chunk(NamedTuple):
    """A piece of a stream: all of it when `whole`, else what follows the pieces before."""

    stream: str
    whole: bool
    data: bytes


class _Form(msgspec.Struct, array_like=True, frozen=True):
    """What the rows of a column are."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, column: NDArray[Any]) -> "_Form":
        return cls(column.dtype.str, column.shape[1:])


class _Changes(msgspec.Struct, array_like=True):
    """Some words of each row of a block, one field after another, and the signatures of these."""

    fields: list[int]
    signed: memoryview
    data: memoryview


class Streams:
    """Follows what was saved, so that a save holds only what changed since the one before.

    Whatever takes the chunks must keep all of a save or none of it: after a failure begin anew.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, list[int]] = {}
        self._digests: dict[str, dict[str, bytes]] = {}
        self._signed: dict[str, tuple[int, NDArray[np.uint64]]] = {}
        self.numbers: dict[
            str, Callable[[Any], int | None]
        ] = {}  # by what keys are saved, by stream

    def wants_whole(self, stream: str) -> bool:
        """Tell whether a stream is to be written whole: it is new, or has changed a good deal."""
        size = self._sizes.get(stream)
        return size is None or size[1] > MOST_CHANGES * size[0]

    def chunk(self, stream: str, value: object, *, whole: bool) -> Chunk:
        """Return a chunk of a stream whose part knows itself what changed."""
        data = ENCODE(value)
        self.saw(stream, len(data), whole=whole)
        return Chunk(stream, whole, data)

    def saw(self, stream: str, size: int, *, whole: bool) -> None:
        """Note a chunk that was saved."""
        if whole:
            self._sizes[stream] = [size, 0]
        else:
            self._sizes[stream][1] += size

    def values(self, stream: str, values: Iterable[tuple[str, object]]) -> Iterator[Chunk]:
        """Yield what changed of named values; their order is kept."""
        whole = self.wants_whole(stream)
        known, now = self._digests.get(stream, {}), {}
        every: list[tuple[str, msgspec.Raw]] = []
        changed: list[tuple[str, msgspec.Raw]] = []
        for key, value in values:
            data = ENCODE(value)
            now[key] = digest(data)
            every.append((key, msgspec.Raw(data)))
            if known.get(key) != now[key]:
                changed.append(every[-1])
        # What was dropped and came back has another place in the order.
        whole = whole or [k for k in known if k in now] != [k for k in now if k in known]
        changed += [(key, GONE) for key in known if key not in now]
        self._digests[stream] = now
        if changed or stream not in self._sizes:
            yield self.chunk(stream, every if whole else changed, whole=whole)

    def columns(
        self, stream: str, columns: Mapping[str, NDArray[Any]], sign: Sign
    ) -> Iterator[Chunk]:
        """Yield the blocks of rows of which anything changed."""
        forms = ((name, _Form.of(column)) for name, column in columns.items())
        yield from self.values(f"{stream}/{FORMS}", forms)
        for name, column in columns.items():
            for first in range(0, len(column), BLOCK):
                part = column[first : first + BLOCK]
                yield from self._block(f"{stream}/{name}/{first // BLOCK}", part, sign)

    def knew(self, stream: str, digests: dict[str, bytes]) -> None:
        """Note what named values were when they were saved."""
        self._digests[stream] = digests

    def signs(self, stream: str, rows: int, signed: NDArray[np.uint64]) -> None:
        """Note what a block was when it was saved."""
        self._signed[stream] = rows, signed

    def _block(self, stream: str, part: NDArray[Any], sign: Sign) -> Iterator[Chunk]:
        signed = _signature(part, sign)
        rows, known = self._signed.get(stream, (0, signed))
        is_new = (rows, len(known)) != (len(part), len(signed))
        fields = np.arange(len(signed)) if is_new else np.flatnonzero(signed != known)
        self._signed[stream] = len(part), signed
        if is_new or (len(fields) and (self.wants_whole(stream) or 2 * len(fields) > len(signed))):
            data = b"".join((_raw(np.ascontiguousarray(part)), _raw(signed)))
            self.saw(stream, len(data), whole=True)
            yield Chunk(stream, True, data)
        elif len(fields):
            data = _words(part)[:, fields].T.tobytes()
            signs = signed[fields].tobytes()
            change = _Changes(fields.tolist(), memoryview(signs), memoryview(data))
            yield self.chunk(stream, change, whole=False)


Read = Callable[[str], Sequence[memoryview]]
# Streams, and where the first chunk of each goes; yields each with the chunks after that.
Fill = Callable[[Mapping[str, Sequence[memoryview]]], Iterable[tuple[str, Sequence[memoryview]]]]


class Saved:
    """Saved state on its way back. `read` returns the chunks of a stream, the whole one first.

    `fill` does so with many streams and puts the first chunks into place; StateError for one that
    is not as long as its place. `followed` becomes what a `Streams` that had saved all this would
    know.
    """

    def __init__(self, streams: Iterable[str], read: Read, fill: Fill | None = None) -> None:
        self._streams = dict.fromkeys(streams)
        self._read = read
        self._fill = fill or self._copy
        self.followed = Streams()
        self.keys: dict[str, Sequence[Any]] = {}  # what numbers stood for when saved, by stream

    def names_of(self, prefix: str) -> list[str]:
        """Return the streams that begin so."""
        return [name for name in self._streams if name.startswith(prefix)]

    def chunks(self, stream: str) -> Sequence[memoryview]:
        """Return the chunks of a stream; none when it was never saved."""
        found = self._read(stream) if stream in self._streams else ()
        for place, data in enumerate(found):
            self.followed.saw(stream, len(data), whole=place == 0)
        return found

    def values(self, stream: str, kind: type[_T]) -> dict[str, _T]:
        """Return named values, in their order."""
        found: dict[str, msgspec.Raw] = {}
        for data in self.chunks(stream):
            for key, value in _VALUES(data):
                if value == GONE:
                    found.pop(key, None)
                else:
                    found[key] = value
        self.followed.knew(stream, {key: digest(value) for key, value in found.items()})
        return {key: from_msgpack(value, kind) for key, value in found.items()}

    def columns(
        self, stream: str, into: Mapping[str, NDArray[Any]], to: NDArray[np.int64]
    ) -> dict[str, str]:
        """Put columns back, each row in the one that `to` says, or nowhere for -1.

        What has no place in `into` is returned by name, with why; what is in `into` and was never
        saved stays as it is.
        """
        flaws: dict[str, str] = {}
        blocks: dict[str, NDArray[Any]] = {}
        is_whole = np.array_equal(to, np.arange(len(to)))
        for column, form in self.values(f"{stream}/{FORMS}", _Form).items():
            place = into.get(column)
            if place is None:
                flaws[column] = f"{column} is of no detector that runs now"
            elif _Form.of(place) != form:
                flaws[column] = f"{column} is of another type or shape"
            else:
                for first in range(0, len(to), BLOCK):
                    name, rows = f"{stream}/{column}/{first // BLOCK}", to[first : first + BLOCK]
                    if is_whole:
                        blocks[name] = place[first : first + len(rows)]
                    else:
                        part = np.empty((len(rows), *form.shape), form.dtype)
                        self._put({name: part})
                        place[rows[rows >= 0]] = part[rows >= 0]
        self._put(blocks)
        return flaws

    def _put(self, blocks: Mapping[str, NDArray[Any]]) -> None:
        """Fill blocks with what was saved of them."""
        signed = {name: np.empty(_words(part).shape[1], "<u8") for name, part in blocks.items()}
        lacking = blocks.keys() - self._streams.keys()
        if lacking:
            raise StateError(f"{min(lacking)} is missing")
        places = {name: (_raw(part), _raw(signed[name])) for name, part in blocks.items()}
        for name, changes in self._fill(places):
            self.followed.saw(name, sum(len(part) for part in places[name]), whole=True)
            words = _words(blocks[name])
            for data in changes:
                change = _CHANGES(data)
                fields = np.frombuffer(change.data, words.dtype).reshape(-1, len(words))
                words[:, change.fields] = fields.T
                signed[name][change.fields] = np.frombuffer(change.signed, "<u8")
                self.followed.saw(name, len(data), whole=False)
            self.followed.signs(name, len(words), signed[name])

    def _copy(
        self, places: Mapping[str, Sequence[memoryview]]
    ) -> Iterator[tuple[str, Sequence[memoryview]]]:
        for name, parts in places.items():
            data, *changes = self._read(name)
            if len(data) != sum(len(part) for part in parts):
                raise StateError(f"{name} is of another length")
            for part in parts:
                part[:] = data[: len(part)]
                data = data[len(part) :]
            yield name, changes


def keep_all(_: object) -> bool:
    """Keep everything that was saved."""
    return True


def digest(data: bytes | msgspec.Raw) -> bytes:
    """Return what tells two encoded values apart."""
    return blake2b(data, digest_size=8).digest()


def _raw(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _signature(part: NDArray[Any], sign: Sign) -> NDArray[np.uint64]:
    words = _words(part)
    return sign(words if words.dtype == np.uint32 else words.astype(np.uint32))


def _words(part: NDArray[Any]) -> NDArray[Any]:
    """Return rows of 32-bit words, or of bytes where a row is no whole number of words."""
    rows = part.reshape(len(part), -1)
    return rows.view(np.uint8 if rows.itemsize * rows.shape[1] % 4 else np.uint32)


ENCODE: Final = msgspec.msgpack.Encoder().encode
_VALUES: Final = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_CHANGES: Final = msgspec.msgpack.Decoder(_Changes).decode
