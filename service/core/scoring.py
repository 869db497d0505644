"""Scoring: from changed ledger points to stretches of odd ones.

A point is scored whenever its ledger value changes, learnt once when the watermark closes it, and
put into history again when restated. Everything here is a function of the series' own rows and of
the clock that is handed in.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np

from detectors.base import F64, I64, Score, Scores, as_columns, start_of, step_of
from service.core import money
from service.core.events import SeriesKey
from service.core.findings import QUIET_STEPS, OddPoint, Stretch, is_history
from service.core.ledger import STEP_HOURS, Expected
from service.core.notices import Chart
from service.core.overrides import Bar, Barred, BarredPoint, Bars, Level, Levels, Taken
from service.core.ports import Fleet
from service.core.presence import Presence
from service.core.slots import NUMBERS, Rows
from service.core.state import Chunk, Saved, Sign, StateError, Streams, keep_all
from service.core.stretches import Stretches

# A period closes one step after its end: its rows had that long to come.
CLOSES_AFTER_STEPS: Final = 1
# How far a restated period may reach forward through a detector's memory.
REJUDGE_STEPS: Final = {1: 168, 24: 28}
RECALLS_STEPS: Final = {1: 168, 24: 14}
CHART_STEPS: Final = {1: 168, 24: 42}
# Columns of a grain beside its fleet's.
NEWEST, LEARNT, SEEN = "scoring/newest", "scoring/learnt", "presence/seen"
NEVER: Final = -1


_Due = tuple[float, datetime]  # what is to be learnt of a step, and when it arrived


def is_closed(series: SeriesKey, step: int, now: datetime) -> bool:
    """Tell whether a step's rows had their time to come."""
    hours = STEP_HOURS[series.grain]
    return step < step_of(now, hours) - CLOSES_AFTER_STEPS


class Point(NamedTuple):
    """A ledger value that changed: of which series and step, and when the row arrived."""

    series: SeriesKey
    step: int
    arrived_at: datetime


class Costs(Protocol):
    """What steps of series cost now: the ledger, or the sums of groups."""

    def point(self, series: SeriesKey, step: int) -> Decimal | None:
        """Return what plain usage costs in one step; None when the step has no row."""
        ...

    def offset(self, series: SeriesKey, step: int) -> timedelta:
        """Return how long after a step begins its charge periods do."""
        ...


class Around(NamedTuple):
    """What is known of series beside their costs.

    `first_contact` returns the time before which a source's period is history to be learnt, not
    told; `calendar_of` names a calendar of the fleet, once and for all, when a series is first
    scored; `is_muted` tells of series whose money is told otherwise that they raise nothing.
    """

    first_contact: Callable[[str], datetime | None]
    calendar_of: Callable[[SeriesKey], str]
    is_muted: Callable[[SeriesKey], bool] = lambda _series: False


