import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import as_columns
from detectors.history import HOURS, NEVER, History

START = 490_000


def history(points, rows=1, step_hours=1):
    kept = History(step_hours)
    kept.resize(rows)
    kept.record(*as_columns(points))
    return kept


def test_a_step_that_nothing_arrived_for_is_unknown():
    kept = history([(0, START, 1.0), (0, START + 3, 4.0)])
    recorded = kept.recorded(0, START - 1, START + 4)
    np.testing.assert_array_equal(np.isnan(recorded), [True, False, True, True, False, True])
    np.testing.assert_allclose(recorded[[1, 4]], [1.0, 4.0], rtol=3e-7)


def test_a_restated_step_overwrites_and_a_vanished_row_is_unknown():
    kept = history([(0, START, 1.0), (0, START + 1, 2.0), (0, START, 5.0), (0, START + 1, np.nan)])
    recorded = kept.recorded(0, START, START + 1)
    assert recorded[0] == pytest.approx(5.0, rel=3e-7)
    assert np.isnan(recorded[1])


def test_credits_keep_their_sign():
    assert history([(0, START, -16.0)]).recorded(0, START, START)[0] == pytest.approx(-16.0)


def test_a_long_silence_forgets_everything_before():
    kept = history([(0, START, 1.0), (0, START + 3 * HOURS, 2.0)])
    recorded = kept.recorded(0, START + 2 * HOURS, START + 3 * HOURS)
    assert np.isnan(recorded[:-1]).all()
    assert recorded[-1] == pytest.approx(2.0)


def test_a_step_before_the_depth_is_let_go():
    kept = history([(0, START, 1.0), (0, START - HOURS, 7.0)])
    assert kept.rings.first[0] == START
    assert np.isnan(kept.recorded(0, START - HOURS, START - HOURS)[0])


def test_growing_keeps_what_is_known():
    kept = history([(0, START, 1.0)])
    kept.resize(500)
    assert kept.recorded(0, START, START)[0] == pytest.approx(1.0)
    assert (kept.rings.last[1:500] == NEVER).all()


@pytest.mark.parametrize(("step_hours", "depth"), [(2, None), (1, 1009), (24, 35)])
def test_an_unknown_grain_or_a_broken_week_is_refused(step_hours, depth):
    with pytest.raises(ValueError, match=r"steps of|not whole weeks"):
        History(step_hours, depth)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(START, START + 400), st.floats(0, 1e9, width=32)),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_day_means_do_not_depend_on_the_order_of_arrival(points, shuffler):
    last = {(row, step): cost for row, step, cost in points}
    final = [(row, step, cost) for (row, step), cost in last.items()]
    ordered = history(sorted(final), rows=2)
    shuffler.shuffle(final)
    shuffled = history(final, rows=2)
    for row in range(2):
        known = ordered.recorded(row, START, START + 400)
        np.testing.assert_array_equal(known, shuffled.recorded(row, START, START + 400))
