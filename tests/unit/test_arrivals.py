from datetime import UTC, datetime, timedelta

import pytest

from detectors.base import step_of
from service.core.arrivals import Arrivals
from service.core.ports import SourceStatus

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def described(arrivals, now, source="aws"):
    status = SourceStatus(source=source)
    arrivals.describe([status], now)
    return status


def told(counts, step_hours=1, source="aws"):
    arrivals = Arrivals()
    for at, count in counts.items():
        for _ in range(count):
            arrivals.note_series(source, step_hours, step_of(at, step_hours), 1)
    return arrivals


def week(count=10, hour=9):
    return {T0 + timedelta(days=day, hours=hour): count for day in range(7)}


def test_the_newest_hour_is_held_to_the_same_hour_of_the_days_before():
    last = T0 + timedelta(days=7, hours=9)
    other = {T0 + timedelta(days=day, hours=8): 99 for day in range(7)}
    status = described(told(week() | other | {last: 4}), last + 2 * HOUR)
    assert (status.period_end, status.series_arrived, status.series_usual) == (last + HOUR, 4, 10)


def test_an_hour_that_is_not_over_is_not_judged():
    last = T0 + timedelta(days=7, hours=9)
    status = described(told(week() | {last: 4}), last + HOUR / 2)
    assert status.period_end == T0 + timedelta(days=6, hours=10)


@pytest.mark.parametrize(("days", "usual"), [(2, 0), (3, 10)])
def test_what_is_usual_is_learnt(days, usual):
    counts = {T0 + timedelta(days=day): 10 for day in range(days)} | {T0 + timedelta(days=days): 9}
    found = described(told(counts, 24), T0 + timedelta(days=days + 2))
    assert (found.series_arrived, found.series_usual) == (9, usual)


def test_rows_are_counted_for_an_hour_and_forgotten_after_it():
    arrivals = Arrivals()
    for minute in range(0, 240, 5):
        arrivals.note_rows("aws", T0 + timedelta(minutes=minute), 1)
    assert described(arrivals, T0 + 4 * HOUR - timedelta(minutes=5)).rows_last_hour == 12
    assert described(arrivals, T0 + 5 * HOUR).rows_last_hour == 0
    assert described(arrivals, T0, "gcp").rows_last_hour == 0


def test_what_is_kept_does_not_grow():
    arrivals = Arrivals()
    for hour in range(2000):
        arrivals.note_series("aws", 1, hour, 1)
        arrivals.note_rows("aws", T0 + hour * HOUR, 1)
    (known,) = arrivals._sources.values()
    assert len(known.steps[1]) <= 2 * 8 * 24 + 2
    assert len(known.rows) <= 24
