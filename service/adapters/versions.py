"""Versions: SQL over segments that leaves out what was told anew since.

A segment holds each cell (series, charge period, category) in one version. So only what several
segments of a month hold has to be compared, and that is little: the largest segment is what was
merged, and beside it lie the few that came since.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from service.adapters.days import Days, used_in

CELL: Final = "series, charge_period_start, charge_period_end, charge_category"
NEWEST: Final = f"""
    SELECT * FROM {{told}} WHERE {{where}} QUALIFY
        rank() OVER (PARTITION BY {CELL} ORDER BY version DESC) = 1
        AND row_number() OVER (
            PARTITION BY {CELL}, sku_id, commitment ORDER BY version DESC, cost DESC) = 1
"""
STORED: Final = "read_parquet({}, union_by_name = true)"
# By day, so that a question about a few hours passes over the other days.
IN_ORDER: Final = f"{NEWEST} ORDER BY CAST(charge_period_start AS DATE), {CELL}, sku_id, commitment"
_INSIDE: Final = "charge_period_start >= $since AND charge_period_start < $until"


class Told:
    """The tables `told`, every version in a window, and `newest`, for queries of one cursor.

    The window is `$since` and `$until`. `waiting` is a table of rows that are in no segment yet.
    """

    def __init__(self, months: Sequence[Sequence[Path]], *, has_waiting: bool) -> None:
        sized = [sorted(month, key=lambda file: file.stat().st_size) for month in months if month]
        self._segments = [file for month in sized for file in month]
        self._has_waiting = has_waiting
        self._days: Days | None = None
        self._files = {
            "largest": [str(month[-1]) for month in sized],
            "rest": [str(file) for month in sized for file in month[:-1]],
        }
        rest = [STORED.format("$rest")] * bool(self._files["rest"]) + ["waiting"]
        largest = [STORED.format("$largest")] * bool(self._files["largest"])
        again = f"""
            again AS NOT MATERIALIZED ({_union(rest)}),
            cells AS MATERIALIZED (SELECT DISTINCT {CELL} FROM again)"""
        told = f"told AS NOT MATERIALIZED ({_union([*largest, *rest])})"
        newest = NEWEST.format(told="(SELECT * FROM again)", where="true")
        if largest and not has_waiting and not self._files["rest"]:
            newest = _union(largest)
        elif largest:
            source = f"({_union(largest)})"
            compared = f"""(SELECT * FROM again
                UNION ALL BY NAME SELECT * FROM {source} SEMI JOIN cells USING ({CELL}))"""
            newest = f"""{NEWEST.format(told=compared, where="true")}
                UNION ALL BY NAME SELECT * FROM {source} ANTI JOIN cells USING ({CELL})"""
        self._begin = f"WITH {told}, {again}, newest AS NOT MATERIALIZED ({newest}) "

    def answer(
        self, cursor: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """Return what a query answers; `{told}` in it stands for the beginning that has both.

        `{days}` stands for the one of `Days`, of which `starts` and `ends` are among the values.
        """
        known = {**values, **self._files}
        if "{days}" in query:
            if self._days is None:
                self._days = Days(
                    cursor, self._segments, NEWEST, values, has_waiting=self._has_waiting
                )
            known |= self._days.values
            query = query.replace("{days}", self._days.begin)
        whole = query.replace("{told}", self._begin)
        return cursor.execute(whole, used_in(whole, known)).fetchall()


def _union(sources: Sequence[str]) -> str:
    return " UNION ALL BY NAME ".join(f"SELECT * FROM {one} WHERE {_INSIDE}" for one in sources)
