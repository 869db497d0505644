"""Events: one FOCUS row or one GPU sample, as it arrived.

Field names are FOCUS columns (1.0 to 1.4) in snake case; JSON carries them in FOCUS spelling.
Columns that the service does not use are dropped at the door.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from service.core.money import MAX_DIGITS_AFTER, MAX_DIGITS_BEFORE, ZERO, flaw

Aware = Annotated[datetime, msgspec.Meta(tz=True)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
# Wider integers cannot be written again by msgpack, which the spool and the log use.
Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
TagValue = Text | Integer | float | bool | None

MAX_LINE_BYTES: Final = 1_048_576
MAX_TAGS: Final = 200
EARLIEST: Final = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
LATEST: Final = datetime.fromisoformat("2200-01-01T00:00:00+00:00")
LONGEST_PERIOD: Final = timedelta(days=3 * 366 + 1)
_HOUR: Final = timedelta(hours=1)
_LONGEST_DAY: Final = timedelta(hours=25)
Grain = Literal["hour", "day", "other"]
HOURLY: Final[Grain] = "hour"
DAILY: Final[Grain] = "day"
UNSCORED: Final[Grain] = "other"
# What the resource of a sum begins with: no row may name a series like that.
GROUP_MARK: Final = "~group~"
NEW_MARK: Final = "~new~"
BUDGET_MARK: Final = "~budget~"
CELL_MARK: Final = "~cell~"
# The source of what units cost: no feed may have such a name.
UNIT_FEED: Final = "~unit~"


def _focus_name(name: str) -> str:
    if name.startswith("x_"):
        return "x_" + name[2:].title().replace("_", "")
    return name.title().replace("_", "")


class CostEvent(
    msgspec.Struct,
    frozen=True,
    rename=_focus_name,
    gc=False,
    omit_defaults=True,
):
    """One billing row. Empty text means that the row did not say."""

    charge_period_start: Aware
    charge_period_end: Aware
    charge_category: Text
    billed_cost: Decimal
    billing_currency: Text
    effective_cost: Decimal | None = None
    list_cost: Decimal | None = None
    contracted_cost: Decimal | None = None
    billing_account_id: Text = ""
    billing_period_start: Aware | None = None
    billing_period_end: Aware | None = None
    charge_class: Text | None = None
    charge_frequency: Text | None = None
    charge_description: Text | None = None
    service_category: Text | None = None
    service_name: Text | None = None
    sub_account_id: Text | None = None
    sub_account_name: Text | None = None
    resource_id: Text | None = None
    resource_name: Text | None = None
    resource_type: Text | None = None
    region_id: Text | None = None
    sku_id: Text | None = None
    list_unit_price: Decimal | None = None
    pricing_quantity: Decimal | None = None
    pricing_unit: Text | None = None
    consumed_quantity: Decimal | None = None
    consumed_unit: Text | None = None
    commitment_discount_id: Text | None = None
    commitment_discount_status: Text | None = None
    capacity_reservation_status: Text | None = None
    tags: dict[Text, TagValue] | None = None
    x_event_id: Text = ""
    x_revision: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    x_snapshot_id: Text | None = None
    x_arrived_at: Aware | None = None

    @property
    def grain(self) -> Grain:
        """How long the charge period is: at most an hour, at most a day, or never scored.

        The day on which clocks are put back has 25 hours.
        """
        span = self.charge_period_end - self.charge_period_start
        if span <= _HOUR:
            return "hour"
        return "day" if span <= _LONGEST_DAY else "other"

    @property
    def is_correction(self) -> bool:
        """Whether the row corrects a period that was invoiced before."""
        return self.charge_class is not None and self.charge_class.lower() == "correction"

    @property
    def is_scored(self) -> bool:
        """Whether the row feeds a usage baseline: plain usage of at most a day."""
        return (
            self.charge_category == "Usage"
            and (self.charge_frequency is None or self.charge_frequency.lower() == "usage-based")
            and not self.is_correction
            and self.grain != UNSCORED
        )


class SeriesKey(NamedTuple):
    """One key over time. A row without a resource falls back to service, region and SKU."""

    source: str
    sub_account_id: str
    resource: str
    billing_currency: str
    grain: Grain

    def __str__(self) -> str:
        plain = "/".join(self)
        if plain.count("/") == len(self) - 1 and "%" not in plain:
            return plain
        return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in self)

    @classmethod
    def parse(cls, text: str) -> "SeriesKey":
        """Read back what `str` wrote; ValueError when it is not a series."""
        parts = [part.replace("%2F", "/").replace("%25", "%") for part in text.split("/")]
        if len(parts) != len(cls._fields) or parts[4] not in (HOURLY, DAILY, UNSCORED):
            message = f"not a series: {text[:200]!r}"
            raise ValueError(message)
        return cls(*parts)  # type: ignore[arg-type]  # the grain was checked above


def series_of(source: str, event: CostEvent) -> SeriesKey:
    """Return the series that a row belongs to."""
    resource = event.resource_id or "~".join(
        ("", event.service_name or "", event.region_id or "", event.sku_id or "")
    )
    if resource.startswith((GROUP_MARK, NEW_MARK, BUDGET_MARK, CELL_MARK)):
        resource = f"~{resource}"
    return SeriesKey(
        source, event.sub_account_id or "", resource, event.billing_currency, event.grain
    )


class GpuSample(msgspec.Struct, kw_only=True, frozen=True, gc=False, omit_defaults=True):
    """One GPU at one moment. A null sensor is unknown, not zero."""

    timestamp: Aware
    gpu_uuid: Text
    hostname: Text
    gpu_instance_id: Text | Integer | None = None
    resource_id: Text | None = None
    model: Text | None = None
    utilization: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    engine_active: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    encoder_utilization: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    decoder_utilization: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    memory_used_bytes: Annotated[float, msgspec.Meta(ge=0, le=1e15)] | None = None
    power_watts: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    xid: Integer | None = None
    namespace: Text | None = None
    pod: Text | None = None
    container: Text | None = None
    instance_type: Text | None = None
    region_id: Text | None = None
    sub_account_id: Text | None = None
    provider: Text | None = None
    tags: dict[Text, TagValue] | None = None
    x_arrived_at: Aware | None = msgspec.field(default=None, name="x_ArrivedAt")


class Run(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a tracker of experiments says of one run, as of `timestamp`.

    `best_at` is when its `metric` last improved. It ran on `resource_id`, as the bill names it, or
    on a host that the config says more of.
    """

    timestamp: Aware
    run_id: Text
    experiment: Text
    started_at: Aware
    ended_at: Aware | None = None
    name: Text | None = None
    owner: Text | None = None
    metric: Text | None = None
    best: float | None = None
    best_at: Aware | None = None
    hostname: Text | None = None
    resource_id: Text | None = None
    tags: dict[Text, TagValue] | None = None
    x_arrived_at: Aware | None = msgspec.field(default=None, name="x_ArrivedAt")


