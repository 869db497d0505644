import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import as_columns
from detectors.fleet import Fleet
from detectors.registry import DETECTORS
from detectors.signature import signature

from .conftest import START

ALL = {name: {} for name in DETECTORS}


def fed(rows=3, hours=60, step_hours=1):
    fleet = Fleet(step_hours, ALL)
    fleet.resize(rows)
    r = np.random.default_rng(9)
    for h in range(hours):
        points = as_columns([(row, START + h, r.lognormal(row, 0.2)) for row in range(rows)])
        fleet.learn(*points)
        fleet.record(*points)
    return fleet


def filled(fleet, saved, rows):
    fleet.resize(max(rows) + 1)
    for name, part in saved.items():
        fleet.columns()[name][rows] = part
    return fleet


@pytest.mark.parametrize("step_hours", [1, 24])
def test_what_was_saved_is_restored_to_the_last_bit_and_goes_on_the_same(step_hours):
    fleet = fed(step_hours=step_hours)
    saved = {name: part.copy() for name, part in fleet.columns().items()}
    assert all(part.dtype != object for part in saved.values())
    other = filled(Fleet(step_hours, ALL), saved, [0, 1, 2])
    points = as_columns([(row, START + 60, 40.0) for row in range(3)])
    for name, scores in fleet.score(*points).items():
        for part, same in zip(scores, other.score(*points)[name], strict=True):
            np.testing.assert_array_equal(part, same)
    for name, part in other.columns().items():
        np.testing.assert_array_equal(part, saved[name])


def test_a_series_may_land_on_another_row():
    fleet = fed()
    other = filled(Fleet(1, ALL), fleet.columns(), [2, 0, 3])
    here = fleet.score(*as_columns([(1, START + 60, 40.0)]))
    there = other.score(*as_columns([(0, START + 60, 40.0)]))
    assert {n: s.at(0) for n, s in here.items()} == {n: s.at(0) for n, s in there.items()}


@settings(deadline=None)
@given(st.data())
def test_a_signature_shows_every_change(data):
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 9)))
    words = np.random.default_rng(3).integers(0, 2**32, shape, np.uint32)
    before = signature(words)
    row, field = (data.draw(st.integers(0, size - 1)) for size in shape)
    words[row, field] ^= np.uint32(data.draw(st.integers(1, 2**32 - 1)))
    assert np.flatnonzero(signature(words) != before).tolist() == [field]


def test_a_series_depends_on_itself_alone():
    alone, beside = fed(rows=1, hours=1), fed(rows=1, hours=1)
    beside.resize(4)
    r = np.random.default_rng(2)
    for h in range(1, 200):
        cost = r.lognormal()
        for fleet, more in ((alone, []), (beside, [(k, START + h, 9.0 * k) for k in (1, 2, 3)])):
            points = as_columns([*more, (0, START + h, cost)])
            fleet.learn(*points)
            fleet.record(*points)
    for name, part in alone.columns().items():
        np.testing.assert_array_equal(part[0], beside.columns()[name][0])


def test_fewer_tolerated_findings_mean_higher_thresholds():
    few, many = Fleet(1, ALL, 30.0), Fleet(1, ALL, 1000.0)
    assert all(few.threshold(name) > many.threshold(name) for name in ALL)


@pytest.mark.parametrize(
    ("detectors", "tolerated"),
    [
        ({"spyke": {}}, 100.0),
        ({"spike": {"window": 3}}, 100.0),
        ({"river.anomaly.Nothing": {}}, 100.0),
        ({"river.stats.Mean": {}}, 100.0),
        ({"river.anomaly.HalfSpaceTrees": {"n_tree": 3}}, 100.0),
        ({"spike": {}}, 0.0),
    ],
)
def test_what_no_one_meant_is_refused(detectors, tolerated):
    with pytest.raises(ValueError, match=r"detector|argument|tolerated"):
        Fleet(1, detectors, tolerated)


def test_a_series_takes_at_most_six_kib():
    fleet = fed(rows=1, hours=1)
    assert sum(part.nbytes for part in fleet.columns().values()) <= 6144


def test_what_is_kept_from_hour_to_hour_for_speed_changes_nothing():
    r = np.random.default_rng(21)
    rows = 12
    fleet = Fleet(1, ALL)
    fleet.resize(rows)
    active = r.uniform(0.2, 1.0, rows)
    for h in range(1_100):
        some = np.flatnonzero(r.random(rows) < active)
        points = some, np.full(len(some), START + h), r.lognormal(0, 0.5, len(some))
        afresh = copy.deepcopy(fleet) if h % 90 < 2 else None
        said = fleet.score(*points)
        fleet.record(*points)
        if r.random() < 0.3:
            back = START + h - r.integers(0, 60, len(some))
            fleet.score(some, back, 3 * points[2])
            fleet.record(some, back, 2 * points[2])
        if afresh:
            afresh.columns()
            for name, scores in afresh.score(*points).items():
                for part, same in zip(scores, said[name], strict=True):
                    np.testing.assert_array_equal(part, same)
            for name in afresh.history.columns():
                getattr(afresh.history.rings, name)[...] = getattr(fleet.history.rings, name)
            afresh.columns()
        fleet.learn(*points)
        if afresh:
            afresh.learn(*points)
            for name, part in afresh.columns().items():
                np.testing.assert_array_equal(part, copy.deepcopy(fleet).columns()[name])


def test_several_steps_of_a_row_are_scored_in_one_call_each_by_its_own_past():
    fleet = fed(hours=200)
    steps = [START + 198, START + 199, START + 200]
    together = fleet.score(*as_columns([(0, step, 30.0) for step in steps]))
    for name, scores in together.items():
        for i, step in enumerate(steps):
            alone = fleet.score(*as_columns([(0, step, 30.0)]))[name]
            assert scores.at(i) == alone.at(0)
