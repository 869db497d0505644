"""A small company for the pages: its bill and GPUs through the real pipeline, store and history."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.history import History
from service.adapters.redis_store import RedisStore
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.budgets import Terms
from service.core.events import Arrival, GpuSample
from service.core.intents import Put
from service.core.ports import Refused, Sent, Store
from service.core.routing import Route
from service.core.tokens import Token
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.app import build_app
from service.entrypoints.api.serve import serve
from service.telemetry import Metrics
from tests.factories import make_event

BEGAN = datetime(2026, 7, 1, tzinfo=UTC)
ODD_FROM = BEGAN + timedelta(days=40, hours=9)
NOW = BEGAN + timedelta(days=41, hours=17)
HOUR = timedelta(hours=1)
ADMIN, PAYMENTS, READER = ("a-token-of-the-tests-" + name for name in ("admin", "pay", "read"))
# Resource, service, owner, usual dollars an hour, and how many times that from `ODD_FROM` on.
RESOURCES = (
    ("i-checkout", "Amazon EC2", "payments", 6, 5),
    ("db-ledger", "Amazon RDS", "payments", 3, 1),
    ("fn-thumbnails", "AWS Lambda", "web", 2, 9),
    ("vol-old", "Amazon EBS", None, 1, 12),
    ("i-gpu", "Amazon EC2", "research", 32, 1),
)
TOKENS = (
    Token(name="ana", sha256=digest(PAYMENTS), teams=["payments"], role="editor"),
    Token(name="rob", sha256=digest(READER), teams=["payments"], role="viewer"),
)
SETTINGS = Settings(
    budgets={"payments": Terms(amount=Decimal(7200), owner="payments")},
    route=Route(receiver="everyone", min_impact=Decimal(25)),
    receivers={"everyone": ["slack:#spend", "console:"]},
)


class Estate:
    """The service over one store: rows come by `arrive`, what people do is followed at once."""

    def __init__(self, store: Store, history: History) -> None:
        self.store, self.history = store, history
        self.now = BEGAN
        self._asked = itertools.count()
        self._pipeline = build_pipeline(SETTINGS, {"aws": "effective"}, tells_history=True)
        self._offset = 0
        self._moving = threading.Lock()

    def moment(self):
        """Return the time, which stands still but for what tells two acts apart."""
        return self.now + timedelta(milliseconds=next(self._asked))

    def arrive(self, at, events):
        """Let rows arrive at a moment."""
        with self._moving:
            self.now = at
            self._offset += 1
            self._save(
                self._pipeline.step([Arrival(at, "aws", e) for e in events], at, self._offset)
            )

    def follow(self, intent, _within):
        """Follow what a person does, as the process that watches would."""
        with self._moving:
            refused = self._pipeline.refusal(intent)
            if refused is None:
                self._offset += 1
                self._save(self._pipeline.intent(intent, self.now, self._offset))
            return refused

    def _save(self, outcome):
        self.history.append(outcome.ledger_rows)
        assert self.store.save(outcome.changes) == "saved"


class Served(NamedTuple):
    """Where it is served, and what it is."""

    url: str
    estate: Estate


@contextmanager
def served(folder) -> Iterator[Served]:
    """Serve a company with three incidents, an idle GPU and a budget that will not last."""
    with EmbeddedStore(folder / "store") as server:
        store, history = RedisStore.connect(server.url), History(folder / "history")
        estate = Estate(store, history)
        fill(estate)
        app = build_app(
            store=store, history=history, metrics=Metrics("1"), started_at=NOW,
            now=estate.moment, follow=estate.follow, local=Local(None, digest(ADMIN)),
        )  # fmt: skip
        for token in TOKENS:
            put(estate, token)
        deliver(store)
        with serve(app) as url:
            yield Served(url, estate)
        store.close()
        history.close()


def fill(estate):
    """Let six weeks arrive: the past at once, the last days hour by hour."""
    hours = int((NOW - BEGAN) / HOUR)
    late = hours - 36
    past = [event for hour in range(late) for event in rows(hour)]
    estate.arrive(BEGAN + late * HOUR, past)
    for hour in range(late, hours):
        at = BEGAN + (hour + 1) * HOUR
        estate.arrive(at, [*rows(hour), *samples(hour)])


def deliver(store):
    """Let everything that was told arrive, but for one post to a channel that is not there."""
    while (delivery := store.claim(NOW, HOUR)) is not None:
        is_lost = "vol-old" in delivery.notice.text and "slack" in delivery.notice.destination
        outcome = Refused("channel_not_found") if is_lost else Sent({"ts": "1"})
        store.conclude(delivery.notice.delivery_id, delivery.claim, outcome, NOW, NOW)


def rows(hour):
    """Return what an hour costs, a little more by day than by night."""
    start = BEGAN + hour * HOUR
    wave = 1 + 0.2 * (1 - abs(hour % 24 - 13) / 12) + 0.01 * (hour * 7 % 5)
    for name, service, owner, usual, times in RESOURCES:
        cost = usual * wave * (times if start >= ODD_FROM else 1)
        yield make_event(
            charge_period_start=start,
            charge_period_end=start + HOUR,
            effective_cost=Decimal(f"{cost:.4f}"),
            billed_cost=Decimal(f"{cost:.4f}"),
            service_name=service,
            resource_id=name,
            x_event_id=f"{name}/{hour}",
            tags={} if owner is None else {"team": owner},
        )


def samples(hour):
    """Return what eight GPUs did in an hour: six of them nothing since yesterday evening."""
    start = BEGAN + hour * HOUR
    works = start < NOW - 20 * HOUR
    for minute in range(0, 60, 10):
        for gpu in range(8):
            yield GpuSample(
                timestamp=start + timedelta(minutes=minute),
                gpu_uuid=f"GPU-{gpu}",
                hostname="node-1",
                resource_id="i-gpu",
                model="A100",
                utilization=0.8 if works or gpu > 5 else 0.0,
                tags={"team": "research"},
            )


def put(estate, thing):
    """Let a thing stand."""
    said = {"at": estate.now, "who": "test", "via": "cli", "why": "test"}
    assert estate.follow(Put(thing=thing, **said), 1) is None
