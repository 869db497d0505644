"""Bootstrap: settings in, wired objects out. The only file that names concrete adapters."""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from obstore.store import ObjectStore

from detectors.calendar import Calendar
from detectors.fleet import Fleet
from detectors.idle_gpu import IdleGpuColumns
from service.adapters.calendars import CalendarError, calendar_name, load_calendar
from service.adapters.catalogues import CatalogueError, load_catalogue
from service.adapters.embedded_store import STORE, EmbeddedStore, remove_killed
from service.adapters.gpu.base import Hosts, Probe
from service.adapters.gpu.exporter import Exporter
from service.adapters.gpu.nvml import Nvml
from service.adapters.kafka_client import Cluster
from service.adapters.kafka_topics import Topic, topics
from service.adapters.notifiers import NOTIFIERS
from service.adapters.notifiers.slack import SlackSettings
from service.adapters.prices import PriceListError, load_prices
from service.adapters.redis_store import RedisStore
from service.adapters.sources import Access, Address, BucketError, BucketShelf, open_bucket
from service.adapters.token_prices import OwnPrices
from service.adder import Adder
from service.adder import Parts as AdderParts
from service.config import (
    AllocationSettings,
    BucketSettings,
    CalendarSettings,
    ConfigError,
    Settings,
    StoreSettings,
)
from service.config_file import checked
from service.core.about import About
from service.core.allocation import Allocation, Rules
from service.core.budget_findings import Budgets
from service.core.budgets import Budget
from service.core.cell_book import CellBook, CellsNewSpend, CellsTold
from service.core.cells import Cells
from service.core.deliveries import Deliveries
from service.core.estimates import Ahead, Estimates
from service.core.events import SeriesKey
from service.core.experiments import Experiments
from service.core.gpu_findings import GpuFindings
from service.core.group_scoring import GROUP_SHARE, MEMBERS_ONLY, GroupScoring
from service.core.groups import Groups
from service.core.idle import IdleGpus
from service.core.incidents import Incidents, SeverityLimits
from service.core.ledger import STEP_HOURS, Ledger, Metric
from service.core.looks import Looks
from service.core.members import Member
from service.core.new_spend import NewSpend
from service.core.owners import Calendars, Owners
from service.core.partials import CellLevels, Partials
from service.core.phrases import clean
from service.core.ports import Notifier
from service.core.prices import PriceBook
from service.core.purchases import Purchases
from service.core.rates import Rates
from service.core.rollups import Rollups
from service.core.routing import Router
from service.core.scoring import Around, Scoring
from service.core.spend import Spend
from service.core.standing import Things
from service.core.stretches import Stretches
from service.core.sum_about import SumAbout
from service.core.tag_policy import Dimensions
from service.core.token_bills import TokenBills
from service.core.told import Told
from service.core.unit_costs import UnitCosts
from service.core.unit_series import UnitSeries
from service.desk import Parts as DeskParts
from service.pipeline import Parts, Pipeline


def build_router(settings: Settings) -> Router:
    """Check the routes; ConfigError says what is wrong with them."""
    try:
        return Router(
            settings.route, settings.receivers, settings.time_intervals, settings.inhibit_rules
        )
    except ValueError as error:
        raise ConfigError(f"route: {error}") from None


def build_owners(settings: Settings) -> Owners:
    """Build the owner chain; ConfigError says what is wrong with a catalogue."""
    known = settings.owners
    try:
        catalogue = load_catalogue(known.catalogues)
    except CatalogueError as error:
        raise ConfigError(f"owners.catalogues: {error}") from None
    return Owners(known.tag_keys, known.sub_accounts, catalogue, known.catalogue_name_keys)


def build_rates(settings: Settings) -> Rates:
    """Build what makes currencies comparable."""
    return Rates(settings.rates.currency, settings.rates.worth)