class Scoring:
    """One grain's series, from ledger to stretches. Rows of the fleet are given by first use."""

    def __init__(
        self,
        step_hours: int,
        fleet: Fleet,
        costs: Costs,
        stretches: Stretches,
        around: Around,
    ) -> None:
        self._hours = step_hours
        self._fleet = fleet
        self._costs = costs
        self._around = around
        self._stretches = stretches
        self._rows: Rows[SeriesKey] = Rows(NUMBERS)
        self._newest: list[int] = []
        self._learnt: list[int] = []
        self._open: dict[int, dict[int, _Due]] = {}
        self._presence = Presence(24 // step_hours)
        self._bars = Bars(24 // step_hours)
        self._barred = Barred()
        self._levels = Levels()
        self._expected: dict[tuple[SeriesKey, int], Expected] = {}
        self.notes_expected = False

    def __len__(self) -> int:
        return len(self._rows)

    def judge(self, points: Iterable[Point], now: datetime) -> None:
        """Score what changed, step by step, closing first what is due before each step."""
        by_step: dict[int, list[Point]] = {}
        for point in points:
            by_step.setdefault(point.step, []).append(point)
        for step in sorted(by_step):
            self._close(now, before=step)
            self._judge_step(step, self._order(by_step[step]))

    def expected(self) -> dict[tuple[SeriesKey, int], Expected]:
        """Return what the first detector expected of the steps judged since the last call.

        Nothing, unless `notes_expected` is set, and of a series that is too young to be judged.
        """
        expected, self._expected = self._expected, {}
        return expected

    def close(self, now: datetime) -> None:
        """Learn every point whose period closed."""
        self._close(now, before=None)

    @property
    def sign(self) -> Sign:
        """Return by what a change of columns is seen."""
        return self._fleet.sign

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from self._rows.save(streams, f"{name}/series")
        self._fleet.resize(len(self._rows))
        columns = {
            **self._fleet.columns(),
            NEWEST: np.array(self._newest, np.int64),
            LEARNT: np.array(self._learnt, np.int64),
            SEEN: self._presence.seen,
        }
        yield from streams.columns(name, columns, self._fleet.sign)
        due = ((str(step), _SavedDue.of(costs)) for step, costs in self._open.items())
        yield from streams.values(f"{name}/open", due)
        yield from streams.values(f"{name}/bars", [("", self._bars.all())])
        yield from streams.values(f"{name}/barred", [("", self._barred.all())])
        yield from streams.values(f"{name}/levels", [("", self._levels.all())])

    def restore(self, saved: Saved, name: str, keep: Callable[[SeriesKey], bool]) -> set[str]:
        """Take over what was saved of the series that are kept; return what could not be used.

        A series need not get the row that it had.
        """
        taken = saved.values(f"{name}/levels", list[Taken]).get("", [])
        bars = saved.values(f"{name}/bars", list[Bar]).get("", [])
        intents = {one.intent_id for one in taken}
        keeps = keep if keep is keep_all else lambda key: keep(_shown(key, intents))
        to = self._rows.restore(saved, f"{name}/series", SeriesKey, keeps)
        count = len(self._rows)
        self._presence.begin([key.source if key else "" for key in self._rows.numbered()])
        self._fleet.resize(count, blank=False)
        own = {
            NEWEST: np.full(count, NEVER, np.int64),
            LEARNT: np.full(count, NEVER, np.int64),
            SEEN: self._presence.seen,
        }
        columns = {**self._fleet.columns(), **own}
        flaws = saved.columns(name, columns, to)
        for column in (one for one in columns if count and one.startswith("history/")):
            if column in flaws or not saved.names_of(f"{name}/{column}/"):
                raise StateError(flaws.get(column, f"{column} is missing"))
        self._fleet.resume()
        self._newest, self._learnt = own[NEWEST].tolist(), own[LEARNT].tolist()
        for step, due in saved.values(f"{name}/open", _SavedDue).items():
            self._open[int(step)] = due.unpacked(to)
        self._bars = Bars(24 // self._hours, (bar for bar in bars if keep(bar.series)))
        barred = saved.values(f"{name}/barred", list[BarredPoint]).get("", [])
        self._barred = Barred(one for one in barred if keep(one.series))
        self._levels = Levels(
            one._replace(row=int(to[one.row]), shadow=int(to[one.shadow]))
            for one in taken
            if to[one.row] >= 0
        )
        return set(flaws.values())

    def raise_bar(self, intent_id: str, stretch: Stretch) -> None:
        """Ask of a series for more than a stretch had, before the same is found again."""
        name = stretch.detector
        most = max(point.surprise for point in stretch.points.values())
        over = most - self._fleet.threshold(name)
        self._bars.put(intent_id, stretch.series, name, stretch.last_step, over)

    def lower_bars(self, intent_id: str) -> None:
        """Take back the bars that an intent raised."""
        self._bars.drop(intent_id)
        self._barred.forget(NEVER, self._bars)

    def barred(self, step: int) -> Iterator[tuple[SeriesKey, OddPoint]]:
        """Yield the series that were odd in a step, though not as odd as a person asked for."""
        yield from self._barred.at(step)

    def all_barred(self) -> set[tuple[SeriesKey, int]]:
        """Return every series and step that a bar kept from being found."""
        return {(one.series, one.step) for one in self._barred.all()}

    def take_level(self, intent_id: str, series: SeriesKey, level: Level) -> None:
        """Take what a series costs since a step for what it always did.

        A second row goes on as the series was.
        """
        row = self._rows[series]
        shadow = self._row(_shadow(series, intent_id))
        self._fleet.resize(len(self._rows))
        self._fleet.copy(row, shadow)
        self._fleet.rebase(row, self._learnt[row], level.restated)
        self._levels.put(Taken(intent_id, row, shadow, level))

    def may_give_back(self, intent_id: str) -> bool:
        """Tell whether no series of an intent was given another level since."""
        return self._levels.are_newest(intent_id)

    def give_back_level(self, intent_id: str) -> None:
        """Let the series of an intent go on as though it had never been."""
        taken = self._levels.drop(intent_id)
        for one in taken:
            self._fleet.copy(one.shadow, one.row)
        self._free(self._rows.key(one.shadow) for one in taken)

    def settle_level(self, intent_id: str) -> None:
        """Let go of what would be needed to take a level back."""
        self._free(self._rows.key(one.shadow) for one in self._levels.drop(intent_id))

    def forget(self, before: datetime) -> None:
        """Let go of what is asked of series no more from a time on."""
        edge = step_of(before, self._hours)
        self._bars.forget(edge)
        self._barred.forget(edge, self._bars)

    def holds(self, series: SeriesKey) -> bool:
        """Tell whether something is to be learnt of a series yet, or a person said it of it."""
        row = self._rows.get(series)
        if row is None:
            return False
        is_due = any(row in due for due in self._open.values())
        return is_due or self._levels.has(row) or self._bars.has(series)

    def drop(self, gone: Iterable[SeriesKey]) -> None:
        """Let go of series that nothing holds; others get their rows."""
        self._free(series for series in gone if series in self._rows)

    def has(self, series: SeriesKey) -> bool:
        """Tell whether a series was scored, and is not gone."""
        return series in self._rows

    def knows(self, stretch: Stretch) -> bool:
        """Tell whether a stretch was raised by one of this grain's detectors."""
        return stretch.detector in self._fleet.detectors

    def reason(self, stretch: Stretch) -> str:
        """Say in one sentence why a stretch is odd."""
        return self._fleet.detectors[stretch.detector].reason(stretch.evidence())

    def remembers(self, stretch: Stretch) -> bool:
        """Tell whether the detector of a stretch judges a period together with those before."""
        return self._fleet.detectors[stretch.detector].remembers

    def chart(self, stretch: Stretch, odd: Collection[int]) -> Chart:
        """Return a stretch's series with what its detector expected; `odd` steps are marked."""
        hours, row = self._hours, self._rows[stretch.series]
        last = self._newest[row]
        steps = np.arange(last - CHART_STEPS[hours] + 1, last + 1, dtype=np.int64)
        costs = self._fleet.recorded(self._levels.real(row), int(steps[0]), last)
        rows = np.full(len(steps), row, dtype=np.int64)
        known = np.where(np.isnan(costs), 0.0, costs)
        scores = self._fleet.detectors[stretch.detector].score(rows, steps, known)
        return Chart(
            series=str(stretch.series),
            currency=stretch.series.billing_currency,
            step_hours=hours,
            starts=[stretch.at(int(step)) for step in steps],
            actual=_or_none(costs),
            expected=_or_none(scores.expected),
            low=_or_none(scores.low),
            high=_or_none(scores.high),
            odd=[step in odd for step in steps.tolist()],
        )

    def _order(self, points: Sequence[Point]) -> list[Point]:
        """Put points in the order in which they are judged."""
        return sorted(points)

    def _point(self, name: str, series: SeriesKey, step: int, score: Score) -> OddPoint | None:
        """Join what a step costs with what a detector expected; None when it may not be told."""
        del name
        return OddPoint.of(self._costs.point(series, step) or money.ZERO, score)

    def _restated(self, stretch: Stretch, step: int, actual: Decimal) -> OddPoint:
        """Hold a restated step against what was expected of it at the raise."""
        return stretch.points[step].restated(actual)

    def _keep(self, stretch: Stretch, step: int) -> None:
        """Note that a step is now part of a stretch."""

    def _judge_step(self, step: int, points: Sequence[Point]) -> None:
        actuals = [self._costs.point(point.series, step) for point in points]
        numbers = self._rows_of([point.series for point in points])
        rows, steps = np.array(numbers, np.int64), np.full(len(numbers), step, np.int64)
        costs = np.array([np.nan if one is None else float(one) for one in actuals], np.float64)
        known = np.where(np.isnan(costs), 0.0, costs)
        scores = self._fleet.score(rows, steps, known, on_close=False)
        if self.notes_expected:
            self._note_expected(points, step, known, scores)
        has_some = [point.series in self._stretches for point in points]
        restated = [
            index
            for index, row in enumerate(numbers)
            if step <= self._newest[row]
            or (has_some[index] and self._is_told(points[index].series, step))
        ]
        before = {index: self._rescore(points[index].series, step) for index in restated}
        self._record(points, numbers, (rows, steps, costs))
        for index in restated:
            self._rejudge(points[index].series, step, actuals[index], before[index])
        for point in points if self._barred else ():
            self._barred.drop(point.series, step, scores)
        too_late = {index for index in restated if self._is_settled(points[index])}
        for name, found in scores.items():
            for odd in _at_least(found.surprise, self._fleet.threshold(name)):
                actual, series = actuals[odd], points[odd].series
                live = self._stretches.live(series, name)
                is_live = live is not None and step >= live.since_step
                if actual is not None and (is_live or odd not in too_late):
                    self._raise(name, points[odd], found, odd)

        for index, point in enumerate(points):
            if point.series in self._stretches:
                self._go_on(point, actuals[index], scores, index)

    def _note_expected(
        self, points: Sequence[Point], step: int, costs: F64, scores: Mapping[str, Scores]
    ) -> None:
        first = next(iter(scores.values()), None)
        if first is None:
            return
        columns = (costs.tolist(), first.expected.tolist(), first.low.tolist(), first.high.tolist())
        # Of what it cannot judge a detector expects what came.
        self._expected |= {
            (point.series, step): Expected(cost, low, high)
            for point, came, cost, low, high in zip(points, *columns, strict=True)
            if not low == cost == high == came
        }

    def _make_room(self, fresh: Sequence[SeriesKey]) -> None:
        self._fleet.resize(len(self._rows))
        rows = np.array([self._rows[series] for series in fresh], np.int64)
        names = [self._around.calendar_of(series) for series in fresh]
        self._fleet.follow(rows, names)

    def _go_on(
        self, point: Point, actual: Decimal | None, scores: Mapping[str, Scores], index: int
    ) -> None:
        """Let a stretch last while the excess does, odd enough to raise or not.

        A detector gets used to what it has seen; the money is spent all the same. One that
        remembers was long surprised already: then it is asked whether the money is back.
        """
        for stretch in self._stretches.of(point.series):
            if stretch.ended_at is not None or actual is None or stretch.detector not in scores:
                continue
            score = scores[stretch.detector].at(index)
            if point.step <= stretch.last_step or score.surprise >= stretch.threshold:
                continue
            near = point.step - stretch.last_step <= QUIET_STEPS[self._hours]
            found = self._point(stretch.detector, point.series, point.step, score)
            remembers = self._fleet.detectors[stretch.detector].remembers
            if near and not remembers and found is not None and stretch.goes_on_with(found):
                self._keep(stretch, point.step)
                self._stretches.put_over(stretch, point.step, found)
            else:
                stretch.note_quiet(actual)

    def _record(
        self, points: Sequence[Point], numbers: Sequence[int], columns: tuple[I64, I64, F64]
    ) -> None:
        self._fleet.record(*self._levels.spread(*columns))
        step, newest, learnt = points[0].step, self._newest, self._learnt
        due = self._open.setdefault(step, {})
        for row, cost, point in zip(numbers, columns[2].tolist(), points, strict=True):
            newest[row] = max(newest[row], step)
            if step > learnt[row]:
                due[row] = cost, point.arrived_at

    def _is_told(self, series: SeriesKey, step: int) -> bool:
        return any(step in stretch.points for stretch in self._stretches.of(series))

    def _raise(self, name: str, point: Point, scores: Scores, index: int) -> None:
        series, step = point.series, point.step
        detector, score = self._fleet.detectors[name], scores.at(index)
        found = None if self._around.is_muted(series) else self._point(name, series, step, score)
        if found is None or found.surprise < self._fleet.threshold(name):
            return
        if (found.excess >= 0) == detector.on_close or not found.excess:
            return
        bar = self._fleet.threshold(name) + self._bars.above(series, name, step)
        live = self._stretches.live(series, name)
        if found.surprise < (bar if live is None else min(bar, live.threshold)):
            if live is None:
                self._barred.put(BarredPoint(series, step, name, found))
            return
        steps = RECALLS_STEPS if detector.remembers else QUIET_STEPS
        recent = self._stretches.recent(series, name, step, steps[self._hours])
        if recent is not None and step not in recent.points and not recent.goes_on_with(found):
            recent.hot_step = max(recent.hot_step, step)
            return  # the detector remembers what is over: nothing of it costs now
        fresh = Stretch(series, name, detector.kind, self._hours, bar)
        fresh.backfill = self._is_backfill(point)
        fresh.offset = self._costs.offset(series, step)
        stretch = self._stretches.raise_or_extend(fresh, step, score, point.arrived_at)
        # What began in a past that is not told, and still goes on, is of the present.
        stretch.backfill = stretch.backfill and fresh.backfill
        if not stretch.points and stretch.since_step < step:
            self._fill_onset(stretch, step)
        self._keep(stretch, step)
        self._stretches.put(stretch, step, found)

    def _fill_onset(self, stretch: Stretch, step: int) -> None:
        """Count the money of the periods between the onset and the raise as well."""
        steps, scores = self._scores_again(
            stretch.detector, stretch.series, stretch.since_step, step - 1
        )
        for index, at in enumerate(steps.tolist()):
            point = self._point(stretch.detector, stretch.series, at, scores.at(index))
            if point is not None and self._costs.point(stretch.series, at) is not None:
                self._keep(stretch, at)
                self._stretches.put_onset(stretch, at, point)

    def _scores_again(
        self, name: str, series: SeriesKey, first: int, last: int
    ) -> tuple[I64, Scores]:
        """Score the known steps from `first` to `last` as history stands now."""
        row = self._rows[series]
        steps = np.arange(first, last + 1, dtype=np.int64)
        costs = self._fleet.recorded(row, first, last)
        known = ~np.isnan(costs)
        steps, costs = steps[known], costs[known]
        rows = np.full(len(steps), row, dtype=np.int64)
        return steps, self._fleet.detectors[name].score(rows, steps, costs)

    def _rescore(self, series: SeriesKey, step: int) -> dict[str, tuple[I64, Scores]]:
        """Score again the odd periods that a restated step may reach, as history stands now."""
        found: dict[str, tuple[I64, Scores]] = {}
        reach = range(step, step + REJUDGE_STEPS[self._hours] + 1)
        for stretch in self._stretches.of(series):
            if stretch.detector not in self._fleet.detectors:
                continue
            steps = np.array(sorted(s for s in stretch.points if s in reach), dtype=np.int64)
            if not len(steps):
                continue
            row = self._rows[series]
            costs = np.array(
                [float(self._fleet.recorded(row, s, s)[0]) for s in steps.tolist()],
                dtype=np.float64,
            )
            rows = np.full(len(steps), row, dtype=np.int64)
            known = np.where(np.isnan(costs), 0.0, costs)
            detector = self._fleet.detectors[stretch.detector]
            found[stretch.finding_id] = (steps, detector.score(rows, steps, known))
        return found

    def _rejudge(
        self,
        series: SeriesKey,
        step: int,
        actual: Decimal | None,
        before: Mapping[str, tuple[I64, Scores]],
    ) -> None:
        """Move each odd period by what the change of rows alone did to it.

        The detector has learnt since the raise; judged afresh, a finding could fade without any
        change of rows, and only a change of rows retracts. So the restated period itself is held
        against what was expected of it at the raise, and the later ones within the detector's
        memory move as their scores do from before the change to after it.
        """
        after = self._rescore(series, step)
        for stretch in self._stretches.of(series):
            if stretch.finding_id not in before:
                continue
            steps, old = before[stretch.finding_id]
            new = after[stretch.finding_id][1]
            for index, at in enumerate(steps.tolist()):
                if at == step:
                    point = self._restated(stretch, at, money.ZERO if actual is None else actual)
                else:
                    point = stretch.points[at]
                    moved = float(new.surprise[index] - old.surprise[index])
                    point = point._replace(surprise=max(0.0, point.surprise + moved))
                self._stretches.put(stretch, at, point)

    def _close(self, now: datetime, before: int | None) -> None:
        due = step_of(now, self._hours) - CLOSES_AFTER_STEPS
        for step in sorted(self._open):
            if step >= due or (before is not None and step >= before):
                return
            opened = self._open.pop(step)
            points = [
                (row, step, cost)
                for row, (cost, _) in sorted(opened.items())
                if step > self._learnt[row] and not np.isnan(cost)
            ]
            if points:
                rows, steps, costs = as_columns(points)
                self._judge_closed(step, rows, costs, {row: at for row, (_, at) in opened.items()})
                self._fleet.learn(*self._levels.spread(rows, steps, costs))
                for row, _, _ in points:
                    self._learnt[row] = step

    def _judge_closed(
        self, step: int, rows: I64, costs: F64, arrived: Mapping[int, datetime]
    ) -> None:
        """Let the detectors judge that may only speak of a closed period.

        A series without a row spent nothing, if its source is complete; else nobody knows. It is
        known when the period closed, or when its row `arrived` after that: the last of all rows,
        for a series that has none.
        """
        closed_at = start_of(step + 1 + CLOSES_AFTER_STEPS, self._hours)
        last = max(arrived.values())
        rows, costs = self._to_close(step, rows, costs)
        found = self._fleet.score(rows, np.full(len(rows), step, np.int64), costs, on_close=True)
        for index, row in enumerate(rows.tolist()):
            series = self._rows.key(row)
            if series in self._stretches:
                actual = self._costs.point(series, step) or money.ZERO
                self._go_on(Point(series, step, closed_at), actual, found, index)
        for name, scores in found.items():
            for index in _at_least(scores.surprise, self._fleet.threshold(name)):
                row = int(rows[index])
                series, at = self._rows.key(row), max(closed_at, arrived.get(row, last))
                self._raise(name, Point(series, step, at), scores, index)

    def _to_close(self, step: int, rows: I64, costs: F64) -> tuple[I64, F64]:
        """Return what may be judged of a closed step, NaN for a series that had no row."""
        absent = self._presence.close(step, rows)
        if not len(absent):
            return rows, costs
        nothing = np.full(len(absent), np.nan)
        return np.concatenate([rows, absent]), np.concatenate([costs, nothing])

    def _rows_of(self, every: Iterable[SeriesKey]) -> list[int]:
        """Return the rows of series, with room for those that are new."""
        rows, fresh = [], []
        for series in every:
            row = self._rows.get(series)
            if row is None:
                row = self._row(series)
                fresh.append(series)
            rows.append(row)
        if fresh:
            self._make_room(fresh)
        return rows

    def _row(self, series: SeriesKey) -> int:
        row = self._rows.get(series)
        if row is None:
            row = self._rows.give(series)
            if row == len(self._newest):
                self._newest.append(NEVER)
                self._learnt.append(NEVER)
            self._presence.put(row, series.source)
        return row

    def _free(self, gone: Iterable[SeriesKey]) -> None:
        rows = np.array([self._rows.free(series) for series in gone], np.int64)
        if len(rows):
            self._fleet.resize(len(self._rows))
            self._fleet.blank(rows)
            self._presence.drop(rows)
            for row in rows.tolist():
                self._newest[row] = self._learnt[row] = NEVER

    def _is_settled(self, point: Point) -> bool:
        settles_at = self._stretches.settles_at(point.series, point.step, self._hours)
        return point.arrived_at > settles_at

    def _is_backfill(self, point: Point) -> bool:
        return is_history(point.step, self._hours, self._around.first_contact(point.series.source))


class _SavedDue(msgspec.Struct, array_like=True):
    """What is to be learnt of a step, in raw columns: rows, costs, and places in `times`."""

    rows: bytes
    costs: bytes
    arrived: bytes
    times: list[datetime]

    @classmethod
    def of(cls, due: Mapping[int, _Due]) -> "_SavedDue":
        times: dict[datetime, int] = {}
        arrived = [times.setdefault(at, len(times)) for _, at in due.values()]
        costs = np.array([cost for cost, _ in due.values()], "<f8")
        rows = np.fromiter(due, "<i8", len(due))
        return cls(rows.tobytes(), costs.tobytes(), np.array(arrived, "<i4").tobytes(), list(times))

    def unpacked(self, to: I64) -> dict[int, _Due]:
        """Return it by the rows that the saved ones are now, without those that are nowhere."""
        rows = to[np.frombuffer(self.rows, "<i8")]
        costs, arrived = np.frombuffer(self.costs, "<f8"), np.frombuffer(self.arrived, "<i4")
        mine = rows >= 0
        times = [self.times[place] for place in arrived[mine].tolist()]
        due = zip(costs[mine].tolist(), times, strict=True)
        return dict(zip(rows[mine].tolist(), due, strict=True))


def _at_least(surprise: F64, threshold: float) -> list[int]:
    """Return where a surprise is as high as a threshold."""
    places: list[int] = (surprise >= threshold).nonzero()[0].tolist()
    return places


def _shadow(series: SeriesKey, intent_id: str) -> SeriesKey:
    """Name the row that goes on as though an intent had not been."""
    return series._replace(resource=f"{series.resource}\0{intent_id}")


def _shown(key: SeriesKey, intents: Collection[str]) -> SeriesKey:
    """Return the series of a row that may be a shadow."""
    resource, _, intent_id = key.resource.rpartition("\0")
    return key._replace(resource=resource) if intent_id in intents else key


def _or_none(values: F64) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
