"""Days: what the charges of a segment come to by day of UTC, beside the segment.

A merged segment has each cell in one version, and is never changed; so neither are its days. A
question about weeks adds up days. Hours are read of the days that a moment asked about parts in
two, and of a series' day of which something was told anew: where what another segment says of it
lies between the first and the last start that is in its sums. What else is told of that day is
added to it. Sums are of decimals, and the same to the last digit whichever way they are made.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb

from service.adapters.whole_files import sync_folder
from service.core.ledger import Labels

SUFFIX: Final = ".days"
DAY: Final = timedelta(days=1)
_PARAMETER: Final = re.compile(r"\$(\w+)")
# To 1e-15, and up to 1e22: DuckDB has no wider number, and raises rather than cut.
_AMOUNT: Final = "CAST({} AS DECIMAL(38, 15))"
# What adds up, of a row: of what was expected, what was not scored is expected as it came.
MEASURES: Final[Mapping[str, str]] = {
    "cost": _AMOUNT.format("cost"),
    "used": _AMOUNT.format("coalesce(quantity, '0')"),
    "estimated_cost": f"CASE WHEN estimated THEN {_AMOUNT.format('cost')} ELSE 0 END",
    "expected": "CASE WHEN scored AND NOT isnan(expected) THEN CAST(expected AS DOUBLE) END",
    "as_it_came": "CASE WHEN coalesce(scored, false) THEN 0.0 ELSE CAST(cost AS DOUBLE) END",
    "below": "CASE WHEN NOT isnan(expected) THEN (expected - expected_low) ** 2 ELSE 0.0 END",
    "above": "CASE WHEN NOT isnan(expected) THEN (expected_high - expected) ** 2 ELSE 0.0 END",
}
_NAMED: Final = f"series, charge_category, sku_id, commitment, version, {', '.join(Labels._fields)}"
_SUMMED: Final = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
_KEPT: Final = ", ".join(MEASURES)
# Of a row of charges, as a day is.
AS_COST: Final = f"""{_NAMED}, charge_period_start, charge_period_end,
    {", ".join(f"{sql} AS {name}" for name, sql in MEASURES.items())}"""
_START_DAY: Final = "CAST(charge_period_start AS DATE)"
_IS_INSIDE: Final = f"""charge_period_end >= charge_period_start
    AND charge_period_end <= {_START_DAY} + INTERVAL 1 DAY"""
# What is not inside one day stands for itself.
_DAYS: Final = f"""
    SELECT series, day, charge_category, sku_id, commitment, max(version) AS version,
        min(charge_period_start) AS first_start, max(charge_period_start) AS last_start,
        min(charge_period_end) AS first_end, max(charge_period_end) AS last_end,
        {", ".join(f"arg_max(coalesce({name}, ''), version) AS {name}" for name in Labels._fields)},
        {_SUMMED}
    FROM (
        SELECT {AS_COST}, {_START_DAY} AS day,
            CASE WHEN NOT ({_IS_INSIDE}) THEN charge_period_start END AS own_start,
            CASE WHEN NOT ({_IS_INSIDE}) THEN charge_period_end END AS own_end
        FROM (FROM read_parquet($file) UNION ALL BY NAME FROM waiting))
    GROUP BY series, day, charge_category, sku_id, commitment, own_start, own_end
    ORDER BY day, series
"""
_FILE: Final = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)"
_INSIDE: Final = "charge_period_start >= $since AND charge_period_start < $until"
_OF_DAYS: Final = """
    read_parquet($days, filename = true) WHERE day >= $since_day AND day <= $until_day