def build_calendars(settings: Settings) -> list[Calendar]:
    """Load every calendar that is named; ConfigError says where one is wrong."""
    named = {"calendar": settings.calendar}
    named |= {f"owners.calendars.{name}": one for name, one in settings.owners.calendars.items()}
    named |= {
        f"sources.{name}.calendar": source.calendar
        for name, source in settings.sources.items()
        if source.calendar is not None
    }
    found: dict[str, Calendar] = {}
    for where, one in named.items():
        try:
            calendar = load_calendar(one.time_zone, one.country, one.subdivision)
        except CalendarError as error:
            raise ConfigError(f"{where}: {error}") from None
        found[calendar.name] = calendar
    found.pop("UTC", None)  # every fleet knows it
    return list(found.values())


def _calendars_of(settings: Settings, owners: Owners) -> Calendars:
    return Calendars(
        owners,
        {name: _name(one) for name, one in settings.owners.calendars.items()},
        {name: _name(s.calendar) for name, s in settings.sources.items() if s.calendar},
        _name(settings.calendar),
    )


def _name(calendar: CalendarSettings) -> str:
    return calendar_name(calendar.time_zone, calendar.country, calendar.subdivision)


def build_pipeline(
    settings: Settings,
    metrics: Mapping[str, Metric],
    *,
    tells_history: bool,
    keeps_history: bool = True,
    is_part: bool = False,
) -> Pipeline:
    """Wire a pipeline. With `tells_history` (replay) the past is told like the present.

    One that `is_part` of several leaves sums of series to an adder, and new spend.
    """
    ledger = Ledger(metrics)
    stretches = Stretches(settings.settles_after, timedelta(days=settings.remember_days))
    contacts: dict[str, datetime] = {}
    detection, owners = settings.detection, build_owners(settings)
    calendars, kept = build_calendars(settings), _calendars_of(settings, owners)
    new_spend = NewSpend(
        detection.new_spend_from.get,
        detection.false_findings_per_1000_resource_months,
        detection.principal_tags,
        ledger,
        stretches,
        contacts.get,
    )
    scorings = {
        hours: Scoring(
            hours,
            _fleet(settings, hours, calendars),
            ledger,
            stretches,
            Around(
                contacts.get,
                lambda series: kept.of(series, ledger.about(series)),
                new_spend.is_told,
            ),
        )
        for hours in (1, 24)
    }
    rollups = Rollups()
    cells = _cells(settings, owners, ledger, rollups) if is_part else None
    groups = cells or _groups(settings, owners, ledger, rollups)
    told = Told(
        stretches,
        groups.of,
        lambda s: groups.members(s) or new_spend.members(s),
        ledger.point,
        lambda group, step: scorings[STEP_HOURS[group.grain]].barred(step),
    )
    group_scorings = {
        hours: GroupScoring(
            hours,
            _group_fleet(settings, hours, calendars),
            rollups,
            stretches,
            Around(
                contacts.get,
                lambda group: kept.of_all(group, map(ledger.about, groups.members(group))),
            ),
            told,
            groups.newcomers,
        )
        for hours in (() if is_part else (1, 24))
    }
    levels = {hours: CellLevels() for hours in (1, 24)}
    rules = _rules(settings.allocation, is_part=is_part)
    units = UnitSeries(ledger, owners, rules.dimensions, settings.allocation.unit_costs)
    idle = IdleGpus(IdleGpuColumns(), _prices(settings))
    parts = Parts(
        ledger=ledger,
        scorings=scorings,
        stretches=stretches,
        new_spend=new_spend,
        groups=groups,
        rollups=rollups,
        spend=Spend(ledger, owners, _budgets(settings)),
        told=told,
        group_scorings=group_scorings,
        about=About(ledger, owners, groups, new_spend, scorings, group_scorings),
        purchases=Purchases(
            detection.purchases_from.get, stretches, Ledger({}, otherwise="billed"), contacts.get
        ),
        gpus=GpuFindings(idle),
        estimates=Estimates(ledger, idle.rates.book, _ahead(settings)),
        token_bills=TokenBills(metrics, _ahead_of_bills(settings)),
        experiments=Experiments(ledger),
        allocation=Allocation(ledger, owners, rules),
        units=units,
        unit_scoring=_unit_scoring(settings, calendars, units, stretches, contacts.get),
        owners=owners,
        desk=build_desk_parts(settings),
        partials=None
        if cells is None
        else Partials(cells, rollups, ledger, told, scorings, levels),
        levels=levels,
    )
    return Pipeline(
        parts,
        None if tells_history else contacts,
        timedelta(days=settings.remember_days),
        keeps_history=keeps_history,
    )


