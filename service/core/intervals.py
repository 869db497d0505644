"""Time intervals: when a route is mute or active, in Alertmanager's syntax and meaning.

See https://prometheus.io/docs/alerting/latest/configuration/#time_interval. The only difference: a
range of weekdays or months may go over the end of the week or the year.
"""

import calendar
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

_WEEKDAYS: Final = tuple(name.lower() for name in calendar.day_name)
_MONTHS: Final = tuple(name.lower() for name in calendar.month_name)
_SPAN: Final = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_DAY_MINUTES: Final = 24 * 60
_LOOKS_AHEAD: Final = timedelta(days=400)


def span_of(text: str) -> timedelta:
    """Read a duration as Prometheus writes it; ValueError when it is none.

    >>> span_of("1h30m"), span_of("2d")
    (datetime.timedelta(seconds=5400), datetime.timedelta(days=2))
    """
    found = _SPAN.fullmatch(text)
    if not text or found is None or len(text) > 20:
        message = f"{text[:40]!r} is not a duration like 30s, 5m, 4h or 1d"
        raise ValueError(message)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        message = f"{text!r} is too long"
        raise ValueError(message) from None


@lru_cache(maxsize=512)
def zone_of(location: str) -> ZoneInfo:
    """Return a time zone of the tz database; ValueError when there is none of that name."""
    try:
        return ZoneInfo(location)
    except (OSError, ValueError, KeyError):
        message = f"{location[:80]!r} is not a name of the tz database"
        raise ValueError(message) from None


class _Struct(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, dict=True):
    pass


class TimeRange(_Struct, frozen=True):
    """From `start_time` up to but without `end_time`, each HH:MM, the latter at most 24:00."""

    start_time: str
    end_time: str


class TimeInterval(_Struct, frozen=True):
    """Moments that pass every field which is given; of each field one range is enough."""

    times: list[TimeRange] = []
    weekdays: list[str] = []
    days_of_month: list[str] = []
    months: list[str] = []
    years: list[str] = []
    location: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse what cannot be read."""
        _ = self._ranges, self.clocks, zone_of(self.location)

    @cached_property
    def clocks(self) -> list[tuple[int, int]]:
        """Return the times of day, in minutes; all day when none are given."""
        found = [(_minutes(one.start_time), _minutes(one.end_time)) for one in self.times]
        if any(start >= end for start, end in found):
            raise ValueError(
                "start_time is not before end_time: write what crosses midnight as two"
            )
        return found or [(0, _DAY_MINUTES)]

    @cached_property
    def _ranges(
        self,
    ) -> tuple[frozenset[int], list[tuple[int, int]], frozenset[int], frozenset[int]]:
        return (
            frozenset(_around(self.weekdays, _weekday, 7)),
            [_pair(text, _day) for text in self.days_of_month],
            frozenset(_around(self.months, _month, 12, first=1)),
            frozenset(year for text in self.years for year in _years(text)),
        )

    def covers(self, at: datetime) -> bool:
        """Tell whether a moment is in it."""
        local = at.astimezone(zone_of(self.location))
        minute = 60 * local.hour + local.minute
        weekdays, days, months, years = self._ranges
        return (
            any(start <= minute < end for start, end in self.clocks)
            and (not weekdays or local.weekday() in weekdays)
            and (not days or any(_in_month(pair, local) for pair in days))
            and (not months or local.month in months)
            and (not years or local.year in years)
        )

    def edges(self, day: date) -> Iterator[datetime]:
        """Yield the moments of a day on the local clock at which it may begin or end."""
        zone = zone_of(self.location)
        for minute in {0, *(minute for clock in self.clocks for minute in clock)}:
            local = datetime.combine(day + timedelta(days=minute // _DAY_MINUTES), time())
            local += timedelta(minutes=minute % _DAY_MINUTES)
            for fold in (0, 1):
                yield local.replace(tzinfo=zone, fold=fold).astimezone(UTC)


class QuietHours(_Struct, frozen=True):
    """Each day from `start` to `end`, which may be the next morning, and whole `weekdays`."""

    start: str | None = None
    end: str | None = None
    weekdays: list[str] = []
    location: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse half a night, and none."""
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end go together")
        if self.start is None and not self.weekdays:
            raise ValueError("quiet_hours has neither start and end nor weekdays")
        if self.start is not None and self.start == self.end:
            raise ValueError("start is end")
        _ = self.intervals

    @cached_property
    def intervals(self) -> list[TimeInterval]:
        """Return the same as time intervals."""
        found = []
        if self.start is not None and self.end is not None:
            clocks = [(self.start, self.end)]
            if _minutes(self.start) > _minutes(self.end):
                clocks = [(self.start, "24:00"), ("00:00", self.end)]
            times = [TimeRange(start_time=a, end_time=b) for a, b in clocks if a != b]
            found.append(TimeInterval(times=times, location=self.location))
        if self.weekdays:
            found.append(TimeInterval(weekdays=self.weekdays, location=self.location))
        return found


