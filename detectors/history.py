"""The last weeks of every series as they stand now: rings of raw steps and of day means a row.

Restated steps overwrite what was there, so whatever is computed from here is free of what the
provider took back. A step that nothing arrived for is NaN. Hourly steps are kept by the clock on
the wall of each series' calendar (`calendar`), so hours of day, days and weeks are those of people.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import DAY, F32, F64, HOUR, I64
from detectors.calendar import Calendar, Calendars, only_utc, table_of, to_utc, to_wall, utc
from detectors.compiled import compiled, fetch, grown

HOURS: Final = 1008
WEEKS: Final = 6
DAYS: Final = 126
PAST: Final = 84  # days, at least, of which a mean and the highest step are kept
NEVER: Final = -(2**62)
UNSAVED: Final = {"which", "calendars", "turns", "sums"}  # what the config says, or follows
SUMS: Final = 72
OFTEN: Final = 0.15  # share of missing steps from which they mean that a series is off
LINE: Final = 16  # numbers in a cache line
AHEAD: Final = 4  # points for which a kernel asks beforehand
MEMORY: Final = 14  # days over which that share is taken


class Rings(NamedTuple):
    """The arrays of a history, as kernels take them. All have one row per series.

    `steps` (rows, depth) holds the signed fourth root of each step's cost; `past` and `peaks`
    (rows, whole depths of days), per day, the mean of these and, once it is over, by how much one
    step cost more than a week before at most. `first` and `last` are the steps ever seen, `absent`
    is the share of steps lately for which nothing arrived. `calendar` is the key of a row's
    calendar and `which` its place in `calendars`.

    The rest is worked out from these and not saved. `turns` counts what was written out of order,
    so that what was worked out before it is known to be stale; `sums` holds what `sums` has summed
    up of a day so far, in this week and the five before, and what is usual for its days of the
    month.
    """

    steps: F32
    first: I64
    last: I64
    absent: F32
    past: F32
    peaks: F32
    calendar: I64
    which: I64
    turns: I64
    sums: F32
    calendars: Calendars


class History:
    """Raw costs of the last `depth` steps of each series, shared by all detectors of a fleet.

    `step_hours` is 1 or 24; `depth` defaults to six weeks of hours or eighteen weeks of days and
    must be whole weeks, six at least: kernels look five back and wrap around once. A series keeps
    to UTC unless `follow` names one of `calendars` for it.
    """

    def __init__(
        self, step_hours: int, depth: int | None = None, calendars: Sequence[Calendar] = ()
    ) -> None:
        if step_hours not in (HOUR, DAY):
            raise ValueError(f"steps of {step_hours} h: only 1 and 24 are known")
        self.step_hours = step_hours
        self.day = DAY // step_hours
        self.depth = (HOURS if step_hours == HOUR else DAYS) if depth is None else depth
        if self.depth % (7 * self.day) or self.depth < WEEKS * 7 * self.day:
            raise ValueError(
                f"a history of {self.depth} steps is not whole weeks, {WEEKS} at least"
            )
        days = self.depth // self.day
        kept = -(-PAST // days) * days
        self.rows = 0
        known = [utc(), *calendars]
        self._which = {calendar.name: place for place, calendar in enumerate(known)}
        self._keys = np.array([calendar.key for calendar in known], np.int64)
        self._has_clocks = step_hours == HOUR and any(one.offsets.any() for one in known)
        self.rings = Rings(
            np.empty((0, self.depth), np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0, np.float32),
            np.empty((0, kept), np.float32),
            np.empty((0, kept), np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty(0, np.int64),
            np.empty((0, SUMS), np.float32),
            table_of(known) if calendars else only_utc(),
        )

    def resize(self, rows: int, *, blank: bool = True) -> None:
        """Make room for `rows` series; new ones have no past.

        Unless `blank`, all `columns` are to be filled in before anything else.
        """
        if rows <= self.rows:
            return
        have, rings = self.rows, self.rings
        unknown = np.nan if blank else None
        self.rings = Rings(
            grown(rings.steps, have, rows, unknown),
            grown(rings.first, have, rows, NEVER),
            grown(rings.last, have, rows, NEVER),
            grown(rings.absent, have, rows, 0.0),
            grown(rings.past, have, rows, unknown),
            grown(rings.peaks, have, rows, unknown),
            grown(rings.calendar, have, rows, self._keys[0]),
            grown(rings.which, have, rows, 0),
            grown(rings.turns, have, rows, 0),
            grown(rings.sums, have, rows, np.nan),
            rings.calendars,
        )
        self.rows = rows

    def follow(self, rows: I64, names: Sequence[str]) -> None:
        """Let series that have no past yet keep to the calendars of these names from now on."""
        places = np.array([self._which[name] for name in names], np.int64)
        self.rings.which[rows] = places
        self.rings.calendar[rows] = self._keys[places]

    def resume(self) -> None:
        """Find the calendars of restored rows again; one that is not known any more is UTC."""
        which = self.rings.which[: self.rows]
        which[:] = 0
        for place, key in enumerate(self._keys.tolist()):
            which[self.rings.calendar[: self.rows] == key] = place

    def walls(self, rows: I64, steps: I64) -> I64:
        """Return steps by the wall clock of each series; days are dates and stay."""
        if not self._has_clocks:
            return steps
        walls = np.empty(len(steps), np.int64)
        to_wall(self.rings.calendars, self.rings.which[rows], steps, walls)
        return walls

    def steps(self, rows: I64, walls: I64) -> I64:
        """Return steps of UTC for those of the wall clock, the first of two that look alike."""
        if not self._has_clocks:
            return walls
        steps = np.empty(len(walls), np.int64)
        to_utc(self.rings.calendars, self.rings.which[rows], walls, steps)
        return steps

    def kept(self, rows: I64, steps: I64, costs: F64) -> tuple[I64, I64, F64]:
        """Return points by the wall clock, without the hours that it shows a second time."""
        walls = self.walls(rows, steps)
        if walls is steps:
            return rows, steps, costs
        once = self.steps(rows, walls) == steps
        return rows[once], walls[once], costs[once]

    def record(self, rows: I64, steps: I64, costs: F64) -> None:
        """Write what steps cost now, in order; NaN where a row vanished.

        Later steps move the series on; older ones within depth overwrite; older ones are let go.
        """
        _record(self.rings, *self.kept(rows, steps, costs), self.day)

    def recorded(self, row: int, first: int, last: int) -> F64:
        """Return the costs of steps `first` to `last`, NaN for gaps and outside of the depth.

        A cost comes back to within three parts in ten million. Of two hours that the wall clock
        shows alike, both return what the first cost.
        """
        steps = np.arange(first, last + 1)
        wanted = self.walls(np.full(len(steps), row), steps)
        newest = int(self.rings.last[row])
        known = (wanted <= newest) & (wanted > newest - self.depth)
        known &= wanted >= int(self.rings.first[row])
        roots = self.rings.steps[row, wanted % self.depth].astype(np.float64)
        return np.where(known, np.copysign(roots**4, roots), np.nan)

    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Return the state itself, by name; who has it may fill it."""
        self.rings.turns[: self.rows] += 1
        rings = self.rings._asdict()
        return {name: rings[name][: self.rows] for name in rings if name not in UNSAVED}


