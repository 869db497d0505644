"""Clocks that are put forward and back, public holidays, and what comes back with the month."""

import csv
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from detectors.base import step_of
from detectors.calendar import FIRST, month_before, month_turns, only_utc
from detectors.fleet import Fleet
from detectors.history import History
from detectors.registry import DETECTORS
from service.adapters.calendars import load_calendar
from tests.clocks import clock, drive, hours_of, steps_between

DATA = Path(__file__).parents[2] / "data" / "gpu"
ZONE = "Europe/Berlin"
GERMANY = load_calendar(ZONE, "DE")
BERLIN = load_calendar(ZONE)
UP = {"spike", "shift", "creep"}


def working(steps, days_off=(), weekend=0.0, rows=10, noise=0.05):
    """Office hours in Berlin at $8 an hour; `weekend` is what other hours cost."""
    r = np.random.default_rng(5)
    busy = np.array(
        [
            9 <= at.hour < 18 and at.weekday() < 5 and f"{at:%Y-%m-%d}" not in days_off
            for at in clock(steps, ZONE)
        ]
    )
    return np.where(busy, 8.0, weekend) * np.exp(noise * r.normal(size=(rows, len(steps))))


def people(steps, days_off=(), weekend=0.5, rows=10):
    """A daily rhythm around $10 an hour, less on days off."""
    r = np.random.default_rng(3)
    at = clock(steps, ZONE)
    rest = np.array([t.weekday() >= 5 or f"{t:%Y-%m-%d}" in days_off for t in at])
    rhythm = 1 + 0.4 * np.cos((np.array([t.hour for t in at]) - 14) * np.pi / 12)
    noise = np.exp(0.06 * r.normal(size=(rows, len(steps))))
    return 10 * rhythm * np.where(rest, weekend, 1.0) * noise


def after(found, day):
    return [one for one in found if one[1] >= hours_of(day, ZONE)[0]]


@pytest.mark.parametrize("zone", [ZONE, "America/Los_Angeles", "Asia/Kolkata", "Asia/Beirut"])
def test_steps_go_by_the_wall_clock_and_come_back(zone):
    calendar = load_calendar(zone)
    history = History(1, None, [calendar])
    history.resize(1)
    history.follow(np.zeros(1, np.int64), [calendar.name])
    steps = steps_between("2025-01-01", "2026-01-01")
    rows = np.zeros(len(steps), np.int64)
    walls = history.walls(rows, steps)
    shown = [step_of(at.replace(tzinfo=UTC), 1) for at in clock(steps, zone)]
    np.testing.assert_array_equal(walls, shown)
    again = np.flatnonzero(history.steps(rows, walls) != steps)
    assert [walls[i] == walls[i - 1] for i in again] == [True] * (zone != "Asia/Kolkata")


@pytest.mark.parametrize(
    ("first", "switch", "last"),
    [("2025-02-10", "2025-03-30", "2025-04-13"), ("2025-09-01", "2025-10-26", "2025-11-16")],
)
@pytest.mark.parametrize("weekend", [0.0, 1.0])
def test_office_hours_raise_nothing_when_clocks_are_put_forward_or_back(
    first, switch, last, weekend
):
    steps = steps_between(first, last)
    costs = working(steps, ["2025-10-03"], weekend)
    assert after(drive(costs, steps, GERMANY), switch) == []


def test_the_first_office_hour_after_the_switch_is_expected_at_its_new_utc_hour():
    steps = steps_between("2025-02-10", "2025-03-31")
    nine = hours_of("2025-03-31", ZONE)[9]
    expected = {}
    for calendar in (load_calendar("UTC"), BERLIN):
        fleet = Fleet(1, {"spike": {}}, 100.0, [calendar])
        fleet.resize(1)
        fleet.follow(np.zeros(1, np.int64), [calendar.name])
        for step, cost in zip(steps, working(steps, rows=1, noise=0.0)[0], strict=True):
            point = np.zeros(1, np.int64), np.array([step]), np.array([cost])
            fleet.learn(*point)
            fleet.record(*point)
        scores = fleet.score(np.zeros(1, np.int64), np.array([nine]), np.array([8.0]))
        expected[calendar.name] = scores["spike"].expected[0]
    assert expected[ZONE] == pytest.approx(8.0, rel=1e-3)
    assert expected["UTC"] < 1.0


