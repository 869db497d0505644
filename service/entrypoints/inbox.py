"""The inbox: where intents wait for the one thread that moves the pipeline."""

import queue
from collections.abc import Callable
from concurrent.futures import Future

from service.core.intents import Intent


class Inbox:
    """Hands intents from any thread to the one that follows them, and its answer back."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Intent, Future[str | None]]] = queue.SimpleQueue()

    @property
    def has_any(self) -> bool:
        """Tell whether an intent waits."""
        return not self._waiting.empty()

    def ask(self, intent: Intent, within_seconds: float) -> str | None:
        """Wait until an intent is followed; return why it was refused, or None.

        TimeoutError when nobody came to it in time: then it will not be followed later either.
        """
        answer: Future[str | None] = Future()
        self._waiting.put((intent, answer))
        try:
            return answer.result(within_seconds)
        except TimeoutError:
            if answer.cancel():
                raise
            return answer.result()  # it is being followed this very moment

    def drain(self, follow: Callable[[Intent], str | None]) -> None:
        """Follow everything that waits, and give the answers."""
        while self.has_any:
            intent, answer = self._waiting.get()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(follow(intent))
            except BaseException as error:
                answer.set_exception(error)
                raise
