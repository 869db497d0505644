"""How much one caller may ask: requests in a while, and bytes in a body."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

LARGEST_BODY: Final = 1024 * 1024
# What is read as a stream, and never held whole.
LARGEST_STREAM: Final = 16 * 1024 * 1024
STREAMS: Final = frozenset({"/v1/events"})
CALLERS_KEPT: Final = 10_000


class Rates:
    """A bucket of requests for each caller, filled at a steady rate (a token bucket)."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, caller: str) -> float:
        """Take one request from a caller's bucket; return how long to wait if it is empty."""
        now = self._clock()
        left, at = self._left.pop(caller, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._left[caller] = (left if wait else left - 1, now)
        if len(self._left) > CALLERS_KEPT:
            self._left.popitem(last=False)
        return wait


def largest_body(path: str) -> int:
    """Return how many bytes a body may have that is sent to a path."""
    return LARGEST_STREAM if path in STREAMS else LARGEST_BODY
