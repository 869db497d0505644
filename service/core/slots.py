"""Slots: numbers for keys, each given again when its key is let go, so that columns stay short.

The lowest free number comes first, so that which key has which number follows from the order in
which keys came and went.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

import numpy as np

from detectors.base import I64
from service.core.state import Chunk, Saved, Streams, keep_all
from service.decoding import from_msgpack

_Key = TypeVar("_Key", bound=Hashable)
FREE: Final = -1
# By what most parts save series: the numbers that the pipeline's ledger gave them.
NUMBERS: Final = "ledger/series"


class Slots(Generic[_Key]):
    """Which number each key has; as many numbers are in use as keys were known at once."""

    def __init__(self) -> None:
        self._keys: list[_Key | None] = []
        self._of: dict[_Key, int] = {}
        self._free: list[int] = []
        self._touched: set[int] | None = None  # since the last save, if there was one

    def __len__(self) -> int:
        """Return how long a column must be."""
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._of

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._of)

    @property
    def used(self) -> int:
        """Return how many keys there are."""
        return len(self._of)

    def get(self, key: _Key) -> int | None:
        """Return a key's number; None when it has none."""
        return self._of.get(key)

    def __getitem__(self, key: _Key) -> int:
        return self._of[key]

    def key(self, number: int) -> _Key:
        """Return the key that has a number; KeyError when it is free."""
        key = self._keys[number]
        if key is None:
            raise KeyError(number)
        return key

    def numbered(self) -> Sequence[_Key | None]:
        """Return the key of each number, None where it is free."""
        return self._keys

    def give(self, key: _Key) -> int:
        """Return a key's number, a new one for a new key."""
        number = self._of.get(key)
        if number is None:
            if self._free:
                number = heappop(self._free)
                self._keys[number] = key
            else:
                number = len(self._keys)
                self._keys.append(key)
            self._of[key] = number
            self._touch(number)
        return number

    def free(self, key: _Key) -> int:
        """Let go of a key, and return the number that it had."""
        number = self._of.pop(key)
        self._keys[number] = None
        heappush(self._free, number)
        self._touch(number)
        return number

    def save(self, streams: Streams, stream: str) -> Iterator[Chunk]:
        """Yield which numbers have another key than at the last save."""
        touched, self._touched = self._touched, set()
        streams.numbers[stream] = self.get
        whole = touched is None or streams.wants_whole(stream)
        if touched is None or whole:
            packed = self._pack(streams, range(len(self._keys)))
            yield streams.chunk(stream, packed, whole=True)
        elif touched:
            yield streams.chunk(stream, self._pack(streams, sorted(touched)), whole=False)

    def restore(
        self, saved: Saved, stream: str, kind: type[_Key], keep: Callable[[_Key], bool]
    ) -> I64:
        """Take over the keys that are kept, in their order; return the new number of each old one.

        -1 for a key that is not kept; a free number stays free.
        """
        keys: list[_Key | None] = []
        for data in saved.chunks(stream):
            for numbers, found in self._unpack(saved, data, kind):
                keys += [None] * (max(numbers, default=-1) + 1 - len(keys))
                for number, key in zip(numbers, found, strict=True):
                    keys[number] = key
        saved.keys[stream] = keys
        kept = np.ones(len(keys), bool)
        if keep is not keep_all:
            kept = np.array([key is None or keep(key) for key in keys], bool)
        self._keys = [key for key, mine in zip(keys, kept.tolist(), strict=True) if mine]
        self._of = {key: number for number, key in enumerate(self._keys) if key is not None}
        self._free = [number for number, key in enumerate(self._keys) if key is None]
        heapify(self._free)
        self._touched = set()
        return np.where(kept, np.cumsum(kept) - 1, -1)

    def _pack(self, streams: Streams, numbers: Sequence[int]) -> object:
        """Return what is saved of some numbers, which are in order."""
        del streams
        return _packed(numbers), [self._keys[number] for number in numbers]

    def _unpack(
        self, saved: Saved, data: memoryview, kind: type[_Key]
    ) -> Iterator[tuple[Sequence[int], Sequence[_Key | None]]]:
        """Yield numbers and their keys."""
        del saved
        numbers, keys = from_msgpack(data, tuple[bytes, list[kind | None]])  # type: ignore[valid-type]
        yield _unpacked(numbers), keys

    def _touch(self, number: int) -> None:
        if self._touched is not None:
            self._touched.add(number)


class Rows(Slots[_Key]):
    """Numbers for keys of which most have one in other slots already, which are saved before.

    They are saved by that number, and share the key once restored. So a key must leave here before
    it leaves there.
    """

    def __init__(self, beside: str) -> None:
        super().__init__()
        self._beside = beside

    def _pack(self, streams: Streams, numbers: Sequence[int]) -> object:
        known = streams.numbers.get(self._beside, _no_number)
        keys = [self._keys[number] for number in numbers]
        others = [None if key is None else known(key) for key in keys]
        shared = [FREE if other is None else other for other in others]
        own = [
            (number, key)
            for number, key, other in zip(numbers, keys, others, strict=True)
            if key is not None and other is None
        ]
        return _packed(numbers), _packed(shared), own

    def _unpack(
        self, saved: Saved, data: memoryview, kind: type[_Key]
    ) -> Iterator[tuple[Sequence[int], Sequence[_Key | None]]]:
        said = from_msgpack(data, tuple[bytes, bytes, list[tuple[int, kind]]])  # type: ignore[valid-type]
        numbers, shared, own = said
        every = [*saved.keys.get(self._beside, ()), None]  # the last is that of FREE
        yield _unpacked(numbers), [every[other] for other in _unpacked(shared)]
        yield [number for number, _ in own], [key for _, key in own]


def _no_number(_: Hashable) -> None:
    return None


def _packed(numbers: Sequence[int]) -> bytes:
    return np.array(numbers, "<i4").tobytes()


def _unpacked(numbers: bytes) -> list[int]:
    found: list[int] = np.frombuffer(numbers, "<i4").tolist()
    return found
