"""How long spend over two weeks takes to add up: CPU and wall seconds of each question, at once.

    python -m tests.benchmarks.spend [SERIES] [DAYS]

Every series has an hour's cost, names and an expectation for each hour, in segments of two days
as merges leave them. Nobody else asks meanwhile.
"""

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from service.adapters.history import History
from service.adapters.slices import Around, Slices
from service.core.slices import Cut

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOGETHER = 2
# What `IN_ORDER` of service/adapters/versions.py leaves, made here at once.
ROWS = """
    SELECT 'aws/prod-' || s % 97 || '/i-' || s || '/USD/hour' AS series,
        CAST($first AS TIMESTAMP) + INTERVAL 1 HOUR * h AS charge_period_start,
        CAST($first AS TIMESTAMP) + INTERVAL 1 HOUR * (h + 1) AS charge_period_end,
        'Usage' AS charge_category, CAST((s * 7919 + h * 31) % 99991 / 1000 AS VARCHAR) AS cost,
        CAST($version + h AS BIGINT) AS version, 'sku-' || s % 300 AS sku_id, '' AS commitment,
        '1' AS quantity, false AS estimated, true AS scored, CAST(50 AS FLOAT) AS expected,
        CAST(40 AS FLOAT) AS expected_low, CAST(60 AS FLOAT) AS expected_high, 'aws' AS source,
        'team-' || s % 40 AS owner, '1' AS billing_account_id, 'prod-' || s % 97 AS sub_account_id,
        '' AS sub_account_name, 'Compute' AS service_category, 'service-' || s % 23 AS service_name,
        'region-' || s % 11 AS region_id, 'i-' || s AS resource_id, 'name-' || s AS resource_name,
        'vm' AS resource_type, 'USD' AS billing_currency, 'hour' AS grain,
        '{"team":"team-' || s % 40 || '"}' AS tags
    FROM range($series) a(s), range($hours) b(h)
    ORDER BY CAST(charge_period_start AS DATE), series, charge_period_start
"""


def fill(folder, series, days):
    history = History(folder)
    (folder / f"{FIRST:%Y-%m}").mkdir()
    for day in range(0, days, TOGETHER):
        values = {
            "first": (FIRST + day * DAY).replace(tzinfo=None), "version": day * 24 + 1,
            "series": series, "hours": 24 * min(TOGETHER, days - day),
        }  # fmt: skip
        segment = folder / f"{FIRST:%Y-%m}" / f"{day:032x}.parquet"
        with duckdb.connect(config={"temp_directory": str(folder / ".spill")}) as maker:
            maker.execute(f"COPY ({ROWS}) TO '{segment}' (COMPRESSION zstd)", values)
        history.sum_days(segment)
    return history


def main():
    series, days = (int(one) for one in (*sys.argv[1:], 100_000, 14)[:2])
    with tempfile.TemporaryDirectory() as name:
        history = fill(Path(name), series, days)
        slices = Slices(history, lambda _: timedelta(hours=72))
        print(f"{series:,} series, {days} days\n\n| asked | CPU, s | wall, s |\n|---|---|---|")

        def report(what, ask):
            began, cpu = time.perf_counter(), time.process_time()
            ask()
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(f"| {what} | {cpu:.1f} | {wall:.1f} |", flush=True)

        for hours in (0, 7):
            now = FIRST + days * DAY - timedelta(hours=hours)
            around, since = Around(now, ["aws"], []), FIRST + timedelta(hours=hours)
            part = f", from hour {hours} of a day" if hours else ""
            for by in ("service_name", "tag:team", "resource_id"):
                cut = Cut(since, now, (by,))
                report(
                    f"spend by {by}{part}", lambda c=cut, a=around: slices.spend(c, "day", 20, a)
                )
            cut, middle = Cut(since, now, ("service_name",)), FIRST + days // 2 * DAY
            report(f"movers{part}", lambda c=cut, m=middle, a=around: slices.moves(c, m, a))
        history.close()


if __name__ == "__main__":
    main()
