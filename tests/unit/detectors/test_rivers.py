import numpy as np
import pytest

from detectors.base import as_columns
from detectors.fleet import Fleet

from .conftest import START

CLASSES = {
    "river.anomaly.HalfSpaceTrees": {"n_trees": 3, "height": 4, "window_size": 48, "seed": 1},
    "river.anomaly.GaussianScorer": {"window_size": 100, "grace_period": 24},
    "river.anomaly.StandardAbsoluteDeviation": {},
    "river.anomaly.OneClassSVM": {},
    "river.anomaly.PredictiveAnomalyDetection": {},
}


def run(fleet, name, costs):
    said = []
    for h, cost in enumerate(costs):
        point = as_columns([(0, START + h, cost)])
        said.append(float(fleet.score(*point)[name].surprise[0]))
        fleet.learn(*point)
        fleet.record(*point)
    return said


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("shape", ["zero", "constant", "wild", "unknown"])
def test_no_series_makes_a_river_class_fail_or_raise_for_ever(name, shape):
    r = np.random.default_rng(6)
    costs = {
        "zero": np.zeros(240),
        "constant": np.full(240, 3.0),
        "wild": np.where(r.random(240) < 0.01, 1e9, r.lognormal(0, 2, 240)),
        "unknown": np.where(r.random(240) < 0.3, np.nan, 2.0),
    }[shape]
    fleet = Fleet(1, {name: CLASSES[name]})
    fleet.resize(1)
    said = run(fleet, name, costs)
    assert np.isfinite(said).all()
    assert np.mean(np.array(said) >= fleet.threshold(name)) < 0.05


@pytest.mark.parametrize("name", CLASSES)
def test_a_river_class_is_scored_without_being_changed(name):
    r = np.random.default_rng(8)
    fleet = Fleet(1, {name: CLASSES[name]})
    fleet.resize(1)
    run(fleet, name, r.lognormal(0, 0.1, 120))
    point = as_columns([(0, START + 120, 5.0)])
    first = fleet.score(*point)[name].at(0)
    assert all(fleet.score(*point)[name].at(0) == first for _ in range(3))


def test_a_river_class_finds_a_spike():
    name = "river.anomaly.StandardAbsoluteDeviation"
    fleet = Fleet(1, {name: {}})
    fleet.resize(1)
    run(fleet, name, np.random.default_rng(1).lognormal(0, 0.05, 40 * 24))
    point = as_columns([(0, START + 960, 40.0)])
    assert fleet.score(*point)[name].surprise[0] > fleet.threshold(name)


def test_a_restored_river_detector_learns_the_recorded_weeks_again():
    name = "river.anomaly.StandardAbsoluteDeviation"
    fleet = Fleet(1, {name: {}})
    fleet.resize(1)
    run(fleet, name, np.random.default_rng(1).lognormal(0, 0.05, 400))
    other = Fleet(1, {name: {}})
    other.resize(1)
    for column, part in fleet.columns().items():
        other.columns()[column][:] = part
    point = as_columns([(0, START + 400, 40.0)])
    same, again = (f.score(*point)[name].surprise[0] for f in (fleet, other))
    assert again == pytest.approx(same, rel=0.5)
    assert again > 1


class Panics:
    """Fails as a Rust class does, with something that is no Exception."""

    def score_one(self, x):
        raise BaseException("Value is NaN")  # noqa: TRY002

    learn_one = score_one


def test_a_panic_of_rust_is_counted_and_the_series_starts_afresh():
    name = "river.anomaly.StandardAbsoluteDeviation"
    fleet = Fleet(1, {name: {}})
    fleet.resize(1)
    run(fleet, name, np.random.default_rng(1).lognormal(0, 0.1, 160))
    detector = fleet.detectors[name]
    detector._models[0] = Panics()
    detector._copied = False
    assert fleet.score(*as_columns([(0, START + 160, 2.0)]))[name].surprise[0] == 0.0
    assert detector.faults == 1
    assert not isinstance(detector._models[0], Panics)
