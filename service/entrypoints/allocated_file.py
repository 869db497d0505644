"""What is known of allocation on Kafka, from the rollups to every copy of the API: one small file.

It is told anew every five minutes, and again from the log, so that the last word counts.
"""

from pathlib import Path
from typing import Final

import msgspec

from service.adapters.whole_files import write_whole
from service.entrypoints.api.allocation import Allocated

FILE: Final = "allocated.json"
_READ: Final = msgspec.json.Decoder(Allocated).decode


def write_allocated(folder: Path, known: Allocated) -> None:
    """Put it there, in place of what was said before. OSError when it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, msgspec.json.encode(known))


class AllocatedFile:
    """Returns what stands in the file now, nothing before there is one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read: tuple[int, Allocated] = 0, Allocated()

    def __call__(self) -> Allocated:
        """Read it, if it was written since."""
        try:
            written = self._path.stat().st_mtime_ns
            if written != self._read[0]:
                self._read = written, _READ(self._path.read_bytes())
        except FileNotFoundError:
            return Allocated()
        return self._read[1]
