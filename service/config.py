"""Settings: what can be set, its defaults, and what cannot be together.

`config_file` reads them.
"""

import math
import re
from datetime import date, timedelta
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from service.core import money
from service.core.budgets import Name, Terms
from service.core.members import PersonName, SlackRole, SlackUserId, Teams
from service.core.phrases import is_host, is_web_address
from service.core.routing import InhibitRule, NamedIntervals, Route
from service.core.secret import Secret
from service.core.tag_policy import Dimension, Policy
from service.core.tokens import Role
from service.core.unit_costs import UnitCost

LINK_KEYS: Final = frozenset({"link_key", "old_link_key"})
DEFAULT_DETECTORS: Final = ("spike", "shift", "creep", "drop", "gone")
SHORTEST_TOKEN: Final = 22  # what 128 random bits take in base64
SHORTEST_LINK_KEY: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")
FEED: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ConfigError(Exception):
    """What is wrong with the settings, in one line."""


def _check_path(name: str, path: Path) -> None:
    if "\0" in str(path):
        message = f"{name} holds a NUL byte"
        raise ValueError(message)


class _Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A table of the config file."""


class CalendarSettings(_Section, frozen=True):
    """By which clock people start and stop what costs, and on which days they are off."""

    time_zone: str = "UTC"
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] | None = None
    subdivision: str | None = None


class BucketSettings(_Section, frozen=True):
    """What the provider's own settings do not say of a bucket, and how it is watched."""

    endpoint: Annotated[str, msgspec.Meta(pattern="^https?://[^/]")] | None = None
    region: str | None = None
    profile: str | None = None
    account: str | None = None
    every_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60
    largest_mib: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096


class SourceSettings(_Section, frozen=True):
    """One feed: what it is, where it lies, and when its numbers are final."""

    path: Path
    kind: (
        Literal[
            "focus", "aws_cur", "azure", "gcp", "oci", "events", "gpu_samples",
            "nvidia_smi", "dcgm", "litellm", "openai", "anthropic", "opencost",
            "mlflow", "wandb", "counts", "token_log",
        ]
        | None
    ) = None  # fmt: skip
    metric: Literal["effective", "billed"] | None = None
    settles_after_hours: Annotated[float, msgspec.Meta(ge=0, le=8760)] = 72
    calendar: CalendarSettings | None = None
    shares_accounts: bool = False
    bucket: BucketSettings = BucketSettings()
    ahead_of: str | None = None
    discount_percent: Decimal = Decimal(0)
    posted: bool = False

    def __post_init__(self) -> None:
        """Refuse what no clock can add, and to post what is no event, or into a bucket."""
        if self.posted and (self.kind != "events" or "://" in str(self.path)[:8]):
            raise ValueError('posted takes kind = "events", and a folder of this machine as path')
        _check_path("path", self.path)
        if math.isnan(self.settles_after_hours):
            raise ValueError("settles_after_hours is not a number")
        money.check("discount_percent", self.discount_percent)
        if self.discount_percent > 100:
            raise ValueError("discount_percent is above 100")


class DetectionSettings(_Section, frozen=True):
    """The one knob, and which detectors run. A detector's table holds its parameters."""

    false_findings_per_1000_resource_months: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 100
    detectors: dict[str, dict[str, Any]] = msgspec.field(
        default_factory=lambda: {name: {} for name in DEFAULT_DETECTORS}
    )
    group_by: list[str] = msgspec.field(
        default_factory=lambda: ["owner", "sub_account", "service", "region"]
    )
    new_spend_from: dict[str, Decimal] = msgspec.field(
        default_factory=lambda: {"USD": Decimal(5), "EUR": Decimal(5)}
    )
    principal_tags: list[str] = msgspec.field(
        default_factory=lambda: ["createdby", "created-by", "creator", "principal"]
    )
    purchases_from: dict[str, Decimal] = msgspec.field(
        default_factory=lambda: {"USD": Decimal(1000), "EUR": Decimal(1000)}
    )

    def __post_init__(self) -> None:
        """Refuse what is no amount of money, and nothing to detect with."""
        if math.isnan(self.false_findings_per_1000_resource_months):
            raise ValueError("false_findings_per_1000_resource_months is not a number")
        for currency, amount in self.purchases_from.items():
            money.check(f"purchases_from.{currency}", amount)
        if not self.detectors:
            raise ValueError("detectors is empty: nothing would be found")