def build_adder(settings: Settings) -> Adder:
    """Wire what judges the sums of what the parts of all series say."""
    detection, owners = settings.detection, build_owners(settings)
    calendars, kept = build_calendars(settings), _calendars_of(settings, owners)
    stretches = Stretches(settings.settles_after, timedelta(days=settings.remember_days))
    contacts: dict[str, datetime] = {}
    rollups = Rollups()
    try:
        book = CellBook(detection.group_by, rollups)
    except ValueError as error:
        raise ConfigError(f"detection: {error}") from None
    new_spend = CellsNewSpend(
        detection.new_spend_from.get,
        detection.false_findings_per_1000_resource_months,
        book,
        stretches,
        contacts.get,
    )

    def members(series: SeriesKey) -> Collection[SeriesKey]:
        return book.members(series) or new_spend.members(series)

    told = CellsTold(stretches, book, rollups, members)
    scorings = {
        hours: GroupScoring(
            hours,
            _group_fleet(settings, hours, calendars),
            rollups,
            stretches,
            Around(
                contacts.get,
                lambda group: kept.of_owners(group, map(book.owner, book.members(group))),
            ),
            told,
            lambda group, step: list(rollups.at(group, step).new),
        )
        for hours in (1, 24)
    }
    units = UnitCosts(settings.allocation.unit_costs)
    unit_scoring = _unit_scoring(settings, calendars, units, stretches, contacts.get)
    parts = AdderParts(
        book=book,
        contacts=contacts,
        stretches=stretches,
        new_spend=new_spend,
        rollups=rollups,
        told=told,
        scorings=scorings,
        unit_scoring=unit_scoring,
        looks=Looks(settings.kafka.partitions, settings.allocation.policies, units, unit_scoring),
        about=SumAbout(book, owners, new_spend, members, scorings),
    )
    return Adder(parts, timedelta(days=settings.remember_days))


def _unit_scoring(
    settings: Settings,
    calendars: list[Calendar],
    units: UnitCosts,
    stretches: Stretches,
    first_contact: Callable[[str], datetime | None],
) -> Scoring:
    around = Around(first_contact, lambda _: _name(settings.calendar))
    return Scoring(24, _group_fleet(settings, 24, calendars), units, stretches, around)


def build_desk_parts(settings: Settings) -> DeskParts:
    """Build what turns findings into incidents and notices."""
    limits, rates = settings.incidents, build_rates(settings)
    budgets = Budgets(_budgets(settings), build_owners(settings))
    severities = SeverityLimits(limits.medium_per_day, limits.high_per_day, rates)
    return DeskParts(
        incidents=Incidents(severities, budgets.exhausts),
        deliveries=Deliveries(build_router(settings), rates),
        things=Things(),
        budgets=budgets,
        unreachable=lambda destination: _unreachable(settings, destination),
    )