"""
_AMONG: Final = "list_contains(CAST(${} AS DATE[]), day)"


def days_of(segment: Path) -> Path:
    """Return where the days of a segment are, if it has any."""
    return segment.with_suffix(SUFFIX)


def write_days(segment: Path, ask: Callable[..., Any]) -> None:
    """Write the days of a segment by `ask`, which knows a table `waiting`.

    OSError when they cannot be: then hours are read, as for what is too much for a decimal.
    """
    temporary = segment.with_name(f"{segment.stem}{SUFFIX}.tmp")
    path = str(temporary).replace("'", "''")
    ask(f"COPY ({_DAYS}) TO '{path}' {_FILE}", file=str(segment))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.rename(days_of(segment))
    sync_folder(segment.parent)


def remove(segment: Path) -> None:
    """Remove a segment, its days first: they are never without it."""
    days_of(segment).unlink(missing_ok=True)
    segment.unlink()


class Days:
    """The tables `told` and `costs`, for queries of one cursor over a window by day.

    `costs` holds what counts, as rows with `MEASURES`. No row of it has charges that start on both
    sides of one of the `$starts`, the window's own among them, or that end up to one of the `$ends`
    and after it. `told` has the newest version of each series, with its labels.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        segments: Iterable[Path],
        newest: str,
        values: Mapping[str, Any],
        *,
        has_waiting: bool,
    ) -> None:
        known = {segment: days_of(segment) for segment in segments}
        summed = [segment for segment, days in known.items() if days.exists()]
        rest = [str(segment) for segment in known if segment not in summed]
        since, until = values["since"], values["until"]
        self._cursor = cursor
        self._newest = newest
        self.values: dict[str, Any] = {
            "since": since,
            "until": until,
            "since_day": since.date(),
            "until_day": until.date(),
            "days": [str(known[segment]) for segment in summed],
            "summed": [str(segment) for segment in summed],
            "rest": rest,
            "starts": [since, until, *values["starts"]],
            "ends": [*values["ends"]],
        }
        again = ["read_parquet($rest, union_by_name = true)"] * bool(rest) + ["waiting"]
        self._again = " UNION ALL BY NAME ".join(
            f"SELECT * FROM {one} WHERE {_INSIDE}" for one in again
        )
        self._parted: list[date] = []
        self._touched: list[date] = []
        if summed:
            self._touched = self._find_touched(is_again=bool(rest) or has_waiting)
            outside = self._find_parted("starts", "first_start < {}", "last_start >= {}")
            unsettled = self._find_parted("ends", "first_end <= {}", "last_end > {}")
            self._parted = sorted({*outside, *unsettled})
            # What names a series may be read of days, unless hours of them are not asked for.
            self.values |= {"outside": outside, "parted": self._parted}
        self.begin = f"WITH {', '.join(self._tables(has_days=bool(summed)))} "

    def _ask(self, query: str, **more: Any) -> list[tuple[Any, ...]]:
        return self._cursor.execute(query, used_in(query, {**self.values, **more})).fetchall()

    def _find_parted(self, cuts: str, first: str, last: str) -> list[date]:
        """Return the days that have a row whose first and last are on two sides of a cut."""
        found = self._ask(
            f"""SELECT DISTINCT day FROM {_OF_DAYS}
                AND list_contains(CAST($days_cut AS DATE[]), day)
                AND len(list_filter(CAST(${cuts} AS TIMESTAMP[]),
                    lambda cut: {first.format("cut")} AND {last.format("cut")})) > 0""",
            days_cut=sorted({at.date() for at in self.values[cuts]}),
        )
        return sorted(day for (day,) in found)

    def _find_touched(self, *, is_again: bool) -> list[date]:
        """Note what of a series' day was told anew, in a table; return the days."""
        spans = self._ask(
            f"""SELECT day, filename, min(first_start), max(last_start) FROM {_OF_DAYS}
                GROUP BY ALL ORDER BY ALL"""
        )
        shared = _overlapping((day, Path(file).parent, *span) for day, file, *span in spans)
        told_twice = f"""SELECT series, day FROM (
                SELECT series, day, filename, min(first_start) AS a, max(last_start) AS b
                FROM {_OF_DAYS} AND {_AMONG.format("shared")} GROUP BY ALL)
            QUALIFY a <= max(b) OVER (PARTITION BY series, day ORDER BY a, b, filename
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"""
        told_anew = f"""SELECT series, day FROM (
                SELECT series, {_START_DAY} AS day, min(charge_period_start) AS a,
                    max(charge_period_start) AS b FROM ({self._again}) GROUP BY ALL) again
            JOIN (SELECT * FROM {_OF_DAYS}) USING (series, day)
            WHERE a <= last_start AND b >= first_start"""
        found = [told_twice] * bool(shared) + [told_anew] * is_again
        if not found:
            return []
        union = " UNION ".join(found)
        self._ask(f"CREATE OR REPLACE TEMP TABLE touched AS {union}", shared=shared)
        return [day for (day,) in self._ask("SELECT DISTINCT day FROM touched ORDER BY day")]

    def _tables(self, *, has_days: bool) -> Iterable[str]:
        again, costs, named = f"({self._again})", [], [f"SELECT {_NAMED} FROM ({self._again})"]
        told_anew = "SELECT * FROM hours SEMI JOIN touched USING (series, day)"
        untouched = "ANTI JOIN touched USING (series, day)" if self._touched else ""
        parted = f"SELECT * FROM hours {untouched} WHERE {_AMONG}"
        if has_days:
            yield f"""summed AS NOT MATERIALIZED (
                SELECT {_NAMED}, first_start AS charge_period_start,
                    last_end AS charge_period_end, {_KEPT}, day
                FROM (SELECT * FROM {_OF_DAYS} AND first_start >= $since AND last_start < $until
                    AND NOT {_AMONG.format("outside")}) {untouched})"""
            named.append(f"SELECT {_NAMED} FROM summed")
            costs.append(f"SELECT * EXCLUDE day FROM summed WHERE NOT {_AMONG.format('parted')}")
        if self._parted or self._touched:
            yield f"hours AS NOT MATERIALIZED ({self._hours()})"
        if self._touched:
            named.append(f"SELECT {_NAMED} FROM ({told_anew})")
            again = f"({self._again} UNION ALL BY NAME {told_anew})"
        newest = self._newest.format(told=again, where="true")
        costs.append(f"SELECT {AS_COST} FROM ({newest})")
        if self._parted:
            named.append(f"SELECT {_NAMED} FROM ({parted.format('outside')})")
            costs.append(f"SELECT {AS_COST} FROM ({parted.format('parted')})")
        yield f"told AS NOT MATERIALIZED ({' UNION ALL BY NAME '.join(named)})"
        yield f"costs AS NOT MATERIALIZED ({' UNION ALL BY NAME '.join(costs)})"

    def _hours(self) -> str:
        """Return the SQL of all hours of the days that need them; other days are passed over."""
        days = sorted({*self._parted, *self._touched})
        parts = [
            f"""SELECT * FROM read_parquet($summed, union_by_name = true)
                WHERE {_INSIDE} AND charge_period_start >= '{first}'
                AND charge_period_start < '{last + DAY}'"""
            for first, last in _runs(days)
        ]
        # Beside a table that has every column: old files may have fewer.
        union = " UNION ALL BY NAME ".join([*parts, "SELECT * FROM waiting WHERE false"])
        return f"SELECT *, {_START_DAY} AS day FROM ({union})"


def used_in(query: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that a query names: others would be an error."""
    return {name: values[name] for name in set(_PARAMETER.findall(query)) if name in values}


def _overlapping(spans: Iterable[tuple[date, Path, datetime, datetime]]) -> list[date]:
    """Return the days of which two files of a folder hold spans that overlap."""
    until: dict[tuple[Path, date], datetime] = {}
    found: dict[date, None] = {}
    for day, folder, first, last in sorted(spans):
        known = until.get((folder, day))
        if known is not None and first <= known:
            found[day] = None
        until[folder, day] = last if known is None else max(last, known)
    return list(found)


def _runs(days: Sequence[date]) -> Iterable[tuple[date, date]]:
    """Yield the first and the last of days that follow one another."""
    first = last = None
    for day in days:
        if last is not None and day - last == DAY:
            last = day
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = day
    if first is not None and last is not None:
        yield first, last
