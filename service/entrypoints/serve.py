"""The status API and the page on their own, over a store that others write."""

from collections.abc import Callable
from importlib.metadata import version

from service.adapters.history import History
from service.bootstrap import open_store
from service.config import ConfigError, Settings
from service.entrypoints.api.app import build_app
from service.entrypoints.api.serve import serve
from service.entrypoints.machine import utc_now
from service.entrypoints.stopping import Stop
from service.telemetry import Metrics, configure_logging


def serve_api(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if settings.store.url is None:
        raise ConfigError("api needs [store] url; on one machine `spendwatch run` serves the page")
    configure_logging(settings.log_level)
    stop = Stop()
    with open_store(settings) as store:
        app = build_app(
            store=store,
            history=History(settings.data_dir / "history"),
            metrics=Metrics(version("spendwatch")),
            started_at=utc_now(),
            now=utc_now,
            settles_after=settings.settles_after,
        )
        with serve(app, settings.api.host, settings.api.port) as address:
            say(f"page and API: {address}")
            stop.wait()
