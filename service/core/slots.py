"""Slots: numbers for keys, each given again when its key is let go, so that columns stay short.

The lowest free number comes first, so that which key has which number follows from the order in
which keys came and went.
"""

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

import msgspec
import numpy as np

from detectors.base import I64
from service.core.state import Chunk, Saved, Streams

_Key = TypeVar("_Key", bound=Hashable)


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

    def between(self, first: int, last: int) -> Iterator[_Key]:
        """Yield the keys of numbers from `first` to before `last`."""
        return (key for key in self._keys[first:last] if key is not None)

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
        whole = touched is None or streams.wants_whole(stream)
        if touched is None or whole:
            yield streams.chunk(stream, list(enumerate(self._keys)), whole=True)
        elif touched:
            some = [(number, self._keys[number]) for number in sorted(touched)]
            yield streams.chunk(stream, some, whole=False)

    def restore(
        self, saved: Saved, stream: str, kind: type[_Key], keep: Callable[[_Key], bool]
    ) -> I64:
        """Take over the keys that are kept, in their order; return the new number of each old one.

        -1 for a key that is not kept; a free number stays free.
        """
        decode = msgspec.msgpack.Decoder(list[tuple[int, kind | None]]).decode  # type: ignore[valid-type]
        keys: list[_Key | None] = []
        for data in saved.chunks(stream):
            for number, key in decode(data):
                keys += [None] * (number + 1 - len(keys))
                keys[number] = key
        kept = np.array([key is None or keep(key) for key in keys], bool)
        self._keys = [key for key, mine in zip(keys, kept.tolist(), strict=True) if mine]
        self._of = {key: number for number, key in enumerate(self._keys) if key is not None}
        self._free = [number for number, key in enumerate(self._keys) if key is None]
        heapify(self._free)
        self._touched = set()
        return np.where(kept, np.cumsum(kept) - 1, -1)

    def _touch(self, number: int) -> None:
        if self._touched is not None:
            self._touched.add(number)
