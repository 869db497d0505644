import numpy as np
import pytest

from detectors.base import DAY
from detectors.calibration import RATES, SURPRISES, threshold


@pytest.mark.parametrize("name", SURPRISES)
def test_rarer_means_higher_also_beyond_what_was_measured(name):
    said = [threshold(name, rate, DAY) for rate in (1e-5, *RATES, 10.0)]
    assert np.all(np.diff(said) <= 0)
    assert said[0] > said[2]


@pytest.mark.parametrize("name", SURPRISES)
def test_what_was_measured_is_kept(name):
    assert [threshold(name, rate, DAY) for rate in RATES] == pytest.approx(SURPRISES[name])


def test_a_day_is_as_rare_as_any_of_its_hours():
    hour, day = threshold("spike", 0.1, DAY), threshold("spike", 0.1, 1)
    assert hour - day == pytest.approx(np.log10(24))


def test_a_detector_that_was_not_measured_is_taken_at_its_word():
    assert threshold("river.anomaly.LODA", 1.0, 1) == pytest.approx(np.log10(30.4375))
