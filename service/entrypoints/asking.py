"""Asking: how a process that only reads hands in what people do, and hears what became of it."""

import time
from collections.abc import Callable
from typing import Final

from service.core.intents import Intent
from service.core.ports import Store, WrittenDownError

LOOKS_EVERY_SECONDS: Final = 0.05


class Asker:
    """Writes intents down where the router finds them, and waits for its answer in the store."""

    def __init__(self, write: Callable[[Intent], None], store: Store) -> None:
        self._write = write
        self._store = store

    def ask(self, intent: Intent, within_seconds: float) -> str | None:
        """Wait until an intent is followed; return why it was refused, or None.

        WrittenDownError when the router did not come to it in time: it will be followed later.
        LogUnavailableError when it may not be written down.
        """
        deadline = time.monotonic() + within_seconds
        self._write(intent)
        while time.monotonic() < deadline:
            answer = self._store.answer(intent.intent_id)
            if answer is not None:
                return answer.refused
            time.sleep(LOOKS_EVERY_SECONDS)
        raise WrittenDownError
