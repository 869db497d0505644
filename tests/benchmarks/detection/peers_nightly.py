"""A batch forecast each night, as many have it today: a day is judged when it is over.

MSTL of statsforecast with daily and weekly seasons over six weeks, an exponentially smoothed trend,
and the deviation of its own residuals. Its loess is evaluated once a day and interpolated between,
which makes it 15 times as fast.
"""

import warnings
from importlib.util import find_spec

import numpy as np

from detectors.base import F64
from tests.benchmarks.detection.peers_river import filled

DAY, WEEK = 24, 168
HISTORY = 6 * WEEK
JUMPS = {"seasonal_jump": DAY, "trend_jump": DAY, "low_pass_jump": DAY}


def nightly_forecast(costs: F64) -> F64:
    """How many deviations each hour is from what was forecast for it at midnight UTC."""
    # The extra `bench` brings it.
    from statsforecast.models import MSTL, AutoETS  # noqa: PLC0415

    out = np.full(costs.shape, np.nan)
    model = MSTL([DAY, WEEK], trend_forecaster=AutoETS(model="ANN"), stl_kwargs=JUMPS)
    for row, own in enumerate(costs):
        cost = filled(own)
        for night in range(3 * WEEK, len(cost) - DAY + 1, DAY):
            past = cost[max(0, night - HISTORY) : night]
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                said = model.forecast(y=past, h=DAY, fitted=True)
            floor = 0.02 * np.abs(past).mean()
            spread = np.nanstd(past - said["fitted"]) + floor
            if spread > 0:
                out[row, night : night + DAY] = (cost[night : night + DAY] - said["mean"]) / spread
    return np.where(np.isnan(costs), np.nan, out)


nightly_forecast.is_there = find_spec("statsforecast") is not None
