"""Which calendar a series keeps to, and what is said of one that there is not."""

from datetime import date

import pytest

from detectors.calendar import FIRST
from service.adapters.calendars import CalendarError, load_calendar
from service.bootstrap import build_calendars
from service.config import CalendarSettings, ConfigError, OwnerSettings, Settings
from service.config_file import load
from service.core.events import SeriesKey
from service.core.owners import Calendars, Owners
from tests.factories import make_event

SERIES = SeriesKey("aws", "1", "i-1", "USD", "hour")


@pytest.mark.parametrize(
    ("tags", "source", "name"),
    [
        ({"team": "payments"}, "aws", "Europe/Berlin DE"),
        ({"team": "search"}, "aws", "Asia/Tokyo"),
        ({"team": "search"}, "gcp", "UTC"),
        ({}, "gcp", "UTC"),
    ],
)
def test_the_owner_decides_then_the_source_then_the_default(tags, source, name):
    owners = Owners(["team"], {})
    calendars = Calendars(owners, {"payments": "Europe/Berlin DE"}, {"aws": "Asia/Tokyo"}, "UTC")
    assert calendars.of(SERIES._replace(source=source), make_event(tags=tags)) == name


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("Mars/Base",), "'Mars/Base' is not a time zone"),
        (("../etc/passwd",), "is not a time zone"),
        (("",), "is not a time zone"),
        (("UTC", "XX"), "no public holidays are known for 'XX'"),
        (("UTC", "DE", "ZZ"), "no public holidays are known for 'DE ZZ'"),
        (("UTC", None, "BY"), "given without a country"),
    ],
)
def test_a_place_that_is_not_known_is_said_in_one_line(place, said):
    with pytest.raises(CalendarError, match=said):
        load_calendar(*place)


def test_holidays_are_those_of_the_subdivision_and_weekends_those_of_the_country():
    epiphany = (date(2026, 1, 6) - date(1970, 1, 1)).days - FIRST
    assert load_calendar("Europe/Berlin", "DE", "BY").holidays[epiphany]
    assert not load_calendar("Europe/Berlin", "DE", "BE").holidays[epiphany]
    friday = (date(2026, 1, 9) - date(1970, 1, 1)).days - FIRST
    assert load_calendar("Asia/Riyadh", "SA").weekend[friday]


def test_a_config_names_the_calendar_that_is_wrong(tmp_path):
    wrong = {"payments": CalendarSettings(time_zone="Europe/Berln")}
    with pytest.raises(ConfigError, match=r"owners\.calendars\.payments: 'Europe/Berln'"):
        build_calendars(Settings(owners=OwnerSettings(calendars=wrong)))
    path = tmp_path / "spendwatch.toml"
    path.write_text('[calendar]\ncountry = "Germany"\n')
    with pytest.raises(ConfigError, match="country"):
        load(path, {})