@pytest.mark.parametrize("name", DETECTORS)
def test_both_forms_agree_by_the_wall_clock(name):
    steps = steps_between("2025-09-15", "2025-11-01")
    costs = working(steps, weekend=1.0, rows=3)
    costs[1, -90:] *= 4.0
    costs[2, -90:] = 0.0
    fleet = Fleet(1, {name: {}}, 100.0, [GERMANY])
    fleet.resize(3)
    rows = np.arange(3)
    fleet.follow(rows, [GERMANY.name] * 3)
    ones = [DETECTORS[name].one(1, GERMANY) for _ in rows]
    odd = 0
    for step, cost in zip(steps.tolist(), costs.T, strict=True):
        point = rows, np.full(3, step), cost
        scores = fleet.score(*point)[name]
        assert (scores.since <= step).all()
        odd += int((scores.surprise > 0).sum())
        for row, one in enumerate(ones):
            x = {"step": step, "cost": cost[row]}
            np.testing.assert_allclose(one.judge_one(x).at(0), scores.at(row), rtol=1e-9)
            one.learn_one(x)
        fleet.learn(*point)
        fleet.record(*point)
    assert odd > 0


def test_of_two_hours_that_look_alike_the_first_is_kept_whatever_the_order():
    night = list(hours_of("2025-10-26", ZONE))
    assert len(night) == 25
    kept = []
    for order in (night, [*night[3:], *night[:3]]):
        history = History(1, None, [BERLIN])
        history.resize(1)
        history.follow(np.zeros(1, np.int64), [ZONE])
        for step in order:
            at = np.zeros(1, np.int64), np.array([step]), np.array([float(step - night[0])])
            history.record(*at)
        kept.append(history.recorded(0, night[0], night[-1]))
    np.testing.assert_array_equal(kept[0], kept[1])
    assert kept[0][2:5] == pytest.approx([2.0, 2.0, 4.0])


def test_a_calendar_is_kept_when_a_fleet_is_restored_under_another_config():
    fleet = Fleet(1, {"spike": {}}, 100.0, [BERLIN, GERMANY])
    fleet.resize(2)
    fleet.follow(np.arange(2), [GERMANY.name, BERLIN.name])
    other = Fleet(1, {"spike": {}}, 100.0, [GERMANY])
    other.resize(2)
    for name, part in fleet.columns().items():
        other.columns()[name][:] = part
    other.resume()
    steps = np.full(2, hours_of("2025-07-01")[0])
    moved = other.history.walls(np.arange(2), steps) - steps
    assert moved.tolist() == [2, 0]  # the second calendar is not known any more


@pytest.mark.parametrize("calendar", [None, load_calendar("America/Los_Angeles", "US")])
def test_the_artefact_of_a_real_switch_of_clocks_raises_nothing(calendar):
    with (DATA / "philly_active_nodes.csv").open() as file:
        known = {
            step_of(
                datetime.fromisoformat(row["hour_pacific_naive"])
                .replace(tzinfo=ZoneInfo("America/Los_Angeles"))
                .astimezone(UTC),
                1,
            ): float(row["active_nodes_mean"])
            for row in csv.DictReader(file)
        }
    steps = np.arange(min(known), max(known) + 1)
    costs = np.array([[known.get(step, np.nan) for step in steps.tolist()]])
    artefact = hours_of("2025-11-05")[8] - hours_of("2025-11-05")[0] + hours_of("2017-11-05")[0]
    at = artefact - steps[0]
    assert costs[0, at] < 0.4 * costs[0, at - 1]
    assert np.isnan(costs[0, at + 1])  # the hour that the clock showed a second time
    found = drive(costs, steps, calendar)
    assert [one for one in found if one[1] > artefact - 48] == []
    costs[0, at] = 2 * costs[0, at - 1]
    assert "spike" in {one[2] for one in drive(costs, steps, calendar) if one[1] == artefact}


