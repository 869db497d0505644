"""Catching up: once a destination takes notices again, what it missed is told in one digest."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from service.core.missed import Digest, Missed, digests_of, is_missed
from service.core.notices import Delivery
from service.core.ports import Notifier, Outcome, Refused, Retry, Sent, Store
from service.core.rates import Rates
from service.core.receipts import Receipt, receipt_of
from service.telemetry import Metrics

# How often it begins anew when somebody else was at one of the posts meanwhile.
TRIES: Final = 3
_log = structlog.get_logger("notifier")


class CatchingUp:
    """Knows which destinations take notices, and puts digests into the outbox for what was missed.

    A destination that this process has not reached yet may have missed something too, while
    nothing ran.
    """

    def __init__(
        self,
        store: Store,
        notifiers: Mapping[str, Notifier],
        metrics: Metrics,
        clock: Callable[[], datetime],
        keep: Callable[[Receipt], None] | None,
        rates: Rates,
    ) -> None:
        self._store, self._notifiers, self._metrics = store, notifiers, metrics
        self._clock = clock
        self._keep = keep
        self._rates = rates
        self._reached: set[str] = set()

    async def note(self, destination: str, outcome: Outcome) -> None:
        """Take in how a send ended; the first that arrives has the rest told in a digest."""
        if isinstance(outcome, Sent) and destination not in self._reached:
            self._reached.add(destination)
            for _ in range(TRIES):
                if await self._sum_up(destination):
                    return
        elif not isinstance(outcome, Sent | Refused):
            self._reached.discard(destination)

    async def _sum_up(self, destination: str) -> bool:
        now = self._clock()
        found = await asyncio.to_thread(self._store.waiting, destination)
        waiting = {posts[0].notice.delivery_id: posts for posts in found}
        missed = [
            one
            for one in await asyncio.to_thread(self._missed, found, now)
            if one.delivery.state == "ready" or await self._is_not_there(one.delivery)
        ]
        digests = digests_of(missed, self._rates, now)
        return await asyncio.to_thread(self._put, digests, waiting, now)

    def _missed(self, found: Sequence[Sequence[Delivery]], now: datetime) -> list[Missed]:
        missed = []
        for first, *_ in found:
            incident = self._store.incident(first.notice.incident_id) or first.notice.incident
            if is_missed(first.notice, incident, now):
                missed.append(Missed(first, incident))
        return missed

    async def _is_not_there(self, delivery: Delivery) -> bool:
        """Tell whether a post that may have been sent certainly was not."""
        notifier = self._notifiers[delivery.notice.destination.partition(":")[0]]
        return isinstance(await notifier.find(delivery.notice), Retry)

    def _put(
        self,
        digests: Sequence[Digest],
        waiting: Mapping[str, Sequence[Delivery]],
        now: datetime,
    ) -> bool:
        """Put digests into the outbox; False when it must be begun anew."""
        if not digests:
            return True
        posts = [post for digest in digests for post in digest.instead_of]
        if self._keep is not None:
            for post in posts:
                for one in waiting[post.notice.delivery_id]:
                    self._keep(receipt_of(one.notice, Refused("told in a digest"), now))
        if not self._store.catch_up([(one.notice, one.instead_of) for one in digests], now):
            return False
        destination = posts[0].notice.destination
        for _ in posts:
            self._metrics.notice(destination.partition(":")[0], "digested")
        _log.info("caught up", destination=destination, posts=len(posts), digests=len(digests))
        return True
