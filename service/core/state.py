"""State as it is saved: streams of chunks, each what one part holds, then what changed since.

Nothing here is executed when it is read back: values are msgpack, checked against their types;
columns are raw little-endian arrays with their dtype and shape. Of columns, blocks of rows are
compared field by field, so that an hour of data costs what it changed and not what there is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

VERSION: Final = 5
BLOCK: Final = 4096  # rows
# A stream is written whole again once its changes weigh more than this share of it.
MOST_CHANGES: Final = 0.5

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


class _Block(msgspec.Struct, array_like=True):
    """Rows of one column; with `fields`, only these words of each row, one field after another."""

    dtype: str
    shape: tuple[int, ...]
    fields: list[int] | None
    data: memoryview


class Streams:
    """Follows what was saved, so that a save holds only what changed since the one before.

    Whatever takes the chunks must keep all of a save or none of it: after a failure begin anew.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, list[int]] = {}
        self._digests: dict[str, dict[str, bytes]] = {}
        self._signed: dict[str, tuple[int, NDArray[np.uint64]]] = {}

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
        for name, column in columns.items():
            for first in range(0, len(column), BLOCK):
                part = column[first : first + BLOCK]
                yield from self._block(f"{stream}/{name}/{first // BLOCK}", part, sign)

    def knew(self, stream: str, digests: dict[str, bytes]) -> None:
        """Note what named values were when they were saved."""
        self._digests[stream] = digests

    def signs(self, stream: str, part: NDArray[Any], sign: Sign) -> None:
        """Note what a block was when it was saved."""
        self._signed[stream] = len(part), _signature(part, sign)

    def _block(self, stream: str, part: NDArray[Any], sign: Sign) -> Iterator[Chunk]:
        signed = _signature(part, sign)
        rows, known = self._signed.get(stream, (0, signed))
        fields = np.flatnonzero(signed != known)
        whole = rows != len(part) or self.wants_whole(stream) or 2 * len(fields) > len(signed)
        self._signed[stream] = len(part), signed
        dtype, shape = part.dtype.str, part.shape
        if whole and (rows != len(part) or len(fields)):
            yield self.chunk(
                stream, _Block(dtype, shape, None, memoryview(part.tobytes())), whole=True
            )
        elif len(fields):
            data = memoryview(_words(part)[:, fields].T.tobytes())
            block = _Block(dtype, shape, fields.tolist(), data)
            yield self.chunk(stream, block, whole=False)


class Saved:
    """Saved state on its way back. `read` returns the chunks of a stream, the whole one first.

    `followed` becomes what a `Streams` that had saved all this would know.
    """

    def __init__(self, streams: Iterable[str], read: Callable[[str], Sequence[memoryview]]) -> None:
        self._streams = dict.fromkeys(streams)
        self._read = read
        self.followed = Streams()

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
        decode = msgspec.msgpack.Decoder(kind).decode
        return {key: decode(value) for key, value in found.items()}

    def columns(self, stream: str, sign: Sign) -> Iterator[tuple[str, int, NDArray[Any]]]:
        """Yield every block as (column, first row, rows)."""
        for name in self.names_of(f"{stream}/"):
            column, _, number = name[len(stream) + 1 :].rpartition("/")
            if not column or not number.isdecimal():
                continue
            part = _joined(self.chunks(name))
            self.followed.signs(name, part, sign)
            yield column, int(number) * BLOCK, part


def keep_all(_: object) -> bool:
    """Keep everything that was saved."""
    return True


def digest(data: bytes | msgspec.Raw) -> bytes:
    """Return what tells two encoded values apart."""
    return blake2b(data, digest_size=8).digest()


def _joined(chunks: Sequence[memoryview]) -> NDArray[Any]:
    first, *changes = (_BLOCK(data) for data in chunks)
    dtype = np.dtype(first.dtype)
    if first.fields is not None or dtype.hasobject:
        raise StateError("a column begins with a change")
    part = np.frombuffer(first.data, dtype).reshape(first.shape)
    if changes:
        part = part.copy()
    for change in changes:
        if (change.dtype, change.shape) != (first.dtype, first.shape) or change.fields is None:
            raise StateError("a column changes its type or shape")
        words = _words(part)
        words[:, change.fields] = np.frombuffer(change.data, words.dtype).reshape(-1, len(part)).T
    return part


def _signature(part: NDArray[Any], sign: Sign) -> NDArray[np.uint64]:
    words = _words(part)
    return sign(words if words.dtype == np.uint32 else words.astype(np.uint32))


def _words(part: NDArray[Any]) -> NDArray[Any]:
    """Return rows of 32-bit words, or of bytes where a row is no whole number of words."""
    rows = part.reshape(len(part), -1)
    return rows.view(np.uint8 if rows.itemsize * rows.shape[1] % 4 else np.uint32)


ENCODE: Final = msgspec.msgpack.Encoder().encode
_VALUES: Final = msgspec.msgpack.Decoder(list[tuple[str, msgspec.Raw]]).decode
_BLOCK: Final = msgspec.msgpack.Decoder(_Block).decode
