"""Checkpoints: the pipeline's state in a folder, as of an offset of the log.

A save adds one segment file with what changed, then a manifest that says where each stream's
chunks are, written elsewhere and renamed: until then the checkpoint before is the newest. Two are
kept. Every chunk and manifest has a checksum; what is torn or foreign is refused, and the other one
used.
"""

import contextlib
import gc
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

import msgspec
from crc32c import crc32c

from service.adapters.whole_files import write_whole
from service.core.state import VERSION, Chunk, Saved, StateError, Streams

KEPT: Final = 2
# Live chunks are copied out of a segment once less than this share of it is still of use.
LEAST_LIVE: Final = 0.5
# Reading and checking of large chunks leaves the interpreter to others.
READERS: Final = 2
_MANIFEST: Final = re.compile(r"manifest-(\d{12})\.json")


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a chunk is."""

    segment: str
    at: int
    size: int
    checksum: int


class Manifest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint holds: the places of each stream's chunks, the whole one first."""

    version: int
    number: int
    offset: int
    streams: dict[str, list[Place]]


class Checkpoint:
    """One checkpoint, not yet read."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self.manifest = manifest

    @property
    def offset(self) -> int:
        """Return the log's position that it stands for."""
        return self.manifest.offset

    @contextlib.contextmanager
    def open(self) -> Iterator[Saved]:
        """Open it for reading; reading a chunk that is not what was written is a StateError."""
        with contextlib.ExitStack() as stack:
            # Millions of objects are made and none let go: to look for garbage among them would
            # take longer than all the rest. So they begin as old as any.
            gc.disable()
            stack.callback(gc.enable)
            stack.callback(gc.unfreeze)
            stack.callback(gc.freeze)
            files = _Files(self._folder, self.manifest.streams, stack)
            yield Saved(self.manifest.streams, files.read, files.fill)


class _Files:
    """The chunks of one checkpoint."""

    def __init__(
        self, folder: Path, streams: Mapping[str, list[Place]], stack: contextlib.ExitStack
    ) -> None:
        self._folder = folder
        self._streams = streams
        self._stack = stack
        self._files: dict[str, IO[bytes]] = {}

    def read(self, stream: str) -> list[memoryview]:
        return [_checked(self._file(place), place) for place in self._streams[stream]]

    def fill(
        self, places: Mapping[str, Sequence[memoryview]]
    ) -> Iterator[tuple[str, Sequence[memoryview]]]:
        """Read the first chunk of each stream into its place; yield each with those after it."""
        jobs = []
        for stream, parts in places.items():
            first, *rest = self._streams[stream]
            jobs.append(((self._file(first), first, parts), [(self._file(p), p) for p in rest]))
        with ThreadPoolExecutor(READERS) as pool:
            for stream, changes in zip(places, pool.map(_fill, jobs), strict=True):
                yield stream, changes

    def _file(self, place: Place) -> IO[bytes]:
        if place.segment not in self._files:
            try:
                file = (self._folder / place.segment).open("rb", buffering=0)
            except OSError as error:
                raise StateError(f"{place.segment}: {error.strerror}") from error
            self._files[place.segment] = self._stack.enter_context(file)
        return self._files[place.segment]


