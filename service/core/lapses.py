"""Lapses: what stands against a rule of the house until it is mended, told as findings.

Nothing is odd about a lapse and nothing was learnt: storage that outlived its machine, tags that a
policy asks for and that are not there. It is raised when it is seen, told again when what is said
of it changes, and over when it is seen no more.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypedDict, Unpack

import msgspec

from service.core import money
from service.core.drivers import Member
from service.core.events import DAILY, CostEvent, SeriesKey
from service.core.findings import Finding, finding_id_of
from service.core.owners import Owner
from service.core.state import Chunk, Saved, Streams


class Words(TypedDict):
    """What is said of one series that lapsed."""

    since: datetime
    cost: Decimal
    reason: str
    title: str
    run_rate_per_day: Decimal


class Lapse(msgspec.Struct, kw_only=True, frozen=True):
    """One lapse as it stands: whose, where, since when, what it cost, and what to do, in words.

    `name` tells it from others of its kind, owner, account and currency. `impact` is what need not
    have been spent, None where it was well spent but is nobody's to see.
    """

    kind: str
    name: str
    owner: str
    owner_source: str
    sub_account_id: str
    billing_currency: str
    since: datetime
    cost: Decimal
    reason: str
    title: str
    impact: Decimal | None = None
    run_rate_per_day: Decimal | None = None
    resource_id: str | None = None
    service_name: str | None = None
    region_id: str | None = None

    @classmethod
    def of(
        cls, kind: str, series: SeriesKey, about: CostEvent, owner: Owner, **said: Unpack[Words]
    ) -> "Lapse":
        """Return what lapsed of one series, all of whose cost need not have been."""
        return cls(
            kind=kind,
            name=series.resource,
            owner=owner.name,
            owner_source=owner.source,
            sub_account_id=series.sub_account_id,
            billing_currency=series.billing_currency,
            impact=said["cost"],
            resource_id=about.resource_id,
            service_name=about.service_name,
            region_id=about.region_id,
            **said,
        )

    @property
    def series(self) -> SeriesKey:
        """Name it as findings name what they are about."""
        resource = f"{self.name}~{self.owner}"
        return SeriesKey(self.kind, self.sub_account_id, resource, self.billing_currency, DAILY)


class _Told(msgspec.Struct, array_like=True):
    lapse: Lapse
    detected_at: datetime


class Lapses:
    """Knows which lapses were told, and tells what is new, changed or mended."""

    def __init__(self) -> None:
        self._told: dict[str, _Told] = {}

    def __contains__(self, series: object) -> bool:
        return str(series) in self._told

    def standing(self) -> list[Lapse]:
        """Return what stands now, in a fixed order."""
        return [told.lapse for _, told in sorted(self._told.items())]

    def judge(self, found: Iterable[Lapse], now: datetime) -> list[Member]:
        """Take in all lapses as they stand now; return the findings that changed."""
        members: list[Member] = []
        stands = {str(lapse.series): lapse for lapse in found}
        for series, told in sorted(self._told.items()):
            if series not in stands:
                members.append(_member(told, now, ended_at=now))
        self._told = {series: told for series, told in self._told.items() if series in stands}
        for series, lapse in sorted(stands.items()):
            known = self._told.get(series)
            if known is None:
                known = self._told[series] = _Told(lapse, now)
            else:
                fresh = msgspec.structs.replace(lapse, since=known.lapse.since)
                if fresh == known.lapse:
                    continue
                known.lapse = fresh
            members.append(_member(known, now))
        return members

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._told.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._told = saved.values(name, _Told)


def _member(told: _Told, now: datetime, ended_at: datetime | None = None) -> Member:
    lapse, series = told.lapse, str(told.lapse.series)
    expected = money.subtract(lapse.cost, lapse.impact or money.ZERO)
    finding = Finding(
        finding_id=finding_id_of(series, lapse.kind, lapse.since),
        detector=lapse.kind,
        kind=lapse.kind,
        status="confirmed",
        series=series,
        resource_id=lapse.resource_id,
        sub_account_id=lapse.sub_account_id,
        service_name=lapse.service_name,
        region_id=lapse.region_id,
        owner=lapse.owner,
        charge_period_start=lapse.since,
        charge_period_end=max(ended_at or now, lapse.since + timedelta(seconds=1)),
        detected_at=told.detected_at,
        score=0.0,
        actual=lapse.cost,
        expected=expected,
        expected_low=expected,
        expected_high=expected,
        impact=lapse.impact,
        billing_currency=lapse.billing_currency,
        reason=lapse.reason,
        owner_source=lapse.owner_source,
        run_rate_per_day=None if ended_at else lapse.run_rate_per_day,
        ended_at=ended_at,
        ending="mended" if ended_at else "",
        resource_name=lapse.title,
    )
    return Member(finding, {}, 24)
