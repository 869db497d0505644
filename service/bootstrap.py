"""Bootstrap: settings in, wired objects out. The only file that names concrete adapters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from detectors.fleet import Fleet
from detectors.idle_gpu import IdleGpuColumns
from service.adapters.embedded_store import EmbeddedStore
from service.adapters.notifiers import NOTIFIERS
from service.adapters.prices import PriceListError, load_prices
from service.adapters.redis_store import RedisStore
from service.config import ConfigError, Settings, checked
from service.core.deliveries import Deliveries
from service.core.findings import Stretches
from service.core.gpu_findings import GpuFindings
from service.core.idle import IdleGpus
from service.core.incidents import Incidents, SeverityLimits
from service.core.ledger import Ledger, Metric
from service.core.owners import Owners
from service.core.ports import Notifier
from service.core.prices import PriceBook
from service.core.purchases import Purchases
from service.core.routing import Router
from service.core.scoring import Scoring
from service.pipeline import Parts, Pipeline


def build_router(settings: Settings) -> Router:
    """Check the routes; ConfigError says what is wrong with them."""
    try:
        return Router(settings.route, settings.receivers)
    except ValueError as error:
        raise ConfigError(f"route: {error}") from None


def build_owners(settings: Settings) -> Owners:
    """Build the owner chain."""
    return Owners(settings.owners.tag_keys, settings.owners.sub_accounts)


def build_pipeline(
    settings: Settings,
    metrics: Mapping[str, Metric],
    *,
    tells_history: bool,
    keeps_history: bool = True,
) -> Pipeline:
    """Wire a pipeline. With `tells_history` (replay) the past is told like the present."""
    ledger = Ledger(metrics)
    stretches = Stretches(settings.settles_after, timedelta(days=settings.remember_days))
    contacts: dict[str, datetime] = {}
    detection = settings.detection
    scorings = {
        hours: Scoring(
            hours,
            _fleet(settings, hours),
            ledger,
            stretches,
            contacts.get,
        )
        for hours in (1, 24)
    }
    limits = settings.incidents
    parts = Parts(
        ledger=ledger,
        scorings=scorings,
        stretches=stretches,
        purchases=Purchases(
            detection.purchases_from.get, stretches, Ledger({}, otherwise="billed"), contacts.get
        ),
        gpus=GpuFindings(IdleGpus(IdleGpuColumns(), _prices(settings))),
        owners=build_owners(settings),
        incidents=Incidents(SeverityLimits(limits.medium_per_day, limits.high_per_day)),
        deliveries=Deliveries(build_router(settings)),
    )
    return Pipeline(
        parts,
        None if tells_history else contacts,
        timedelta(days=settings.remember_days),
        keeps_history=keeps_history,
    )


def _fleet(settings: Settings, step_hours: int) -> Fleet:
    known = settings.detection
    try:
        return Fleet(step_hours, known.detectors, known.false_findings_per_1000_resource_months)
    except ValueError as error:
        raise ConfigError(f"detection: {error}") from None


def _prices(settings: Settings) -> PriceBook:
    try:
        return load_prices(settings.prices)
    except PriceListError as error:
        raise ConfigError(f"prices: {error}") from None


@contextmanager
def open_store(settings: Settings, folder: Path | None = None) -> Iterator[RedisStore]:
    """Open the store: the URL's, else the embedded one in `folder` or the data directory."""
    if settings.store.url is not None:
        store = RedisStore.connect(settings.store.url)
        try:
            store.ping()
            yield store
        finally:
            store.close()
        return
    with EmbeddedStore((folder or settings.data_dir) / "store") as server:
        store = RedisStore.connect(server.url)
        try:
            yield store
        finally:
            store.close()


def build_notifiers(settings: Settings) -> dict[str, Notifier]:
    """Build one notifier for every kind of destination that a receiver names."""
    kinds = sorted({d.split(":", 1)[0] for known in settings.receivers.values() for d in known})
    found: dict[str, Notifier] = {}
    for kind in kinds:
        if kind not in NOTIFIERS:
            known = ", ".join(sorted(NOTIFIERS))
            raise ConfigError(
                f"receivers: {kind!r} is not a kind of destination; there are {known}"
            )
        notifier = NOTIFIERS[kind]
        table = dict(settings.notifiers.get(kind, {}))
        if "public_url" in notifier.Settings.__struct_fields__ and settings.api.public_url:
            table.setdefault("public_url", settings.api.public_url)
        found[kind] = notifier(checked(table, notifier.Settings, f"notifiers.{kind}"))
    return found
