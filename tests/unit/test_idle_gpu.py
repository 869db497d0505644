import copy
import math

import numpy as np
import pytest
from river.base import AnomalyDetector

from detectors.idle_gpu import (
    DAYS,
    GRACE,
    LEARNT,
    LEAST,
    PATIENCE,
    SCORED,
    IdleGpu,
    IdleGpuColumns,
)
from tests.benchmarks.detection.idle_gpu_scenarios import SCENARIOS
from tests.benchmarks.detection.idle_gpu_truth import judged

NAN = math.nan
START = 490_000


def pause(hours, *, fresh=1000.0, watts=60.0):
    return {"run_hours": hours, "fresh_hours": fresh, "power_watts": watts}


def hour(at=0, *, gap=0.0, watched=1.0, worked=1.0, watts=58.0):
    return {
        "hour": START + at,
        "gap_hours": gap,
        "watched_hours": watched,
        "worked_hours": worked,
        "least_power_watts": watts,
    }


def a_worker(hours=48, gaps=()):
    """Return a detector that saw `hours` of work, then one pause a day."""
    detector = IdleGpu()
    for at in range(hours):
        detector.learn_one(hour(at))
    for day, gap in enumerate(gaps):
        detector.learn_one(hour(hours + 24 * day, gap=gap))
    return detector


def needed(detector):
    """Return the shortest pause in minutes that the detector finds odd."""
    return next(m for m in range(1, 20_000) if detector.score_one(pause(m / 60)) > 0)


def test_it_is_a_river_anomaly_detector():
    assert isinstance(IdleGpu(), AnomalyDetector)
    assert IdleGpu().clone().score_one(pause(0.5)) == 0.0


def test_a_gpu_that_worked_is_idle_after_110_minutes_and_not_before():
    assert needed(a_worker()) == 110


def test_the_longer_it_is_idle_the_more_surprising_it_is():
    detector = a_worker()
    scores = [detector.score_one(pause(hours)) for hours in (2, 4, 8, 24, 200)]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


def test_the_longer_it_never_paused_the_more_surprising_a_pause_is():
    assert a_worker(1000).score_one(pause(3)) > a_worker(50).score_one(pause(3))


def test_the_score_is_the_chance_that_an_hour_begins_such_a_pause():
    detector = a_worker(477, gaps=[2.0, 3.0, 2.5])
    chance = 1 / (480 + 24) * (3.0 / 6.0) ** 2
    assert detector.score_one(pause(6.0)) == pytest.approx(-math.log10(chance))


def test_a_habit_is_waited_for_with_a_margin():
    detector = a_worker(gaps=[2.75, 2.5, 2.75])
    assert needed(detector) == math.ceil(1.25 * 2.75 * 60)


def test_a_habit_of_more_than_a_month_ago_is_forgotten():
    detector = a_worker(gaps=[3.0])
    detector.learn_one(hour(48 + 24 * (DAYS - 1)))
    assert needed(detector) == 3.0 * 1.25 * 60
    detector.learn_one(hour(48 + 24 * DAYS))
    assert needed(detector) == 110


def test_a_forgotten_week_only_doubles_what_is_waited_for():
    detector = a_worker(gaps=[160.0])
    assert needed(detector) == pytest.approx(1.25 * 2 * LEAST * 60, abs=1)


def test_a_nightly_pause_is_accepted_after_a_few_nights():
    detector = a_worker()
    told = []
    for night in range(6):
        told.append(detector.score_one(pause(14.0)) > 0)
        detector.learn_one(hour(48 + 24 * night, gap=14.0))
    assert told == [True, True, True, False, False, False]


def test_a_gpu_without_a_rhythm_is_waited_for_longer():
    detector = IdleGpu()
    detector.learn_one(hour(worked=0.25))
    assert needed(detector) == PATIENCE * 60


def test_a_gpu_that_never_worked_is_not_waited_for_longer():
    detector = IdleGpu()
    detector.learn_one(hour(worked=0.0))
    assert needed(detector) == 110


def test_a_new_gpu_or_pod_has_half_an_hour_to_start():
    detector = IdleGpu()
    assert detector.score_one(pause(2.0, fresh=2.0)) == 0.0
    assert detector.score_one(pause(2.4, fresh=LEAST + GRACE)) > 0.0


@pytest.mark.parametrize(
    ("floor", "idle_at", "works_at"), [(9, 60, 75), (58, 140, 150), (170, 240, 260)]
)
def test_no_work_at_the_power_of_work_proves_nothing(floor, idle_at, works_at):
    detector = a_worker()
    detector.learn_one(hour(watts=floor))
    detector._least_power = float(floor)
    assert detector.score_one(pause(5, watts=idle_at)) > 0
    assert detector.score_one(pause(5, watts=works_at)) == 0


