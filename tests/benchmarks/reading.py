"""How fast and in how much memory each source reads, against DuckDB's scan and sum of the file.

    python -m tests.benchmarks.reading [ROWS [FILE]]

Files are made from the tests' samples, a million rows each unless told otherwise; DuckDB has one
thread, as reading has. Seconds are of the processor. The floor is what it takes to make the event
objects alone, from columns that are there already.
"""

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import duckdb

from service.adapters.sources import SOURCES
from service.adapters.sources.base import Row
from service.core.events import CostEvent
from tests.golden import DATA

CSV = "read_csv('{}', all_varchar = true, quote = '\"')"
JSON = "read_json('{}', timestampformat = 'none')"
PARQUET = "read_parquet('{}')"
START, HOUR = datetime(2026, 3, 1, tzinfo=UTC), timedelta(hours=1)


class Case(NamedTuple):
    """A file: what it is made from and how, and how DuckDB adds it up."""

    source: str
    sample: str
    made_by: str
    varied: str
    scan: str
    cost: str


CASES = {
    "focus.csv": Case(
        "focus", "billing/focus_1.0_sample_1000.csv", CSV, "ResourceId", CSV, "BilledCost"
    ),
    "focus.parquet": Case(
        "focus", "billing/focus_1.0_sample_1000.csv", CSV, "ResourceId", PARQUET, "BilledCost"
    ),
    "aws.csv": Case(
        "aws_cur", "native/aws_cur_legacy_sample.csv.gz", CSV, '"lineItem/ResourceId"', CSV,
        '"lineItem/UnblendedCost"',
    ),
    "aws.parquet": Case(
        "aws_cur", "sources/aws_cur.csv", CSV, "line_item_resource_id", PARQUET,
        "line_item_unblended_cost",
    ),
    "azure.csv": Case(
        "azure", "native/azure_ea_amortized_cost_small.csv", CSV, "ResourceId", CSV, "Cost"
    ),
    "gcp.ndjson": Case("gcp", "sources/gcp.ndjson", JSON, "billing_account_id", JSON, "cost"),
    "gcp.parquet": Case("gcp", "sources/gcp.ndjson", JSON, "billing_account_id", PARQUET, "cost"),
    "oci.csv": Case(
        "oci", "native/oci_cost_report_sample_redacted.csv.gz", CSV, '"lineItem/referenceNo"', CSV,
        '"cost/myCost"',
    ),
}  # fmt: skip


def make(name, folder, rows):
    """Write a file of so many rows: the sample again and again, 5000 names, 9973 costs."""
    case, path = CASES[name], folder / name
    source = case.made_by.format(DATA / case.sample)
    cost = f"CAST({case.cost} AS DECIMAL(38, 12)) + (i % 9973) * 0.000001 AS {case.cost}"
    if case.sample.startswith("native") and case.source == "aws_cur":
        columns = f"* EXCLUDE (i) REPLACE ({cost}), 'i-' || (i % 5000) AS {case.varied}"
    else:
        columns = f"* EXCLUDE (i) REPLACE ({case.varied} || (i % 5000) AS {case.varied}, {cost})"
    form = {".csv": "csv, HEADER", ".ndjson": "json", ".parquet": "parquet"}[path.suffix]
    with duckdb.connect() as db:
        [[lines]] = db.execute(f"SELECT count(*) FROM {source}").fetchall()  # noqa: S608
        db.execute(
            f"COPY (SELECT {columns} FROM {source}, range({-(-rows // lines)}) AS t(i)"  # noqa: S608
            f" LIMIT {rows}) TO '{path}' (FORMAT {form})"
        )
    return path


def measure(how, name, path):
    """Read a file in this process and print (rows, seconds, MiB)."""
    case = CASES[name]
    began = time.process_time()
    if how == "ours":
        rows = sum(1 for _ in SOURCES[case.source].read(path))
    else:
        with duckdb.connect(config={"threads": 1}) as db:
            query = f"SELECT count(*), sum(CAST({case.cost} AS DECIMAL(38, 18)))"
            [[rows, _]] = db.execute(f"{query} FROM {case.scan.format(path)}").fetchall()
    print(rows, time.process_time() - began, _peak())


def floor(rows=200_000):
    """Return the seconds a row that making events takes, from columns of their fields."""
    event = CostEvent(START, START + HOUR, "Usage", Decimal(1), "USD", resource_id="i-1")
    columns = [[getattr(event, name)] * rows for name in CostEvent.__struct_fields__]
    began = time.process_time()
    made = sum(1 for _ in map(Row, range(rows), map(CostEvent, *columns)))
    return (time.process_time() - began) / made


def _peak():
    """Return the most memory this program has had, in MiB: getrusage knows its parent's too."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) // 1024


def measured(how, name, path):
    """Measure in a process of its own: (rows, seconds, MiB)."""
    command = [sys.executable, "-m", "tests.benchmarks.reading", how, name, str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, seconds, peak = run.stdout.split()
    return int(rows), float(seconds), int(peak)


def main():
    """Measure every case."""
    if len(sys.argv) == 4:
        measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"the event objects alone: {floor() * 1e6:.2f} us a row")
    for name in sys.argv[2:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = make(name, Path(folder), rows)
            read, seconds, peak = measured("ours", name, path)
            _, theirs, other = measured("duckdb", name, path)
            print(
                f"{name:13} {read} rows, {seconds / read * 1e6:.1f} us a row, {peak} MiB;"
                f" DuckDB {theirs / read * 1e6:.2f} us, {other} MiB; ratio {seconds / theirs:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
