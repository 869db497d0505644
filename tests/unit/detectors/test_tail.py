import numpy as np

from detectors import tail
from detectors.base import DAY


def learnt(values, floor=0.01):
    own = np.zeros(tail.FIELDS, np.float32)
    for block, value in enumerate(values, 1):
        tail.learn(own, value, block, floor)
    return own


def test_a_beginner_is_not_surprised():
    assert tail.surprise(np.zeros(tail.FIELDS, np.float32), 1e9, 0.01, 0.0, 1 / DAY) == 0.0


def test_surprise_rises_with_the_excess_and_starts_at_nothing():
    own = learnt(np.random.default_rng(1).normal(0, 1, 60))
    said = [tail.surprise(own, value, 0.01, 0.0, 1 / DAY) for value in (-5, 0, 3, 6, 12, 1e6)]
    assert said[:2] == [0.0, 0.0]
    assert sorted(said) == said
    assert 4 < said[4] < said[5]


def test_exceedances_are_about_as_rare_as_said():
    r = np.random.default_rng(2)
    high = 0
    for _ in range(400):
        own = learnt(r.gumbel(0, 1, 90))
        high += np.sum([tail.surprise(own, v, 0.01, 0.0, 1.0) >= 2 for v in r.gumbel(0, 1, 50)])
    assert 0.3 < high / 400 / 50 / 0.01 < 2.0


def test_one_wild_day_does_not_blind():
    calm = np.random.default_rng(3).normal(0, 1, 60)
    wild = calm.copy()
    wild[55] = 1e6
    before = tail.surprise(learnt(calm), 20.0, 0.01, 0.0, 1 / DAY)
    after = tail.surprise(learnt(wild), 20.0, 0.01, 0.0, 1 / DAY)
    assert before > 5
    assert after > 3


def test_an_erratic_beginner_is_widened_and_forgets_it():
    few, many = learnt([0.0, 0.1] * 2), learnt([0.0, 0.1] * 30)
    narrowed = [tail.surprise(own, 1.0, 0.01, 5.0, 1 / DAY) for own in (few, many)]
    assert narrowed[0] < 3 < narrowed[1]


def test_a_slow_statistic_is_learnt_a_week_late():
    own = np.zeros(tail.FIELDS, np.float32)
    queue = np.zeros(2 * tail.WAIT, np.float32)
    for block in range(1, 21):
        tail.learn_late(queue, own, float(block), block, 0.01)
    assert own[tail.PEAK] == 20 - tail.WAIT


def test_an_unknown_value_is_not_learnt():
    own = learnt([1.0, 2.0])
    kept = own.copy()
    tail.learn(own, np.nan, 9, 0.01)
    np.testing.assert_array_equal(own, kept)


def test_what_comes_and_goes_and_a_turn_of_the_month_surprise_less_in_a_young_series():
    even, uneven = tail.early(6.0, 10.0, 0.0, False), tail.early(6.0, 10.0, 1.0, False)
    assert 6.0 == even > uneven
    assert tail.early(6.0, 10.0, 0.0, True) < even
    assert tail.early(6.0, tail.GROWN, 1.0, False) == 6.0
