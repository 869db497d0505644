"""Carriers: the real series that give the sample's resources their shape over time.

A carrier is a stretch of whole weeks of a real hourly series (whole days where weekdays do not
matter), brought to a mean of 1 and repeated over the sample's span. Only its shape is kept, by
three rules:

* an hour that the series' own experts labelled, the hour on either side of it, and a missing hour
  are replaced by the median of the same hour of the week (of the day);
* the level is divided by its centred one-week mean, so that a carrier has no trend and no step;
* what still lies beyond a factor (`cut`) of the same hour's median is cut to that factor.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

RAW: Final = Path(__file__).parent / "raw"
WEEK: Final = 168
DAY: Final = 24

Hours = NDArray[np.float64]


class Stretch(NamedTuple):
    """Where a carrier is cut out: `days` whole days from `start` of one series of a file.

    `period` is over how many hours the same hour comes round: a day where weekdays do not matter.
    """

    file: str
    series: str
    start: str
    days: int
    period: int = WEEK
    cut: float = 1.5


STRETCHES: Final[Mapping[str, Stretch]] = {
    "api": Stretch("microsoft_api-01", "", "2018-01-15", 105, cut=1.2),
    "api_spring": Stretch("microsoft_api-01", "", "2018-04-09", 21),
    "outbound_07": Stretch("microsoft_outbound-07", "", "2018-07-02", 14),
    "outbound_22": Stretch("microsoft_outbound-22", "", "2018-06-25", 21, DAY, 1.1),
    "purchase": Stretch("microsoft_purchase-02", "", "2018-03-19", 35),
    "exchange": Stretch(
        "nab_hourly", "realAdExchange/exchange-2_cpm_results.csv", "2011-08-15", 21
    ),
    "nightly": Stretch(
        *("nab_hourly", "realAWSCloudwatch/ec2_cpu_utilization_c6585a.csv", "2014-04-03", 13),
        *(DAY, 1.1),
    ),
}


def rows(name: str) -> Iterator[dict[str, str]]:
    """Read one file of `raw/`, by its name without `.csv.gz`."""
    with gzip.open(RAW / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(io.StringIO(file.read()))


def carrier(name: str, hours: int) -> Hours:
    """Return a carrier of `hours` hours from a Monday at 00:00 on, with a mean of 1."""
    stretch = STRETCHES[name]
    values = _filled(_cut_out(stretch), stretch.period)
    values = values / _level(values)
    usual = _usual(values, stretch.period)
    cleaned = np.clip(values, usual / stretch.cut, usual * stretch.cut)
    tiled = np.resize(cleaned, hours)
    shape: Hours = tiled / tiled.mean()
    return shape


def pool(name: str, hours: int, *, running: bool) -> Hours:
    """Return the 8-GPU nodes of one Helios pool, hour by hour.

    Those provisioned, or those that jobs ran on. The two weeks from Monday 2020-05-18 on are
    repeated: in them the cluster had no outage.
    """
    first = datetime(2020, 5, 18)  # noqa: DTZ001  # the trace has local times without a zone
    last = first + timedelta(days=14)
    column = "running_gpus_mean" if running else "total_gpus"
    gpus = [
        float(row[column])
        for row in rows("helios_earth_vc_hourly")
        if row["vc"] == name and first <= datetime.fromisoformat(row["hour_local"]) < last
    ]
    return np.resize(np.ceil(np.array(gpus) / 8), hours)


def _cut_out(stretch: Stretch) -> Hours:
    first = datetime.fromisoformat(stretch.start)
    value, label = _columns(stretch)
    values = np.full(stretch.days * DAY, np.nan)
    odd = np.zeros(len(values), dtype=bool)
    for row in rows(stretch.file):
        if row.get("series", "") != stretch.series:
            continue
        at = datetime.fromisoformat(row["hour" if stretch.series else "TimeStamp"])
        hour = int((at.replace(tzinfo=None) - first) / timedelta(hours=1))
        if 0 <= hour < len(values):
            values[hour] = value(row)
            odd[max(0, hour - 1) : hour + 2] |= label(row)
    values[odd] = np.nan
    return values


def _columns(
    stretch: Stretch,
) -> tuple[Callable[[Mapping[str, str]], float], Callable[[Mapping[str, str]], bool]]:
    if stretch.series:
        return lambda row: float(row["mean"]), lambda row: row["in_anomaly_window"] == "1"
    return lambda row: float(row["Value"] or "nan"), lambda row: row["Label"] not in ("", "0")


def _filled(values: Hours, period: int) -> Hours:
    return np.where(np.isnan(values), _usual(values, period), values)


def _usual(values: Hours, period: int) -> Hours:
    """Return, for every hour, the median of that hour of the week (or of the day)."""
    return np.resize(np.nanmedian(values.reshape(-1, period), axis=0), len(values))


def _level(values: Hours) -> Hours:
    """Return the centred one-week mean of a series that goes round in a circle."""
    around = np.concatenate([values[-WEEK // 2 :], values, values[: WEEK // 2 - 1]])
    return np.convolve(around, np.full(WEEK, 1 / WEEK), mode="valid")
