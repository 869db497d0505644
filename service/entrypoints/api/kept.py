"""What takes long to find out: asked once for everyone who asks it, and kept for a while."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

MOST: Final = 256
AT_ONCE: Final = 2
LEAST_SECONDS: Final = 5.0
# An answer is kept so many times as long as it took: asking takes a thirtieth of a core at most.
WORTH: Final = 30.0
_T = TypeVar("_T")


class _Answer(Generic[_T]):
    """An answer, there or to come, and until when it is good."""

    def __init__(self) -> None:
        self.future: Future[_T] = Future()
        self.until = float("inf")


class Kept(Generic[_T]):
    """Answers by question. Few are looked for at once, in threads that no stop waits for."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._answers: OrderedDict[Hashable, _Answer[_T]] = OrderedDict()
        self._looking = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def get(self, question: Hashable, find: Callable[[], _T], within_seconds: float) -> _T:
        """Return what is kept, else what is found in time; what `find` raises is not kept.

        TimeoutError when it takes longer: it goes on, so that who asks again may have it then.
        """
        with self._looking:
            answer = self._answers.get(question)
            if answer is None or self._clock() >= answer.until:
                answer = self._answers[question] = _Answer()
                asking = threading.Thread(target=self._find, args=(answer, find), daemon=True)
                asking.start()
            self._answers.move_to_end(question)
            if len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return answer.future.result(within_seconds)

    def _find(self, answer: _Answer[_T], find: Callable[[], _T]) -> None:
        with self._turns:
            began = self._clock()
            try:
                value = find()
            except Exception as error:  # noqa: BLE001  whoever asks is given it
                answer.until = began
                answer.future.set_exception(error)
                return
            now = self._clock()
            answer.until = now + max(LEAST_SECONDS, WORTH * (now - began))
            answer.future.set_result(value)
