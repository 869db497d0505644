"""Real hourly series, as published: values by hour with NaN for gaps, and what is labelled odd."""

import csv
import gzip
import io
import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import F64
from tests.benchmarks.detection.families import Series

HERE = Path(__file__).parent / "data"
SERVICE = Path(__file__).parents[3] / "service"
HOUR = timedelta(hours=1)


class Real(NamedTuple):
    """One series from `begins` on; `labelled` marks hours that people found odd."""

    name: str
    begins: datetime
    values: F64
    labelled: NDArray[np.bool_]


def rows(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return list(csv.DictReader(io.StringIO(text.decode())))


def by_hour(name, points, windows=()) -> Real:
    """Put (time, value, is labelled) on a grid of hours; `windows` are labelled besides."""
    begins = min(at for at, _, _ in points).replace(minute=0)
    hours = (max(at for at, _, _ in points) - begins) // HOUR + 1
    values, labelled = np.full(hours, np.nan), np.zeros(hours, bool)
    for at, value, odd in points:
        values[(at - begins) // HOUR] = value
        labelled[(at - begins) // HOUR] |= odd
    for first, last in windows:
        labelled[max(0, (first - begins) // HOUR) : (last - begins) // HOUR + 1] = True
    return Real(name, begins, values, labelled)


def grouped(table, key) -> dict[str, list]:
    groups: dict[str, list] = {}
    for row in table:
        groups.setdefault(row[key], []).append(row)
    return groups


@cache
def microsoft() -> list[Real]:
    """24 hourly service metrics with the point labels of people who know them."""
    found = grouped(rows(HERE / "microsoft_hourly.csv.gz"), "series")
    return [
        by_hour(
            name,
            [
                (
                    datetime.fromisoformat(row["hour"]),
                    float(row["value"] or "nan"),
                    row["label"] == "1",
                )
                for row in some
            ],
        )
        for name, some in found.items()
    ]


@cache
def nab() -> list[Real]:
    """The 13 labelled NAB series at hourly grain, with the windows of their anomalies."""
    text = gzip.decompress((HERE / "nab_windows.json.gz").read_bytes())
    found = grouped(rows(SERVICE / "sample" / "raw" / "nab_hourly.csv.gz"), "series")
    return [
        by_hour(
            name,
            [
                (datetime.fromisoformat(row["hour"]), float(row["mean"]), False)
                for row in found[name]
            ],
            [[datetime.fromisoformat(end) for end in window] for window in windows],
        )
        for name, windows in json.loads(text).items()
    ]


@cache
def philly() -> Real:
    """Active nodes of Microsoft's Philly cluster."""
    return by_hour(
        "philly",
        [
            (
                datetime.fromisoformat(row["hour_pacific_naive"]),
                float(row["active_nodes_mean"]),
                False,
            )
            for row in rows(HERE / "philly_active_nodes_hourly.csv.gz")
        ],
    )


@cache
def helios() -> list[Real]:
    """GPUs at work in each of the 16 pools of the Helios cluster Earth, 31 days."""
    found = grouped(rows(SERVICE / "sample" / "raw" / "helios_earth_vc_hourly.csv.gz"), "vc")
    return [
        by_hour(
            name,
            [
                (datetime.fromisoformat(row["hour_local"]), float(row["running_gpus_mean"]), False)
                for row in some
            ],
        )
        for name, some in found.items()
    ]


@cache
def gpu_price(instance_type="p3.16xlarge") -> float:
    """US dollars per GPU-hour on demand: a V100, which is what Helios had."""
    table = rows(SERVICE / "prices" / "aws_accelerated_ondemand_us-east-1.csv")
    row = next(row for row in table if row["instance_type"] == instance_type)
    return float(row["usd_per_hour"]) / float(row["gpu_count"])


def as_series(some) -> list[Series]:
    """Real series as a driver takes them."""
    return [
        Series(
            own.name,
            np.nan_to_num(own.values),
            np.nan_to_num(own.values),
            ~np.isnan(own.values),
            None,
            np.zeros(len(own.values)),
        )
        for own in some
    ]
