"""Calendars of real places: wall clocks from the tz database, days off from `holidays`."""

import warnings
from datetime import date, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from detectors.base import EPOCH
from detectors.calendar import DAYS, FIRST, Calendar, Days

HOUR: Final = timedelta(hours=1)
BEGIN: Final = EPOCH + timedelta(days=FIRST)


class CalendarError(Exception):
    """What is wrong with a calendar's settings, in one line."""


def calendar_name(time_zone: str, country: str | None, subdivision: str | None) -> str:
    """Return the name under which series follow a calendar."""
    return " ".join(part for part in (time_zone, country, subdivision) if part)


@cache
def load_calendar(
    time_zone: str, country: str | None = None, subdivision: str | None = None
) -> Calendar:
    """Return the calendar of a tz database zone and an ISO 3166 country and subdivision.

    CalendarError for an unknown zone, country or subdivision.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CalendarError(
            f"{time_zone!r} is not a time zone; they look like 'Europe/Berlin'"
        ) from None
    offsets = np.array([_offset(zone, day, 0) for day in range(DAYS + 1)], np.int8)
    turns = np.zeros(DAYS, np.int8)
    for day in np.flatnonzero(np.diff(offsets)).tolist():
        turns[day] = next(
            hour for hour in range(1, 25) if _offset(zone, day, hour) == offsets[day + 1]
        )
    weekend, days_off = _days_off(country, subdivision)
    return Calendar(
        calendar_name(time_zone, country, subdivision), offsets, turns, weekend, days_off
    )


def _offset(zone: ZoneInfo, day: int, hour: int) -> int:
    """Return by how many whole hours the clocks of a zone are ahead; half an hour is rounded down.

    `day` counts from the first that calendars cover.
    """
    at = BEGIN + timedelta(days=day, hours=hour)
    offset = at.astimezone(zone).utcoffset()
    return (offset or timedelta()) // HOUR


def _days_off(country: str | None, subdivision: str | None) -> tuple[Days, Days]:
    """Return which days are weekends, and which public holidays."""
    first = date(1970, 1, 1) + timedelta(days=FIRST)
    dates = [first + timedelta(days=day) for day in range(DAYS)]
    if country is None:
        if subdivision is not None:
            raise CalendarError(f"subdivision {subdivision!r} is given without a country")
        return np.array([day.weekday() >= 5 for day in dates]), np.zeros(DAYS, np.bool_)
    import holidays  # noqa: PLC0415  only who names a country waits for it

    years = range(dates[0].year, dates[-1].year + 1)
    try:
        with warnings.catch_warnings():
            # Of some countries not all of these years are known.
            warnings.simplefilter("ignore", UserWarning)
            known = holidays.country_holidays(country, subdiv=subdivision, years=years)
    except NotImplementedError:
        place = country if subdivision is None else f"{country} {subdivision}"
        raise CalendarError(
            f"no public holidays are known for {place!r}; a country is two capital letters (ISO "
            "3166-1), a subdivision what follows the dash in ISO 3166-2"
        ) from None
    weekend = np.array([day.weekday() in known.weekend for day in dates])
    return weekend, np.array([day in known for day in dates])
