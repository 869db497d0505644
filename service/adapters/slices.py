"""Slices of the history: SQL over the ledger's segments.

A series is where its newest row in the window names it, with all of the window, as in groups and
budgets. A claim owns what nothing else says the owner of.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from service.adapters.days import AS_COST
from service.adapters.history import History, naive
from service.adapters.unwritten import Columns, text_column
from service.core.claims import Claim
from service.core.ledger import Labels
from service.core.moves import SkuSpend
from service.core.owners import UNOWNED
from service.core.slices import BY_TAG, OF_CHARGES, Amounts, Cell, Cut, Grain, SpendTotal

_OF_CHARGES: Final = dict(zip(OF_CHARGES, ("charge_category", "sku_id", "commitment"), strict=True))
_OWNER: Final = f"""CASE WHEN n.l.owner NOT IN ('', '{UNOWNED}') THEN n.l.owner
    ELSE coalesce(r.owner, a.owner, '{UNOWNED}') END"""
# What totals, claims and currencies are told by, whatever the cut.
_ALWAYS: Final = (
    "source", "owner", "sub_account_id", "resource_id", "billing_currency", "grain", "tags",
)  # fmt: skip
# Whose charges are looked at, and what each series is counted to.
_JOINED: Final = """
    FROM named n
    LEFT JOIN claimed r ON r.resource_id = n.l.resource_id AND r.resource_id <> ''
    LEFT JOIN claimed a ON a.sub_account_id = n.l.sub_account_id AND a.sub_account_id <> ''
    LEFT JOIN settling s ON s.source = n.l.source
"""
_DAY: Final = """date_trunc('day', charge_period_start + CASE WHEN n.grain = 'day'
    THEN (charge_period_end - charge_period_start) / 2 ELSE INTERVAL 0 SECOND END)"""
_HOUR: Final = "CASE WHEN n.grain = 'hour' THEN date_trunc('hour', charge_period_start) END"
_SUMS: Final = """
    sum(cost) AS cost,
    coalesce(sum(cost) FILTER (charge_period_end > n.changes), 0) AS provisional,
    sum(estimated_cost) AS estimated,
    coalesce(sum(cost) FILTER (n.is_unowned), 0) AS unowned,
    coalesce(sum(cost) FILTER (n.is_untagged), 0) AS untagged,
    coalesce(sum(cost) FILTER (lower(commitment) = 'used'), 0) AS used,
    coalesce(sum(cost) FILTER (lower(commitment) = 'unused'), 0) AS unused,
    sum(expected) AS expected,
    sum(as_it_came) AS as_it_came,
    sum(below) AS below,
    sum(above) AS above
