"""The status API and the page on their own, over a store that others write.

Where Kafka is named, what people say goes there, for the router to follow.
"""

from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version

from service.adapters.histories import Histories
from service.adapters.history import History
from service.adapters.kafka_intents import IntentBook
from service.adapters.kafka_posted import PostedMessages
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import EVENTS
from service.bootstrap import build_cluster, build_rates, build_router, open_store
from service.config import ConfigError, Settings
from service.core.ports import Store
from service.entrypoints import slack_app
from service.entrypoints.admin_token import local_of, make_token
from service.entrypoints.allocated_file import AllocatedFile
from service.entrypoints.api.app import build_app
from service.entrypoints.api.feedback import Follow
from service.entrypoints.api.limits import Rates
from service.entrypoints.api.serve import serve
from service.entrypoints.api.spend_table import Hearing
from service.entrypoints.asking import Asker
from service.entrypoints.machine import utc_now
from service.entrypoints.stopping import Stop
from service.telemetry import Metrics, configure_logging


def serve_api(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if settings.store.url is None:
        raise ConfigError("api needs [store] url; on one machine `spendwatch run` serves the page")
    configure_logging(settings.log_level)
    stop = Stop()
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        follow, metrics = _asker(settings, store, stack), Metrics(version("spendwatch"))
        posting = _posting(settings, metrics, stack)
        app = build_app(
            store=store,
            history=_history(settings, stack),
            metrics=metrics,
            started_at=utc_now(),
            now=utc_now,
            settles_after=settings.settles_after,
            rebuilding=lambda: follow is not None and _is_rebuilding(store),
            allocated=AllocatedFile(settings.history),
            follow=follow,
            local=local_of(settings, make_token(settings)),
            hearing=Hearing(build_router(settings), build_rates(settings)),
            rates=Rates(settings.api.requests_per_second, settings.api.burst),
            public_url=settings.api.public_url or "",
            posting=posting,
            link_keys=settings.api.link_keys,
        )
        slack_app.mount(app, settings, store, follow)
        with serve(app, settings.api.host, settings.api.port) as address:
            say(f"page and API: {address}")
            stop.wait()


def _history(settings: Settings, stack: ExitStack) -> History:
    """Open the history that a service on this machine writes, or those of the workers on Kafka."""
    if settings.kafka.bootstrap_servers is not None:
        history: History = Histories(settings.history / EVENTS)
    else:
        history = History(settings.history)
    stack.callback(history.close)
    return history


def _asker(settings: Settings, store: Store, stack: ExitStack) -> Follow | None:
    if settings.kafka.bootstrap_servers is None:
        return None
    book = IntentBook(build_cluster(settings))
    stack.callback(book.close)
    return Asker(book.write, store).ask


def _posting(settings: Settings, metrics: Metrics, stack: ExitStack) -> PostedMessages | None:
    if settings.kafka.bootstrap_servers is None:
        return None
    cluster = build_cluster(settings)
    posted = PostedMessages(
        [name for name, source in settings.sources.items() if source.posted],
        settings.kafka.partitions,
        lambda: Publisher(cluster),
        lambda feed, number: metrics.event(feed, "rejected", number=number),
    )
    stack.callback(posted.close)
    return posted


def _is_rebuilding(store: Store) -> bool:
    """Tell whether the store is filled again, or is empty and the router has yet to notice."""
    return store.rebuilding() is not None or store.offset() == 0