class OwnerSettings(_Section, frozen=True):
    """The chain that finds an owner."""

    tag_keys: list[str] = msgspec.field(
        default_factory=lambda: ["owner", "team", "squad", "cost-center", "costcenter"]
    )
    sub_accounts: dict[str, str] = {}
    catalogues: list[Path] = []
    catalogue_name_keys: list[str] = msgspec.field(
        default_factory=lambda: ["app", "application", "component", "service", "system"]
    )
    calendars: dict[str, CalendarSettings] = {}


class AllocationSettings(_Section, frozen=True):
    """By which tags spend is told apart, which tags there must be, and what is nobody's to use."""

    dimensions: dict[Dimension, list[str]] = {}
    policies: dict[Name, Policy] = {}
    orphaned_storage: bool = True
    unused_commitments: bool = True
    unit_costs: dict[Name, UnitCost] = {}


class RateSettings(_Section, frozen=True):
    """What plain amounts are in, and what one unit of another currency is worth, by date."""

    currency: Annotated[str, msgspec.Meta(min_length=1, max_length=12)] = "USD"
    worth: dict[str, dict[date, Decimal]] = {}

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        for currency, dated in self.worth.items():
            for day, rate in dated.items():
                money.check(f"worth.{currency}.{day}", rate)
                if not rate:
                    raise ValueError(f"worth.{currency}.{day} is 0")


TokenKind = Literal[
    "input", "cache_read", "cache_write", "cache_write_1h", "output",
    "input_audio", "cache_read_audio", "output_audio",
    "input_image", "cache_read_image", "output_image",
]  # fmt: skip