def covered(intervals: Iterable[TimeInterval], at: datetime) -> bool:
    """Tell whether a moment is in any of the intervals."""
    return any(interval.covers(at) for interval in intervals)


def next_change(intervals: Sequence[TimeInterval], at: datetime) -> datetime:
    """Return when the intervals next begin or end to cover the time; some 400 days on if never."""
    now = covered(intervals, at)
    first = at.date() - timedelta(days=1)
    for ahead in range(_LOOKS_AHEAD.days):
        day = first + timedelta(days=ahead)
        edges = {edge for one in intervals for edge in one.edges(day) if edge > at}
        for edge in sorted(edges):
            if covered(intervals, edge) != now:
                return edge
    return at + _LOOKS_AHEAD


def _minutes(text: str) -> int:
    if _CLOCK.fullmatch(text) is None:
        message = f"{text[:20]!r} is not a time of day like 09:30"
        raise ValueError(message)
    return 60 * int(text[:2]) + int(text[3:])


def _pair(text: str, read: Callable[[str], int]) -> tuple[int, int]:
    first, colon, last = text.lower().partition(":")
    return read(first), read(last if colon else first)


def _around(
    texts: Collection[str], read: Callable[[str], int], size: int, first: int = 0
) -> Iterator[int]:
    for text in texts:
        begin, end = _pair(text, read)
        for ahead in range((end - begin) % size + 1):
            yield (begin - first + ahead) % size + first


def _years(text: str) -> range:
    begin, end = _pair(text, _year)
    if begin > end:
        message = f"{text!r} ends before it begins"
        raise ValueError(message)
    return range(begin, end + 1)


def _named(text: str, names: Sequence[str], what: str) -> int:
    if text.strip() not in names or not text:
        message = f"{text[:20]!r} is not {what}"
        raise ValueError(message)
    return names.index(text.strip())


def _weekday(text: str) -> int:
    return _named(text, _WEEKDAYS, "a weekday like monday")


def _month(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 12:
        return int(text)
    return _named(text, _MONTHS, "a month like january or 1")


def _year(text: str) -> int:
    return _number(text, 1, 9999, "a year")


def _day(text: str) -> int:
    return _number(text, -31, 31, "a day of the month from 1 to 31, or from -1 back to -31")


def _number(text: str, least: int, most: int, what: str) -> int:
    if re.fullmatch(r"-?\d{1,4}", text.strip()) is None or not least <= int(text) <= most:
        message = f"{text[:20]!r} is not {what}"
        raise ValueError(message)
    if int(text) == 0:
        message = f"0 is not {what}"
        raise ValueError(message)
    return int(text)


def _in_month(pair: tuple[int, int], local: datetime) -> bool:
    """Tell whether a day is in a range; days below 0 count from the end of the month."""
    length = calendar.monthrange(local.year, local.month)[1]
    begin, end = (length + 1 + day if day < 0 else day for day in pair)
    return begin <= local.day <= end