"""
_BY_DAY: Final = "{days}"
_BY_HOUR: Final = f"{{told}}, costs AS NOT MATERIALIZED (SELECT {AS_COST} FROM newest)"
_AMOUNTS: Final = """sum(cost), sum(provisional), sum(estimated),
    sum(expected) + sum(as_it_came), sum(below), sum(above)"""


class Around(NamedTuple):
    """What is known beside the history: the present, the sources there are, and the claims."""

    now: datetime
    sources: Sequence[str]
    claims: Sequence[Claim]


class Found(NamedTuple):
    """Totals by currency, cells of the largest lines and of the others, and how many others."""

    totals: list[SpendTotal]
    cells: list[Cell]
    others: list[Cell]
    left_out: int


class Slices:
    """Answers from the history; `settles_after` says how long a source's periods may change."""

    def __init__(self, history: History, settles_after: Callable[[str], timedelta]) -> None:
        self._history = history
        self._settles_after = settles_after

    def spend(self, cut: Cut, grain: Grain, most: int, around: Around) -> Found:
        """Cut what was spent, into at most so many lines; OSError when it cannot be read."""
        names = [f"d{place}" for place in range(len(cut.by))]
        dimensions = ", ".join((*names, "billing_currency"))
        bucket, begin = (_HOUR, _BY_HOUR) if grain == "hour" else (_DAY, _BY_DAY)
        split = any(one in OF_CHARGES for one in (*cut.by, *cut.where))
        labelled, picked, where, values = _labelled(cut, begin)
        create = f"""CREATE OR REPLACE TEMP TABLE slice AS {begin}
            SELECT {bucket} AS began, {picked} n.billing_currency AS billing_currency, {_SUMS}
            FROM costs c JOIN labelled n USING (series) WHERE {where} GROUP BY ALL"""
        largest = f"""CREATE OR REPLACE TEMP TABLE largest AS SELECT {dimensions}
            FROM slice WHERE began IS NOT NULL GROUP BY ALL
            ORDER BY abs(sum(cost)) DESC, {dimensions} LIMIT $most"""
        totals = """SELECT billing_currency, sum(cost), sum(provisional), sum(estimated),
            sum(unowned), sum(untagged), sum(used), sum(unused),
            coalesce(sum(cost) FILTER (began IS NULL), 0)
            FROM slice GROUP BY ALL ORDER BY ALL"""
        lines = f"""SELECT {dimensions}, began, {_AMOUNTS} FROM slice SEMI JOIN largest
            USING ({dimensions}) WHERE began IS NOT NULL GROUP BY ALL ORDER BY ALL"""
        others = f"""SELECT billing_currency, began, {_AMOUNTS} FROM slice ANTI JOIN largest
            USING ({dimensions}) WHERE began IS NOT NULL GROUP BY ALL ORDER BY ALL"""
        count = f"""SELECT count(*) FROM (
            SELECT DISTINCT {dimensions} FROM slice WHERE began IS NOT NULL)"""
        found = self._history.ask(
            (labelled, create, largest, totals, lines, others, count),
            cut.since,
            cut.until,
            self._tables(around),
            most=most,
            starts=(),
            **self._changes(around),
            **values,
        )
        whole = len(cut.by)
        return Found(
            [
                SpendTotal(**dict(zip(SpendTotal.__struct_fields__, row, strict=True)))
                for row in found[3]
            ],
            [_cell(row, whole, is_whole=not split) for row in found[4]],
            [_cell(row, 0, is_whole=not split) for row in found[5]],
            max(0, found[6][0][0] - most),
        )

    def moves(self, cut: Cut, between: datetime, around: Around) -> list[SkuSpend]:
        """Return what SKUs of series cost before and after a moment in the cut.

        OSError when the history cannot be read.
        """
        labelled, picked, where, values = _labelled(cut, _BY_DAY)
        amount = "coalesce(sum({}) FILTER (charge_period_start {} $between), 0)"
        sums = [amount.format(what, side) for what in ("cost", "used") for side in ("<", ">=")]
        query = f"""{_BY_DAY} SELECT {picked} n.billing_currency, series,
            charge_category = 'Usage', sku_id, {", ".join(sums)}
            FROM costs c JOIN labelled n USING (series) WHERE {where} GROUP BY ALL ORDER BY ALL"""
        _, rows = self._history.ask(
            (labelled, query),
            cut.since,
            cut.until,
            self._tables(around),
            starts=(naive(between),),
            between=naive(between),
            **(self._changes(around) | {"ends": ()}),
            **values,
        )
        count = len(cut.by)
        return [SkuSpend(row[:count], *row[count : count + 3], *row[count + 4 :]) for row in rows]

    def _tables(self, around: Around) -> dict[str, Columns]:
        changes = {one: naive(around.now - self._settles_after(one)) for one in around.sources}
        return {
            "settling": {
                "source": text_column(list(changes)),
                "changes": np.array(list(changes.values()), "datetime64[us]"),
            },
            "claimed": _claimed(around.claims),
        }

    def _changes(self, around: Around) -> dict[str, Any]:
        """Return what ends after which moments may still change."""
        ends = [naive(around.now - self._settles_after(one)) for one in ("", *around.sources)]
        return {"changes": ends[0], "ends": tuple(dict.fromkeys(ends))}