@pytest.mark.parametrize("switch", ["2025-03-30", "2025-10-26"])
def test_a_day_of_23_or_25_hours_raises_nothing_at_daily_grain(switch):
    steps = steps_between("2025-01-01", "2025-12-01", 24)
    r = np.random.default_rng(2)
    day = steps_between(switch, "2025-12-01", 24)[0]
    for noise in (0.0, 0.02):
        costs = 240.0 * np.exp(noise * r.normal(size=(10, len(steps))))
        plain = drive(costs, steps, GERMANY, 24)
        costs[:, day - steps[0]] *= len(hours_of(switch, ZONE)) / 24
        fresh = {one[:3] for one in drive(costs, steps, GERMANY, 24)} - {one[:3] for one in plain}
        assert {one for one in fresh if one[1] <= day + 1} == set()


HOLIDAYS = [
    ("2025-10-03", "2025-08-10", "2025-10-12"),  # a Friday
    ("2025-05-29", "2025-04-05", "2025-06-07"),  # a Thursday
    ("2026-04-06", "2026-02-08", "2026-04-12"),  # Easter, four days with the weekend
]
DAYS_OFF = ["2025-10-03", "2025-05-29", "2026-04-03", "2026-04-06", "2025-04-18", "2025-04-21"]
DAYS_OFF.append("2025-05-01")


@pytest.mark.parametrize(("holiday", "first", "last"), HOLIDAYS)
@pytest.mark.parametrize("rows_when_off", [True, False])
def test_a_public_holiday_raises_nothing_where_its_country_is_known(
    holiday, first, last, rows_when_off
):
    steps = steps_between(first, last)
    costs = working(steps, DAYS_OFF)
    if not rows_when_off:
        costs = np.where(costs > 0, costs, np.nan)
    assert after(drive(costs, steps, GERMANY), holiday) == []


def test_a_public_holiday_is_at_most_one_finding_without_a_country_and_no_spike_after():
    holiday, first, last = HOLIDAYS[0]
    steps = steps_between(first, last)
    found = after(drive(working(steps, DAYS_OFF), steps, BERLIN), holiday)
    assert {name for _, _, name, _ in found} == {"drop"}
    for row in {one[0] for one in found}:
        hours = sorted(one[1] for one in found if one[0] == row)
        assert np.diff(hours).max(initial=0) <= 24  # one stretch


def test_a_spike_on_a_holiday_is_held_against_weekends():
    holiday, first, last = HOLIDAYS[0]
    steps = steps_between(first, last)
    costs = people(steps, DAYS_OFF)
    at = hours_of(holiday, ZONE)[14]
    costs[:, at - steps[0]] *= 3.0
    hits, expected = {}, {}
    for calendar in (BERLIN, GERMANY):
        found = [one for one in drive(costs, steps, calendar) if one[1:3] == (at, "spike")]
        hits[calendar.name] = len(found)
        expected[calendar.name] = [score.expected for _, _, _, score in found]
    assert hits[GERMANY.name] == len(costs)
    assert hits[GERMANY.name] > hits[ZONE]
    assert np.mean(expected[GERMANY.name]) == pytest.approx(7.0, rel=0.1)


def test_a_drop_that_begins_on_a_holiday_is_found_after_it():
    holiday, first, last = HOLIDAYS[1]
    steps = steps_between(first, last)
    costs = people(steps, DAYS_OFF, weekend=0.9)
    costs[:, hours_of(holiday, ZONE)[0] - steps[0] :] *= 0.4
    found = {one[0] for one in after(drive(costs, steps, GERMANY), holiday) if one[2] == "drop"}
    assert len(found) == len(costs)


MONTHS = [(2024, 12), (2025, 1), (2025, 2), (2025, 3)]


def due(kind, year, month):
    """The date of a monthly job."""
    dates = [date(year, month, 1) + timedelta(days=k) for k in range(31)]
    dates = [day for day in dates if day.month == month]
    days_off = [day.weekday() >= 5 or GERMANY.holidays[_number(day)] for day in dates]
    work = [day for day, is_off in zip(dates, days_off, strict=True) if not is_off]
    return {
        "the 1st": dates[0],
        "the last day": dates[-1],
        "the first working day": work[0],
        "the last working day": work[-1],
        "pay day on the 15th": max(day for day in work if day.day <= 15),
        "pay day on the 25th": max(day for day in work if day.day <= 25),
        "the 30th": dates[min(29, len(dates) - 1)],
    }[kind]


def _number(day):
    return (day - date(1970, 1, 1)).days - FIRST


