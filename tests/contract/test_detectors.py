"""What every detector in the registry promises, in both forms."""

import numpy as np
import pytest
from river.base import AnomalyDetector

from detectors.base import as_columns
from detectors.fleet import Fleet
from detectors.registry import DETECTORS

START = 489_888
HOURS = 1_300


def _series():
    r = np.random.default_rng(11)
    hours = np.arange(HOURS)
    day = 1 + 0.5 * np.cos(hours * 2 * np.pi / 24)
    return {
        "idle": np.zeros(HOURS),
        "constant": np.full(HOURS, 0.31),
        "tiny": 1e-9 * day * r.lognormal(0, 0.1, HOURS),
        "huge": 1e12 * day * r.lognormal(0, 0.1, HOURS),
        "rhythm": 5 * day * r.lognormal(0, 0.1, HOURS),
        "gaps": np.where(r.random(HOURS) < 0.1, np.nan, r.lognormal(0, 0.3, HOURS)),
        "mostly off": np.where(r.random(HOURS) < 0.8, np.nan, 2.0),
        "bursts": r.poisson(0.3, HOURS) * r.lognormal(0, 1, HOURS),
        "counts": np.repeat(r.choice([0.0, 1, 2, 4], HOURS // 10 + 1), 10)[:HOURS],
        "credits": r.normal(0, 1, HOURS),
        "step": np.where(hours < 1000, 1.0, 3.0) * r.lognormal(0, 0.05, HOURS),
        "stops": np.where(hours < 1000, 1.0, 0.0) * r.lognormal(0, 0.05, HOURS),
    }


SERIES = _series()


@pytest.mark.parametrize("name", DETECTORS)
def test_the_scalar_and_the_column_form_agree(name):
    ones = [DETECTORS[name].one() for _ in SERIES]
    fleet = Fleet(1, {name: {}})
    fleet.resize(len(ones))
    compared = odd = 0
    for h in range(HOURS):
        points = as_columns([(k, START + h, costs[h]) for k, costs in enumerate(SERIES.values())])
        scores = fleet.score(*points)[name]
        assert np.isfinite(scores.surprise).all()
        assert (scores.surprise >= 0).all()
        assert (scores.since <= START + h).all()
        for k, one in enumerate(ones):
            x = {"step": START + h, "cost": points[2][k]}
            np.testing.assert_allclose(one.judge_one(x).at(0), scores.at(k), rtol=1e-9)
            one.learn_one(x)
        compared += len(ones)
        odd += int((scores.surprise > 0).sum())
        known = ~np.isnan(points[2])
        fleet.learn(*(part[known] for part in points))
        fleet.record(*points)
    assert compared == HOURS * len(SERIES)
    assert odd > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_both_forms_agree_over_a_hundred_thousand_random_points(name):
    r = np.random.default_rng(17)
    rows, hours = 50, 2_000
    ones = [DETECTORS[name].one() for _ in range(rows)]
    fleet = Fleet(1, {name: {}})
    fleet.resize(rows)
    size = 10.0 ** r.uniform(-12, 12, rows)
    size[:5] = 0.0
    wild = r.choice([0.0, 0.1, 1.0], rows)
    active, gaps, restated = r.uniform(0, 1, (3, rows))
    odd = 0
    for h in range(hours):
        costs = size * r.lognormal(0, 1, rows) ** wild * (r.random(rows) < active**0.3)
        costs = np.where(r.random(rows) < 0.002, 20 * costs, costs)
        costs = np.where(r.random(rows) < 0.2 * gaps, np.nan, costs)
        costs[rows // 2 :] *= h < 1_500
        back = np.where((r.random(rows) < 0.1 * restated) & (h > 300), r.integers(1, 300, rows), 0)
        points = np.arange(rows), START + h - back, costs
        scores = fleet.score(*points)[name]
        known = ~np.isnan(costs)
        fleet.learn(*(part[known] for part in points))
        fleet.record(*points)
        odd += int((scores.surprise > 0).sum())
        said = []
        for one, step, cost in zip(ones, points[1], costs, strict=True):
            x = {"step": step, "cost": cost}
            said.append(one.judge_one(x).at(0))
            one.learn_one(x)
        for part, alone in zip(scores, zip(*said, strict=True), strict=True):
            np.testing.assert_allclose(alone, part, rtol=1e-9)
    assert odd > 100


@pytest.mark.parametrize("name", DETECTORS)
def test_the_scalar_form_is_a_river_detector_and_scores_without_changing(name):
    one = DETECTORS[name].one()
    assert isinstance(one, AnomalyDetector)
    for h in range(200):
        one.learn_one({"step": START + h, "cost": 1.0 + 0.01 * (h % 7)})
    x = {"step": START + 200, "cost": 500.0}
    assert one.score_one(x) == one.score_one(x)
    assert one.clone().score_one(x) == 0.0


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("step_hours", [1, 24])
def test_a_series_without_a_past_says_nothing(name, step_hours):
    fleet = Fleet(step_hours, {name: {}})
    fleet.resize(1)
    assert fleet.score(*as_columns([(0, START, 1e6)]))[name].surprise[0] == 0.0


@pytest.mark.parametrize("name", DETECTORS)
def test_daily_series_are_judged_by_the_day(name):
    fleet = Fleet(24, {name: {}})
    rows, days = 50, 100
    fleet.resize(rows)
    r = np.random.default_rng(3)
    found, latest = 0, np.full(rows, -days)
    for day in range(days):
        points = as_columns([(k, 20_000 + day, 100 * r.lognormal(0, 0.05)) for k in range(rows)])
        odd = np.flatnonzero(fleet.score(*points)[name].surprise >= fleet.threshold(name))
        found += (day - latest[odd] > 3).sum()
        latest[odd] = day
        fleet.learn(*points)
        fleet.record(*points)
    assert found / (rows * days / 30.4) < 0.15  # of the 0.1 asked for
    up = fleet.score(*as_columns([(k, 20_100, 900.0) for k in range(rows)]))[name]
    if name in {"spike", "shift"}:
        assert (up.surprise > fleet.threshold(name)).all()


@pytest.mark.parametrize("name", DETECTORS)
def test_a_restated_past_is_as_if_it_had_been_so_at_once(name):
    costs = SERIES["rhythm"][:1000]
    straight, restated = (Fleet(1, {name: {}}) for _ in range(2))
    for fleet in (straight, restated):
        fleet.resize(1)
    for h, cost in enumerate(costs):
        for fleet, said in ((straight, cost), (restated, 0.7 * cost if h % 9 == 0 else cost)):
            fleet.record(*as_columns([(0, START + h, said)]))
        if h >= 24 and (h - 24) % 9 == 0:
            restated.record(*as_columns([(0, START + h - 24, costs[h - 24])]))
    late = [(0, START + h, costs[h]) for h in range(976, 1000)]
    restated.record(*as_columns(late))
    for part in ("steps", "past", "peaks"):
        np.testing.assert_array_equal(
            getattr(straight.history.rings, part)[0], getattr(restated.history.rings, part)[0]
        )