@compiled
def root(cost: float) -> float:
    """Return the fourth root of a cost, negative for a credit.

    A power transform near the logarithm that takes zero: it makes the noise of most spend about
    equally wide at every level (Box and Cox, 1964, lambda = 1/4).
    """
    size = np.sqrt(np.sqrt(abs(cost)))
    return float(size if cost >= 0.0 else -size)


@compiled
def power(value: float) -> float:
    """Return the cost of a root."""
    square = value * value
    return square * square if value >= 0.0 else -square * square


@compiled
def at(ring: F32, first: int, last: int, step: int) -> float:
    """Return the root of what one row's `step` cost; NaN when unknown."""
    if step < first or step > last or step <= last - len(ring):
        return np.nan
    return float(ring[step % len(ring)])


@compiled
def is_off(rings: Rings, row: int) -> bool:
    """Tell whether a missing step of a series means that it was off, not that data is missing."""
    return bool(rings.absent[row] > OFTEN)


@compiled
def ask(state: F32, row: int) -> None:
    """Ask for the state of a row."""
    for column in range(0, state.shape[1], LINE):
        fetch(state, row, column)


@compiled
def _day_mean(rings: Rings, row: int, number: int, day: int) -> None:
    depth = rings.steps.shape[1]
    last = rings.last[row]
    begin = max(number * day, rings.first[row], last - depth + 1)
    end = min((number + 1) * day - 1, last)
    known = 0
    total = 0.0
    place = begin % depth
    for _ in range(begin, end + 1):
        value = float(rings.steps[row, place])
        place = place + 1 if place + 1 < depth else 0
        if not np.isnan(value):
            known += 1
            total += value
    over = max(end - begin + 1, 1) if is_off(rings, row) else known
    rings.past[row, number % rings.past.shape[1]] = total / over if known > 0 else np.nan


