"""GPU findings: idle verdicts in the words that incidents are built from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from detectors.base import start_of
from service.core import money
from service.core.drivers import Member
from service.core.events import CostEvent, GpuSample, SeriesKey
from service.core.findings import Finding, Status, finding_id_of
from service.core.gpu_hosts import GpuHost, GpuHosts
from service.core.gpu_rates import HourCost
from service.core.idle import IdleGpus
from service.core.idle_verdicts import IdleVerdict
from service.core.incidents import Incident
from service.core.notices import Chart
from service.core.owners import Owners
from service.core.state import Chunk, Saved, Streams

DETECTOR: Final = "idle_gpu"
CHART_HOURS: Final = 168
HOUR: Final = timedelta(hours=1)
SETTLES_AFTER: Final = timedelta(hours=48)  # how late a sample may be


class GpuFindings:
    """Feeds samples and the bill to the idle detector, and tells its verdicts as findings."""

    def __init__(self, idle: IdleGpus) -> None:
        self._idle = idle
        self._sampled: set[str] = set()
        self._hosts = GpuHosts()

    def observe(self, arrived_at: datetime, sample: GpuSample) -> None:
        """Take in one sample."""
        if sample.resource_id is not None:
            self._sampled.add(sample.resource_id)
        self._idle.observe(arrived_at, sample)

    def wants_cost(self, series: SeriesKey, about: CostEvent) -> bool:
        """Tell whether a bill prices idleness: of a GPU that is sampled, or of capacity kept."""
        return series.resource in self._sampled or about.capacity_reservation_status is not None

    def observe_cost(
        self, series: SeriesKey, step: int, cost: Decimal, kept: Decimal, about: CostEvent
    ) -> None:
        """Take in what an instance cost in one hour, and what of it stopping would not save."""
        self._idle.observe_cost(
            HourCost(
                resource_id=series.resource,
                hour_start=start_of(step, 1),
                effective_cost=cost,
                currency=series.billing_currency,
                kept_cost=kept,
                commitment_status=about.commitment_discount_status,
                capacity_reservation_status=about.capacity_reservation_status,
                instance_type=self._idle.rates.book.find_type(about.charge_description),
                region_id=about.region_id,
                sub_account_id=about.sub_account_id,
                tags=about.tags,
            )
        )

    def chart(self, incident: Incident) -> Chart | None:
        """Chart what the lead's hours were billed at, with those marked that were told as idle."""
        resource = SeriesKey.parse(incident.drivers[0].series).resource
        bills = self._idle.rates.bills(resource)
        if not bills:
            return None
        last = max(bills)
        steps = range(last - CHART_HOURS + 1, last + 1)
        starts = [start_of(step, 1) for step in steps]
        unknown: list[float | None] = [None] * CHART_HOURS
        return Chart(
            series=incident.drivers[0].series,
            currency=bills[last].currency,
            step_hours=1,
            starts=starts,
            actual=[float(bills[s].effective_cost) if s in bills else None for s in steps],
            expected=unknown,
            low=unknown,
            high=unknown,
            odd=[incident.starts_at < at + HOUR and at < incident.odd_until for at in starts],
        )

    def advance(self, now: datetime, owners: Owners) -> Iterable[Member]:
        """Let time pass; return the findings that changed, in a fixed order."""
        verdicts = self._idle.advance(now)
        return [Member(_finding(verdict, owners), {}, 1) for verdict in verdicts]

    def hosts(self, now: datetime, owners: Owners) -> dict[str, GpuHost | None]:
        """Return the hosts that changed since the last call, None for one that is no more."""
        return self._hosts.update(self._idle, now, owners, _name)

    def all_hosts(self) -> Mapping[str, GpuHost]:
        """Return every host as it was told last."""
        return self._hosts.all()

    def forget(self, before: datetime) -> None:
        """Let go of resources that have no GPU any more, nor a bill since a time."""
        self._idle.forget(before)
        resources, rates = self._idle.hours.resources, self._idle.rates
        self._sampled = {one for one in self._sampled if one in resources or rates.knows(one)}

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(f"{name}/sampled", [("", sorted(self._sampled))])
        yield from self._hosts.save(streams, f"{name}/hosts")
        yield from self._idle.save(streams, name)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the hosts whose series are kept."""
        self._sampled = set(saved.values(f"{name}/sampled", list[str]).get("", ()))
        self._hosts.restore(saved, f"{name}/hosts", lambda host: keep(series_of_host(host)))
        self._idle.restore(saved, name, lambda host: keep(series_of_host(host)))


def series_of_host(host: str) -> SeriesKey:
    """Name the idleness of a host, without what becomes known later only: account, currency."""
    return SeriesKey("gpu_samples", "", host, "", "hour")


def _name(verdict: IdleVerdict) -> str:
    series = str(series_of_host(verdict.key))
    return finding_id_of(series, f"{DETECTOR}:{verdict.cause}", verdict.since)


def _finding(verdict: IdleVerdict, owners: Owners) -> Finding:
    series = series_of_host(verdict.key)
    owner = owners.of(verdict.tags, verdict.sub_account_id, verdict.resource_id)
    waste = verdict.waste
    paid = money.ZERO if waste is None else waste
    rate, saves = verdict.wasted_per_hour, verdict.saves_per_hour
    return Finding(
        finding_id=_name(verdict),
        detector=DETECTOR,
        kind=DETECTOR,
        status=_status(verdict),
        series=str(series),
        resource_id=verdict.resource_id,
        sub_account_id=verdict.sub_account_id or "",
        service_name=verdict.instance_type or verdict.model,
        region_id=verdict.region_id,
        owner=owner.name,
        charge_period_start=verdict.started_at,
        charge_period_end=max(verdict.until, verdict.started_at),
        detected_at=verdict.detected_at,
        score=round(verdict.score, 6),
        actual=paid,
        expected=money.ZERO,
        expected_low=money.ZERO,
        expected_high=money.ZERO,
        impact=waste,
        billing_currency=verdict.currency,
        reason=verdict.reason,
        owner_source=owner.source,
        run_rate_per_day=None if rate is None else rate * 24,
        ended_at=verdict.until if verdict.ended else None,
        resource_name=verdict.key,
        ending=verdict.ending,
        avoidable_per_day=None if saves is None else saves * 24,
    )


def _status(verdict: IdleVerdict) -> Status:
    if verdict.retracted:
        return "retracted"
    settled = verdict.updated_at >= verdict.detected_at + SETTLES_AFTER
    return "confirmed" if settled or verdict.ended else "provisional"
