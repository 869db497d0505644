"""The notifier: takes what is due from the outbox and sees it to its destination, once.

Save first, send after: a delivery is claimed by a conditional write before anything is sent, and an
ambiguous send is looked for before it is repeated.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.core.deliveries import Delivery
from service.core.ports import (
    Notifier,
    Outcome,
    Refused,
    Retry,
    Sent,
    Store,
    StoreUnavailableError,
    Unknown,
    UnreadableDeliveryError,
)
from service.telemetry import Metrics

LEASE: Final = timedelta(seconds=90)
LONGEST_WAIT: Final = timedelta(minutes=5)
MOST_ATTEMPTS: Final = 300  # a day of trying, at the longest wait
SENDERS: Final = 4
LOOKS_AFTER: Final = timedelta(seconds=15)
POLL_SECONDS: Final = 0.2
STORE_PAUSE_SECONDS: Final = 1.0
ENDS_WITHIN_SECONDS: Final = 1.0

Clock = Callable[[], datetime]
_log = structlog.get_logger("notifier")


def wait_before_retry(attempts: int, outcome: Outcome) -> timedelta:
    """Return how long to leave a delivery: what the destination asked for, else 1 s doubling."""
    if isinstance(outcome, Retry) and outcome.after is not None:
        return outcome.after
    wait = min(LONGEST_WAIT, timedelta(seconds=2 ** min(attempts - 1, 9)))
    # What may still be on its way must have had time to arrive before it is looked for.
    return max(wait, LOOKS_AFTER) if isinstance(outcome, Unknown) else wait


class Sender:
    """Sends what is due. Several may run, in one process or many, on one store."""

    def __init__(
        self, store: Store, notifiers: Mapping[str, Notifier], metrics: Metrics, clock: Clock
    ) -> None:
        self._store = store
        self._notifiers = notifiers
        self._metrics = metrics
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; what is being sent then has ENDS_WITHIN_SECONDS to end.

        What has not ended by then comes back as unknown when its lease runs out.
        """
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._serve(stop)) for _ in range(SENDERS)]
            await stop.wait()
            _, late = await asyncio.wait(tasks, timeout=ENDS_WITHIN_SECONDS)
            for task in late:
                task.cancel()

    async def drain(self) -> None:
        """Send all that is due now."""
        while await self.send_next():
            pass

    async def send_next(self) -> bool:
        """Send the next due delivery; False when none is due."""
        try:
            delivery = await asyncio.to_thread(self._store.claim, self._clock(), LEASE)
        except UnreadableDeliveryError as error:
            _log.error("delivery unreadable", delivery_id=error.delivery_id, error=str(error))
            self._metrics.notice("none", "unreadable")
            return True
        if delivery is None:
            return False
        try:
            outcome = await self._see_to(delivery)
        except Exception as error:  # noqa: BLE001 - a fault in one notifier must not stop the rest
            _log.exception("notifier failed", delivery_id=delivery.notice.delivery_id)
            outcome = Unknown(f"fault in the notifier: {type(error).__name__}")
        if isinstance(outcome, Retry | Unknown) and delivery.attempts >= MOST_ATTEMPTS:
            outcome = Refused(f"gave up after {delivery.attempts} attempts: {outcome.reason}")
        now = self._clock()
        due = now + wait_before_retry(delivery.attempts, outcome)
        notice = delivery.notice
        await asyncio.to_thread(
            self._store.conclude, notice.delivery_id, delivery.claim, outcome, now, due
        )
        self._note(delivery, outcome)
        return True

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                if await self.send_next():
                    continue
                pause = POLL_SECONDS
            except StoreUnavailableError as error:
                # What was claimed comes back as unknown when its lease runs out: nothing is lost.
                _log.warning("store", error=str(error))
                pause = STORE_PAUSE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def _see_to(self, delivery: Delivery) -> Outcome:
        kind = delivery.notice.destination.split(":", 1)[0]
        notifier = self._notifiers.get(kind)
        if notifier is None:
            return Refused(f"no notifier of kind {kind!r} is configured")
        if delivery.state == "unknown":
            found = await notifier.find(delivery.notice, delivery.parent)
            if not isinstance(found, Retry):
                return found
        return await notifier.send(delivery.notice, delivery.parent)

    def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        notice = delivery.notice
        kind = notice.destination.split(":", 1)[0]
        name = type(outcome).__name__.lower()
        self._metrics.notice(kind, name)
        log = _log.info if isinstance(outcome, Sent) else _log.warning
        log(
            "delivery",
            delivery_id=notice.delivery_id,
            incident_id=notice.incident_id,
            destination=notice.destination,
            action=notice.action,
            outcome=name,
            attempts=delivery.attempts,
            error=None if isinstance(outcome, Sent) else outcome.reason,
        )
