"""Calendars as plain values: wall clocks, days off, and which day of last month a day is like.

Spend follows people, and people follow the clock on the wall, their weekends and public holidays,
and the turn of the month. A calendar holds all of it by day, so that a kernel only looks it up.
Hourly steps are turned into hours of the wall clock, in which all hours of day, days and weeks are
counted: an hour that the clock skips stays empty, of two that it shows alike the first is kept.
"""

import zlib
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import I64
from detectors.compiled import compiled

# Days since 1970 that a calendar covers, 2010 to 2049; beyond, clocks and months are not known.
FIRST: Final = 14_610
DAYS: Final = 14_610
PHASES: Final = 5
MONTHS: Final = 2  # that must agree on what a day of the month is like
BEFORE, AFTER = 2, 4  # days before and after a month begins that may be busy for that
EVERY_FIFTH: Final = 5  # pay days are looked for on every fifth day of a month

I8 = NDArray[np.int8]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
Days = NDArray[np.bool_]


class Calendar(NamedTuple):
    """One time zone with the days off of one place; arrays have one entry a day from `FIRST` on.

    `offsets` is by how many hours wall clocks are ahead of UTC when a UTC day begins (one day more
    than `DAYS`), and `turns` the hour of that day at which the next day's offset sets in.
    `weekend` and `holidays` mark days of the wall clock.
    """

    name: str
    offsets: I8
    turns: I8
    weekend: Days
    holidays: Days

    @property
    def key(self) -> int:
        """Return a number for the name that stays the same from run to run."""
        return zlib.crc32(self.name.encode())


class Calendars(NamedTuple):
    """Several calendars as kernels take them: arrays of one row a calendar.

    `off` counts the days off besides weekends before each day, `sunday` how many days ago the last
    day of a weekend was, `back` (calendars, days, phases, months) how many days ago the day of the
    same phase was in each of the months before; 0 for none. `turn` (days) is whether a month has
    just begun or is about to.
    """

    offsets: I8
    turns: I8
    off: I32
    sunday: I8
    back: I16
    turn: Days


def utc() -> Calendar:
    """Return the calendar of whoever has none: UTC, weekends, no public holiday."""
    days = np.arange(FIRST, FIRST + DAYS)
    return Calendar(
        "UTC",
        np.zeros(DAYS + 1, np.int8),
        np.zeros(DAYS, np.int8),
        (days + 3) % 7 >= 5,
        np.zeros(DAYS, np.bool_),
    )


@cache
def only_utc() -> Calendars:
    """Return the table that holds UTC alone."""
    return table_of([utc()])


def table_of(calendars: Sequence[Calendar]) -> Calendars:
    """Put calendars side by side."""
    off = [known.holidays & ~known.weekend for known in calendars]
    return Calendars(
        np.stack([known.offsets for known in calendars]),
        np.stack([known.turns for known in calendars]),
        np.stack([np.concatenate([[0], np.cumsum(days)]).astype(np.int32) for days in off]),
        np.stack([_since_weekend(known.weekend) for known in calendars]),
        np.stack([_back(known.weekend | known.holidays) for known in calendars]),
        _turn(),
    )


def _turn() -> Days:
    dates = np.datetime64("1970-01-01") + np.arange(FIRST, FIRST + DAYS)
    ahead, ago = dates + BEFORE, dates - AFTER
    turn: Days = ahead.astype("datetime64[M]") != ago.astype("datetime64[M]")
    return turn


def _since_weekend(weekend: Days) -> I8:
    days = np.arange(DAYS)
    latest = np.maximum.accumulate(np.where(weekend, days, -1))
    before = np.concatenate([[-1], latest[:-1]])
    since = days - before
    return np.where((before >= 0) & (since < 7), since, 0).astype(np.int8)


