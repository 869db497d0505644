"""Noted: numbers by number, of which a save holds what changed since the one before."""

from collections.abc import ItemsView, Iterator, Mapping
from typing import Final

import msgspec

from service.core.state import Chunk, Saved, Streams


class Noted:
    """Numbers by number, where there may be millions and few change."""

    def __init__(self) -> None:
        self._values: dict[int, int] = {}
        self._touched: set[int] | None = None  # since the last save, if there was one

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    @property
    def values(self) -> Mapping[int, int]:
        """Return all of it, to be looked at."""
        return self._values

    def items(self) -> ItemsView[int, int]:
        """Return all of it."""
        return self._values.items()

    def put(self, key: int, value: int | None) -> bool:
        """Note a number, None for none; tell whether that changed anything."""
        if self._values.get(key) == value:
            return False
        if value is None:
            del self._values[key]
        else:
            self._values[key] = value
        if self._touched is not None:
            self._touched.add(key)
        return True

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        touched, self._touched = self._touched, set()
        whole = touched is None or streams.wants_whole(name)
        if whole or touched:
            keys = sorted(self._values if whole or touched is None else touched)
            some = [(key, self._values.get(key)) for key in keys]
            yield streams.chunk(name, some, whole=whole)

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        for data in saved.chunks(name):
            for key, value in _SAVED(data):
                if value is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = value
        self._touched = set() if self._values else None


_SAVED: Final = msgspec.msgpack.Decoder(list[tuple[int, int | None]]).decode