class TokenPriceSettings(_Section, frozen=True):
    """What a million tokens of a model cost in US dollars, from a date on: a price of one's own."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    usd_per_mtok: dict[TokenKind, Decimal]
    tier: Literal["standard", "batch", "flex", "priority"] = "standard"
    since: date = date.min

    def __post_init__(self) -> None:
        """Refuse what is no amount."""
        for kind, usd in self.usd_per_mtok.items():
            money.check(f"usd_per_mtok.{kind}", usd)


class IncidentSettings(_Section, frozen=True):
    """Money per day from which an incident is medium, and high."""

    medium_per_day: Decimal = Decimal(100)
    high_per_day: Decimal = Decimal(1000)

    def __post_init__(self) -> None:
        """Refuse limits that are no amounts, or the wrong way round."""
        money.check("medium_per_day", self.medium_per_day)
        money.check("high_per_day", self.high_per_day)
        if self.medium_per_day > self.high_per_day:
            raise ValueError("medium_per_day is above high_per_day")


class _ServerSettings(_Section, frozen=True):
    """How to be let in by a server: as whom, and by which certificates of TLS."""

    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def _refuse_half(self, has_tls: bool, tls: str) -> None:
        """Raise ValueError for TLS given in part: it would not protect what it seems to."""
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        for name in ("ca_file", "certificate_file"):
            if getattr(self, name) is not None and not has_tls:
                raise ValueError(f"{name} without {tls}")


class StoreSettings(_ServerSettings, frozen=True):
    """Where state lives; without a URL, an embedded server in `data_dir`.

    TLS is the URL's `rediss://`; a `username` is an ACL user.
    """

    url: str | None = None

    def __post_init__(self) -> None:
        has_tls = self.url is not None and self.url.startswith("rediss://")
        self._refuse_half(has_tls, "a url that begins with rediss://")
        if self.username is not None and self.password is None:
            raise ValueError("username without password")
        if self.password is not None and self.url is None:
            raise ValueError("password without url")


class KafkaSettings(_ServerSettings, frozen=True):
    """The log of the distributed service. `partitions` is of the input, and fixed once it exists.

    Sums over all partitions are brought up every `sums_every_seconds`.

    `security_protocol` and `sasl_mechanism` are named as Kafka names them.
    """

    bootstrap_servers: str | None = None
    topic_prefix: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = ""
    partitions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 8
    replication: Annotated[int, msgspec.Meta(ge=-1, le=9)] = -1
    bad_lines_in_a_row: Annotated[int, msgspec.Meta(ge=1, le=10**9)] = 100
    sums_every_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 60
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None

    def __post_init__(self) -> None:
        protocol = self.security_protocol
        self._refuse_half(protocol.endswith("SSL"), "security_protocol SSL or SASL_SSL")
        for name in ("sasl_mechanism", "username", "password"):
            given = getattr(self, name) is not None
            if given != protocol.startswith("SASL"):
                what = f"{name} without" if given else f"no {name} with"
                raise ValueError(f"{what} security_protocol {'SASL_SSL' if given else protocol}")


class GpuHostSettings(_Section, frozen=True):
    """What telemetry does not say of one host: what it is on the bill."""

    resource_id: str | None = None
    instance_type: str | None = None
    region_id: str | None = None
    sub_account_id: str | None = None
    provider: str | None = None
    tags: dict[str, str] = {}


class GpuAgentSettings(_Section, frozen=True):
    """Which GPUs the agent asks, and how much it keeps while Kafka is away. Hosts by hostname."""

    exporters: list[Annotated[str, msgspec.Meta(pattern="^https?://[^/]")]] = []
    nvml: bool = False
    every_seconds: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 30
    feed: Annotated[str, msgspec.Meta(pattern=FEED)] = "gpu_samples"
    buffer_mib: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 256
    hosts: dict[str, GpuHostSettings] = {}


class OpsSettings(_Section, frozen=True):
    """Who hears what is wrong with the service itself: one of the receivers, or nobody."""

    receiver: str | None = None


class ApiSettings(_Section, frozen=True):
    """Where the page and the API listen, how people reach them from outside, and who is let in.

    `local` is what a request from this machine may do without a token. `link_key` signs the links
    in mails; links that `old_link_key` signed still hold.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8321
    public_url: str | None = None
    link_key: Secret | None = None
    old_link_key: Secret | None = None
    local: Literal["admin", "viewer", "none"] = "none"
    admin_token: Secret | None = None
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 20
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100

    @property
    def link_keys(self) -> list[Secret]:
        """Return the keys whose links hold, the newest first."""
        return [key for key in (self.link_key, self.old_link_key) if key is not None]

    def __post_init__(self) -> None:
        """Refuse what can be neither listened on nor linked to."""
        if not is_host(self.host):
            raise ValueError("host is neither a name nor an address")
        if self.public_url is not None and not is_web_address(self.public_url):
            raise ValueError("public_url is not an http or https address")
        for name in sorted(LINK_KEYS):
            key = getattr(self, name)
            if key is not None and len(key.reveal()) < SHORTEST_LINK_KEY:
                message = f"{name} has fewer than {SHORTEST_LINK_KEY} characters"
                raise ValueError(message)
        if self.admin_token is not None and len(self.admin_token.reveal()) < SHORTEST_TOKEN:
            raise ValueError(f"admin_token is shorter than {SHORTEST_TOKEN} characters")


class GroupSettings(_Section, frozen=True):
    """What the members of a group of the single sign-on may do, and whose spend they see."""

    teams: Teams = []
    role: Role = "viewer"


