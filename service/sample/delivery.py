"""Deliveries: the months of both exports as snapshots, laid out as AWS Data Exports does.

    export/<export>/data/BILLING_PERIOD=2026-06/<time>-<execution>/<export>-00001.csv.gz
    export/<export>/metadata/BILLING_PERIOD=2026-06/<time>-<execution>/<export>-Manifest.json

Every refresh of a month is a folder of its own and holds the whole month so far.
"""

import csv
import gzip
import io
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from service.sample.estate import END, Estate, Provider, Resource
from service.sample.focus import COLUMNS, Row, fee_row, month_of, stamp, usage_rows
from service.sample.usage import Meter

EXPORTS: Final[Mapping[str, Provider]] = {"aws-focus": "aws", "azure-focus": "azure"}
_NAMESPACE: Final = uuid.UUID("6f1d2c7e-53a8-4a1e-9b57-0c1f4a6d9e10")


class Snapshot(NamedTuple):
    """One delivery of a month: what was billed before `until`, `first_word` with a day too high."""

    export: str
    month: datetime
    until: datetime
    created: datetime
    first_word: bool = False

    @property
    def closed(self) -> bool:
        """Whether the month was over."""
        return self.until >= month_of(self.month)[1]


def snapshots() -> list[Snapshot]:
    """List all deliveries in order of time.

    September reaches AWS's export three times: on the 5th with a day that is too high, on the 6th
    with that day as it was, and on the 16th.
    """
    months = [datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7, 8)]
    after = timedelta(days=2, hours=6, minutes=12)
    closed = [
        Snapshot(export, month, month_of(month)[1], month_of(month)[1] + after)
        for month in months
        for export in EXPORTS
    ]
    september, morning = datetime(2026, 9, 1, tzinfo=UTC), timedelta(hours=9, minutes=41)
    ends = [datetime(2026, 9, 5, tzinfo=UTC), datetime(2026, 9, 6, tzinfo=UTC), END]
    opened = [
        Snapshot("aws-focus", september, end, end + morning, first_word=end is ends[0])
        for end in ends
    ]
    return [*closed, *opened, Snapshot("azure-focus", september, END, END + morning)]


def write(
    root: Path, snapshot: Snapshot, estate: Estate, meters: Sequence[Meter]
) -> tuple[Path, int]:
    """Write a snapshot's data file, then its manifest; return the manifest and how many rows."""
    execution = uuid.uuid5(
        _NAMESPACE, f"{snapshot.export}/{stamp(snapshot.created)}/{snapshot.month}"
    )
    folder = f"BILLING_PERIOD={snapshot.month:%Y-%m}/{snapshot.created:%Y%m%dT%H%M%SZ}-{execution}"
    base = root / snapshot.export
    data = f"data/{folder}/{snapshot.export}-00001.csv.gz"
    (base / data).parent.mkdir(parents=True, exist_ok=True)
    count = _write_csv(base / data, rows(snapshot, estate, meters))
    manifest = base / "metadata" / folder / f"{snapshot.export}-Manifest.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    first, following = month_of(snapshot.month)
    content = {
        "executionId": str(execution),
        "exportArn": "arn:aws:bcm-data-exports:us-east-1:000411112222:export/" + snapshot.export,
        "billingPeriod": {"start": stamp(first), "end": stamp(following)},
        "createdAt": stamp(snapshot.created),
        "dataFiles": [data],
    }
    manifest.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return manifest, count


def rows(snapshot: Snapshot, estate: Estate, meters: Sequence[Meter]) -> Iterator[Row]:
    """Yield a snapshot's rows day by day, and its fees last."""
    provider = EXPORTS[snapshot.export]
    billed = [meter for meter in meters if meter.account.provider == provider]
    first, following = month_of(snapshot.month)
    day, until = first, min(snapshot.until, following)
    invoice = {"InvoiceId": f"2{snapshot.month:%Y%m}0417"} if snapshot.closed else {}
    while day < until:
        for meter in billed:
            for row in usage_rows(meter, day, day + timedelta(days=1)):
                yield row | invoice
        day += timedelta(days=1)
    for row in _fees(snapshot, estate, provider):
        yield row | invoice


def _fees(snapshot: Snapshot, estate: Estate, provider: Provider) -> Iterator[Row]:
    accounts = {account.id: account for account in estate.account}
    resources: dict[str, Resource] = {resource.name: resource for resource in estate.resource}
    for fee in estate.fee:
        account = accounts[fee.account]
        if account.provider == provider and f"{snapshot.month:%Y-%m}" in fee.amounts:
            yield fee_row(fee, account, resources.get(fee.resource), snapshot.month)


def _write_csv(path: Path, content: Iterator[Row]) -> int:
    count = 0
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in content:
            writer.writerow([row[column] for column in COLUMNS])
            count += 1
    return count
