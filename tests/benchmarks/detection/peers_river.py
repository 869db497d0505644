"""River's anomaly detectors as a user would run them: one object a series, score then learn.

Faults of theirs that stop a stream are met as a careful user would: the object starts afresh.
Only what costs more than the mean of the last four weeks counts as more than usual, for most of
these scores have no sign.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from river import anomaly, preprocessing, time_series

from detectors.base import F64

OFTEN = 1 / 6  # share of hours without a row from which they mean that nothing was spent
MONTH = 28 * 24
FAULTS = (ArithmeticError, IndexError, TypeError, ValueError)


class Supervised:
    """A detector of River that takes its point as the target."""

    def __init__(self, model) -> None:
        self.model = model

    def ask(self, cost, _before):
        return self.model.score_one({}, cost)

    def teach(self, cost, _before):
        self.model.learn_one({}, cost)


class Plain:
    """A detector of River that takes features: the cost, and its change in an hour."""

    def __init__(self, scaler, model) -> None:
        self.scaler, self.model = scaler, model

    def ask(self, cost, before):
        return self.model.score_one(self._scaled(cost, before))

    def teach(self, cost, before):
        self.scaler.learn_one({"cost": cost, "change": cost - before})
        self.model.learn_one(self._scaled(cost, before))

    def _scaled(self, cost, before):
        return self.scaler.transform_one({"cost": cost, "change": cost - before})


def holt_winters():
    forecaster = time_series.HoltWinters(alpha=0.3, beta=0.1, gamma=0.6, seasonality=24)
    return anomaly.PredictiveAnomalyDetection(forecaster, horizon=1, warmup_period=14 * 24)


def loda():
    return Plain(preprocessing.StandardScaler(), anomaly.LODA(seed=1))


RIVER: Final[Mapping[str, Callable]] = {
    "StandardAbsoluteDeviation": lambda: Supervised(anomaly.StandardAbsoluteDeviation()),
    "GaussianScorer": lambda: Supervised(anomaly.GaussianScorer()),
    "PAD(HoltWinters)": lambda: Supervised(holt_winters()),
    "HalfSpaceTrees": lambda: Plain(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1)),
}


def filled(costs: F64) -> F64:
    """One row's costs without gaps."""
    gap = np.isnan(costs)
    if gap.mean() > OFTEN:
        return np.nan_to_num(costs)
    last = np.maximum.accumulate(np.where(gap, 0, np.arange(len(costs))))
    return np.nan_to_num(costs[last])


def is_above_usual(costs: F64):
    """Tell of each hour whether it costs more than the mean of the four weeks before it."""
    total = np.append(0.0, np.cumsum(costs))
    hours = np.arange(len(costs))
    begin = np.maximum(0, hours - MONTH)
    return costs * np.maximum(hours - begin, 1) > total[hours] - total[begin]


def scored(make: Callable) -> Callable[[F64], F64]:
    """Return what scores each row by an object of its own."""

    def one(costs: F64) -> F64:
        model, before, out = make(), costs[0], np.zeros(len(costs))
        for hour, cost in enumerate(costs.tolist()):
            try:
                out[hour] = model.ask(cost, before)
            except FAULTS:
                out[hour] = 0.0
            try:
                model.teach(cost, before)
            except FAULTS:
                model = make()
            before = cost
        return np.where(is_above_usual(costs), out, -out)

    def scores(costs: F64) -> F64:
        with np.errstate(all="ignore"):
            out = np.array([one(filled(row)) for row in costs])
        return np.where(np.isfinite(out) & ~np.isnan(costs), out, np.nan)

    return scores
