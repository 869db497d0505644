import numpy as np
import pytest

from detectors import multiples
from detectors.base import DAY


def followed(costs):
    own = np.zeros(multiples.FIELDS, np.float32)
    for cost in costs:
        multiples.follow(own, cost, DAY)
    return own


RUNS = ([2.0] * 20 + [0.0] * 10 + [1.0] * 20 + [4.0] * 20 + [0.0] * 30) * 6


def weigh(own, cost, surprise=0.0):
    return multiples.weigh(own, cost, 1.0, surprise, DAY)


def test_the_unit_is_the_smallest_count():
    assert followed(RUNS)[multiples.UNIT] == pytest.approx(1.0)


def test_a_cost_that_is_no_multiple_is_a_surprise():
    assert weigh(followed(RUNS), 2.6) == multiples.MISS


@pytest.mark.parametrize(("cost", "left"), [(4.0, 4.0), (3.0, 6.0), (16.0, 10.0)])
def test_a_multiple_takes_away_from_a_surprise_the_more_the_more_usual(cost, left):
    assert weigh(followed(RUNS), cost, 10.0) == pytest.approx(left)


def test_a_price_that_drifts_is_followed():
    drift = 1.02 ** (np.arange(len(RUNS)) / 720)
    own = followed(np.array(RUNS) * drift)
    assert weigh(own, 2.0 * drift[-1]) == 0.0


def test_noise_has_no_unit():
    noise = np.random.default_rng(4).lognormal(0, 0.3, 600)
    assert all(weigh(followed(noise), cost) == 0.0 for cost in (0.7, 1.3, 2.6))


def test_a_first_hour_billed_in_part_makes_one_miss_no_surprise_but_several():
    r = np.random.default_rng(5)
    costs = [c for _ in range(12) for c in [r.random(), *[1.0] * 20, r.random(), *[0.0] * 20]]
    own = followed(costs)
    assert weigh(own, 1.37) == 0.0
    for _ in range(4):
        multiples.follow(own, 1.37, DAY)
    assert weigh(own, 1.37) == multiples.MISS
