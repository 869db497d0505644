"""Estimates: what an instance costs in the hours that no bill speaks of yet, from its telemetry.

An estimate is a row in the ledger like any other, of the series that the bill will use, with a SKU
of its own. Any row of the bill about the same resource and hour, in whichever series, puts it to 0
by a higher revision: it is never added to what is billed, whatever comes first.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from detectors.base import start_of, step_of
from service.core import money
from service.core.events import DAILY, HOURLY, CostEvent, GpuSample, SeriesKey
from service.core.ledger import Ledger
from service.core.prices import PriceBook
from service.core.state import Chunk, Saved, Streams

SKU: Final = "estimate"
REASON: Final = "Estimated in part, from telemetry and prices: its bill has not come yet."
HOUR: Final = 3600
# What one sample stands for until the next, and how long a gap between two may be.
SAMPLE_SECONDS: Final = 60
LONGEST_GAP: Final = 600
# It is told in steps of so many seconds: what is told is a matter of the samples alone.
TOLD_EVERY: Final = 300
REVOKED: Final = 2**40
# What no bill speaks of in so long is taken back; of what was settled, this much is compared.
EXPIRES_HOURS: Final = 240
COMPARED_HOURS: Final = 168
_MILLIONTH: Final = Decimal("0.000001")


class Ahead(NamedTuple):
    """Which feed's bill some telemetry runs ahead of, and what of a list price is not paid."""

    bill: str
    discount: Decimal = money.ZERO


class Gap(msgspec.Struct, kw_only=True):
    """What was estimated and then billed, of hours of the last week that have both."""

    service_name: str | None
    billing_currency: str
    hours: int
    estimated: Decimal
    billed: Decimal


class _Hour(msgspec.Struct, array_like=True):
    first: int
    last: int
    seconds: int = 0  # that were told
    told: Decimal = money.ZERO
    estimated: Decimal = money.ZERO  # as it stood when the bill came
    series: SeriesKey | None = None  # in which it was told


class _Host(msgspec.Struct, array_like=True):
    sample: GpuSample
    bill: str
    gpus: set[str]
    hours: dict[int, _Hour]
    billed: set[int]
    series: list[SeriesKey]  # of the bill


