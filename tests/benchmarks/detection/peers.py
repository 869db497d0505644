"""What others use, under the same policy and judge: scores by hour, and findings at a threshold.

A peer takes costs as (series, hours), NaN where there was no row, and returns one signed oddness a
point from that point and those before it: above 0 for more than usual, below for less, NaN for
nothing to say. Peers without a clock are handed every hour: an hour without a row is the hour
before, or nothing spent where a sixth of all hours have none.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from detectors.base import F64
from tests.benchmarks.detection import drive, judge
from tests.benchmarks.detection.peers_nightly import nightly_forecast
from tests.benchmarks.detection.peers_river import RIVER, loda, scored

DAY, WEEK = 24, 168
WEEKS = 5
OFTEN = 0.1
TRIED = 80  # thresholds, from the highest score to the lowest in a geometric row


class Peer(NamedTuple):
    """`nightly` peers speak when the UTC day is over; `slow` ones see fewer series."""

    scores: Callable[[F64], F64]
    nightly: bool = False
    slow: bool = False


def hour_of_week(costs: F64) -> F64:
    """How many robust deviations an hour is from the same hour of the last five weeks.

    Median and median absolute deviation of that hour and its neighbours, plus 2 % of their mean.
    """
    series, hours = costs.shape
    total = np.pad(np.cumsum(np.nan_to_num(costs), axis=1), ((0, 0), (1, 0)))
    padded = np.pad(costs, ((0, 0), (0, 1)), constant_values=np.nan)
    out = np.full((series, hours), np.nan)
    for hour in range(2 * WEEK, hours):
        weeks = range(1, 1 + min(WEEKS, (hour - 1) // WEEK))
        past = np.stack([padded[:, hour - WEEK * k + j] for k in weeks for j in (-1, 0, 1)], 1)
        begin = max(0, hour - WEEKS * WEEK)
        usual = (total[:, hour] - total[:, begin]) / (hour - begin)
        known = ~np.isnan(past).all(1) & (usual > 0)
        middle = np.nanmedian(past[known], 1)
        away = np.nanmedian(np.abs(past[known] - middle[:, None]), 1)
        spread = 1.4826 * away + 0.02 * usual[known]
        out[known, hour] = (costs[known, hour] - middle) / spread
    return out


def last_week(costs: F64) -> F64:
    """What the last 24 h cost above those a week before, in mean days of the last four weeks."""
    cost = np.nan_to_num(costs)
    days = sliding_window_view(np.pad(cost, ((0, 0), (DAY - 1, 0))), DAY, axis=1).sum(2)
    out = np.full(cost.shape, np.nan)
    total = np.pad(np.cumsum(cost, axis=1), ((0, 0), (1, 0)))
    for hour in range(WEEK + DAY, cost.shape[1]):
        begin = max(0, hour - 4 * WEEK)
        usual = DAY * (total[:, hour] - total[:, begin]) / (hour - begin)
        more = days[:, hour] - days[:, hour - WEEK]
        out[:, hour] = np.divide(more, usual, out=np.zeros(len(cost)), where=usual > 0)
    return out


PEERS: Final[Mapping[str, Peer]] = {
    **{f"River {name}": Peer(scored(make)) for name, make in RIVER.items()},
    "River LODA": Peer(scored(loda), slow=True),
    "24 h against last week": Peer(last_week),
    "hour-of-week median and MAD": Peer(hour_of_week),
    "statsforecast MSTL, nightly": Peer(nightly_forecast, nightly=True, slow=True),
}


class Heard(NamedTuple):
    """What one peer said of some series, each point once as it arrived; `name` is a detector's."""

    name: str
    scores: F64
    nightly: bool


TURNED: Final = {"more": lambda x: x, "less": np.negative, "both": np.abs}


def hear(name: str, series, direction="more") -> Heard:
    """Let a peer score series; it speaks of `more` than usual, of `less`, or of `both`."""
    peer = PEERS[name]
    _, seen, present = drive.together(series)
    scores = TURNED[direction](peer.scores(np.where(present, seen, np.nan)))
    return Heard("drop" if direction == "less" else name, scores, peer.nightly)


def findings(heard: Heard, threshold: float, quiet=drive.QUIET) -> list[drive.Found]:
    """Group points at or above the threshold into findings, as the service does with its own."""
    found: list[drive.Found] = []
    last: dict[int, int] = {}
    with np.errstate(invalid="ignore"):
        rows, hours = np.nonzero(heard.scores >= threshold)
    for row, hour in zip(rows.tolist(), hours.tolist(), strict=True):
        if hour > last.get(row, -(10**9)) + quiet:
            arrived = (hour // DAY + 1) * DAY if heard.nightly else hour + 1
            found.append(drive.Found(row, arrived, hour, heard.name))
        last[row] = hour
    return found


def threshold(heard: Heard, series, asked: float) -> float:
    """The lowest threshold down to which no more false findings are raised than asked.

    From above, and never so low that more than OFTEN of all hours are odd: one stretch that goes on
    for ever is one finding as well.
    """

    def is_too_low(rank: int) -> bool:
        found = findings(heard, levels[-rank])
        return judge.add(judge.each(series, found)).rate > asked

    said = heard.scores[~np.isnan(heard.scores)]
    levels = np.unique(said[(said > 0) & (said >= np.quantile(said, 1 - OFTEN))])
    fits = 0
    for rank in np.unique(np.geomspace(1, len(levels), TRIED).astype(int)) if len(levels) else ():
        if is_too_low(rank):
            break
        fits = rank
    else:
        return float(levels[0]) if fits else np.inf
    while rank - fits > 1:
        middle = (fits + rank) // 2
        fits, rank = (fits, middle) if is_too_low(middle) else (middle, rank)
    return float(levels[-fits]) if fits else float(np.nextafter(levels[-1], np.inf))


def is_saturated(heard: Heard, level: float) -> bool:
    """Tell whether the threshold had to be set above every score that was ever given."""
    return not (heard.scores >= level).any()


def able(*, slow: bool) -> list[str]:
    """The peers that can run here, slow ones too if wanted; statsforecast is an extra."""
    return [
        name
        for name, peer in PEERS.items()
        if (slow or not peer.slow) and (not peer.nightly or nightly_forecast.is_there)
    ]
