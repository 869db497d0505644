"""Findings: one odd stretch of one series by one detector, from first raise to the last word.

A finding is provisional until all its periods have settled, then confirmed. It is retracted
only when rows changed so that none of its periods is odd any more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from detectors.base import Evidence, Score, start_of, step_of
from service.core import money
from service.core.agenda import Agenda
from service.core.budget_figures import Figures
from service.core.events import SeriesKey, content_hash
from service.core.state import Chunk, Saved, Streams

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

    def pack(self, *, is_live: bool) -> "_SavedStretch":
        """Return what is saved of a stretch."""
        known = {name: getattr(self, name) for name in self.__slots__ if name != "dirty"}
        return _SavedStretch(is_live=is_live, last_odd=known.pop("_last_odd"), **known)

    @classmethod
    def unpack(cls, saved: "_SavedStretch") -> "Stretch":
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


class _SavedStretch(msgspec.Struct, kw_only=True):
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


class Stretches:
    """All findings that may still change, and the rules by which they do."""

    def __init__(
        self,
        settles_after: Callable[[str], timedelta],
        remembers: timedelta = timedelta(days=62),
    ) -> None:
        self._remembers = remembers
        self._settles_after = settles_after
        self._live: dict[tuple[SeriesKey, str], Stretch] = {}
        self._known: dict[str, Stretch] = {}
        self._of_series: dict[SeriesKey, list[Stretch]] = {}
        self._changed: dict[str, Stretch] = {}
        self._agenda = Agenda()
        self._told: dict[str, datetime | None] = {}  # up to when sources had told

    def live(self, series: SeriesKey, detector: str) -> Stretch | None:
        """Return the stretch that goes on now."""
        return self._live.get((series, detector))

    def recent(self, series: SeriesKey, detector: str, step: int, within: int) -> Stretch | None:
        """Return the stretch that began before a step, or a moment after, and was odd lately."""
        near = [
            known
            for known in self.of(series)
            if known.detector == detector
            and known.status != "retracted"
            and not known.is_closed
            and known.since_step - QUIET_STEPS[known.step_hours] <= step <= known.hot_step + within
        ]
        return max(near, key=lambda known: known.hot_step, default=None)

    def __contains__(self, series: SeriesKey) -> bool:
        """Tell whether a series has any stretch that may still change."""
        return series in self._of_series

    def of(self, series: SeriesKey) -> list[Stretch]:
        """Return every stretch of a series that may still change."""
        return self._of_series.get(series, [])

    def raise_or_extend(self, fresh: Stretch, step: int, score: Score, at: datetime) -> Stretch:
        """Note an odd point: in the stretch that goes on, or as the first of a new one."""
        live = self._live.get((fresh.series, fresh.detector))
        quiet = QUIET_STEPS[fresh.step_hours]
        recent = self.recent(fresh.series, fresh.detector, step, quiet)
        is_past = live is not None and step < live.since_step
        if live is not None and live is not recent:
            if not is_past:
                self.end(live)
            live = None
        if live is None and recent is not None:
            live = recent
            if not is_past:
                self._live[fresh.series, fresh.detector] = live
            live.ended_at = None
        if live is None:
            fresh.begin(step, score.since, at)
            live = self._known.get(fresh.finding_id, fresh)
            if live is fresh:
                self._add(fresh)
            elif live.status == "retracted":
                live.status = "provisional"
            live.ended_at = None
            if not is_past:
                self._live[fresh.series, fresh.detector] = live
        live.hot_step = max(live.hot_step, step)
        self._agenda.note(live.finding_id)
        return live

    def get(self, finding_id: str) -> Stretch | None:
        """Return a stretch that may still change."""
        return self._known.get(finding_id)

    def raise_alone(self, fresh: Stretch, step: int, at: datetime) -> None:
        """Begin a finding that stands for itself: later periods do not extend it, a day ends it."""
        fresh.begin(step, step, at)
        fresh.stands_alone = True
        self._add(fresh)

    def put(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set one period of a stretch; a stretch without an odd period is retracted."""
        self._agenda.note(stretch.finding_id)
        if stretch.points.get(step) == point:
            return
        stretch.set_point(step, point)
        self._changed[stretch.finding_id] = stretch
        if stretch.ended_at is not None:
            stretch.ended_at = stretch.at(stretch.last_step + 1)
        if stretch.odd:
            if stretch.status == "retracted":
                stretch.status = "provisional"
        elif stretch.status != "retracted":
            stretch.status = "retracted"
            self.end(stretch)

    def put_onset(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set a period between the onset and the raise: its money counts, its score does not."""
        stretch.set_point(step, point)
        self._agenda.note(stretch.finding_id)

    def put_over(self, stretch: Stretch, step: int, point: OddPoint) -> None:
        """Set a period that is over as the odd ones are, though it would not raise a finding."""
        stretch.over_step = step
        self.put(stretch, step, point)

    def settles_at(self, series: SeriesKey, step: int, step_hours: int) -> datetime:
        """Return when a period is taken as final."""
        return start_of(step + 1, step_hours) + self._settles_after(series.source)

    def settled_until(self, stretch: Stretch, now: datetime) -> datetime:
        """Return up to when the periods of a stretch are final."""
        hours, settles_after = stretch.step_hours, self._settles_after(stretch.series.source)
        return stretch.at(step_of(now - settles_after - stretch.offset, hours))

    def end(self, stretch: Stretch) -> None:
        """Close a stretch at the end of its last odd period."""
        if self._live.get((stretch.series, stretch.detector)) is stretch:
            del self._live[stretch.series, stretch.detector]
        stretch.ended_at = stretch.at(stretch.last_step + 1)
        self._note_changed(stretch)

    def is_live(self, stretch: Stretch) -> bool:
        """Tell whether a stretch is the one that goes on now."""
        return self._live.get((stretch.series, stretch.detector)) is stretch

    def close(self, stretch: Stretch) -> None:
        """End a stretch for good: what it found is the new level."""
        stretch.is_closed = True
        self.end(stretch)

    def reopen(self, stretch: Stretch, ended_at: datetime | None, *, is_live: bool) -> None:
        """Take back that a stretch was closed."""
        stretch.is_closed, stretch.ended_at = False, ended_at
        if is_live:
            self._live.setdefault((stretch.series, stretch.detector), stretch)
        self._note_changed(stretch)

    def advance(
        self, now: datetime, known_until: Callable[[str], datetime | None] = lambda _: None
    ) -> None:
        """Let time pass: confirm what has settled, end what has been quiet, forget what is both.

        `known_until` says how far a source has told, if it has. What it has not told of is not
        quiet, unless it stays away for so long that it would have settled.
        """
        told = {source: known_until(source) for source in self._told}
        if told != self._told:
            for stretch in self._known.values():
                source = stretch.series.source
                if stretch.ended_at is None and told[source] != self._told[source]:
                    self._agenda.note(stretch.finding_id)
            self._told = told
        for finding_id in self._agenda.due(now):
            if (found := self._known.get(finding_id)) is not None:
                self._look_at(found, now, told[found.series.source])

    def _look_at(self, stretch: Stretch, now: datetime, told: datetime | None) -> None:
        """Let time pass for a stretch, of whose source it is known up to when it has told."""
        hours = stretch.step_hours
        settled = self.settles_at(stretch.series, stretch.last_step, hours)
        status: Status = "confirmed" if now >= settled else "provisional"
        if stretch.status not in (status, "retracted"):
            stretch.status = status
            self._note_changed(stretch)
        quiet = start_of(stretch.last_step + QUIET_STEPS[hours] + 2, hours)
        if stretch.stands_alone:
            quiet = stretch.detected_at + timedelta(days=1)
        elif now < settled and told is not None:
            is_told = told >= start_of(stretch.last_step + 1 + QUIET_STEPS[hours], hours)
            quiet = quiet if is_told else settled
        forgotten = max(settled, quiet) + self._remembers
        if stretch.ended_at is None and now >= quiet:
            self.end(stretch)
        elif stretch.ended_at is not None and now >= forgotten:
            self._drop(stretch)
        else:
            over = quiet if stretch.ended_at is None else forgotten
            self._agenda.put(stretch.finding_id, over if now >= settled else min(over, settled))

    def _add(self, stretch: Stretch) -> None:
        self._known[stretch.finding_id] = stretch
        self._of_series.setdefault(stretch.series, []).append(stretch)
        self._told.setdefault(stretch.series.source, None)
        self._agenda.note(stretch.finding_id)

    def _drop(self, stretch: Stretch) -> None:
        del self._known[stretch.finding_id]
        self._agenda.drop(stretch.finding_id)
        self._of_series[stretch.series].remove(stretch)
        if not self._of_series[stretch.series]:
            del self._of_series[stretch.series]

    def _note_changed(self, stretch: Stretch) -> None:
        self._changed[stretch.finding_id] = stretch
        self._agenda.note(stretch.finding_id)

    def changed(self) -> Iterable[Stretch]:
        """Return what changed since the last `drain`."""
        return list(self._changed.values())

    def drain(self) -> Iterator[Stretch]:
        """Yield, in a fixed order, what changed since the last call."""
        changed, self._changed = self._changed, {}
        yield from sorted(changed.values(), key=lambda s: (s.detected_at, s.finding_id))

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        live = {stretch.finding_id for stretch in self._live.values()}
        packed = ((id_, s.pack(is_live=id_ in live)) for id_, s in self._known.items())
        yield from streams.values(name, packed)

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> None:
        """Take over what was saved of the series that are kept."""
        for packed in saved.values(name, _SavedStretch).values():
            if keep(packed.series):
                stretch = Stretch.unpack(packed)
                self._add(stretch)
                if packed.is_live:
                    self._live[stretch.series, stretch.detector] = stretch