class Estimates:
    """Follows instances by their samples, and the bill that comes after.

    An hour costs what the newest whole one with telemetry was billed at, else what `book` lists.
    `ahead` says by telemetry feed which bill it runs ahead of; other feeds are not estimated.
    """

    def __init__(
        self,
        ledger: Ledger,
        book: PriceBook,
        ahead: Mapping[str, Ahead],
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._ahead = ahead
        self._discounts = {one.bill: one.discount for one in ahead.values()}
        self._hosts: dict[str, _Host] = {}
        self._dirty: set[tuple[str, int]] = set()

    def observe(self, source: str, sample: GpuSample) -> None:
        """Take in one sample of an instance that is known by its id on the bill."""
        ahead, resource = self._ahead.get(source), sample.resource_id
        if ahead is None or resource is None:
            return
        host = self._hosts.get(resource)
        if host is None:
            host = self._hosts[resource] = self._met(resource, ahead, sample)
        if sample.timestamp >= host.sample.timestamp:
            host.sample = sample
        host.gpus.add(sample.gpu_uuid)
        step = step_of(sample.timestamp, 1)
        second = int((sample.timestamp - start_of(step, 1)).total_seconds())
        hour = host.hours.setdefault(step, _Hour(second, second))
        hour.first, hour.last = min(hour.first, second), max(hour.last, second)
        self._dirty |= {(resource, near) for near in (step - 1, step, step + 1)}

    def observe_bill(self, series: SeriesKey, event: CostEvent) -> None:
        """Take note of a row of the bill: from now on it alone counts for its resource's hours."""
        host = self._hosts.get(series.resource)
        if host is None or event.sku_id == SKU or not event.is_scored:
            return
        if series not in host.series:
            host.series = sorted([*host.series, series])
        steps = _steps(event.charge_period_start, event.charge_period_end)
        self._dirty |= {(series.resource, step) for step in steps if step in host.hours}
        host.billed |= steps

    def advance(self) -> Iterator[tuple[str, CostEvent]]:
        """Yield the rows that changed, with the feed that each is a row of, in a fixed order."""
        dirty, self._dirty = sorted(self._dirty), set()
        for resource, step in dirty:
            host = self._hosts[resource]
            hour = host.hours.get(step)
            event = None if hour is None else self._event(host, hour, step)
            if event is not None:
                yield host.bill, event

    def covers(self, series: SeriesKey, step: int) -> bool:
        """Tell whether what a series costs in an hour is an estimate."""
        host = self._hosts.get(series.resource) if self._hosts else None
        hour = None if host is None else host.hours.get(step)
        return hour is not None and hour.told > 0 and hour.series == series

    def covered(self) -> Iterator[tuple[SeriesKey, int]]:
        """Yield the hours that are estimated now, with their series."""
        for host in self._hosts.values():
            for step, hour in host.hours.items():
                if hour.told > 0 and hour.series is not None:
                    yield hour.series, step

    def gaps(self) -> list[Gap]:
        """Compare what was estimated with what was billed, by service, in a fixed order."""
        found: dict[tuple[str, str], Gap] = {}
        for host in self._hosts.values():
            for step, hour in host.hours.items():
                if hour.series is None or not hour.estimated:
                    continue
                currency = hour.series.billing_currency
                billed = self._billed(host, step, currency)
                if not billed or not host.series:
                    continue
                name = self._ledger.about(host.series[0]).service_name
                gap = found.setdefault(
                    (name or "", currency),
                    Gap(service_name=name, billing_currency=currency, hours=0,
                        estimated=money.ZERO, billed=money.ZERO),
                )  # fmt: skip
                gap.hours += 1
                gap.estimated = money.add(gap.estimated, hour.estimated)
                gap.billed = money.add(gap.billed, billed)
        return [found[key] for key in sorted(found)]

    def forget(self, now: datetime) -> None:
        """Let go of settled hours, and take back, at the next step, what no bill spoke of."""
        edge = step_of(now, 1)
        for resource, host in list(self._hosts.items()):
            for step in [step for step in host.hours if step < edge - COMPARED_HOURS]:
                if not host.hours[step].told:
                    del host.hours[step]
                elif step < edge - EXPIRES_HOURS:
                    host.billed.add(step)
                    self._dirty.add((resource, step))
            host.billed = {step for step in host.billed if step >= edge - 2 * EXPIRES_HOURS}
            host.series = [series for series in host.series if series in self._ledger]
            if not host.hours:
                del self._hosts[resource]
                self._dirty = {key for key in self._dirty if key[0] != resource}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._hosts.items())

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the resources whose series are kept."""
        hosts = saved.values(name, _Host)
        self._hosts = {
            name: host for name, host in hosts.items() if all(map(keep, _series_of(host)))
        }

    def _met(self, resource: str, ahead: Ahead, sample: GpuSample) -> _Host:
        """Begin to follow an instance: what of it was billed before is known to the ledger."""
        series = sorted(self._ledger.of_resource(resource))
        billed: set[int] = set()
        for known in series:
            hours = {HOURLY: 1, DAILY: 24}.get(known.grain, 0)
            for step in self._ledger.steps(known) if hours else ():
                if self._ledger.point(known, step) is not None:
                    billed |= set(range(step * hours, (step + 1) * hours))
        return _Host(sample, ahead.bill, set(), {}, billed, series)

    def _event(self, host: _Host, hour: _Hour, step: int) -> CostEvent | None:
        """Return the row that says what an hour costs, None when nothing new is to be said."""
        if step in host.billed:
            if not hour.told:
                return None
            hour.estimated, hour.told = hour.told, money.ZERO
            return self._row(host, hour, step, REVOKED)
        seconds = _seconds(host, hour, step)
        rate = self._rate(host, step) if seconds > hour.seconds else None
        if rate is None or rate[0] <= 0:
            return None
        per_hour, currency = rate
        hour.series = hour.series or _series(host, currency)
        if hour.series.billing_currency != currency:
            return None  # a list in dollars says nothing of a bill in another currency
        cost = money.EXACT.multiply(per_hour, Decimal(seconds)) / HOUR
        hour.seconds, hour.told = seconds, cost.quantize(_MILLIONTH)
        return self._row(host, hour, step, seconds // TOLD_EVERY)

    def _rate(self, host: _Host, step: int) -> tuple[Decimal, str] | None:
        """Return what an hour costs: what the newest whole one was billed at, else the list's."""
        for known in sorted(host.billed & host.hours.keys(), reverse=True):
            for currency in dict.fromkeys(series.billing_currency for series in host.series):
                billed = self._billed(host, known, currency)
                if billed and _seconds(host, host.hours[known], known) == HOUR:
                    return billed, currency
        sample = host.sample
        at = start_of(step, 1)
        listed = self._book.price(sample.provider, sample.instance_type, sample.region_id, at)
        if listed is None:
            return None
        paid = 1 - self._discounts.get(host.bill, money.ZERO)
        return money.EXACT.multiply(listed.usd_per_hour, paid), "USD"

    def _row(self, host: _Host, hour: _Hour, step: int, revision: int) -> CostEvent:
        sample, start, series = host.sample, start_of(step, 1), hour.series
        assert series is not None  # noqa: S101 - it is set before anything is told
        about = self._ledger.about(series) if series in host.series else None
        kind = sample.instance_type or sample.model or "instance"
        return CostEvent(
            charge_period_start=start,
            charge_period_end=start + timedelta(hours=1),
            charge_category="Usage",
            charge_frequency="Usage-Based",
            charge_description=f"{kind}, estimated",
            billed_cost=hour.told,
            effective_cost=hour.told,
            billing_currency=series.billing_currency,
            billing_account_id=about.billing_account_id if about else "",
            service_name=about.service_name if about else None,
            service_category=about.service_category if about else None,
            sub_account_id=series.sub_account_id or None,
            sub_account_name=about.sub_account_name if about else None,
            resource_id=series.resource,
            resource_name=about.resource_name if about else None,
            region_id=about.region_id if about else sample.region_id,
            sku_id=SKU,
            tags=about.tags if about else sample.tags,
            x_event_id=f"{SKU}-{series.resource}-{step}",
            x_revision=revision,
        )

    def _billed(self, host: _Host, step: int, currency: str) -> Decimal | None:
        points = [
            self._ledger.point(series, step)
            for series in host.series
            if series.grain == HOURLY and series.billing_currency == currency
        ]
        known = [point for point in points if point is not None]
        return money.total(known) if known else None


