"""The shelf of a bucket: what is there, and one object at a time on this disk while it is read."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from obstore.exceptions import BaseError, PreconditionError
from obstore.store import ObjectStore

from service.adapters.sources.base import BrokenFileError
from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.buckets import Address, BucketError, why
from service.adapters.sources.inputs import Delivery, of_folder
from service.adapters.sources.manifests import MAX_BYTES, is_manifest
from service.adapters.sources.snapshots import digest_of

if TYPE_CHECKING:  # there at no other time
    from obstore import ObjectMeta

MOST_OBJECTS: Final = 200_000
MIB: Final = 1 << 20
LONGEST_PART: Final = 200
# Parts that no manifest names come one by one.
QUIET: Final = timedelta(seconds=30)
# Objects that are younger than their manifest are being replaced, and it will be too; unless the
# bucket was copied, and no order means anything.
REPLACED_WITHIN: Final = timedelta(hours=1)


class Object(NamedTuple):
    """One object as the bucket lists it."""

    key: str
    size: int
    changed: datetime
    e_tag: str | None

    @property
    def tag(self) -> str:
        """What changes when the content does."""
        return self.e_tag or f"{self.size} {self.changed.isoformat()}"


Listing = dict[Path, Object]


class BucketShelf:
    """The objects under an address that may be exports, known by where they lie when at hand.

    `folder` holds the manifests, and one object at a time of at most `largest` bytes; whatever else
    is in it is deleted. One process at a time may use it.
    """

    def __init__(self, address: Address, store: ObjectStore, folder: Path, largest: int) -> None:
        self._address = address
        self._store = store
        self._root = folder.absolute() / address.scheme / address.bucket
        self._place = self._root / address.prefix
        self._largest = largest
        self._objects: Listing = {}
        self._manifests: dict[Path, str] = {}
        shutil.rmtree(self._root, ignore_errors=True)

    def look(self) -> Listing:
        """List what is there, and fetch manifests that are new; BucketError when it cannot be."""
        found: Listing = {}
        for item in self._listed():
            file = self._file_of(item.key)
            if file is not None and item.size:
                found[file] = item
            if len(found) > MOST_OBJECTS:
                what = f"more than {MOST_OBJECTS} objects: name a longer prefix"
                raise BucketError(f"{self._address}: {what}")
        for file, item in found.items():
            if is_manifest(file) and self._manifests.get(file) != item.tag:
                if item.size <= MAX_BYTES:
                    self._fetch(file, item)
                self._manifests[file] = item.tag
        return found

    def show(self, listing: Listing) -> None:
        """Take what `look` found for what is there."""
        self._objects = listing

    def plan(self, note: Callable[[str], None]) -> list[Delivery]:
        """Return all deliveries in a fixed order, complete or not."""
        files = sorted(self._objects)
        if self._place in self._objects:  # the address of one object
            return [Delivery(self.name(self._place), (self._place,), shelf=self)]
        return list(of_folder(self._place, files, self, note))

    def deliveries(
        self,
        *,
        book: SnapshotBook,
        now: datetime,
        note: Callable[[str], None],
        quiet: timedelta = QUIET,
    ) -> list[Delivery]:
        """Return the deliveries that a reader should read now, as `watch.deliveries` of a folder.

        One is known by its objects' tags: nothing is fetched to find out that it was read.
        """
        found = []
        for delivery in self.plan(note):
            if delivery.missing:
                what = f"{delivery.missing[0][:200]!r} is not there yet: left alone"
                note(f"{delivery.name}: {what}")
            elif self._is_being_written(delivery, now, quiet):
                note(f"{self.name(delivery.files[0])}: still being written: left alone")
            else:
                tags = "".join(self._objects[file].tag for file in delivery.files)
                delivery_id = digest_of(tags.encode()).hex()
                if book.acknowledged(delivery.files[0]) != delivery_id:
                    found.append(delivery._replace(delivery_id=delivery_id))
        return found

    def has(self, file: Path) -> bool:
        """Tell whether there is such an object."""
        return file in self._objects

    def name(self, file: Path) -> str:
        """Return an object's address."""
        where = f"{self._address.scheme}://{self._address.bucket}"
        return f"{where}/{file.relative_to(self._root).as_posix()}"

    def changed(self, file: Path) -> float:
        """Return when the object was written."""
        return self._objects[file].changed.timestamp()

    @contextmanager
    def at_hand(self, file: Path) -> Iterator[None]:
        """Fetch an object, and delete it after; BucketError when it is not to be had now."""
        item = self._objects[file]
        if item.size > self._largest:
            what = f"{item.size // MIB} MiB, and at most {self._largest // MIB} are fetched"
            raise BrokenFileError(0, "size", f"{what} (bucket.largest_mib)")
        try:
            self._fetch(file, item)
            yield
        finally:
            file.unlink(missing_ok=True)

    def _is_being_written(self, delivery: Delivery, now: datetime, quiet: timedelta) -> bool:
        newest = max(self._objects[file].changed for file in delivery.files)
        if delivery.manifest is None:
            return newest > now - quiet
        made = self._objects[delivery.manifest].changed
        return newest > max(made, now - REPLACED_WITHIN)

    def _listed(self) -> Iterator[Object]:
        prefix = self._address.prefix
        try:
            is_empty = True
            for some in self._store.list(prefix=prefix or None):
                for meta in some:
                    is_empty = False
                    yield _object(meta["path"], meta)
            if is_empty and prefix:
                yield _object(prefix, self._store.head(prefix))
        except FileNotFoundError:
            raise BucketError(f"{self._address}: holds nothing") from None
        except BaseError as error:
            raise BucketError(f"{self._address}: {why(error)}") from None

    def _file_of(self, key: str) -> Path | None:
        """Return where an object lies when at hand; None for hidden ones, and no name of a file."""
        inside = key.removeprefix(self._address.prefix).strip("/")
        parts = PurePosixPath(inside).parts
        if any(part.startswith((".", "_")) or len(part) > LONGEST_PART for part in parts):
            return None
        return self._place / inside

    def _fetch(self, file: Path, item: Object) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = file.with_name(f".{file.name}")
        try:
            found = self._store.get(item.key, options={"if_match": item.e_tag})
            with part.open("wb") as target:
                for piece in found.stream(min_chunk_size=8 * MIB):
                    target.write(piece)
            if part.stat().st_size != item.size:
                raise BucketError(f"{self.name(file)}: came cut")
            written = item.changed.timestamp()
            os.utime(part, (written, written))
            part.replace(file)
        except (FileNotFoundError, PreconditionError):
            raise BucketError(f"{self.name(file)}: was replaced while it was read") from None
        except BaseError as error:
            raise BucketError(f"{self.name(file)}: {why(error)}") from None
        finally:
            part.unlink(missing_ok=True)


def _object(key: str, meta: "ObjectMeta") -> Object:
    return Object(key, meta["size"], meta["last_modified"], meta["e_tag"])
