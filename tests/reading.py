"""Reading for tests: write a small bill, read it, look at what came out."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from service.adapters.sources import Reader, SnapshotBook

START = datetime(2024, 9, 1, tzinfo=UTC)
MONTH_END = datetime(2024, 10, 1, tzinfo=UTC)


def read(*inputs, book=None, **options):
    """Read inputs to the end: `arrivals`, their `events`, what was `rejected`, the `reader`."""
    rejected = []
    with SnapshotBook.temporary() as fresh:
        reader = Reader(inputs, snapshots=book or fresh, reject=rejected.append, **options)
        arrivals = list(reader)
    return SimpleNamespace(
        arrivals=arrivals,
        events=[arrival.event for arrival in arrivals],
        rejected=rejected,
        reasons=[item.reason for item in rejected],
        notes=reader.notes,
        reader=reader,
    )


def iso(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def bill(hour=0, cost="1", resource="i-1", **columns):
    """Return one row of September's bill as FOCUS columns."""
    start = START + timedelta(hours=hour)
    return {
        "BillingAccountId": "000123",
        "BillingPeriodStart": iso(START),
        "BillingPeriodEnd": iso(MONTH_END),
        "ChargePeriodStart": iso(start),
        "ChargePeriodEnd": iso(start + timedelta(hours=1)),
        "ChargeCategory": "Usage",
        "BilledCost": cost,
        "EffectiveCost": cost,
        "BillingCurrency": "USD",
        "ResourceId": resource,
    } | columns


def write_csv(path, rows, columns=None):
    """Write rows as CSV; the first one's keys are the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), newline="")
    return path


def write_ndjson(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
