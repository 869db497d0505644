from datetime import UTC, datetime

import numpy as np
import pytest

from detectors.base import Evidence
from detectors.history import History
from detectors.spike import Spike, SpikeOne

from .conftest import START

CALM = 49 * 24


def test_a_spike_is_found_in_its_first_hour_and_nothing_else_is(watched, web):
    series = watched(["spike"])
    said = [series.see(START + h, cost)["spike"] for h, cost in enumerate(web[:CALM])]
    assert max(said) < 1
    assert series.judge(START + CALM, 3 * web[CALM])["spike"].surprise > series.fleet.threshold(
        "spike"
    )


def test_what_is_usual_by_day_is_odd_by_night(watched):
    series = watched(["spike"])
    for h in range(CALM):
        series.see(START + h, 10.0 if 9 <= h % 24 < 18 else 0.0)
    threshold = series.fleet.threshold("spike")
    assert series.judge(START + CALM + 3, 10.0)["spike"].surprise > threshold
    assert series.judge(START + CALM + 14, 10.2)["spike"].surprise < threshold


def test_a_cost_between_two_counts_of_machines_is_odd_and_one_more_is_not(watched):
    r = np.random.default_rng(3)
    costs = np.repeat(r.choice([0, 0, 2, 4, 8], 100), r.integers(8, 24, 100))[:CALM]
    series = watched(["spike"])
    for h, cost in enumerate(costs):
        series.see(START + h, float(cost))
    threshold = series.fleet.threshold("spike")
    assert series.judge(START + len(costs), 5.3)["spike"].surprise > threshold
    assert series.judge(START + len(costs), 6.0)["spike"].surprise < threshold


def test_the_first_day_is_silent_and_the_fourth_is_not(watched):
    series = watched(["spike"])
    for h in range(72):
        said = series.see(START + h, 5.0 if h < 24 else 5.0 + 0.01 * (h % 5))["spike"]
        assert said < 1
    assert series.judge(START + 72, 50.0)["spike"].surprise > series.fleet.threshold("spike")


def test_expected_and_range_are_what_the_same_hour_cost(watched, web):
    series = watched(["spike"])
    for h, cost in enumerate(web[:CALM]):
        series.see(START + h, cost)
    score = series.judge(START + CALM, 99.0)["spike"]
    same_hour = web[CALM % 24 : CALM : 24][-28:]
    assert score.low <= score.expected <= score.high
    assert same_hour.min() <= score.expected <= same_hour.max()
    assert score.since == START + CALM


def test_scoring_changes_nothing(watched, web):
    series = watched(["spike"])
    for h, cost in enumerate(web[:400]):
        series.see(START + h, cost)
    before = {name: part.copy() for name, part in series.fleet.columns().items()}
    series.judge(START + 400, 1e6)
    for name, part in series.fleet.columns().items():
        np.testing.assert_array_equal(part, before[name])


@pytest.mark.parametrize("cost", [0.0, 1e-9, 1e12, -5.0])
def test_any_constant_is_silent(cost):
    one = SpikeOne()
    for h in range(300):
        assert one.score_one({"step": START + h, "cost": cost}) < 3
        one.learn_one({"step": START + h, "cost": cost})


def test_the_sentence_has_numbers_to_check():
    evidence = Evidence(
        start=datetime(2026, 3, 3, 14, tzinfo=UTC),
        step_hours=1,
        actual=41.0,
        expected=13.0,
        low=11.0,
        high=15.0,
        periods=3,
        since=datetime(2026, 3, 3, 12, tzinfo=UTC),
        impact=84.0,
        currency="USD",
    )
    assert Spike(History(1)).reason(evidence) == (
        "About 3x a normal Tuesday 14:00: $41.00 against $11.00-$15.00 expected, "
        "third hour in a row."
    )
    never = evidence._replace(expected=0.0, low=0.0, high=0.0, periods=1)
    assert Spike(History(1)).reason(never) == (
        "Far above a Tuesday 14:00: $41.00 against $0.00 expected."
    )