class SignOnSettings(_Section, frozen=True):
    """The proxy that people sign on at: the secret it sends, where it is, and what groups mean.

    Without a secret nobody's word is taken. What the `old_secret` came with is still taken.
    """

    secret: Secret | None = None
    old_secret: Secret | None = None
    proxies: list[str] = msgspec.field(default_factory=lambda: ["127.0.0.1", "::1"])
    groups: dict[str, GroupSettings] = {}

    def __post_init__(self) -> None:
        """Refuse secrets that could be guessed, and what is no address."""
        for name in ("secret", "old_secret"):
            key = getattr(self, name)
            if key is not None and len(key.reveal()) < SHORTEST_LINK_KEY:
                message = f"{name} has fewer than {SHORTEST_LINK_KEY} characters"
                raise ValueError(message)
        if self.old_secret is not None and self.secret is None:
            raise ValueError("old_secret without secret")
        for proxy in self.proxies:
            ip_network(proxy)


class SlackUserSettings(_Section, frozen=True):
    """Who a Slack user is: the name people know, their teams, and what they may do."""

    person: PersonName
    teams: Teams = []
    role: SlackRole = "editor"


class Settings(_Section, frozen=True):
    """Everything a run is told from outside."""

    data_dir: Path = Path("var")
    history_dir: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    remember_days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 62
    save_every_minutes: Annotated[float, msgspec.Meta(ge=0.05, le=1440)] = 10
    sources: dict[str, SourceSettings] = {}
    detection: DetectionSettings = DetectionSettings()
    calendar: CalendarSettings = CalendarSettings()
    owners: OwnerSettings = OwnerSettings()
    allocation: AllocationSettings = AllocationSettings()
    incidents: IncidentSettings = IncidentSettings()
    budgets: dict[Name, Terms] = {}
    rates: RateSettings = RateSettings()
    time_intervals: list[NamedIntervals] = []
    inhibit_rules: list[InhibitRule] = []
    route: Route = Route(receiver="everyone", min_impact=Decimal(10))
    receivers: dict[str, list[str]] = msgspec.field(
        default_factory=lambda: {"everyone": ["console:"]}
    )
    fallbacks: dict[str, list[str]] = {}
    ops: OpsSettings = OpsSettings()
    notifiers: dict[str, dict[str, Any]] = {}
    slack_users: dict[SlackUserId, SlackUserSettings] = {}
    prices: Path | None = None
    token_prices: list[TokenPriceSettings] = []
    store: StoreSettings = StoreSettings()
    kafka: KafkaSettings = KafkaSettings()
    gpu_agent: GpuAgentSettings = GpuAgentSettings()
    api: ApiSettings = ApiSettings()
    sign_on: SignOnSettings = SignOnSettings()

    def __post_init__(self) -> None:
        """Refuse names that cannot be a folder's, and receivers that reach nobody."""
        _check_path("data_dir", self.data_dir)
        _check_path("history_dir", self.history)
        for name in self.sources:
            if _NAME.fullmatch(name) is None or name in (".", ".."):
                message = f"sources: {name[:80]!r} is not a name of letters, digits, '.', '-', '_'"
                raise ValueError(message)
        for name, source in self.sources.items():
            if source.ahead_of is not None and source.ahead_of not in self.sources:
                message = f"sources.{name}.ahead_of: there is no feed {source.ahead_of!r}"
                raise ValueError(message)
        for name, unit in self.allocation.unit_costs.items():
            if unit.counts not in self.sources:
                message = f"allocation.unit_costs.{name}.counts: no feed {unit.counts[:80]!r}"
                raise ValueError(message)
        for name, destinations in self.receivers.items():
            if not destinations:
                message = f"receivers: {name[:80]!r} is empty: it would reach nobody"
                raise ValueError(message)
        if self.ops.receiver is not None and self.ops.receiver not in self.receivers:
            message = f"ops: receiver {self.ops.receiver[:80]!r} is not under [receivers]"
            raise ValueError(message)

    @property
    def history(self) -> Path:
        """Return the folder of the ledger's history."""
        return self.history_dir or self.data_dir / "history"

    def settles_after(self, source: str) -> timedelta:
        """Return how long after a period's end a source may still change it."""
        known = self.sources.get(source)
        return timedelta(hours=72 if known is None else known.settles_after_hours)