def _claimed(claims: Iterable[Claim]) -> Columns:
    """Put claims into a table: of several on one thing the first by name counts."""
    found: dict[tuple[str, str], str] = {}
    for claim in claims:
        found.setdefault((claim.resource_id or "", claim.sub_account_id or ""), claim.owner)
    return {
        "resource_id": text_column([key[0] for key in found]),
        "sub_account_id": text_column([key[1] for key in found]),
        "owner": text_column(list(found.values())),
    }


def _labelled(cut: Cut, begin: str) -> tuple[str, str, str, dict[str, Any]]:
    """Return the SQL of a table of the series that a cut is of, and what picks of their charges.

    What names a series is worked out once for it, and not for each of its charges. What picks are
    the dimensions, tests, and the values of all parameters.
    """
    needed = {*_ALWAYS, *cut.by, *cut.where}.intersection(Labels._fields)
    labels = ", ".join(f"{name} := coalesce({name}, '')" for name in sorted(needed))
    places = {one: f"d{place}" for place, one in enumerate(cut.by)}
    columns = [
        "series",
        "n.l.billing_currency AS billing_currency",
        "n.l.grain AS grain",
        f"{_OWNER} = '{UNOWNED}' AS is_unowned",
        "n.l.tags IN ('', '{}') AS is_untagged",
        "coalesce(s.changes, $changes) AS changes",
        *(f"{_column(one)} AS {at}" for one, at in places.items() if one not in _OF_CHARGES),
    ]
    tests: tuple[list[str], list[str]] = (["true"], ["true"])
    values: dict[str, Any] = {}
    for place, (dimension, allowed) in enumerate(sorted(cut.where.items())):
        test = f"list_contains($w{place}, {_column(dimension)})"
        tests[dimension in _OF_CHARGES].append(test)
        values[f"w{place}"] = sorted(allowed)
    if cut.owners is not None:
        tests[0].append(f"list_contains($owners, {_OWNER})")
        values["owners"] = sorted(cut.owners)
    create = f"""CREATE OR REPLACE TEMP TABLE labelled AS {begin}, newest_of AS (
            SELECT series, max(version) AS version FROM told GROUP BY series
        ), named AS (
            SELECT series, any_value(struct_pack({labels})) AS l
            FROM told JOIN newest_of USING (series, version) GROUP BY series)
        SELECT {", ".join(columns)} {_JOINED} WHERE {" AND ".join(tests[0])}"""
    picked = "".join(
        f"{_column(one) if one in _OF_CHARGES else f'n.{at}'} AS {at}, "
        for one, at in places.items()
    )
    return create, picked, " AND ".join(tests[1]), values


def _column(dimension: str) -> str:
    """Return the SQL of a dimension, which was checked; a tag's key is quoted twice."""
    if dimension in _OF_CHARGES:
        return f"coalesce({_OF_CHARGES[dimension]}, '')"
    if dimension == "owner":
        return _OWNER
    if dimension.startswith(BY_TAG):
        path = f'$."{dimension.removeprefix(BY_TAG)}"'.replace("'", "''")
        return f"coalesce(json_extract_string(nullif(n.l.tags, ''), '{path}'), '')"
    return f"n.l.{dimension}"


def _cell(row: tuple[Any, ...], count: int, *, is_whole: bool) -> Cell:
    """Read a row; an expectation is of all charges of a step, and not of a part of them."""
    currency, at, cost, provisional, estimated, expected, below, above = row[count:]
    start = None if at is None else at.replace(tzinfo=UTC)
    amounts = Amounts(cost, provisional, estimated)
    if is_whole and expected is not None:
        amounts = amounts._replace(expected=expected, below=below, above=above)
    return Cell(row[:count], currency, start, amounts)