def _back(rest: Days) -> I16:
    """Return how many days ago earlier months' days of each phase were, 0 for none.

    Phases: the day of the month; counted from its end; the same among working days, from the
    start and from the end; and the working day on or before a fifth, tenth, ... 25th.
    """
    dates = np.datetime64("1970-01-01") + np.arange(FIRST, FIRST + DAYS)
    month = (dates.astype("datetime64[M]") - dates[0].astype("datetime64[M]")).astype(np.int64)
    begins = np.searchsorted(month, np.arange(month[-1] + 2))
    months = [_phases(rest, int(begin), int(end)) for begin, end in pairwise(begins)]
    back = np.zeros((DAYS, PHASES, MONTHS), np.int16)
    for number, phases in enumerate(months):
        for earlier in range(1, min(number, MONTHS) + 1):
            for phase, at in phases.items():
                then = months[number - earlier].get(phase)
                if phase[0] == 0 and then is None:  # a shorter month: its last day
                    then = int(begins[number - earlier + 1]) - 1
                if then is not None:
                    back[at, phase[0], earlier - 1] = at - then
    return back


def _phases(rest: Days, begin: int, end: int) -> dict[tuple[int, int], int]:
    """Return the days of one month by phase and number within it."""
    days = range(begin, end)
    working = [day for day in days if not rest[day]]
    found = {(0, day - begin): day for day in days}
    found |= {(1, end - day): day for day in days}
    found |= {(2, number): day for number, day in enumerate(working)}
    found |= {(3, number): day for number, day in enumerate(reversed(working))}
    for nominal in range(begin + EVERY_FIFTH - 1, end, EVERY_FIFTH):
        moved = [day for day in working if day <= nominal]
        if moved and nominal - begin < 5 * EVERY_FIFTH:
            found[4, nominal - begin] = moved[-1]
    return found


@compiled
def _offset(known: Calendars, which: int, step: int) -> int:
    """Return by how many hours wall clocks are ahead of UTC in an hour of UTC."""
    day = step // 24 - FIRST
    if not 0 <= day < DAYS:
        return 0
    later = step % 24 >= known.turns[which, day]
    return int(known.offsets[which, day + 1 if later else day])


@compiled
def to_wall(known: Calendars, which: I64, steps: I64, walls: I64) -> None:
    """Write the hour of the wall clock of each UTC hour; `which` is the calendar of each."""
    for i in range(len(steps)):
        walls[i] = steps[i] + _offset(known, which[i], steps[i])


@compiled
def to_utc(known: Calendars, which: I64, walls: I64, steps: I64) -> None:
    """Write the UTC hour of each hour of the wall clock, the first of two."""
    for i in range(len(walls)):
        day_before = _offset(known, which[i], walls[i] - 24)
        early = walls[i] - day_before
        if _offset(known, which[i], early) != day_before:
            early = walls[i] - _offset(known, which[i], early)
        steps[i] = early


@compiled
def days_off(known: Calendars, which: int, first: int, last: int) -> int:
    """Return how many of the days `first` to `last` are off besides weekends."""
    begin = min(max(first - FIRST, 0), DAYS)
    end = min(max(last + 1 - FIRST, 0), DAYS)
    return int(known.off[which, end] - known.off[which, begin]) if end > begin else 0


@compiled
def weekend_before(known: Calendars, which: int, day: int) -> int:
    """Return how many days before a day off the last weekend ended; 0 for any other day."""
    at = day - FIRST
    if not 0 <= at < DAYS or known.off[which, at + 1] == known.off[which, at]:
        return 0
    return int(known.sunday[which, at])


@compiled
def month_turns(known: Calendars, day: int) -> bool:
    """Tell whether a month has just begun, or is about to."""
    at = day - FIRST
    return bool(0 <= at < DAYS and known.turn[at])


@compiled
def month_before(known: Calendars, which: int, day: int, phase: int, months: int) -> int:
    """Return the day of the same phase one or two months before, -1 when there is none."""
    at = day - FIRST
    if not 0 <= at < DAYS or known.back[which, at, phase, months - 1] == 0:
        return -1
    return int(day - known.back[which, at, phase, months - 1])
