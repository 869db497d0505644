"""What the API answers: the shapes beside findings and incidents, and how they become JSON."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from fastapi import Path, Response

from service.core import money
from service.core.estimates import Gap
from service.core.experiments import RunBill, by_experiment
from service.core.findings import Finding
from service.core.health import SILENT_AFTER, State, is_stale
from service.core.ledger import LedgerRow
from service.core.notices import Delivery, DeliveryState
from service.core.ports import DestinationStatus, PartitionStatus, SourceStatus
from service.core.talks import Action, Reason
from service.core.tokens import Role
from service.decoding import from_json

Id = Annotated[str, Path(max_length=128, pattern=r"^[A-Za-z0-9_-]+$")]
_T = TypeVar("_T")


class Source(SourceStatus, kw_only=True):
    """A source's counts, and how old its newest event is; `stale` is a silent stop.

    `lag_seconds` is how far its newest period lies back; `completeness` is the share of what is
    usual that has come of it, null until what is usual is known.
    """

    age_seconds: float | None
    lag_seconds: float | None
    completeness: float | None
    stale: bool

    @classmethod
    def of(cls, status: SourceStatus, now: datetime) -> "Source":
        """Compare a source's newest event with the present."""
        at, end, usual = status.last_arrived_at, status.last_period_end, status.series_usual
        share = min(1.0, status.series_arrived / usual) if usual else None
        return cls(
            **msgspec.structs.asdict(status),
            age_seconds=None if at is None else (now - at).total_seconds(),
            lag_seconds=None if end is None else (now - end).total_seconds(),
            completeness=None if share is None else round(share, 4),
            stale=is_stale(status, now),
        )


class Partition(PartitionStatus, kw_only=True, frozen=True):
    """How far a worker is in one partition; `silent` when it has not said so for long."""

    silent: bool

    @classmethod
    def of(cls, status: PartitionStatus, now: datetime) -> "Partition":
        """Compare when its owner last said anything with the present."""
        silent = now - status.at > SILENT_AFTER
        return cls(**msgspec.structs.asdict(status), silent=silent)


class Status(msgspec.Struct, kw_only=True):
    """The service in one answer. `offset` is how far into the log what is shown reaches.

    `partitions` say how far the workers are in each, where there are workers. Those and
    `destinations` are for who sees everyone's spend.

    `estimates` compares what was estimated before the bill came with what it said then.
    """

    state: State
    reasons: list[str]
    as_of: datetime
    version: str
    started_at: datetime
    offset: int
    sources: list[Source]
    deliveries: dict[str, int]
    incidents_firing: int
    estimates: list[Gap] = []
    partitions: list[Partition] = []
    destinations: list[DestinationStatus] = []


class ExperimentCost(msgspec.Struct, kw_only=True):
    """What the runs of one experiment cost in all."""

    experiment: str
    runs: int
    cost: Decimal
    billing_currency: str


class Experiments(msgspec.Struct, kw_only=True):
    """What experiments cost, the dearest first, and each of their runs."""

    as_of: datetime
    experiments: list[ExperimentCost]
    runs: list[RunBill]

    @classmethod
    def of(cls, bills: Sequence[RunBill], now: datetime) -> "Experiments":
        """Add up runs."""
        sums = [
            ExperimentCost(experiment=name, runs=count, cost=cost, billing_currency=currency)
            for (name, currency), (count, cost) in by_experiment(bills).items()
        ]
        return cls(
            as_of=now,
            experiments=sorted(sums, key=lambda one: (-one.cost, one.experiment)),
            runs=sorted(bills, key=lambda one: (-one.cost, one.run_id)),
        )


class DeliveryView(msgspec.Struct, kw_only=True):
    """One message of one incident transition to one destination, and how far it got."""

    delivery_id: str
    incident_id: str
    destination: str
    action: Action
    seq: int
    at: datetime
    reason: Reason
    text: str
    why_here: str
    state: DeliveryState
    due: datetime
    attempts: int
    error: str | None
    updated_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryView":
        """Leave out what the sender alone needs."""
        notice = delivery.notice
        return cls(
            delivery_id=notice.delivery_id,
            incident_id=notice.incident_id,
            destination=notice.destination,
            action=notice.action,
            seq=notice.seq,
            at=notice.at,
            reason=notice.reason,
            text=notice.text,
            why_here=notice.why_here,
            state=delivery.state,
            due=delivery.due,
            attempts=delivery.attempts,
            error=delivery.error,
            updated_at=delivery.updated_at,
        )


class Period(msgspec.Struct, kw_only=True):
    """What one kind of charge of one period costs now; until it is settled it may change.

    What is `estimated` comes from telemetry and prices: the bill has not come yet.
    """

    charge_period_start: datetime
    charge_period_end: datetime
    charge_category: str
    cost: Decimal
    settled: bool
    estimated: bool

    @classmethod
    def of(cls, row: LedgerRow, settles_after: timedelta, now: datetime) -> "Period":
        """Judge a ledger row by its source's settling time."""
        return cls(
            charge_period_start=row.charge_period_start,
            charge_period_end=row.charge_period_end,
            charge_category=row.charge_category,
            cost=row.cost,
            settled=row.charge_period_end + settles_after <= now,
            estimated=row.estimated,
        )


class Series(msgspec.Struct, kw_only=True):
    """One series: its newest period, its periods in a window, and its findings.

    `current` and `periods` are null on a service that keeps no history.
    """

    series: str
    source: str
    sub_account_id: str
    resource: str
    billing_currency: str
    grain: str
    since: datetime
    until: datetime
    current: Period | None
    periods: list[Period] | None
    findings: list[Finding]


class TokenView(msgspec.Struct, kw_only=True):
    """A token as an admin sees it: all but what it is known by."""

    name: str
    teams: list[str]
    role: Role
    expires_at: datetime | None
    used_at: datetime | None


class Listing(msgspec.Struct, Generic[_T], kw_only=True):
    """Some of what there is, at most as many as were asked for; `next` is where there is more."""

    items: list[_T]
    as_of: datetime
    next: str | None = None


# Some 3 kB each: what is asked for again and again is written once.
SHOWN_KEPT: Final = 5000
_ENCODER: Final = msgspec.json.Encoder()


def answer(value: object) -> Response:
    """Write a value as JSON: money as plain decimal strings, times with Z."""
    plain = msgspec.to_builtins(value, builtin_types=(Decimal,))
    return Response(_ENCODER.encode(_with_money_as_text(plain)), media_type="application/json")


def listing(items: Sequence[object], now: datetime, more: str | None) -> Response:
    """Answer a page of a list, whose items hold no `Decimal`; `more` is where the next one is."""
    body = _ENCODER.encode(Listing(items=list(items), as_of=now, next=more))
    answer = Response(body, media_type="application/json")
    if more is not None:
        answer.headers["Link"] = f'<{more}>; rel="next"'
    return answer


@lru_cache(maxsize=SHOWN_KEPT)
def shown(written: bytes, kind: type[Any]) -> msgspec.Raw:
    """Return an item, given as it was written, as it is answered."""
    return msgspec.Raw(answer(from_json(written, kind)).body)


def _with_money_as_text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, dict):
        return {name: _with_money_as_text(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_money_as_text(part) for part in value]
    return value
