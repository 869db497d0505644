"""Statements: a stretch written down as the finding that is said of it, for its incident."""

from datetime import datetime
from typing import Protocol

from service.core.about import kind_of
from service.core.drivers import Member
from service.core.effects import Split
from service.core.estimates import REASON
from service.core.events import SeriesKey
from service.core.findings import Finding, Stretch
from service.core.owners import Owner
from service.core.places import Place
from service.core.stretches import Stretches


class Tells(Protocol):
    """What there is to say of a stretch beyond its figures."""

    def place(self, stretch: Stretch) -> Place:
        """Return where it belongs."""
        ...

    def split(self, stretch: Stretch) -> Split | None:
        """Return how much of it is the price, if that is known."""
        ...

    def reason(self, stretch: Stretch, split: Split | None) -> str:
        """Say why it is odd."""
        ...

    def groups(self, series: SeriesKey) -> list[str]:
        """Name the groups of its series."""
        ...

    def is_sum(self, series: SeriesKey) -> bool:
        """Tell whether its series adds up others."""
        ...


def member_of(
    stretch: Stretch, about: Tells, stretches: Stretches, now: datetime, *, estimated: bool = False
) -> Member:
    """Return what is said of a stretch now; its owner is frozen with the first word."""
    sums = stretch.sums
    place, split = about.place(stretch), about.split(stretch)
    # Frozen: whoever was told of it must not find another team's resources in it later.
    if stretch.owner is None:
        stretch.owner = place.owner
        stretch.kind = kind_of(stretch, split)
    owner = Owner(*stretch.owner)
    start, end = stretch.period()
    reason = about.reason(stretch, split)
    finding = Finding(
        finding_id=stretch.finding_id,
        detector=stretch.detector,
        kind=stretch.kind,
        status=stretch.status,
        series=str(stretch.series),
        resource_id=place.resource_id,
        sub_account_id=place.sub_account_id,
        service_name=place.service_name,
        region_id=place.region_id,
        owner=owner.name,
        charge_period_start=start,
        charge_period_end=end,
        detected_at=stretch.detected_at,
        score=round(max(point.surprise for point in stretch.points.values()), 6),
        actual=sums.actual,
        expected=sums.expected,
        expected_low=sums.low,
        expected_high=sums.high,
        impact=sums.excess,
        billing_currency=stretch.series.billing_currency,
        reason=f"{reason} {REASON}" if estimated else reason,
        owner_source=owner.source,
        run_rate_per_day=stretch.run_rate_per_day,
        settled_until=stretches.settled_until(stretch, now),
        ended_at=stretch.ended_at,
        resource_name=place.resource_name,
        backfill=stretch.backfill,
        is_new_level=stretch.is_new_level,
        price_effect=None if split is None else split.price,
        quantity_effect=None if split is None else split.quantity,
        estimated=estimated,
    )
    dirty, stretch.dirty = stretch.dirty, set()
    return Member(
        finding,
        stretch.points,
        stretch.step_hours,
        dirty,
        stretch.last_step,
        about.groups(stretch.series),
        is_group=about.is_sum(stretch.series),
    )
