"""The notifier: takes what is due from the outbox and sees it to its destination, once.

Save first, send after: a delivery is claimed by a conditional write before anything is sent, and an
ambiguous send is looked for before it is repeated.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog

from service.core.fallbacks import WAITS, Fallbacks, is_severe, posts_instead, stand_ins
from service.core.gates import Gate
from service.core.missed import DIGEST
from service.core.notices import Delivery
from service.core.optouts import opted_out
from service.core.ports import (
    LogUnavailableError,
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
from service.core.rates import Rates
from service.core.receipts import Receipt, receipt_of
from service.entrypoints.catching_up import CatchingUp
from service.telemetry import Metrics

# Short, for what a process had claimed waits so long when that is killed; whoever lives renews it.
LEASE: Final = timedelta(seconds=30)
RENEWS_EVERY_SECONDS: Final = 10.0
LONGEST_WAIT: Final = timedelta(minutes=5)
MOST_ATTEMPTS: Final = 300
TRIES_FOR: Final = timedelta(days=1)
SENDERS: Final = 4
LOOKS_AFTER: Final = timedelta(seconds=15)
POLL_SECONDS: Final = 0.2
STORE_PAUSE_SECONDS: Final = 1.0
ENDS_WITHIN_SECONDS: Final = 1.0

Clock = Callable[[], datetime]
Keep = Callable[[Receipt], None]
_log = structlog.get_logger("notifier")


def wait_before_retry(attempts: int, outcome: Outcome) -> timedelta:
    """Return how long to leave a delivery: what the destination asked for, else 1 s doubling."""
    if isinstance(outcome, Retry) and outcome.after is not None:
        return outcome.after
    wait = min(LONGEST_WAIT, timedelta(seconds=2 ** min(attempts - 1, 9)))
    # What may still be on its way must have had time to arrive before it is looked for.
    return max(wait, LOOKS_AFTER) if isinstance(outcome, Unknown) else wait


def _held(delivery: Delivery, gate: Gate) -> Outcome:
    """Leave a delivery as it was: what may have been sent must still be looked for."""
    why = f"held back for a while: {gate.reason}"
    return Unknown(why) if delivery.state == "unknown" else Retry(why)


def _given_up(delivery: Delivery, outcome: Outcome, now: datetime) -> Outcome:
    """End what failed too often. Whoever says when to come back is alive, and not given up."""
    is_new = delivery.attempts < MOST_ATTEMPTS or now < delivery.notice.at + TRIES_FOR
    if is_new or isinstance(outcome, Sent | Refused):
        return outcome
    if isinstance(outcome, Retry) and outcome.after is not None:
        return outcome
    return Refused(f"gave up after {delivery.attempts} attempts: {outcome.reason}")


class Sender:
    """Sends what is due. Several may run, in one process or many, on one store.

    `keep` writes down how a delivery ended, before the store hears of it; what cannot be written
    down comes back as unknown. With `rates`, what a destination missed for long is told in one
    digest once it is back, in which they add up what is of several currencies.
    """

    def __init__(
        self,
        store: Store,
        notifiers: Mapping[str, Notifier],
        metrics: Metrics,
        clock: Clock,
        fallbacks: Fallbacks | None = None,
        keep: Keep | None = None,
        *,
        rates: Rates | None = None,
    ) -> None:
        self._store = store
        self._notifiers = notifiers
        self._metrics = metrics
        self._clock = clock
        self._fallbacks = fallbacks or {}
        self._keep = keep
        self._claims: dict[str, int] = {}  # of what is under way, by delivery
        self._gates: dict[str, Gate] = defaultdict(Gate)
        self._missed = (
            None if rates is None else CatchingUp(store, notifiers, metrics, clock, keep, rates)
        )

    def faults(self) -> list[str]:
        """Say which destinations fail, and why, in sentences for the status."""
        return [
            f"{destination} takes no notices since {gate.failing_since:%Y-%m-%d %H:%M} UTC: "
            f"{gate.reason}."
            for destination, gate in sorted(self._gates.copy().items())
            if gate.is_shut
        ]

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
        name = delivery.notice.delivery_id
        is_ours = name in self._claims
        self._claims[name] = delivery.claim
        if not is_ours:  # else its lease ran out while we stood still, and it is claimed anew
            async with self._held_on_to(name):
                await self._send(delivery)
        return True

    async def _send(self, delivery: Delivery) -> None:
        """See a claimed delivery to its destination, if that takes any, and conclude it."""
        notice, now = delivery.notice, self._clock()
        name = notice.delivery_id
        gate = self._gates[notice.destination]
        passes_at = gate.passes_at(now, jumps=notice.action == "post")
        if passes_at <= now:
            outcome, now = await self._try(delivery), self._clock()
            gate.note(outcome, now)
            outcome = _given_up(delivery, outcome, now)
            self._note(delivery, outcome)
        else:
            outcome = _held(delivery, gate)
        due = now + wait_before_retry(delivery.attempts, outcome)
        if passes_at > now:
            due = max(passes_at, due) if gate.is_shut else passes_at
        elif gate.probes_at is not None:
            due = gate.probes_at  # one is tried again and again, and not each in turn
        if not isinstance(outcome, Sent):
            due = await self._fall_back(delivery, outcome, now, due)
        if self._keep is not None and isinstance(outcome, Sent | Refused):
            await asyncio.to_thread(self._keep, receipt_of(notice, outcome, now))
        await asyncio.to_thread(self._store.conclude, name, self._claims[name], outcome, now, due)
        if self._missed is not None:
            await self._missed.note(notice.destination, outcome)

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                if await self.send_next():
                    continue
                pause = POLL_SECONDS
            except (StoreUnavailableError, LogUnavailableError) as error:
                # What was claimed comes back as unknown when its lease runs out: nothing is lost.
                _log.warning("not concluded", error=str(error))
                pause = STORE_PAUSE_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    @contextlib.asynccontextmanager
    async def _held_on_to(self, name: str) -> AsyncIterator[None]:
        """Keep a claim while it is seen to: a destination may take longer than a lease lasts."""
        renewing = asyncio.create_task(self._renew(name))
        try:
            yield
        finally:
            renewing.cancel()
            del self._claims[name]

    async def _is_still_ours(self, name: str) -> bool:
        """Hold on to a claim for a lease more, if it is held."""
        return await asyncio.to_thread(
            self._store.renew, name, self._claims[name], self._clock() + LEASE
        )

    async def _renew(self, name: str) -> None:
        is_held = True
        while is_held:
            await asyncio.sleep(RENEWS_EVERY_SECONDS)
            try:
                is_held = await self._is_still_ours(name)
            except StoreUnavailableError as error:
                _log.warning("claim not renewed", delivery_id=name, error=str(error))

    async def _try(self, delivery: Delivery) -> Outcome:
        try:
            return await self._see_to(delivery)
        except StoreUnavailableError:
            raise  # it is no fault of the destination
        except Exception as error:  # noqa: BLE001 - a fault in one notifier must not stop the rest
            _log.exception("notifier failed", delivery_id=delivery.notice.delivery_id)
            return Unknown(f"fault in the notifier: {type(error).__name__}")

    async def _fall_back(
        self, delivery: Delivery, outcome: Outcome, now: datetime, due: datetime
    ) -> datetime:
        """Tell those who stand in once it is time, and return when to look again.

        It is time when a severe incident waits for WAITS, or its notice will never be taken. What
        is told is in the outbox before this send is concluded, and there only once.
        """
        notice = delivery.notice
        others = stand_ins(self._fallbacks, notice.destination)
        if not others:
            return due
        time = now if isinstance(outcome, Refused) else notice.at + WAITS
        if now < time:
            return min(due, time)
        gone = opted_out(await asyncio.to_thread(self._store.things, "optout"))
        others = [other for other in others if other not in gone]
        incident = await asyncio.to_thread(self._store.incident, notice.incident_id)
        if incident is not None and is_severe(incident):
            posts = posts_instead(notice, incident, others, now)
            if await asyncio.to_thread(self._store.tell, posts, now):
                _log.warning("fell back", delivery_id=notice.delivery_id, destinations=others)
        return due

    async def _see_to(self, delivery: Delivery) -> Outcome:
        kind = delivery.notice.destination.split(":", 1)[0]
        notifier = self._notifiers.get(kind)
        if notifier is None:
            return Refused(f"no notifier of kind {kind!r} is configured")
        parent = delivery.parent or {}
        if parent.keys() == {DIGEST}:
            return Retry("the digest that tells it is on its way")
        if DIGEST in parent and delivery.notice.action == "edit":
            return Sent(parent)  # the digest stays as it was sent
        if delivery.state == "unknown":
            found = await notifier.find(delivery.notice, delivery.parent)
            if not isinstance(found, Retry):
                return found
            # To look may have taken longer than a lease, and another may have looked and sent.
            if not await self._is_still_ours(delivery.notice.delivery_id):
                return Unknown("another sees to it by now")
        return await notifier.send(delivery.notice, delivery.parent)

    def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        notice = delivery.notice
        kind = notice.destination.split(":", 1)[0]
        name = type(outcome).__name__.lower()
        is_taken = isinstance(outcome, Sent) and self._missed is not None
        self._metrics.notice(kind, name, self._clock() - notice.at if is_taken else None)
        shut = (d for d, gate in self._gates.items() if gate.is_shut)
        self._metrics.gates_shut.labels(kind).set(sum(d.startswith(f"{kind}:") for d in shut))
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
