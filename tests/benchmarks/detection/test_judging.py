import numpy as np
import pytest

from tests.benchmarks.detection import judge, microsoft, nab, page, peers
from tests.benchmarks.detection.drive import Found
from tests.benchmarks.detection.families import Series
from tests.benchmarks.detection.faults import Fault

HOURS = 100 * 24
BEGIN, END = 50 * 24, 52 * 24


def a_series(*, fault=True, excused=None):
    added = np.zeros(HOURS)
    added[BEGIN:END] = 1.0 if fault else 0.0
    own = Fault("shift", BEGIN, END, 1.0) if fault else None
    return Series("flat", 1 + added, 1 + added, np.ones(HOURS, bool), own, added, excused)


def said(*hours, detector="shift"):
    return [Found(0, hour, hour - 1, detector) for hour in hours]


def test_a_fault_is_found_by_the_first_finding_raised_in_it():
    tally = judge.one(a_series(), said(BEGIN + 12, BEGIN + 40))
    assert tally.delays["shift"] == [12]
    assert tally.spent["shift"] == [0.25]
    assert tally.false == 0


@pytest.mark.parametrize("hour", [BEGIN, END + 2])
def test_a_finding_before_or_after_a_fault_does_not_find_it(hour):
    tally = judge.one(a_series(), said(hour))
    assert tally.delays["shift"] == [None]
    assert tally.spent["shift"] == [1.0]


def test_a_stretch_that_began_long_before_the_fault_does_not_find_it():
    tally = judge.one(a_series(), [Found(0, BEGIN + 2, BEGIN - 7, "shift")])
    assert tally.delays["shift"] == [None]


def test_less_spend_finds_no_fault_of_more_and_is_false_elsewhere():
    tally = judge.one(a_series(), said(BEGIN + 2, 80 * 24, detector="drop"))
    assert tally.delays["shift"] == [None]
    assert tally.false == 1


def test_false_findings_within_a_day_count_once_and_young_ones_apart():
    first = judge.BURN + 100
    tally = judge.one(a_series(fault=False), said(10, 200, first, first + 23, first + 24))
    assert (tally.first_days, tally.young_false, tally.false) == (1, 1, 2)
    assert tally.rate == pytest.approx(720 * 2 / (HOURS - judge.BURN))


def test_what_is_found_where_something_real_is_labelled_is_not_judged():
    excused = np.zeros(HOURS, bool)
    excused[BEGIN:END] = True
    tally = judge.one(a_series(fault=False, excused=excused), said(BEGIN + 1, END, END + 1))
    assert tally.false == 1
    assert tally.hours == HOURS - judge.BURN - (END - BEGIN)


def test_the_interval_of_no_false_finding_is_that_of_a_poisson_rate():
    low, high = judge.interval([judge.one(a_series(fault=False), [])] * 10)
    assert low == 0.0
    assert high * (10 * (HOURS - judge.BURN) / 720) == pytest.approx(3.0, abs=0.01)


WINDOW = np.zeros(1000, bool)
WINDOW[500:600] = True
STANDARD = nab.PROFILES["standard"]


@pytest.mark.parametrize(
    ("hours", "points"),
    [([], -1.0), ([500], 1.0), ([500, 550], 1.0), ([100], -1.0), ([300], -1.11)],
)
def test_nab_rewards_the_first_hour_of_a_window_once_and_ignores_the_probation(hours, points):
    assert nab.points(hours, WINDOW, STANDARD) == pytest.approx(points)


def test_nab_pays_less_for_later_detections_and_little_costs_one_just_after_the_window():
    early, late = (nab.points([hour], WINDOW, STANDARD) for hour in (520, 590))
    assert 1 > early > late > 0
    after, far = (nab.points([500, hour], WINDOW, STANDARD) for hour in (602, 990))
    assert 1 > after > far
    assert far == pytest.approx(1 - STANDARD.false)


def test_odd_hours_without_twelve_normal_ones_between_are_one_finding():
    odd = np.zeros(100, bool)
    odd[[3, 4, 16, 40]] = True
    assert microsoft.stretches(odd) == [(3, 16), (40, 40)]


def test_the_page_keeps_its_prose_and_refuses_a_place_it_does_not_have():
    text = "before\n<!-- begin: a -->\nold\n<!-- end: a -->\nafter"
    assert page.put(text, "a", "new") == text.replace("old", "new")
    with pytest.raises(ValueError, match="0 places for 'b'"):
        page.put(text, "b", "new")


@pytest.fixture(scope="module")
def costs():
    rhythm = 2 + np.cos(np.arange(40 * 24) * 2 * np.pi / 24)
    return np.random.default_rng(1).lognormal(0, 0.1, (2, 40 * 24)) * rhythm


@pytest.mark.parametrize("name", peers.able(slow=True))
def test_no_peer_looks_ahead(name, costs):
    until = 30 * 24
    whole, part = (peers.PEERS[name].scores(own) for own in (costs, costs[:, :until]))
    assert np.array_equal(whole[:, :until], part, equal_nan=True)


@pytest.mark.parametrize("name", ["24 h against last week", "hour-of-week median and MAD"])
def test_peers_of_the_calendar_call_a_doubled_day_odd_and_the_days_before_not(name, costs):
    odd = costs.copy()
    odd[:, -24:] *= 2
    scores = peers.PEERS[name].scores(odd)
    before = np.nanmax(scores[:, :-24], axis=1)
    assert (scores[:, -1] > before / 2).all()
    assert (np.nanmax(scores[:, -24:], axis=1) > before).all()


def test_a_threshold_is_never_so_low_that_one_stretch_goes_on_for_ever():
    scores = np.random.default_rng(2).random((1, HOURS))
    heard = peers.Heard("peer", scores, nightly=False)
    level = peers.threshold(heard, [a_series(fault=False)], asked=1e9)
    assert (scores >= level).mean() == pytest.approx(peers.OFTEN, abs=0.01)