Event = CostEvent | GpuSample | Run


class Arrival(NamedTuple):
    """An accepted event with where it came from and when it arrived."""

    arrived_at: datetime
    source: str
    event: Event


class Rejected(NamedTuple):
    """Bad input: where it stood, why it was refused, and its first bytes for the dead letter."""

    file: str
    row: int
    reason: str
    raw: bytes


def flaw_of(event: Event) -> str | None:
    """Say what is wrong with an event that has the right types, or None.

    Checks what a schema cannot: finite money in range, a period that ends after it begins, times
    within this and the next century, tags that a person could have written.
    """
    if event.tags and len(event.tags) > MAX_TAGS:
        return f"more than {MAX_TAGS} tags"
    arrived = event.x_arrived_at
    if arrived is not None and not EARLIEST <= arrived <= LATEST:
        return "x_ArrivedAt is outside 2000 to 2199"
    if isinstance(event, CostEvent):
        return _flaw_of_cost(event)
    if isinstance(event, Run):
        return _flaw_of_run(event)
    inside = EARLIEST <= event.timestamp <= LATEST
    return None if inside else "timestamp is outside 2000 to 2199"


def _flaw_of_cost(event: CostEvent) -> str | None:
    start, end = event.charge_period_start, event.charge_period_end
    if end <= start:
        return "ChargePeriodEnd is not after ChargePeriodStart"
    if not EARLIEST <= start <= end <= LATEST:
        return "ChargePeriodStart is outside 2000 to 2199"
    if end - start > LONGEST_PERIOD:
        return "the charge period is longer than three years"
    for at in (event.billing_period_start, event.billing_period_end):
        if at is not None and not EARLIEST <= at <= LATEST:
            return "the billing period is outside 2000 to 2199"
    return _flaw_of_amounts(event)


def _flaw_of_run(run: Run) -> str | None:
    for at in (run.timestamp, run.started_at, run.ended_at, run.best_at):
        if at is not None and not EARLIEST <= at <= LATEST:
            return "a time is outside 2000 to 2199"
    if run.ended_at is not None and run.ended_at < run.started_at:
        return "the run ended before it started"
    return None if run.run_id else "the run has no id"


def _flaw_of_amounts(event: CostEvent) -> str | None:
    try:
        for amount in (
            event.billed_cost,
            event.effective_cost,
            event.list_cost,
            event.contracted_cost,
            event.list_unit_price,
            event.pricing_quantity,
            event.consumed_quantity,
        ):
            # One operation in C that fails for whatever is too big or too fine, but not for a NaN.
            if amount is not None and _round(amount, _FINEST).is_nan():
                break
        else:
            return None
    except (Inexact, InvalidOperation):
        pass
    for name in _MONEY_FIELDS:
        amount = getattr(event, name)
        if amount is not None and (why := flaw(amount)) is not None:
            return f"{_focus_name(name)} {why}"
    return None


_round = Context(
    prec=MAX_DIGITS_BEFORE + MAX_DIGITS_AFTER, traps=[Inexact, InvalidOperation]
).quantize
_FINEST: Final = Decimal((0, (1,), -MAX_DIGITS_AFTER))
_MONEY_FIELDS: Final = (
    "billed_cost",
    "effective_cost",
    "list_cost",
    "contracted_cost",
    "list_unit_price",
    "pricing_quantity",
    "consumed_quantity",
)


def content_hash(parts: Mapping[str, object] | bytes) -> str:
    """Hash content to 32 hex digits: the same content has the same name everywhere, for ever."""
    data = parts if isinstance(parts, bytes) else msgspec.json.encode(parts, order="sorted")
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def cost_of(event: CostEvent, metric: Literal["effective", "billed"]) -> Decimal:
    """Return the row's value of the source's cost metric; a missing effective cost is zero."""
    if metric == "billed":
        return event.billed_cost
    return ZERO if event.effective_cost is None else event.effective_cost


def quantity_of(event: CostEvent) -> Decimal:
    """Return how much a row charges for, in units of its price; 0 when it does not say."""
    return event.pricing_quantity or event.consumed_quantity or ZERO
