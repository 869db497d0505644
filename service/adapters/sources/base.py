"""What a source is: the code that turns one file of one format into events."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from service.core.events import Event

Form = Literal["csv", "parquet", "ndjson", "json", "empty", "unknown"]
FlawKind = Literal["file", "format", "encoding", "size", "type", "range"]

RAW_BYTES: Final = 200


class Head(NamedTuple):
    """What the first bytes of a file say: its form, and the names of its columns or keys.

    Names are in lower case, without blanks and underscores. `inner` are the keys of JSON at any
    depth.
    """

    form: Form
    names: frozenset[str]
    inner: frozenset[str] = frozenset()


class Row(NamedTuple):
    """One good row; `number` is its line, or its position in a Parquet file, from 1.

    `dataset` tells apart the exports of one bill that stand beside each other.
    """

    number: int
    event: Event
    dataset: str = ""


class Flaw(NamedTuple):
    """One bad row: why, in one line, and its first bytes."""

    number: int
    kind: FlawKind
    reason: str
    raw: bytes = b""


class Completion(NamedTuple):
    """The sender says that a snapshot is whole, and how many rows it has."""

    number: int
    snapshot_id: str
    rows: int | None


class BrokenFileError(Exception):
    """The rest of a file cannot be read: its last good row, and why."""

    def __init__(self, number: int, kind: FlawKind, reason: str) -> None:
        super().__init__(reason)
        self.flaw = Flaw(number, kind, reason)


class Source(NamedTuple):
    """One format. `read` raises BrokenFileError and nothing else, whatever the file holds.

    `needs` tells a person what a file of this format has, to end the sentence "it has …".
    With `appends`, a row without x_SnapshotId stands for itself; without, it belongs to the
    snapshot that its file is a delivery of. With `adds`, such a delivery takes nothing back of what
    came before it: its rows are there as well, and those that were there already count once.
    """

    recognises: Callable[[Head], bool]
    read: Callable[[Path], Iterator[Row | Flaw | Completion]]
    appends: bool
    needs: str
    adds: bool = False


def first_bytes(line: bytes) -> bytes:
    """Return what the dead letter keeps of a line."""
    return line[:RAW_BYTES].rstrip(b"\r\n")


def label(path: Path) -> str:
    """Write a path as text that can be encoded, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "replace")


def plain(name: str) -> str:
    """Write a column's name as `Head` has it.

    >>> plain(" Charge Period Start"), plain("x_EventId"), plain("charge_category")
    ('chargeperiodstart', 'xeventid', 'chargecategory')
    """
    return name.strip("\ufeff \t\r\n\"'").lower().replace("_", "").replace(" ", "")