def test_a_gpu_that_was_always_at_work_has_no_idle_power_of_its_own():
    detector = IdleGpu()
    for at in range(48):
        detector.learn_one(hour(at, watts=300.0))
    assert detector.score_one(pause(5, watts=300.0)) == 0
    assert detector.score_one(pause(5, watts=80.0)) > 0


def test_unknown_is_not_idle():
    detector = a_worker()
    assert detector.score_one(pause(NAN)) == 0.0
    assert detector.score_one(pause(5.0, fresh=NAN)) == 0.0
    assert detector.score_one(pause(5.0, watts=NAN)) > 0.0
    before = copy.deepcopy(vars(detector))
    detector.learn_one(hour(gap=NAN, watched=NAN, worked=NAN, watts=NAN))
    assert vars(detector) == before


def test_scoring_changes_nothing():
    detector = a_worker(gaps=[3.0, 2.0])
    before = [detector.score_one(pause(hours)) for hours in (1, 2, 5, 50)]
    for hours in (0.0, 1.0, 1e9, NAN):
        detector.score_one(pause(hours))
    assert [detector.score_one(pause(hours)) for hours in (1, 2, 5, 50)] == before


def random_hours(rng, gpus, at):
    some = rng.random(gpus) < 0.3
    return {
        "hour": START
        + 9.0 * at
        + rng.integers(0, 9, gpus) * rng.choice([1, 200], gpus, p=[0.98, 0.02]),
        "gap_hours": np.where(some, rng.lognormal(1.0, 1.2, gpus), 0.0),
        "watched_hours": np.where(rng.random(gpus) < 0.05, NAN, rng.random(gpus)),
        "worked_hours": np.where(rng.random(gpus) < 0.05, NAN, rng.random(gpus) ** 4),
        "least_power_watts": np.where(rng.random(gpus) < 0.1, NAN, rng.uniform(8, 400, gpus)),
    }


def random_pauses(rng, gpus):
    return {
        "run_hours": np.where(rng.random(gpus) < 0.05, NAN, rng.lognormal(1.5, 1.5, gpus)),
        "fresh_hours": rng.lognormal(2.0, 2.0, gpus),
        "power_watts": np.where(rng.random(gpus) < 0.1, NAN, rng.uniform(8, 300, gpus)),
    }


def test_column_form_and_scalar_form_agree():
    rng = np.random.default_rng(3)
    gpus, steps = 60, 120
    columns, scalars = IdleGpuColumns(), [IdleGpu() for _ in range(gpus)]
    columns.resize(7)
    columns.resize(gpus)
    odd = 0
    for at in range(steps):
        rows = rng.permutation(gpus)[: gpus - 5].astype(np.int64)
        pauses, hours = random_pauses(rng, len(rows)), random_hours(rng, len(rows), at)
        scores = columns.score(rows, pauses)
        one_by_one = [
            scalars[row].score_one({name: pauses[name][i] for name in SCORED})
            for i, row in enumerate(rows)
        ]
        assert scores == pytest.approx(one_by_one, rel=1e-9, abs=1e-12)
        odd += (scores > 0).sum()
        columns.learn(rows, hours)
        for i, row in enumerate(rows):
            scalars[row].learn_one({name: hours[name][i] for name in LEARNT})
    assert odd > 400


def test_a_forgotten_row_is_new_and_the_others_stay():
    columns = IdleGpuColumns()
    columns.resize(2)
    both = np.arange(2)
    busy = {name: np.full(2, value) for name, value in hour(gap=5.0).items()}
    columns.learn(both, busy)
    columns.forget(np.array([0]))
    fresh = IdleGpuColumns()
    fresh.resize(1)
    asked = {name: np.full(2, value) for name, value in pause(3.0).items()}
    scores = columns.score(both, asked)
    one = {name: values[:1] for name, values in asked.items()}
    assert scores[0] == fresh.score(np.array([0]), one)[0] > 0
    assert scores[1] == 0


def test_the_state_is_columns_of_numbers_of_at_most_200_bytes_a_gpu():
    columns = IdleGpuColumns()
    columns.resize(10)
    state = columns.columns()
    assert all(len(array) == 10 and array.dtype.kind in "fi" for array in state.values())
    assert sum(array.nbytes for array in state.values()) / 10 <= 200


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_labelled_trace_is_judged_right(scenario):
    outcome = judged(scenario)
    assert outcome.false == []
    assert outcome.missed == []
    for hit in outcome.hits:
        assert 0 < hit.delay <= hit.truth.within
        assert hit.verdict.gpu_count == hit.truth.gpus


def test_no_more_than_one_trace_allows_more_than_two_hours():
    truths = [truth for scenario in SCENARIOS for truth in scenario.truths]
    assert sum(truth.within > 2 for truth in truths) == 1
    assert sum(not scenario.truths for scenario in SCENARIOS) >= 20