class Checkpoints:
    """The checkpoints of one pipeline; one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._streams = Streams()
        self._index: dict[str, list[Place]] = {}
        self.notes: list[str] = []

    def newest_first(self) -> Iterator[Checkpoint]:
        """Yield what there is; what cannot be read is said in `notes`."""
        for number in sorted(self._numbers(), reverse=True):
            try:
                manifest = self._manifest(number)
            except StateError as error:
                self.notes.append(f"Saved state {number} cannot be used: {error}.")
            else:
                yield Checkpoint(self._folder, manifest)

    def go_on_from(self, checkpoint: Checkpoint, saved: Saved) -> None:
        """Let the next save hold only what changed since a checkpoint that was restored whole."""
        self._index = dict(checkpoint.manifest.streams)
        self._streams = saved.followed

    def save(self, offset: int, state: Callable[[Streams], Iterable[Chunk]]) -> int:
        """Save what changed; return its bytes.

        OSError when it cannot be written: what was saved before stays good, and the next save is a
        whole one.
        """
        number = max(self._numbers(), default=0) + 1
        try:
            index, written = self._write(number, state(self._streams))
            manifest = Manifest(version=VERSION, number=number, offset=offset, streams=index)
            body = msgspec.json.encode(manifest)
            whole = b"%08x\n%s\n" % (zlib.crc32(body), body)
            write_whole(self._folder / _name(number), whole)
        except BaseException:
            self._streams, self._index = Streams(), {}
            raise
        self._index = index
        self._clear()
        return written

    def needed_from(self) -> int:
        """Return the offset after which the log is still needed: that of the oldest one kept."""
        offsets = [checkpoint.offset for checkpoint in self.newest_first()]
        return min(offsets) if len(offsets) >= KEPT else 0

    def _write(self, number: int, chunks: Iterable[Chunk]) -> tuple[dict[str, list[Place]], int]:
        name = f"segment-{number:012}.bin"
        index = {stream: list(places) for stream, places in self._index.items()}
        with (self._folder / name).open("wb") as file:
            for chunk in chunks:
                place = Place(name, file.tell(), len(chunk.data), crc32c(chunk.data))
                file.write(chunk.data)
                if chunk.whole:
                    index[chunk.stream] = []
                index[chunk.stream].append(place)
            self._move_live(index, name, file)
            written = file.tell()
            file.flush()
            os.fsync(file.fileno())
        return index, written

    def _move_live(self, index: dict[str, list[Place]], name: str, into: IO[bytes]) -> None:
        """Copy what is still of use out of segments that hold little of it."""
        live: dict[str, int] = {}
        for place in (place for places in index.values() for place in places):
            live[place.segment] = live.get(place.segment, 0) + place.size
        for segment, size in live.items():
            path = self._folder / segment
            if segment == name or size >= LEAST_LIVE * path.stat().st_size:
                continue
            with path.open("rb", buffering=0) as file:
                for places in index.values():
                    for turn, place in enumerate(places):
                        if place.segment == segment:
                            data = _checked(file, place)
                            places[turn] = Place(name, into.tell(), place.size, place.checksum)
                            into.write(data)

    def _clear(self) -> None:
        """Remove what no kept checkpoint needs; unreadable ones go with the old."""
        kept: list[Checkpoint] = []
        for checkpoint in self.newest_first():
            kept.append(checkpoint)
            if len(kept) == KEPT:
                break
        names = {_name(checkpoint.manifest.number) for checkpoint in kept}
        for checkpoint in kept:
            for places in checkpoint.manifest.streams.values():
                names.update(place.segment for place in places)
        for pattern in ("segment-*.bin", "manifest-*.json*"):
            for path in self._folder.glob(pattern):
                if path.name not in names:
                    path.unlink()

    def _numbers(self) -> list[int]:
        found = (_MANIFEST.fullmatch(path.name) for path in self._folder.iterdir())
        return [int(match[1]) for match in found if match]

    def _manifest(self, number: int) -> Manifest:
        try:
            checksum, _, body = (self._folder / _name(number)).read_bytes().partition(b"\n")
        except OSError as error:
            raise StateError(str(error.strerror)) from error
        body = body.removesuffix(b"\n")
        if checksum != b"%08x" % zlib.crc32(body):
            raise StateError("its manifest is torn")
        try:
            version = _VERSION(body).version
            if version != VERSION:
                raise StateError(f"it is of version {version}, and this release reads {VERSION}")
            return _DECODE(body)
        except msgspec.DecodeError as error:
            raise StateError(f"its manifest is none of ours: {error}") from error


class _Version(msgspec.Struct):
    version: int


def _fill(
    job: tuple[tuple[IO[bytes], Place, Sequence[memoryview]], list[tuple[IO[bytes], Place]]],
) -> list[memoryview]:
    first, changes = job
    _into(*first)
    return [_checked(file, place) for file, place in changes]


def _checked(file: IO[bytes], place: Place) -> memoryview:
    data = memoryview(bytearray(place.size))
    _into(file, place, [data])
    return data.toreadonly()


def _into(file: IO[bytes], place: Place, parts: Sequence[memoryview]) -> None:
    """Read a chunk into parts; StateError when it is not what was written."""
    try:
        read = os.preadv(file.fileno(), parts, place.at)
    except OSError as error:
        raise StateError(f"{place.segment}: {error.strerror}") from error
    checksum = 0
    for part in parts:
        checksum = crc32c(part, checksum)
    if sum(map(len, parts)) != place.size or read != place.size or checksum != place.checksum:
        raise StateError(f"{place.segment} is torn at byte {place.at}")


def _name(number: int) -> str:
    return f"manifest-{number:012}.json"


_DECODE: Final = msgspec.json.Decoder(Manifest).decode
_VERSION: Final = msgspec.json.Decoder(_Version).decode