def _unreachable(settings: Settings, destination: str) -> str | None:
    """Say why this config can tell nobody at a destination, or None."""
    kinds = _kinds(settings)
    kind, colon, target = destination.partition(":")
    if kind not in kinds:
        known = ", ".join(sorted(kinds))
        return f"no receiver of the config is told by {clean(kind, 40)!r}, only by {known}"
    names = settings.notifiers.get(kind, {}).get("to")
    is_named = "to" in NOTIFIERS[kind].Settings.__struct_fields__
    if not colon or not NOTIFIERS[kind].reaches(target):
        return f"{clean(destination, 80)!r} names no one to tell"
    if is_named and target not in (names or ()):
        return f"{clean(destination, 80)!r} is not under [notifiers.{kind}.to]"
    return None


def _kinds(settings: Settings) -> set[str]:
    """Return the kinds of destination that a receiver or a fallback names, or a team may."""
    every = [*settings.receivers.values(), *settings.fallbacks.values()]
    kinds = {one.partition(":")[0] for known in every for one in known}
    if "signing_secret" in settings.notifiers.get("slack", {}):
        kinds.add("slack")
    return kinds


def _budgets(settings: Settings) -> list[Budget]:
    return [Budget.of(name, terms) for name, terms in settings.budgets.items()]


def _fleet(settings: Settings, step_hours: int, calendars: list[Calendar]) -> Fleet:
    known = settings.detection
    tolerated = known.false_findings_per_1000_resource_months
    try:
        return Fleet(step_hours, known.detectors, tolerated, calendars)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ConfigError(f"detection: {error}") from None


def _group_fleet(settings: Settings, step_hours: int, calendars: list[Calendar]) -> Fleet:
    """Build the detectors of groups, which have a part of their own in what may be false."""
    known = settings.detection
    detectors = {name: table for name, table in known.detectors.items() if name not in MEMBERS_ONLY}
    tolerated = GROUP_SHARE * known.false_findings_per_1000_resource_months
    return Fleet(step_hours, detectors, tolerated, calendars)


def _groups(settings: Settings, owners: Owners, ledger: Ledger, rollups: Rollups) -> Groups:
    try:
        return Groups(settings.detection.group_by, owners, ledger, rollups)
    except ValueError as error:
        raise ConfigError(f"detection: {error}") from None


def _cells(settings: Settings, owners: Owners, ledger: Ledger, rollups: Rollups) -> Cells:
    detection = settings.detection
    try:
        return Cells(detection.group_by, detection.principal_tags, owners, ledger, rollups)
    except ValueError as error:
        raise ConfigError(f"detection: {error}") from None


def _rules(known: AllocationSettings, *, is_part: bool) -> Rules:
    dimensions = Dimensions(known.dimensions)
    return Rules(
        known.policies, dimensions, known.orphaned_storage, known.unused_commitments, is_part
    )


def _ahead(settings: Settings) -> dict[str, Ahead]:
    return {
        name: Ahead(source.ahead_of, source.discount_percent / 100)
        for name, source in settings.sources.items()
        if source.ahead_of is not None
    }


def _ahead_of_bills(settings: Settings) -> dict[str, Ahead]:
    """Return by feed of usage which feed bills it, its own where no other is named."""
    return {
        name: Ahead(source.ahead_of or name, source.discount_percent / 100)
        for name, source in settings.sources.items()
        if source.ahead_of is not None or source.discount_percent
    }


def _prices(settings: Settings) -> PriceBook:
    try:
        return load_prices(settings.prices)
    except PriceListError as error:
        raise ConfigError(f"prices: {error}") from None


@contextmanager
def open_store(settings: Settings, folder: Path | None = None) -> Iterator[RedisStore]:
    """Open the store: the URL's, else the embedded one in `folder` or the data directory."""
    if settings.store.url is not None:
        store = _client(settings.store)
        try:
            store.ping()
            yield store
        finally:
            store.close()
        return
    with EmbeddedStore((folder or settings.data_dir) / STORE) as server:
        store = RedisStore.connect(server.url)
        try:
            yield store
        finally:
            store.close()


