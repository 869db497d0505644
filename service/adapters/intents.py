"""Intents as NDJSON: what people did, one intent a line, told apart by its field x_Intent."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import BrokenFileError, Flaw, label
from service.adapters.sources.files import look
from service.adapters.sources.ndjson import decoded
from service.core.events import Rejected
from service.core.intents import Intent


def holds_intents(path: Path) -> bool:
    """Tell whether a file's first line is an intent."""
    if not path.is_file():
        return False
    try:
        head = look(path)
    except BrokenFileError:
        return False
    return head.form == "ndjson" and "xintent" in head.names


def read_intents(path: Path, reject: Callable[[Rejected], None]) -> Iterator[Intent]:
    """Yield the intents of a file; what is none is refused, with its place and the reason."""
    try:
        for number, _, intent in decoded(path, _INTENT.decode):
            if isinstance(intent, Flaw):
                reject(Rejected(label(path), number, intent.reason, intent.raw))
            else:
                yield intent
    except BrokenFileError as error:
        flaw = error.flaw
        reject(Rejected(label(path), flaw.number, flaw.reason, flaw.raw))


_INTENT: Final = msgspec.json.Decoder(Intent)
