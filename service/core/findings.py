"""Findings: one odd stretch of one series by one detector, from first raise to the last word.

A finding is provisional until all its periods have settled, then confirmed. It is retracted
only when rows changed so that none of its periods is odd any more.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import Evidence, Score, start_of
from service.core import money
from service.core.budget_figures import Figures
from service.core.events import SeriesKey, content_hash

Status = Literal["provisional", "confirmed", "retracted"]

# A stretch ends after 24 normal hours, or 3 normal days at daily grain.
QUIET_STEPS: Final = {1: 24, 24: 3}
# It goes on while a period's excess is at least this share of what is usual for the stretch: a
# detector with memory stays surprised long after the money has stopped.
GOES_ON: Final = Decimal("0.25")
# What ended this long before a source was first met is its history, learnt and not told.
HISTORY_AGE: Final = timedelta(hours=48)


class Finding(msgspec.Struct, kw_only=True):
    """What is said outside about one odd stretch.

    `actual`, `expected` and its range are sums over the odd periods between `charge_period_start`
    and `charge_period_end`; `impact` is actual minus expected, None when no price is known.
    """

    finding_id: str
    detector: str
    kind: str
    status: Status
    series: str
    resource_id: str | None
    sub_account_id: str
    service_name: str | None
    region_id: str | None
    owner: str
    charge_period_start: datetime
    charge_period_end: datetime
    detected_at: datetime
    score: float
    actual: Decimal
    expected: Decimal
    expected_low: Decimal
    expected_high: Decimal
    impact: Decimal | None
    billing_currency: str
    reason: str
    # Not part of the contract of design.md §4, but needed by whoever handles the finding next.
    owner_source: str = ""
    run_rate_per_day: Decimal | None = None
    settled_until: datetime | None = None
    ended_at: datetime | None = None
    resource_name: str | None = None
    backfill: bool = False
    is_new_level: bool = False
    ending: str = ""
    avoidable_per_day: Decimal | None = None
    price_effect: Decimal | None = None
    quantity_effect: Decimal | None = None
    estimated: bool = False
    budget: Figures | None = None


def finding_id_of(series: str, detector: str, first_period: datetime) -> str:
    """Name a finding: a pure function of what it is about, frozen at the first raise."""
    return content_hash({"series": series, "detector": detector, "first": first_period})


def is_history(step: int, step_hours: int, contact: datetime | None) -> bool:
    """Tell whether a period was over long before its source was first met, at `contact`."""
    return contact is not None and start_of(step + 1, step_hours) <= contact - HISTORY_AGE


class OddPoint(NamedTuple):
    """One period of a stretch: what it costs, what it should have, and how odd that is."""

    actual: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal
    surprise: float

    @property
    def excess(self) -> Decimal:
        """Return actual minus expected."""
        return money.subtract(self.actual, self.expected)

    def restated(self, actual: Decimal) -> "OddPoint":
        """Hold a new value against what was expected: it is as much less odd as less is over."""
        if not self.excess:
            return self._replace(actual=actual)
        share = float(money.subtract(actual, self.expected)) / float(self.excess)
        return self._replace(actual=actual, surprise=self.surprise * max(share, 0.0))

    @classmethod
    def of(cls, actual: Decimal, score: Score) -> "OddPoint":
        """Join what the ledger says with what the detector expected."""
        return cls(
            actual,
            money.cents(score.expected),
            money.cents(score.low),
            money.cents(score.high),
            score.surprise,
        )


class Stretch:
    """The life of one finding.

    A step is a whole hour or day of UTC; charge periods begin `offset` after it. `points` holds its
    periods by step, changed by `set_point` alone, which keeps the sums; a step may be less odd than
    the threshold when it lies between the onset and the raise.
    """

    __slots__ = (
        "_last_odd",
        "backfill",
        "detected_at",
        "detector",
        "dirty",
        "ended_at",
        "finding_id",
        "hot_step",
        "is_closed",
        "kept_level",
        "kind",
        "odd",
        "odd_sums",
        "offset",
        "over_step",
        "owner",
        "points",
        "raised_step",
        "series",
        "since_step",
        "stands_alone",
        "status",
        "step_hours",
        "sums",
        "threshold",
    )

    def __init__(
        self,
        series: SeriesKey,
        detector: str,
        kind: str,
        step_hours: int,
        threshold: float,
    ) -> None:
        self.series = series
        self.detector = detector
        self.kind = kind
        self.step_hours = step_hours
        self.threshold = threshold
        self.status: Status = "provisional"
        self.points: dict[int, OddPoint] = {}
        self.sums = Sums()
        self.odd: set[int] = set()
        self.odd_sums = Sums()  # of the odd periods alone
        self.dirty: set[int] = set()
        self.ended_at: datetime | None = None
        self.backfill = False
        self.stands_alone = False
        self.offset = timedelta(0)
        self.kept_level = 0
        self.is_closed = False  # by someone who took it for the new level: it never goes on
        self.owner: tuple[str, str] | None = None  # its name, and what decided it

    def begin(self, step: int, since: int, at: datetime) -> None:
        """Freeze what the first raise fixes for ever."""
        self.raised_step, self.since_step, self.detected_at = step, min(step, since), at
        self.over_step = self.hot_step = self._last_odd = step
        first = start_of(self.since_step, self.step_hours)
        self.finding_id = finding_id_of(str(self.series), self.detector, first)

    def set_point(self, step: int, point: OddPoint) -> None:
        """Set one period."""
        self.kept_level = 0
        old = self.points.get(step)
        self.points[step] = point
        self.sums = self.sums.replace(old, point)
        self.dirty.add(step)
        if step in self.odd and old is not None:
            self.odd.discard(step)
            self.odd_sums = self.odd_sums.replace(old, None)
        if point.surprise >= self.threshold:
            self.odd.add(step)
            self.odd_sums = self.odd_sums.replace(None, point)
            self._last_odd = max(self._last_odd, step)
        elif step == self._last_odd:
            self._last_odd = max(self.odd, default=self.raised_step)
        if step == self.over_step and step not in self.odd and not self.goes_on_with(point):
            still = (s for s, known in self.points.items() if self.goes_on_with(known))
            self.over_step = max(still, default=self._last_odd)

    def at(self, step: int) -> datetime:
        """Return when the charge periods of a step begin."""
        return start_of(step, self.step_hours) + self.offset

    @property
    def last_step(self) -> int:
        """Return the newest step that is odd, or as far over as the odd ones."""
        return max(self._last_odd, self.over_step) if self.odd else self.raised_step

    def goes_on_with(self, point: OddPoint) -> bool:
        """Tell whether a period is as far over, or under, as a stretch that goes on would be."""
        usual = self.odd_sums.excess / len(self.odd) if self.odd else money.ZERO
        return point.excess * usual > 0 and abs(point.excess) >= GOES_ON * abs(usual)

    def _in_a_row(self, last: int) -> int:
        count = 1
        while last - count in self.points:
            count += 1
        return count

    def note_quiet(self, actual: Decimal) -> None:
        """Note a period that is no longer odd: is the money back, or is it the new level?"""
        if self.odd:
            usual = self.odd_sums.actual / len(self.odd)
            normal = self.odd_sums.expected / len(self.odd)
            stays = abs(actual - usual) < abs(actual - normal)
            self.kept_level += 1 if stays else -1

    @property
    def is_new_level(self) -> bool:
        """Tell whether a stretch that ended did so by getting used to it."""
        return self.ended_at is not None and (self.is_closed or self.kept_level > 0)

    @property
    def run_rate_per_day(self) -> Decimal | None:
        """Return its mean excess per day; None for what happens once."""
        if self.stands_alone:
            return None
        return run_rate_per_day(self.points, self.step_hours, self.last_step)

    def period(self) -> tuple[datetime, datetime]:
        """Return from when to when the odd periods reach."""
        return self.at(self.since_step), self.at(self.last_step + 1)

    def evidence(self) -> Evidence:
        """Return what a sentence about this stretch may speak of."""
        last = self.last_step
        point = self.points.get(last) or self.points[max(self.points)]
        return Evidence(
            start=self.at(last),
            step_hours=self.step_hours,
            actual=float(point.actual),
            expected=float(point.expected),
            low=float(point.low),
            high=float(point.high),
            periods=self._in_a_row(last),
            since=self.at(self.since_step),
            impact=float(self.sums.excess),
            currency=self.series.billing_currency,
        )

    def pack(self, *, is_live: bool) -> "SavedStretch":
        """Return what is saved of a stretch."""
        known = {name: getattr(self, name) for name in self.__slots__ if name != "dirty"}
        return SavedStretch(is_live=is_live, last_odd=known.pop("_last_odd"), **known)

    @classmethod
    def unpack(cls, saved: "SavedStretch") -> "Stretch":
        """Return the stretch that was saved."""
        stretch = cls.__new__(cls)
        for name in cls.__slots__:
            if name != "dirty":
                setattr(stretch, name, getattr(saved, name.lstrip("_")))
        stretch.dirty = set()
        return stretch


class Sums(NamedTuple):
    """The sums over many periods, kept as they change."""

    actual: Decimal = money.ZERO
    expected: Decimal = money.ZERO
    low: Decimal = money.ZERO
    high: Decimal = money.ZERO

    @property
    def excess(self) -> Decimal:
        """Return actual minus expected."""
        return money.subtract(self.actual, self.expected)

    def replace(self, old: OddPoint | None, new: OddPoint | None) -> "Sums":
        """Return the sums with one period for another."""
        sums: tuple[Decimal, ...] = self
        if old is not None:
            sums = tuple(map(money.subtract, sums, old[:4]))
        if new is not None:
            sums = tuple(map(money.add, sums, new[:4]))
        return Sums(*sums)


class SavedStretch(msgspec.Struct, kw_only=True):
    """A stretch's fields by their names, and whether it goes on."""

    series: SeriesKey
    detector: str
    kind: str
    step_hours: int
    threshold: float
    status: Status
    points: dict[int, OddPoint]
    sums: Sums
    odd: set[int]
    odd_sums: Sums
    offset: timedelta
    ended_at: datetime | None
    backfill: bool
    stands_alone: bool
    kept_level: int
    is_closed: bool
    owner: tuple[str, str] | None
    raised_step: int
    since_step: int
    detected_at: datetime
    over_step: int
    hot_step: int
    last_odd: int
    finding_id: str
    is_live: bool


def run_rate_per_day(points: Mapping[int, OddPoint], step_hours: int, newest: int) -> Decimal:
    """Return the mean excess per day of the newest 24 h of a stretch, or of all of a younger one.

    Every hour of that window counts, odd or not: a job that runs four hours a day costs four hours
    a day.
    """
    if not points:
        return money.ZERO
    per_day = 24 // step_hours
    steps = range(max(newest - per_day + 1, min(points)), newest + 1)
    excess = money.total(points[step].excess for step in steps if step in points)
    return money.cents(float(excess) * per_day / max(len(steps), 1))
