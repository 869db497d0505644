"""Gates: when a destination may be sent to, so that one that fails does not hold up the others.

A gate is a circuit breaker (M. Nygard, "Release It!", 2007) that also keeps to what the destination
asks for: whoever says when to come back is not asked by anyone before then, and for a while after
that is sent one message a second, which is what Slack takes.
"""

from datetime import datetime, timedelta
from typing import Final

from service.core.ports import Outcome, Retry, Unknown

FAILURES: Final = 5
WITHIN: Final = timedelta(minutes=10)
PROBES_EVERY: Final = timedelta(seconds=30)
SPACING: Final = timedelta(seconds=1)
CAREFUL_FOR: Final = timedelta(minutes=1)


class Gate:
    """Of one destination. It shuts at FAILURES in a row WITHIN which no send got through.

    Then one send is let through every PROBES_EVERY, and the first that gets an answer opens it.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._opens_at: datetime | None = None
        self._careful_until: datetime | None = None
        self._turns: dict[bool, datetime] = {}
        self.failing_since: datetime | None = None
        self.reason = ""

    @property
    def is_shut(self) -> bool:
        """Tell whether the destination is only tried now and then."""
        return self._failures >= FAILURES

    @property
    def probes_at(self) -> datetime | None:
        """Return when it is tried next; None unless it is shut."""
        return self._opens_at if self.is_shut else None

    def passes_at(self, now: datetime, *, jumps: bool = False) -> datetime:
        """Return `now` when a send may go, and then `note` how it ended; else when to ask again.

        Those that wait get turns, SPACING apart, so that they do not all come at once when it
        opens; those that `jump` have turns of their own.
        """
        opens_at = self._opens_at
        if opens_at is None or now >= opens_at:
            self._opens_at = self._closes_until(now)
            return now
        last = self._turns.get(jumps)
        self._turns[jumps] = turn = opens_at if last is None else max(opens_at, last + SPACING)
        return turn

    def _closes_until(self, now: datetime) -> datetime | None:
        """Say how long everyone else waits when one is let through."""
        if self.is_shut:
            return now + PROBES_EVERY
        if self._careful_until is not None and now < self._careful_until:
            return now + SPACING
        return None

    def note(self, outcome: Outcome, now: datetime) -> None:
        """Take in how a send ended. What was refused was answered, and is no failure."""
        if isinstance(outcome, Retry | Unknown):
            self.reason = outcome.reason
        if isinstance(outcome, Retry) and outcome.after is not None:
            self._opens_at = now + outcome.after
            self._careful_until = self._opens_at + CAREFUL_FOR
            return
        if not isinstance(outcome, Retry | Unknown):
            self._opens_at = None if self.is_shut else self._opens_at
            self._failures, self.failing_since = 0, None
            return
        if self.failing_since is None or (not self.is_shut and now - self.failing_since > WITHIN):
            self._failures, self.failing_since = 0, now
        self._failures += 1
        if self.is_shut:
            self._opens_at = now + PROBES_EVERY
