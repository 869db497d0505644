"""Which deliveries under a folder are complete and new; half-written ones are left alone."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from service.adapters.sources.base import BrokenFileError, label
from service.adapters.sources.book import SnapshotBook
from service.adapters.sources.files import lines, look
from service.adapters.sources.inputs import Delivery, plan
from service.adapters.sources.snapshots import EPOCH, digest_of

QUIET: Final = timedelta(seconds=5)


def deliveries(
    folder: Path,
    *,
    book: SnapshotBook,
    now: datetime,
    note: Callable[[str], None],
    quiet: timedelta = QUIET,
) -> list[Delivery]:
    """Return the deliveries that a reader should read now, in a fixed order.

    Left out, with a note: what a manifest names and is not all there; a file that changed less than
    `quiet` ago; one that is cut. Left out without: what `book` has acknowledged, by its content.
    """
    found = []
    for delivery in plan([folder], note):
        if delivery.missing:
            note(f"{delivery.name}: {delivery.missing[0][:200]!r} is not there yet: left alone")
            continue
        digests = [_digest(file, book, now - quiet) for file in delivery.files]
        fresh = [file for file, digest in zip(delivery.files, digests, strict=True) if not digest]
        if fresh:
            note(f"{label(fresh[0])}: still being written, or cut: left alone")
            continue
        delivery_id = digest_of("".join(digests).encode()).hex()
        if book.acknowledged(delivery.files[0]) != delivery_id:
            found.append(delivery._replace(delivery_id=delivery_id))
    return found


def _digest(file: Path, book: SnapshotBook, before: datetime) -> str:
    """Hash a whole file's content; empty for one that is not whole, or changed since `before`."""
    try:
        state = file.stat()
        if EPOCH + timedelta(seconds=state.st_mtime) > before:
            return ""
        known = book.digest(file, state.st_size, state.st_mtime_ns)
        if known is None:
            known = _content(file)
            book.remember(file, state.st_size, state.st_mtime_ns, known)
    except OSError:
        return ""
    return known


def _content(file: Path) -> str:
    try:
        if look(file).form == "empty":
            return ""
        with file.open("rb") as content:
            is_gzip = content.read(2) == b"\x1f\x8b"
            content.seek(0)
            digest = hashlib.file_digest(content, "blake2b").hexdigest()
        if is_gzip:
            for _ in lines(file):
                pass
    except BrokenFileError:
        return ""
    return digest
