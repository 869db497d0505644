import numpy as np
import pytest

from detectors import levels
from detectors.base import DAY


def known(costs):
    own = np.zeros(levels.FIELDS, np.float32)
    for cost in costs:
        levels.follow(own, cost, 1.0, DAY)
    return own


def strange(own, costs, level=1.0, usual=2.0):
    own = own.copy()
    for cost in costs:
        own[levels.SUM] = levels.strangeness(own, cost, level, usual, True)
    return float(own[levels.SUM])


ON_OFF = ([2.0] * 20 + [0.0] * 20) * 12


def test_hours_between_on_and_off_add_up():
    own = known(ON_OFF)
    assert 0 < strange(own, [0.3]) < strange(own, [0.3] * 4)


@pytest.mark.parametrize("cost", [0.0, 0.01, 2.0, 1.9, 9.0])
def test_on_off_and_above_are_not_strange(cost):
    assert strange(known(ON_OFF), [cost] * 24) == 0.0


def test_what_comes_and_goes_is_forgotten():
    own = known(ON_OFF)
    assert strange(own, [0.3, 0.3, *[0.0] * 24]) == 0.0


def test_a_level_that_lasts_becomes_a_known_one():
    own = known(ON_OFF + [0.3] * 21 * DAY)
    assert strange(own, [0.3] * 24) == 0.0


def test_a_series_that_is_never_off_has_no_between():
    assert strange(known([2.0] * 400), [0.3] * 24) == 0.0


def test_a_beginner_knows_no_levels_yet():
    assert strange(known(ON_OFF[:50]), [0.3] * 24) == 0.0
