"""Inputs: which files there are, and which belong to one delivery."""

import os.path
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from service.adapters.sources.base import label
from service.adapters.sources.manifests import Manifest, is_manifest, read_manifest
from service.adapters.sources.shelves import DISK, Shelf

EXTENSIONS: Final = (
    ".csv", ".parquet", ".ndjson", ".jsonl", ".json", ".prom",
    ".csv.gz", ".ndjson.gz", ".jsonl.gz", ".json.gz", ".prom.gz",
)  # fmt: skip
# part-0001, part_0_0001 (Azure); name-00001 (AWS); 000000000000 (BigQuery).
_PART: Final = re.compile(
    r"(?i)(?<![a-z])part[-_]?\d+(?:[-_]\d+)*|(?<=[-_])\d{5}(?=\.)|(?<!\d)0{3}\d{9}(?=\.)"
)


class Delivery(NamedTuple):
    """Files that are one delivery, whole if each of them is.

    `missing` names what a manifest promised and is not there. `at` is when the manifest was made.
    A `stray` one was found in a folder, not asked for by name: it may turn out to be of no use.
    `delivery_id` hashes the content, where that was asked for; `manifest` names the files, where
    there is one.
    """

    name: str
    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    at: datetime | None = None
    stray: bool = False
    delivery_id: str = ""
    shelf: Shelf = DISK
    manifest: Path | None = None


def plan(inputs: Iterable[Path], note: Callable[[str], None]) -> list[Delivery]:
    """Return the deliveries that files, folders and manifests hold, in a fixed order."""
    found: list[Delivery] = []
    files: list[Path] = []
    for path in inputs:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            found += of_folder(path, list(_walk(path, note)), DISK, note)
            continue
        manifest = read_manifest(path, None) if is_manifest(path) else None
        if manifest is None:
            files.append(path)
        else:
            found.append(_of_manifest(path, label(path), manifest, DISK))
    return found + [Delivery(name, members) for name, members in _grouped(files, None)]


def of_folder(
    folder: Path, files: Sequence[Path], shelf: Shelf, note: Callable[[str], None]
) -> Iterator[Delivery]:
    """Yield the deliveries of a folder on a shelf that holds these files; manifests are at hand."""
    manifests = {file: read_manifest(file, folder, shelf) for file in files if is_manifest(file)}
    named: set[Path] = set()
    done: set[tuple[Path, ...]] = set()
    for file, manifest in manifests.items():
        if manifest is None:
            note(f"{shelf.name(file)}: not a manifest that names data files: skipped")
        elif manifest.missing or manifest.files not in done:
            done.add(manifest.files)
            named.update(manifest.files)
            yield _of_manifest(file, label(file.relative_to(folder)), manifest, shelf)
    data = []
    for file in files:
        if file in manifests or file.absolute() in named:
            continue
        if done:
            note(f"{shelf.name(file)}: no manifest in {shelf.name(folder)} names it: left alone")
        elif not file.name.lower().endswith(EXTENSIONS):
            note(
                f"{shelf.name(file)}: not {', '.join(EXTENSIONS[:6])}, nor one of these gzipped: "
                "skipped"
            )
        else:
            data.append(file)
    for name, members in _grouped(data, folder):
        yield Delivery(name, members, stray=True, shelf=shelf)


def _of_manifest(path: Path, name: str, manifest: Manifest, shelf: Shelf) -> Delivery:
    return Delivery(name, manifest.files, manifest.missing, manifest.at, shelf=shelf, manifest=path)


def _walk(folder: Path, note: Callable[[str], None]) -> Iterator[Path]:
    """Yield regular files in order of path, hidden ones (`.x`, `_x`) and folders left out."""

    def unreadable(error: OSError) -> None:
        note(f"{label(Path(error.filename))}: cannot be read: {error.strerror}")

    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith((".", "_")) and file.is_file():
                yield file


def _grouped(files: Iterable[Path], folder: Path | None) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Yield (name, files): those whose names differ in a part number only are one delivery.

    The same file given twice is two deliveries.
    """
    groups: dict[tuple[str, int], dict[Path, None]] = {}
    for file in files:
        name = without_part(file if folder is None else file.relative_to(folder))
        turn = 0
        while file in groups.get((name, turn), ()):
            turn += 1
        groups.setdefault((name, turn), {})[file] = None
    for (name, _), members in groups.items():
        yield name, tuple(members)


def without_part(path: Path) -> str:
    """Name a file without its part number.

    >>> without_part(Path("2024-09/part_0_0001.csv")), without_part(Path("focus-00002.csv.gz"))
    ('2024-09/*.csv', 'focus-*.csv.gz')
    """
    return label(path.parent / _PART.sub("*", path.name))
