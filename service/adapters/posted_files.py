"""Posted events on one machine: each batch a file in its feed's folder, whole or not there.

The service reads such a folder like any other, and removes what it has taken into its log.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

from service.adapters.dead_letters import DeadLetters
from service.adapters.whole_files import sync_folder
from service.core.events import CostEvent, Rejected

Refusal = Callable[[str, int, str], None]


class PostedFiles:
    """`Posting` into folders, by feed. `on_refused` is told feed, number and last reason.

    OSError when a folder cannot be made.
    """

    def __init__(self, folders: Mapping[str, Path], letters: Path, on_refused: Refusal) -> None:
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in folder.glob(".posted-*"):  # by a run that was killed
                left.unlink(missing_ok=True)
        self._folders = folders
        self._letters = letters
        self._on_refused = on_refused

    @property
    def feeds(self) -> list[str]:
        """Return the feeds that take events."""
        return sorted(self._folders)

    def open(self, feed: str) -> "PostedFile":
        """Begin a batch; OSError when there is no room for it."""
        return PostedFile(feed, self._folders[feed], DeadLetters(self._letters), self._on_refused)

    def close(self) -> None:
        """Do nothing: between batches nothing is open."""


class PostedFile:
    """One batch. What `save` returned after outlives a power cut; nothing else is ever read."""

    def __init__(self, feed: str, folder: Path, letters: DeadLetters, on_refused: Refusal) -> None:
        # A hidden file is no delivery, and no digit stands before the dot: it is no numbered part.
        self._path = folder / f"posted-{uuid4().hex}e.ndjson"
        self._part = folder / f".{self._path.name}"
        self._file = self._part.open("wb")
        self._feed = feed
        self._letters = letters
        self._on_refused = on_refused
        self._rows = 0

    def put(self, event: CostEvent, line: bytes) -> None:  # noqa: ARG002 - the port's
        """Take one event, written as a line."""
        self._file.write(line)
        self._rows += 1

    def refuse(self, rejected: Rejected) -> None:
        """Take a line that was refused."""
        self._letters.put(rejected)

    def save(self) -> None:
        """Return once all of it is safe."""
        self._letters.flush()
        if self._letters.count:
            self._on_refused(self._feed, self._letters.count, self._letters.last_reason or "")
        if not self._rows:
            self.drop()
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        sync_folder(self._path.parent)

    def drop(self) -> None:
        """Forget the batch."""
        self._file.close()
        self._part.unlink(missing_ok=True)