def remove_orphans(prefix: str) -> None:
    """Remove the temporary folders `prefix`* that killed runs left, with the servers over them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # another has removed it meanwhile, or it is not ours to look into
            remove_killed(folder)


def _client(store: StoreSettings) -> RedisStore:
    try:
        return RedisStore.connect(store.url or "", **_store_security(store))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"store.url: {error}") from None


def check(settings: Settings) -> None:
    """Build all that a run would build, short of connecting; ConfigError says what is wrong."""
    check_paths(settings)
    build_pipeline(settings, {}, tells_history=False)
    build_notifiers(settings)
    if settings.store.url is not None:
        _client(settings.store).close()


def check_paths(settings: Settings) -> None:
    """Check that each feed is there and that the data directory can be; ConfigError otherwise."""
    for name, source in settings.sources.items():
        if (address := Address.of(source.path)) is not None:
            _open_bucket(address, source.bucket)
        elif not source.posted and not os.access(source.path, os.R_OK):
            raise ConfigError(f"sources.{name}.path: {source.path} is not there")
    place = settings.data_dir.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place) or not os.access(place, os.W_OK | os.X_OK):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        raise ConfigError(f"data_dir: {place} is not a folder that can be written to")


def build_shelf(path: Path, folder: Path, said: BucketSettings) -> BucketShelf | None:
    """Open the bucket that a path names, None for a path on this disk; nothing is asked yet.

    `folder` is for what is at hand.
    """
    address = Address.of(path)
    if address is None:
        return None
    return BucketShelf(address, _open_bucket(address, said), folder, said.largest_mib * 2**20)


def bucket_settings(settings: Settings, path: Path) -> BucketSettings:
    """Return what the config says of the bucket of a path that is given by hand."""
    address = Address.of(path)
    for source in settings.sources.values():
        known = Address.of(source.path)
        if known is not None and address is not None and known[:2] == address[:2]:
            return source.bucket
    return BucketSettings()


def _open_bucket(address: Address, said: BucketSettings) -> ObjectStore:
    access = Access(said.endpoint, said.region, said.profile, said.account)
    try:
        return open_bucket(address, access)
    except BucketError as error:
        raise ConfigError(str(error)) from None


def build_cluster(settings: Settings) -> Cluster:
    """Say how to reach Kafka; ConfigError when nobody said where it is."""
    kafka = settings.kafka
    if kafka.bootstrap_servers is None:
        raise ConfigError(
            "kafka.bootstrap_servers is not set: give it in the config, or in "
            "SPENDWATCH_KAFKA_BOOTSTRAP_SERVERS"
        )
    security: dict[str, Any] = {"security_protocol": kafka.security_protocol}
    if kafka.password is not None:
        security |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password,
        }
    security |= _files(
        ssl_cafile=kafka.ca_file, ssl_certfile=kafka.certificate_file, ssl_keyfile=kafka.key_file
    )
    return Cluster(kafka.bootstrap_servers, kafka.topic_prefix, security)


def build_topics(settings: Settings) -> dict[str, Topic]:
    """Say what each topic must be like."""
    return topics(settings.kafka.partitions, timedelta(days=settings.remember_days))


def build_token_prices(settings: Settings) -> OwnPrices:
    """Return the user's own prices of tokens."""
    found: dict[tuple[str, str], dict[date, dict[str, Decimal]]] = {}
    for one in settings.token_prices:
        dated = found.setdefault((one.model, one.tier), {})
        dated.setdefault(one.since, {}).update((str(k), v) for k, v in one.usd_per_mtok.items())
    return found


def build_hosts(settings: Settings) -> Hosts:
    """Say what hosts with GPUs are on the bill, for telemetry that does not."""
    return {
        host: {name: value for name, value in msgspec.structs.asdict(said).items() if value}
        for host, said in settings.gpu_agent.hosts.items()
    }


