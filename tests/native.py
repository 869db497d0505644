"""Native exports for tests: the raw rows beside the events they become."""

import csv
import gzip
import io
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import duckdb

from service.adapters.sources import SOURCES
from service.adapters.sources.base import Row
from service.core.money import ZERO, add

NATIVE = Path(__file__).parent / "data" / "native"


def events_beside_rows(path, source):
    """Read a file and yield each raw row with its event; fails unless every row became one."""
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    raw = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))
    found = list(SOURCES[source].read(path))
    assert [item for item in found if not isinstance(item, Row)] == []
    return list(zip(raw, (item.event for item in found), strict=True))


def sums_of_events(path, source, kind, cost="billed_cost"):
    """Add up what the events cost, by a raw column."""
    sums = defaultdict(Decimal)
    for raw, event in events_beside_rows(path, source):
        name = raw[kind] or None
        sums[name] = add(sums[name], getattr(event, cost) or ZERO)
    return dict(sums)


def sums_of_file(path, kind, cost):
    """Add up the raw file with DuckDB, by a raw column."""
    with duckdb.connect() as db:
        return dict(
            db.execute(
                f'SELECT "{kind}", sum(CAST("{cost}" AS DECIMAL(38, 30)))'  # noqa: S608
                f" FROM read_csv('{path}', all_varchar = true, quote = '\"') GROUP BY ALL"
            ).fetchall()
        )