def monthly(kind, hours, times, last_times=None):
    """Flat spend with a job of some hours each month; the job of the last month `last_times`."""
    steps = steps_between("2024-11-15", "2025-04-12")
    r = np.random.default_rng(4)
    costs = 5.0 * np.exp(0.02 * r.normal(size=(5, len(steps))))
    begins = [hours_of(f"{due(kind, *month)}", ZONE)[2] for month in MONTHS]
    for begin in begins:
        more = times if last_times is None or begin != begins[-1] else last_times
        size = 5.0 * more * np.exp(0.05 * r.normal(size=(5, hours)))
        costs[:, begin - steps[0] : begin - steps[0] + hours] += size
    return costs, steps, begins


KINDS = [
    "the 1st",
    "the last day",
    "the first working day",
    "the last working day",
    "pay day on the 15th",
    "pay day on the 25th",
    "the 30th",
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("hours", "times"), [(1, 20.0), (6, 4.0)])
def test_what_came_with_the_month_twice_raises_nothing_the_third_time(kind, hours, times):
    costs, steps, begins = monthly(kind, hours, times)
    found = drive(costs, steps, GERMANY)
    assert {one[0] for one in found if one[1] < begins[2] - 24} == set(range(len(costs)))
    # Of the last day of February nobody can know whether it stands for the 30th.
    known = 3 if kind == "the 30th" else 2
    late = [one for one in found if one[1] >= begins[known] - 24]
    assert {name for _, _, name, _ in late} & UP == set()


@pytest.mark.parametrize("kind", ["the 1st", "the last working day"])
def test_a_monthly_job_of_three_times_its_usual_cost_is_found(kind):
    costs, steps, begins = monthly(kind, 3, 6.0, 18.0)
    found = [one for one in drive(costs, steps, GERMANY) if begins[-1] <= one[1] < begins[-1] + 3]
    assert {one[0] for one in found if one[2] == "spike"} == set(range(len(costs)))
    assert np.mean([one[3].expected for one in found if one[2] == "spike"]) == pytest.approx(
        35.0, rel=0.15
    )


def test_a_level_that_came_back_is_not_taken_for_a_monthly_job():
    steps = steps_between("2025-01-05", "2025-05-20")
    r = np.random.default_rng(6)
    costs = 5.0 * np.exp(0.02 * r.normal(size=(10, len(steps))))
    low = steps_between("2025-04-01", "2025-05-10") - steps[0]
    costs[:, low] *= 0.5
    back = hours_of("2025-05-10")[0]
    found = {one[0] for one in drive(costs, steps) if back <= one[1] < back + 72}
    assert found == set(range(len(costs)))


@pytest.mark.parametrize(
    ("day", "phases"),
    [
        ("2025-03-31", ["2025-02-28", "2025-02-28", None, "2025-02-28", None]),
        ("2025-03-01", ["2025-02-01", None, None, None, None]),
        ("2025-02-28", ["2025-01-28", "2025-01-31", "2025-01-28", "2025-01-31", None]),
        ("2024-02-29", ["2024-01-29", "2024-01-31", "2024-01-29", "2024-01-31", None]),
        (
            "2025-08-15",
            ["2025-07-15", "2025-07-15", "2025-07-15", "2025-07-17", "2025-07-15"],
        ),
        ("1999-01-01", [None] * 5),
    ],
)
def test_a_day_has_its_likes_in_last_month_whatever_its_length(day, phases):
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    found = [month_before(only_utc(), 0, number, phase, 1) for phase in range(5)]
    dates = [str(date(1970, 1, 1) + timedelta(days=at)) if at >= 0 else None for at in found]
    assert dates == phases


def test_a_series_takes_at_most_six_kibibytes():
    fleet = Fleet(1, {name: {} for name in DETECTORS}, 100.0, [GERMANY])
    fleet.resize(1)
    size = sum(part.nbytes for part in fleet.columns().values())
    assert size + fleet.history.rings.which[:1].nbytes <= 6 * 1024


def test_a_month_turns_for_a_few_days():
    turning = [
        date(2026, 2, day).day
        for day in range(1, 29)
        if month_turns(only_utc(), step_of(datetime(2026, 2, day, tzinfo=UTC), 24))
    ]
    assert turning == [1, 2, 3, 4, 27, 28]
    assert not month_turns(only_utc(), FIRST - 1)
