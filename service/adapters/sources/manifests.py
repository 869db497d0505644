"""Manifests: what AWS (`*-Manifest.json`) and Azure (`manifest.json`) say belongs together.

A manifest is written after its data files, so what it names is meant to be whole.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import msgspec

from service.adapters.sources.shelves import DISK, Shelf
from service.decoding import from_json

MAX_BYTES: Final = 16 * 1024 * 1024
_ANY: Final = msgspec.json.Decoder()
# How far above a manifest given by itself its files may lie (AWS: <export>/metadata/<period>/).
LEVELS_UP: Final = 4
_STAMP: Final = re.compile(r"(20\d\d)-?(\d\d)-?(\d\d)[T_]?(\d\d):?(\d\d)(?::?(\d\d))?(?:\.\d+)?Z?")


class Manifest(NamedTuple):
    """What it names, as found on disk; what of that is not there; when it was made, if it says."""

    files: tuple[Path, ...]
    missing: tuple[str, ...]
    at: datetime | None


def is_manifest(path: Path) -> bool:
    """Tell a manifest by its name."""
    return path.name.lower().endswith("manifest.json")


def read_manifest(path: Path, root: Path | None, shelf: Shelf = DISK) -> Manifest | None:
    """Read a manifest; None when it is not one that names data files, or cannot be read.

    Its files are looked for on the shelf at and below `root`, never elsewhere.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        found = _ANY.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    names = list(_names(found))
    if not names:
        return None
    places = _places(path, root)
    files = [(name, _find(name, places, shelf)) for name in names]
    return Manifest(
        tuple(sorted({file for _, file in files if file is not None})),
        tuple(name for name, file in files if file is None),
        _made(found, path),
    )


def export_type(file: Path) -> str | None:
    """Say what the manifest beside a file of Azure's says that its export is, as `ActualCost`."""
    path = file.parent / "manifest.json"
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        found = from_json(path.read_bytes(), _Export)
    except (OSError, ValueError, msgspec.DecodeError, RecursionError):
        return None
    return found.config.type


class _Config(msgspec.Struct):
    type: str | None = None


class _Export(msgspec.Struct):
    config: _Config = msgspec.field(name="exportConfig", default_factory=_Config)


def _names(found: Any) -> Iterator[str]:
    """Yield the data files of CUR (reportKeys), Data Exports (dataFiles) and Azure (blobs)."""
    if not isinstance(found, dict):
        return
    for key in ("reportKeys", "dataFiles", "blobs"):
        listed = found.get(key)
        for item in listed if isinstance(listed, list) else ():
            name = item.get("blobName") if isinstance(item, dict) else item
            if isinstance(name, str) and name and "\0" not in name:
                yield name


def _places(path: Path, root: Path | None) -> list[Path]:
    """Return the folders from the manifest's own up to the root."""
    own = path.absolute().parent
    above = [own, *own.parents]
    if root is None:
        return above[:LEVELS_UP]
    return [folder for folder in above if folder.is_relative_to(root.absolute())]


def _find(name: str, places: list[Path], shelf: Shelf) -> Path | None:
    """Find an object by the longest end of its key that is a file beneath one of the places."""
    parts = PurePosixPath(name.split("://", 1)[-1]).parts
    parts = tuple(part for part in parts if part != "/")
    if ".." in parts:
        return None
    for skip in range(len(parts)):
        for place in places:
            file = place.joinpath(*parts[skip:])
            try:
                if shelf.has(file):
                    return file
            except (OSError, ValueError):
                return None
    return None


def _made(found: dict[str, Any], path: Path) -> datetime | None:
    """Say when: Azure's submittedTime, a time in AWS's execution id, or in the folder's name."""
    run = found.get("runInfo")
    said = [run.get("submittedTime") if isinstance(run, dict) else None]
    said += [found.get("assemblyId"), found.get("executionId")]
    said += [path.parent.name, path.parent.parent.name]
    for text in said:
        stamp = _STAMP.match(text) if isinstance(text, str) else None
        if stamp is not None:
            try:
                return datetime(*(int(part or 0) for part in stamp.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
            except ValueError:
                continue
    return None