@compiled
def day_cost(rings: Rings, row: int, number: int, day: int) -> float:
    """Return the mean cost of the steps of a day, NaN when none is known."""
    depth = rings.steps.shape[1]
    last = rings.last[row]
    begin = max(number * day, rings.first[row], last - depth + 1)
    end = min((number + 1) * day - 1, last)
    known = 0
    total = 0.0
    for step in range(begin, end + 1):
        value = float(rings.steps[row, step % depth])
        if not np.isnan(value):
            known += 1
            total += power(value)
    over = max(end - begin + 1, 1) if is_off(rings, row) else known
    return total / over if known > 0 else np.nan


@compiled
def _peak(rings: Rings, row: int, number: int, day: int) -> None:
    """Note by how much the cost of one step of a day exceeds that of a week before the most."""
    depth = rings.steps.shape[1]
    last = rings.last[row]
    first = max(rings.first[row] + 7 * day, last - depth + 1 + 7 * day)
    top = np.nan
    for step in range(max(number * day, first), min((number + 1) * day, last + 1)):
        value = float(rings.steps[row, step % depth])
        before = float(rings.steps[row, (step - 7 * day) % depth])
        if np.isnan(before) and is_off(rings, row):
            before = 0.0
        more = power(value) - power(before)
        if not np.isnan(more):
            top = more if np.isnan(top) else max(top, more)
    rings.peaks[row, number % rings.peaks.shape[1]] = top


@compiled
def _clear(rings: Rings, row: int, step: int, day: int) -> None:
    """Forget what the slots from the last step to a later one held."""
    depth = rings.steps.shape[1]
    kept = rings.past.shape[1]
    last = rings.last[row]
    for gap in range(max(last + 1, step - depth), step):
        rings.steps[row, gap % depth] = np.nan
    for number in range(max(last // day + 1, step // day - kept), step // day + 1):
        rings.past[row, number % kept] = np.nan
        rings.peaks[row, number % kept] = np.nan


@compiled
def _record(rings: Rings, rows: I64, steps: I64, costs: F64, day: int) -> None:
    depth = rings.steps.shape[1]
    kept = rings.past.shape[1]
    for i in range(len(rows)):
        if i + AHEAD < len(rows):
            fetch(rings.steps, rows[i + AHEAD], steps[i + AHEAD] % depth)
            fetch(rings.past, rows[i + AHEAD], steps[i + AHEAD] // day % kept)
        row = rows[i]
        step = steps[i]
        last = rings.last[row]
        if last == NEVER:
            rings.first[row] = step
        elif step <= last - depth:
            continue
        elif step > last:
            if step // day > last // day:
                _peak(rings, row, last // day, day)
            pace = 1.0 / min(step - rings.first[row] + 1.0, 1.0 * MEMORY * day)
            missed = min(1.0, pace * (step - last - 1))
            rings.absent[row] += missed * (1.0 - rings.absent[row])
            rings.absent[row] -= pace * rings.absent[row]
            _clear(rings, row, step, day)
        if step != last + 1:
            rings.turns[row] += 1
        rings.first[row] = min(rings.first[row], step)
        rings.last[row] = max(rings.last[row], step)
        rings.steps[row, step % depth] = root(costs[i])
        _day_mean(rings, row, step // day, day)
        if step // day < rings.last[row] // day:
            _peak(rings, row, step // day, day)
