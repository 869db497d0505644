"""Slices of the history: SQL over the ledger's segments.

A series is where its newest row in the window names it, with all of the window, as in groups and
budgets. A claim owns what nothing else says the owner of.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from service.adapters.history import Columns, History, naive, text_column
from service.core.claims import Claim
from service.core.ledger import Labels
from service.core.moves import SkuSpend
from service.core.owners import UNOWNED
from service.core.slices import BY_TAG, OF_CHARGES, Amounts, Cell, Cut, Grain, SpendTotal

_OF_CHARGES: Final = dict(zip(OF_CHARGES, ("charge_category", "sku_id", "commitment"), strict=True))
# To 1e-15, and up to 1e22: DuckDB has no wider number, and raises rather than cut.
_AMOUNT: Final = "CAST(cost AS DECIMAL(38, 15))"
_OWNER: Final = f"""CASE WHEN n.l.owner NOT IN ('', '{UNOWNED}') THEN n.l.owner
    ELSE coalesce(r.owner, a.owner, '{UNOWNED}') END"""
# What totals, claims and currencies are told by, whatever the cut.
_ALWAYS: Final = (
    "source", "owner", "sub_account_id", "resource_id", "billing_currency", "grain", "tags",
)  # fmt: skip
_JOINED: Final = """
    FROM newest c JOIN named n USING (series)
    LEFT JOIN claimed r ON r.resource_id = n.l.resource_id AND r.resource_id <> ''
    LEFT JOIN claimed a ON a.sub_account_id = n.l.sub_account_id AND a.sub_account_id <> ''
    LEFT JOIN settling s ON s.source = n.l.source
"""
_DAY: Final = """date_trunc('day', charge_period_start + CASE WHEN n.l.grain = 'day'
    THEN (charge_period_end - charge_period_start) / 2 ELSE INTERVAL 0 SECOND END)"""
_HOUR: Final = "CASE WHEN n.l.grain = 'hour' THEN date_trunc('hour', charge_period_start) END"
_SUMS: Final = f"""
    sum({_AMOUNT}) AS cost,
    coalesce(sum({_AMOUNT}) FILTER (charge_period_end > coalesce(s.changes, $changes)), 0)
        AS provisional,
    coalesce(sum({_AMOUNT}) FILTER (estimated), 0) AS estimated,
    coalesce(sum({_AMOUNT}) FILTER ({_OWNER} = '{UNOWNED}'), 0) AS unowned,
    coalesce(sum({_AMOUNT}) FILTER (n.l.tags IN ('', '{{}}')), 0) AS untagged,
    coalesce(sum({_AMOUNT}) FILTER (lower(commitment) = 'used'), 0) AS used,
    coalesce(sum({_AMOUNT}) FILTER (lower(commitment) = 'unused'), 0) AS unused,
    sum(expected) FILTER (scored AND NOT isnan(expected)) AS expected,
    coalesce(sum(CAST(cost AS DOUBLE)) FILTER (NOT coalesce(scored, false)), 0) AS as_it_came,
    coalesce(sum((expected - expected_low) ** 2) FILTER (NOT isnan(expected)), 0) AS below,
    coalesce(sum((expected_high - expected) ** 2) FILTER (NOT isnan(expected)), 0) AS above
"""
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
        bucket = _HOUR if grain == "hour" else _DAY
        split = any(one in OF_CHARGES for one in (*cut.by, *cut.where))
        where, values = _where(cut)
        create = f"""CREATE OR REPLACE TEMP TABLE slice AS {_named(cut)}
            SELECT {bucket} AS began, {_picked(cut.by)}
            n.l.billing_currency AS billing_currency, {_SUMS}
            {_JOINED} WHERE {where} GROUP BY ALL"""
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
            (create, largest, totals, lines, others, count),
            cut.since,
            cut.until,
            self._tables(around),
            most=most,
            changes=naive(around.now - self._settles_after("")),
            **values,
        )
        whole = len(cut.by)
        return Found(
            [
                SpendTotal(**dict(zip(SpendTotal.__struct_fields__, row, strict=True)))
                for row in found[2]
            ],
            [_cell(row, whole, is_whole=not split) for row in found[3]],
            [_cell(row, 0, is_whole=not split) for row in found[4]],
            max(0, found[5][0][0] - most),
        )

    def moves(self, cut: Cut, between: datetime, around: Around) -> list[SkuSpend]:
        """Return what SKUs of series cost before and after a moment in the cut.

        OSError when the history cannot be read.
        """
        where, values = _where(cut)
        amount = f"coalesce(sum({_AMOUNT}) FILTER (charge_period_start {{}} $between), 0)"
        used = amount.replace("cost", "quantity")
        query = f"""{_named(cut)} SELECT {_picked(cut.by)} n.l.billing_currency, series,
            charge_category = 'Usage', sku_id, {amount.format("<")}, {amount.format(">=")},
            {used.format("<")}, {used.format(">=")}
            {_JOINED} WHERE {where} GROUP BY ALL ORDER BY ALL"""
        (rows,) = self._history.ask(
            [query], cut.since, cut.until, self._tables(around), between=naive(between), **values
        )
        count = len(cut.by)
        return [SkuSpend(row[:count], *row[count : count + 3], *row[count + 4 :]) for row in rows]

    def _tables(self, around: Around) -> dict[str, Columns]:
        changes = {one: around.now - self._settles_after(one) for one in around.sources}
        return {
            "settling": {
                "source": text_column(list(changes)),
                "changes": np.array([naive(at) for at in changes.values()], "datetime64[us]"),
            },
            "claimed": _claimed(around.claims),
        }


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


def _named(cut: Cut) -> str:
    """Return the SQL that names the labels of each series, those that the cut needs."""
    needed = {*_ALWAYS, *cut.by, *cut.where}.intersection(Labels._fields)
    labels = ", ".join(f"{name} := coalesce({name}, '')" for name in sorted(needed))
    return f"""
        {{told}}, named AS (
            SELECT series, arg_max(struct_pack({labels}), version) AS l FROM told GROUP BY series)
    """


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


def _picked(by: Iterable[str]) -> str:
    return "".join(f"{_column(one)} AS d{place}, " for place, one in enumerate(by))


def _where(cut: Cut) -> tuple[str, dict[str, Any]]:
    tests, values = ["true"], {}
    for place, (dimension, allowed) in enumerate(sorted(cut.where.items())):
        tests.append(f"list_contains($w{place}, {_column(dimension)})")
        values[f"w{place}"] = sorted(allowed)
    if cut.owners is not None:
        tests.append(f"list_contains($owners, {_OWNER})")
        values["owners"] = sorted(cut.owners)
    return " AND ".join(tests), values


def _cell(row: tuple[Any, ...], count: int, *, is_whole: bool) -> Cell:
    """Read a row; an expectation is of all charges of a step, and not of a part of them."""
    currency, at, cost, provisional, estimated, expected, below, above = row[count:]
    start = None if at is None else at.replace(tzinfo=UTC)
    amounts = Amounts(cost, provisional, estimated)
    if is_whole and expected is not None:
        amounts = amounts._replace(expected=expected, below=below, above=above)
    return Cell(row[:count], currency, start, amounts)
