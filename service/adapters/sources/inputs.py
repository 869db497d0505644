"""Inputs: which files there are, and which belong to one delivery."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from service.adapters.sources.manifests import Manifest, is_manifest, read_manifest

EXTENSIONS: Final = (".csv", ".parquet", ".ndjson", ".jsonl", ".csv.gz", ".ndjson.gz", ".jsonl.gz")
# part-0001, part_0_0001 (Azure); name-00001 (AWS); 000000000000 (BigQuery).
_PART: Final = re.compile(
    r"(?i)(?<![a-z])part[-_]?\d+(?:[-_]\d+)*|(?<=[-_])\d{5}(?=\.)|(?<!\d)0{3}\d{9}(?=\.)"
)


class Delivery(NamedTuple):
    """Files that are one delivery, whole if each of them is.

    `missing` names what a manifest promised and is not there. `at` is when the manifest was made.
    A file that was found in a folder, and not asked for by name, may be `stray`: of no known form.
    """

    name: str
    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    at: datetime | None = None
    stray: bool = False
    delivery_id: str = ""


def plan(inputs: Iterable[Path], note: Callable[[str], None]) -> Iterator[Delivery]:
    """Yield the deliveries that files, folders and manifests hold, in a fixed order."""
    for path in inputs:
        if path.is_dir():
            yield from _of_folder(path, note)
            continue
        manifest = read_manifest(path, None) if is_manifest(path) else None
        yield Delivery(path.name, (path,)) if manifest is None else _of(path, path.name, manifest)


def _of_folder(folder: Path, note: Callable[[str], None]) -> Iterator[Delivery]:
    files = list(_walk(folder))
    manifests: dict[Path, Manifest] = {}
    for file in filter(is_manifest, files):
        manifest = read_manifest(file, folder)
        if manifest is None:
            note(f"{file}: not a manifest that names data files: skipped")
        else:
            manifests[file] = manifest
    named: set[tuple[Path, ...]] = set()
    for file, manifest in manifests.items():
        if manifest.files not in named or manifest.missing:
            named.add(manifest.files)
            yield _of(file, file.relative_to(folder).as_posix(), manifest)
    rest = [file for file in files if not is_manifest(file)]
    if manifests:
        known = {file.absolute() for listed in named for file in listed}
        for file in rest:
            if file.absolute() not in known:
                note(f"{file}: no manifest in {folder} names it: left alone")
        return
    groups: dict[str, list[Path]] = {}
    for file in rest:
        if file.name.lower().endswith(EXTENSIONS):
            groups.setdefault(_without_part(file.relative_to(folder)), []).append(file)
        else:
            note(f"{file}: not {', '.join(EXTENSIONS[:4])} or gzipped: skipped")
    for name, members in groups.items():
        yield Delivery(name, tuple(members), stray=True)


def _of(path: Path, name: str, manifest: Manifest) -> Delivery:
    del path
    return Delivery(name, manifest.files, manifest.missing, manifest.at)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield regular files in order of path, hidden ones (`.x`, `_x`) and folders left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith((".", "_")) and file.is_file():
                yield file


def _without_part(path: Path) -> str:
    """Name a file without its part number.

    >>> _without_part(Path("2024-09/part_0_0001.csv")), _without_part(Path("focus-00002.csv.gz"))
    ('2024-09/*.csv', 'focus-*.csv.gz')
    """
    return path.with_name(_PART.sub("*", path.name)).as_posix()
