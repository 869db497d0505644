"""Files that are there whole or not at all, whatever ends the process or the machine."""

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put a file there, or in the place of the one that is; on return it outlives a power cut.

    It is written beside its name, as `<name>.part`, which is all that a crash can leave behind.
    OSError when it cannot be written: what was there before is there still.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
