"""A spool: events put aside on disk, and read back in order of arrival.

Memory holds a few dozen bytes an event, whatever the events hold.
"""

import hashlib
import mmap
import tempfile
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.core.events import Arrival, CostEvent, Event, GpuSample, Run

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Spool:
    """Takes events in any order; `batches` yields them by arrival, equal ones in order of content.

    So neither the order of the input nor its split into files shows in what comes out.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="spendwatch-")  # noqa: SIM115 - closed by close
        self._encode = msgspec.msgpack.Encoder().encode
        self._sources: list[str] = []
        self._arrived = array("q")
        self._hash = array("Q")
        self._end = array("q", [0])
        self._source = array("H")
        self._kind = array("B")

    def __len__(self) -> int:
        return len(self._arrived)

    def put(self, arrival: Arrival, group: str | None = None) -> None:
        """Put one event aside. Events of one time and `group` stay together, in the order put."""
        data = self._encode(arrival.event)
        named = data if group is None else group.encode()
        digest = hashlib.blake2b(named, digest_size=8).digest()
        if arrival.source not in self._sources:
            self._sources.append(arrival.source)
        self._file.write(data)
        self._arrived.append((arrival.arrived_at - _EPOCH) // _MICROSECOND)
        self._hash.append(int.from_bytes(digest, "big"))
        self._end.append(self._end[-1] + len(data))
        self._source.append(self._sources.index(arrival.source))
        self._kind.append(_KINDS.index(type(arrival.event)))

    def __iter__(self) -> Iterator[Arrival]:
        """Yield the events one by one, in order."""
        if not len(self):
            return
        order, _ = self._order()
        with self._mapped() as data:
            for index in order:
                yield self._read(data, int(index))

    def batches(self) -> Iterator[tuple[datetime, list[Arrival]]]:
        """Yield (time, events): all that arrived within one second, and when the last of it did."""
        if not len(self):
            return
        order, arrived = self._order()
        edges = [0, *(np.flatnonzero(np.diff(arrived // 1_000_000)) + 1).tolist(), len(order)]
        with self._mapped() as data:
            for begin, end in pairwise(edges):
                batch = [self._read(data, int(index)) for index in order[begin:end]]
                yield batch[-1].arrived_at, batch

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        arrived = np.frombuffer(self._arrived, dtype=np.int64)
        order = np.lexsort((np.frombuffer(self._hash, dtype=np.uint64), arrived))
        return order, arrived[order]

    def _mapped(self) -> mmap.mmap:
        self._file.flush()
        return mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Let go of the disk space."""
        self._file.close()

    def _read(self, data: mmap.mmap, index: int) -> Arrival:
        row = data[self._end[index] : self._end[index + 1]]
        event = _DECODERS[self._kind[index]].decode(row)
        at = _EPOCH + timedelta(microseconds=self._arrived[index])
        return Arrival(at, self._sources[self._source[index]], event)


_KINDS: Final = (CostEvent, GpuSample, Run)
_DECODERS: Final[list[msgspec.msgpack.Decoder[Event]]] = [
    msgspec.msgpack.Decoder(kind) for kind in _KINDS
]
