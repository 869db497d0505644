"""Gates: when a destination may be sent to, so that one that fails does not hold up the others.

A gate is a circuit breaker (M. Nygard, "Release It!", 2007) that also keeps to what the destination
asks for: whoever says when to come back is not asked by anyone before then.
"""

from datetime import datetime, timedelta
from typing import Final

from service.core.ports import Outcome, Retry, Unknown

FAILURES: Final = 5
WITHIN: Final = timedelta(minutes=10)
PROBES_EVERY: Final = timedelta(seconds=30)
SPACING: Final = timedelta(seconds=1)


class Gate:
    """Of one destination. It shuts at FAILURES in a row WITHIN which no send got through.

    Then one send is let through every PROBES_EVERY, and the first that gets an answer opens it.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._opens_at: datetime | None = None
        self._turn: datetime | None = None
        self.failing_since: datetime | None = None
        self.reason = ""

    @property
    def is_shut(self) -> bool:
        """Tell whether the destination is only tried now and then."""
        return self._failures >= FAILURES

    def passes_at(self, now: datetime, *, jumps: bool = False) -> datetime:
        """Return `now` when a send may go, and then `note` how it ended; else when to ask again.

        Those that wait get turns, SPACING apart, so that they do not all come at once when it
        opens; who `jumps` comes first.
        """
        opens_at = self._opens_at
        if opens_at is None or now >= opens_at:
            # While a probe is on its way, everyone else waits for what comes of it.
            self._opens_at = now + PROBES_EVERY if self.is_shut else None
            return now
        if jumps:
            return opens_at
        self._turn = opens_at if self._turn is None else max(opens_at, self._turn + SPACING)
        return self._turn

    def note(self, outcome: Outcome, now: datetime) -> None:
        """Take in how a send ended. What was refused was answered, and is no failure."""
        if isinstance(outcome, Retry) and outcome.after is not None:
            self._opens_at = now + outcome.after
            return
        if not isinstance(outcome, Retry | Unknown):
            self._failures, self._opens_at, self.failing_since = 0, None, None
            return
        if self.failing_since is None or (not self.is_shut and now - self.failing_since > WITHIN):
            self._failures, self.failing_since = 0, now
        self._failures += 1
        self.reason = outcome.reason
        if self.is_shut:
            self._opens_at = now + PROBES_EVERY
