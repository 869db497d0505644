import numpy as np
import pytest

from detectors.base import DAY
from detectors.calibration import RATES, SURPRISES, calibrate, threshold


def calibrated(name, said, day):
    calibrate(name, said, day)
    return said


@pytest.mark.parametrize("name", SURPRISES)
def test_the_odder_the_rarer_also_beyond_what_was_measured(name):
    worth = calibrated(name, np.array([0.0, 0.5, *SURPRISES[name][::-1], 9.0, 60.0]), DAY)
    assert worth[0] == 0.0
    assert np.all(np.diff(worth) >= 0)
    assert worth[-1] > worth[-2] > worth[-3]


@pytest.mark.parametrize("name", SURPRISES)
def test_what_was_measured_is_told_at_its_rate(name):
    worth = calibrated(name, np.array(SURPRISES[name]), DAY)
    wanted = [threshold(rate, DAY) for rate in RATES]
    known = np.diff(SURPRISES[name], prepend=np.inf) != 0  # the rarer of two that look alike
    assert worth[known] == pytest.approx(np.array(wanted)[known])


def test_one_threshold_holds_for_every_detector():
    assert threshold(0.1, DAY) == pytest.approx(-np.log10(0.1 / 730.5))


def test_a_day_is_as_rare_as_any_of_its_hours():
    hour = calibrated("spike", np.array([5.0]), DAY)[0]
    day = calibrated("spike", np.array([5.0 - np.log10(24)]), 1)[0]
    assert hour - day == pytest.approx(np.log10(24))


def test_a_detector_that_was_not_measured_is_taken_at_its_word():
    assert calibrated("river.anomaly.LODA", np.array([1.5, 0.0]), 1).tolist() == [1.5, 0.0]
