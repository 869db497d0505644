"""Time intervals mean what they mean to Alertmanager, in any zone, and say when they change."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.intervals import QuietHours, TimeInterval, covered, next_change, span_of

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def interval(**values):
    return msgspec.convert(values, TimeInterval)


@pytest.mark.parametrize(
    ("values", "at", "passes"),
    [
        ({}, MONDAY, True),
        ({"weekdays": ["monday:friday"]}, MONDAY, True),
        ({"weekdays": ["saturday:sunday"]}, MONDAY, False),
        ({"weekdays": ["saturday:monday"]}, MONDAY, True),
        ({"times": [{"start_time": "00:00", "end_time": "09:00"}]}, MONDAY, True),
        ({"times": [{"start_time": "09:00", "end_time": "24:00"}]}, MONDAY, False),
        ({"times": [{"start_time": "01:00", "end_time": "03:00"}], "location": "Europe/Berlin"},
         MONDAY, True),
        ({"days_of_month": ["1:5"]}, MONDAY, True),
        ({"days_of_month": ["-1"]}, MONDAY, False),
        ({"days_of_month": ["-2:-1"]}, MONDAY - timedelta(hours=1), True),
        ({"months": ["may:july"]}, MONDAY, True),
        ({"months": ["11:2"]}, MONDAY, False),
        ({"years": ["2020:2025"]}, MONDAY, False),
        ({"years": ["2026"], "weekdays": ["tuesday", "monday"]}, MONDAY, True),
    ],
)  # fmt: skip
def test_a_moment_passes_every_field_that_is_given(values, at, passes):
    assert interval(**values).covers(at) is passes


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"weekdays": ["noday"]}, "weekday"),
        ({"months": ["13"]}, "month"),
        ({"days_of_month": ["0"]}, "day of the month"),
        ({"days_of_month": ["1:32"]}, "day of the month"),
        ({"years": ["2027:2026"]}, "ends before it begins"),
        ({"times": [{"start_time": "9:00", "end_time": "10:00"}]}, "time of day"),
        ({"times": [{"start_time": "22:00", "end_time": "06:00"}]}, "crosses midnight"),
        ({"location": "Mars/Olympus"}, "tz database"),
        ({"location": "../etc/passwd"}, "tz database"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(values, why):
    with pytest.raises(msgspec.ValidationError, match=why):
        interval(**values)


def test_quiet_hours_go_over_midnight_and_take_whole_weekdays():
    quiet = QuietHours(start="20:00", end="07:00", weekdays=["sunday"], location="Europe/Berlin")
    evening = MONDAY.replace(hour=18)
    assert next_change(quiet.intervals, MONDAY.replace(hour=12)) == evening
    assert next_change(quiet.intervals, evening) == MONDAY + timedelta(days=1, hours=5)
    assert next_change(quiet.intervals, MONDAY + timedelta(days=5, hours=18)) == (
        MONDAY + timedelta(days=7, hours=5)
    )


@pytest.mark.parametrize("values", [{"start": "20:00"}, {}, {"start": "20:00", "end": "20:00"}])
def test_half_a_night_is_refused(values):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, QuietHours)


def test_a_clock_that_is_put_back_does_not_end_the_night_early():
    quiet = QuietHours(start="20:00", end="07:00", location="Europe/Berlin")
    before = datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert next_change(quiet.intervals, before) == datetime(2026, 10, 25, 6, tzinfo=UTC)


times = st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda pair: pair[0] < pair[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(times, max_size=2),
    st.sets(st.sampled_from(["monday", "friday", "sunday"])),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]),
    st.datetimes(datetime(2026, 3, 1), datetime(2026, 11, 30)).map(lambda t: t.replace(tzinfo=UTC)),  # noqa: DTZ001
)
def test_until_the_next_change_nothing_changes_and_then_it_does(clocks, days, location, at):
    clock = [{"start_time": f"{a:02}:00", "end_time": f"{b:02}:00"} for a, b in clocks]
    one = interval(times=clock, weekdays=sorted(days), location=location)
    now, then = covered([one], at), next_change([one], at)
    if then - at < timedelta(days=300):
        assert covered([one], then) != now
    assert all(covered([one], at + (then - at) * part / 9) == now for part in range(9))


def test_durations_are_written_as_prometheus_writes_them():
    assert span_of("1w1h") == timedelta(days=7, hours=1)
    for wrong in ("", "5", "5 m", "-5m", "h", "9" * 19 + "w"):
        with pytest.raises(ValueError, match=r"duration|too long"):
            span_of(wrong)
