"""The notifier as a process: sends what the router has saved, beside as many others as there are.

How each delivery ended is in `cost.deliveries` before the store hears of it: whoever fills a store
that was lost sends nothing again.
"""

import asyncio
import signal
from contextlib import ExitStack
from importlib.metadata import version

from service.adapters.kafka_deliveries import ReceiptBook
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import ensure
from service.bootstrap import build_cluster, build_notifiers, build_rates, build_topics, open_store
from service.config import ConfigError, Settings
from service.core.ports import Store, StoreUnavailableError
from service.entrypoints.health import healthy
from service.entrypoints.notifier import Sender
from service.entrypoints.ops import build_ops
from service.entrypoints.store_clock import StoreClock
from service.telemetry import Metrics, configure_logging


def send(settings: Settings, health: str | None = None) -> None:
    """Send until SIGTERM or Ctrl-C; `health` is where to say how this goes, if anywhere."""
    if settings.store.url is None:
        raise ConfigError("notifier needs [store] url: the router fills the store")
    configure_logging(settings.log_level)
    cluster = build_cluster(settings)
    notifiers = build_notifiers(settings)
    ensure(cluster, build_topics(settings), settings.kafka.replication)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        book = ReceiptBook(stack.enter_context(Publisher(cluster)))
        metrics = Metrics(version("spendwatch"))
        rates = build_rates(settings)
        fallbacks, clock = settings.fallbacks, StoreClock(store)
        sender = Sender(store, notifiers, metrics, clock, fallbacks, book.keep, rates=rates)
        stack.enter_context(healthy(health, metrics, lambda: _why_not_ready(store)))

        async def work() -> None:
            stop = asyncio.Event()
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
            ops = build_ops(settings, store, clock, sender.faults, ("router",))
            looking = asyncio.create_task(ops.run(stop)) if ops is not None else None
            try:
                await sender.run(stop)
                if looking is not None:
                    await looking
            finally:
                for notifier in notifiers.values():
                    await notifier.close()

        asyncio.run(work())


def _why_not_ready(store: Store) -> str | None:
    try:
        store.ping()
    except StoreUnavailableError as error:
        return str(error)
    return None