def build_probes(settings: Settings) -> list[Probe]:
    """Say which GPUs to ask; ConfigError when none are named."""
    agent = settings.gpu_agent
    probes: list[Probe] = [Exporter(url) for url in agent.exporters]
    if agent.nvml:
        probes.append(Nvml())
    if not probes:
        raise ConfigError("gpu_agent: name exporters, or set nvml = true for this machine's GPUs")
    return probes


def _store_security(store: StoreSettings) -> dict[str, Any]:
    named = {"username": store.username} if store.username is not None else {}
    if store.password is not None:
        named["password"] = store.password.reveal()
    return named | _files(
        ssl_ca_certs=store.ca_file, ssl_certfile=store.certificate_file, ssl_keyfile=store.key_file
    )


def _files(**files: Path | None) -> dict[str, str]:
    """Return the files that are given; ConfigError for one that cannot be read."""
    given = {name: file for name, file in files.items() if file is not None}
    for file in given.values():
        try:
            file.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
    return {name: str(file) for name, file in given.items()}


def build_notifiers(settings: Settings) -> dict[str, Notifier]:
    """Build one notifier for every kind of destination that a receiver or a fallback names."""
    told = {f"receivers.{name}": known for name, known in settings.receivers.items()}
    told |= {f"fallbacks.{name}": known for name, known in settings.fallbacks.items()}
    for name in settings.fallbacks:
        if name not in NOTIFIERS:
            _kind_of(name, "fallbacks")
    named = [(d, _kind_of(d, where), where) for where, known in told.items() for d in known]
    kinds = _kinds(settings)
    if unknown := settings.notifiers.keys() - NOTIFIERS.keys():
        raise ConfigError(f"notifiers: {min(unknown)!r} is not one of {', '.join(NOTIFIERS)}")
    found: dict[str, Notifier] = {}
    for kind in sorted(kinds):
        notifier = NOTIFIERS[kind]
        known = checked(_notifier_table(settings, kind), notifier.Settings, f"notifiers.{kind}")
        _check_names(known, kind, named)
        try:
            found[kind] = notifier(known)
        except (OSError, ValueError) as error:
            raise ConfigError(f"notifiers.{kind}: {error}") from None
    return found


def build_slack(settings: Settings) -> SlackSettings | None:
    """Say how the Slack app is reached and heard; None when it only posts, or not even that."""
    table = _notifier_table(settings, "slack")
    if "signing_secret" not in table:
        return None
    return checked(table, SlackSettings, "notifiers.slack")


def slack_members(settings: Settings) -> dict[str, Member]:
    """Return who the config says that Slack's users are."""
    return {
        name: Member(name=name, person=known.person, teams=known.teams, role=known.role)
        for name, known in settings.slack_users.items()
    }


def _notifier_table(settings: Settings, kind: str) -> dict[str, Any]:
    """Return what the config says of a kind of destination, and what it has from the page."""
    table = dict(settings.notifiers.get(kind, {}))
    for name in {"public_url", "link_key"} & set(NOTIFIERS[kind].Settings.__struct_fields__):
        if (of_page := getattr(settings.api, name)) is not None:
            table.setdefault(name, of_page)
    return table


def _check_names(known: Any, kind: str, named: list[tuple[str, str, str]]) -> None:
    """Refuse a destination that is a name, where the notifier has not been given what it means."""
    names = getattr(known, "to", None)
    for destination, of_kind, where in named:
        if of_kind == kind and names is not None and destination.partition(":")[2] not in names:
            raise ConfigError(f"{where}: {destination!r} is not under [notifiers.{kind}.to]")


def _kind_of(destination: str, where: str) -> str:
    kind, colon, target = destination.partition(":")
    if kind not in NOTIFIERS:
        known = ", ".join(NOTIFIERS)
        raise ConfigError(f"{where}: {kind!r} is not a kind of destination; there are {known}")
    if not colon or not NOTIFIERS[kind].reaches(target):
        raise ConfigError(f"{where}: {destination!r} names no one to tell")
    return kind