def _series(host: _Host, currency: str) -> SeriesKey:
    """Choose the series that the bill will use: the one that it uses, where there is one."""
    sample = host.sample
    for series in host.series:
        if series.grain == HOURLY and series.source == host.bill:
            return series
    account, resource = sample.sub_account_id or "", sample.resource_id or ""
    return SeriesKey(host.bill, account, resource, currency, HOURLY)


def _series_of(host: _Host) -> Iterator[SeriesKey]:
    yield from host.series
    yield from (hour.series for hour in host.hours.values() if hour.series is not None)


def _seconds(host: _Host, hour: _Hour, step: int) -> int:
    """Return for how long it ran in an hour, in steps: also across its ends, if seen on both."""
    before, after = host.hours.get(step - 1), host.hours.get(step + 1)
    begins = before is not None and HOUR - before.last + hour.first <= LONGEST_GAP
    goes_on = after is not None and HOUR - hour.last + after.first <= LONGEST_GAP
    begin = 0 if begins else hour.first
    end = HOUR if goes_on else hour.last + SAMPLE_SECONDS
    return min(HOUR, -((begin - end) // TOLD_EVERY) * TOLD_EVERY)


def _steps(start: datetime, end: datetime) -> set[int]:
    """Return the hours that a charge period touches."""
    return set(range(step_of(start, 1), step_of(end - timedelta(microseconds=1), 1) + 1))
