"""The sample as though it ended now: `python -m service.sample.recent FOLDER`.

A service takes a feed's past for granted and tells what is odd in its last two days. So the last
six weeks of both exports, and the newest GPU samples, are moved in time: what has an hour to the
hour just past, what has a day to the day just past. Nothing else is changed.
"""

import csv
import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from service.sample.delivery import EXPORTS, snapshots
from service.sample.estate import END, HERE
from service.sample.focus import stamp

DAYS: Final = 45
PERIODS: Final = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
SAMPLES: Final = "gpu_samples-2026-09.ndjson"

Row = dict[str, str]


def recent(folder: Path, now: datetime) -> Mapping[str, int]:
    """Write one file for each export and one of GPU samples; return how many rows of each."""
    folder.mkdir(parents=True, exist_ok=True)
    hours = now.replace(minute=0, second=0, microsecond=0) - END
    counts = {}
    for name, provider in EXPORTS.items():
        by = hours if provider == "aws" else timedelta(days=hours.days)
        rows = [_moved(row, by) for row in _rows(name)]
        with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        counts[name] = len(rows)
    with gzip.open(HERE / f"{SAMPLES}.gz", "rt", encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines]
    for sample in samples:
        sample["timestamp"] = _later(sample["timestamp"], hours)
    text = "".join(f"{json.dumps(sample)}\n" for sample in samples)
    (folder / SAMPLES).write_text(text, encoding="utf-8")
    return counts | {SAMPLES: len(samples)}


def _rows(export: str) -> Iterator[Row]:
    """Yield the last word on the sample's last days, oldest month first."""
    last = {one.month: one.created for one in snapshots() if one.export == export}
    for month, created in sorted(last.items()):
        for path in (HERE / "export" / export / "data").glob(
            f"BILLING_PERIOD={month:%Y-%m}/{created:%Y%m%dT%H%M%SZ}-*/*.csv.gz"
        ):
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if _time(row["ChargePeriodStart"]) >= END - timedelta(days=DAYS):
                        yield row


def _moved(row: Row, by: timedelta) -> Row:
    return row | {name: _later(row[name], by) for name in PERIODS}


def _later(text: str, by: timedelta) -> str:
    return stamp(_time(text) + by)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    for what, number in recent(Path(sys.argv[1]), datetime.now(UTC)).items():
        print(f"{what}: {number} rows")  # noqa: T201
