"""A finding's life: raised, extended, confirmed, retracted, ended."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import Score, start_of, step_of
from service.core.events import SeriesKey
from service.core.findings import OddPoint, Stretch, run_rate_per_day
from service.core.stretches import Stretches

SERIES = SeriesKey("focus", "000123", "i-1", "USD", "hour")
T0 = datetime(2026, 6, 1, tzinfo=UTC)
STEP = step_of(T0, 1)
HOUR = timedelta(hours=1)
THRESHOLD = 4.0


@pytest.fixture
def stretches():
    return Stretches(lambda _source: timedelta(hours=72))


def fresh() -> Stretch:
    return Stretch(SERIES, "spike", "spike", 1, THRESHOLD)


def point(actual=10, surprise=5.0) -> OddPoint:
    return OddPoint(Decimal(actual), Decimal(2), Decimal(1), Decimal(3), surprise)


def raise_at(stretches, step, since=None, actual=10) -> Stretch:
    score = Score(5.0, 2.0, 1.0, 3.0, step if since is None else since)
    at = start_of(step + 1, 1)
    stretch = stretches.raise_or_extend(fresh(), step, score, at)
    stretches.put(stretch, step, point(actual))
    return stretch


def test_odd_hours_close_to_each_other_are_one_finding(stretches):
    first = raise_at(stretches, STEP)
    assert raise_at(stretches, STEP + 24) is first
    assert first.detected_at == T0 + HOUR
    assert first.period() == (T0, T0 + 25 * HOUR)


def test_after_24_normal_hours_it_is_a_new_finding(stretches):
    first = raise_at(stretches, STEP)
    second = raise_at(stretches, STEP + 25)
    assert second.finding_id != first.finding_id
    assert first.ended_at == T0 + HOUR
    assert second.ended_at is None


def test_time_alone_ends_and_confirms_but_never_retracts(stretches):
    stretch = raise_at(stretches, STEP)
    stretches.advance(T0 + 25 * HOUR)
    assert stretch.ended_at is None
    stretches.advance(T0 + 26 * HOUR)
    assert (stretch.ended_at, stretch.status) == (T0 + HOUR, "provisional")
    stretches.advance(T0 + 73 * HOUR)
    assert stretch.status == "confirmed"


def test_hours_that_no_bill_speaks_of_yet_are_not_quiet_until_they_would_have_settled(stretches):
    stretch = raise_at(stretches, STEP)
    stretches.advance(T0 + 70 * HOUR, lambda _: T0 + 24 * HOUR)
    assert stretch.ended_at is None
    stretches.advance(T0 + 70 * HOUR, lambda _: T0 + 25 * HOUR)
    assert stretch.ended_at == T0 + HOUR
    other = raise_at(stretches, STEP + 100)
    stretches.advance(T0 + 172 * HOUR, lambda _: T0 + 101 * HOUR)
    assert other.ended_at is None
    stretches.advance(T0 + 173 * HOUR, lambda _: T0 + 101 * HOUR)
    assert other.ended_at == T0 + 101 * HOUR


def test_it_is_confirmed_when_the_last_of_its_periods_has_settled(stretches):
    stretch = raise_at(stretches, STEP)
    raise_at(stretches, STEP + 8)
    stretches.advance(T0 + 80 * HOUR)
    assert stretch.status == "provisional"
    assert stretches.settled_until(stretch, T0 + 80 * HOUR) == T0 + 8 * HOUR
    stretches.advance(T0 + 81 * HOUR)
    assert stretch.status == "confirmed"


def test_only_rows_that_changed_retract_and_the_same_rows_raise_it_again(stretches):
    stretch = raise_at(stretches, STEP)
    stretches.put(stretch, STEP, point(3, surprise=0.5))
    assert stretch.status == "retracted"
    assert stretch.ended_at is not None
    again = raise_at(stretches, STEP)
    assert again is stretch
    assert (again.status, again.ended_at) == ("provisional", None)
    assert again.detected_at == T0 + HOUR


def test_one_period_less_does_not_retract_what_still_stands(stretches):
    stretch = raise_at(stretches, STEP)
    raise_at(stretches, STEP + 1)
    stretches.put(stretch, STEP, point(3, surprise=0.5))
    assert stretch.status == "provisional"
    assert stretch.odd == {STEP + 1}


def test_what_is_restated_at_its_end_ends_where_it_is_odd_still(stretches):
    stretch = raise_at(stretches, STEP)
    raise_at(stretches, STEP + 1)
    stretches.put_over(stretch, STEP + 2, point(9, surprise=1.0))
    assert stretch.period() == (T0, T0 + 3 * HOUR)
    stretches.put(stretch, STEP + 2, point(3, surprise=0.5))
    assert stretch.period() == (T0, T0 + 2 * HOUR)
    stretches.advance(T0 + 40 * HOUR)
    assert stretch.ended_at == T0 + 2 * HOUR
    stretches.put(stretch, STEP + 1, point(3, surprise=0.5))
    assert stretch.period() == (T0, T0 + HOUR)
    assert stretch.ended_at == T0 + HOUR


def test_its_name_depends_on_series_detector_and_first_period_alone(stretches):
    one = raise_at(stretches, STEP + 2, since=STEP)
    other = Stretches(lambda _source: timedelta(0))
    two = other.raise_or_extend(fresh(), STEP + 5, Score(9, 1, 1, 1, STEP), T0 + 9 * HOUR)
    assert one.finding_id == two.finding_id


def test_drain_gives_each_change_once(stretches):
    stretch = raise_at(stretches, STEP)
    assert list(stretches.drain()) == [stretch]
    assert list(stretches.drain()) == []
    stretches.put(stretch, STEP, stretch.points[STEP])
    assert list(stretches.drain()) == []


def test_what_is_over_is_kept_as_long_as_the_ledger_may_change_it(stretches):
    stretch = raise_at(stretches, STEP)
    stretches.advance(T0 + 100 * HOUR)
    assert stretches.get(stretch.finding_id) is stretch
    stretches.advance(T0 + timedelta(days=30))
    assert stretches.get(stretch.finding_id) is stretch
    stretches.advance(T0 + timedelta(days=90))
    assert stretches.get(stretch.finding_id) is None
    assert stretches.of(SERIES) == []


def test_the_run_rate_is_the_newest_days_mean_excess_per_day():
    points = {STEP + n: point(actual=4 if n < 24 else 26) for n in range(48)}
    assert run_rate_per_day(points, 1, STEP + 47) == Decimal(24 * 24)
    assert run_rate_per_day({STEP: point(actual=12)}, 24, STEP) == Decimal(10)
    assert run_rate_per_day({}, 1, STEP) == 0


def test_the_run_rate_of_a_job_that_runs_part_of_the_day_is_that_part():
    points = {STEP + day * 24 + hour: point(actual=12) for day in range(3) for hour in range(4)}
    assert run_rate_per_day(points, 1, STEP + 51) == Decimal(4 * 10)
    assert run_rate_per_day({STEP: point(12), STEP + 3: point(12)}, 1, STEP + 3) == Decimal(120)


def test_a_stretch_that_ends_while_the_money_is_still_spent_is_the_new_level(stretches):
    stays, back = raise_at(stretches, STEP), raise_at(Stretches(lambda _s: HOUR), STEP)
    for _ in range(24):
        stays.note_quiet(Decimal(9))
        back.note_quiet(Decimal(3))
    assert not stays.is_new_level
    for stretch in (stays, back):
        stretch.ended_at = T0
    assert stays.is_new_level
    assert not back.is_new_level


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("odd"), st.integers(0, 60)),
            st.tuples(st.just("normal"), st.integers(0, 60)),
            st.tuples(st.just("told"), st.integers(0, 120)),
            st.tuples(st.just("wait"), st.sampled_from([1, 23, 48, 73, 24 * 62])),
            st.tuples(st.just("buy"), st.integers(0, 60)),
        ),
        max_size=25,
    )
)
def test_looking_at_everything_each_time_finds_no_more_than_what_is_due(acts):
    hurried, patient = (Stretches(lambda _source: timedelta(hours=72)) for _ in range(2))
    now, told = T0, None
    for act, value in acts:
        now += value * HOUR if act == "wait" else timedelta(minutes=7)
        told = T0 + value * HOUR if act == "told" else told
        for stretches in (hurried, patient):
            if act == "odd":
                raise_at(stretches, STEP + value)
            elif act == "normal":
                for known in list(stretches.of(SERIES)):
                    if STEP + value in known.points:
                        stretches.put(known, STEP + value, point(2, 0.0))
            elif act == "buy":
                bought = Stretch(SERIES, "purchase", "purchase", 1, 0.0)
                stretches.raise_alone(bought, STEP + value, now)
                stretches.put(bought, STEP + value, point())
        for known in patient.of(SERIES):
            patient._agenda.note(known.finding_id)
        for stretches in (hurried, patient):
            stretches.advance(now, lambda _, until=told: until)
        lives = [
            [(s.finding_id, s.status, s.ended_at, s.last_step) for s in stretches.of(SERIES)]
            for stretches in (hurried, patient)
        ]
        assert lives[0] == lives[1]
        assert [s.finding_id for s in hurried.drain()] == [s.finding_id for s in patient.drain()]
