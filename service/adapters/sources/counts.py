"""Usage counts: how many inferences, runs or training hours there were, to hold spend against.

CSV or Parquet with the columns count_name, start, end and count, or JSON lines with those keys. A
count is a row that costs nothing: the ledger keeps its quantity, restates it, and counts it once.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes
from service.adapters.sources.files import look
from service.adapters.sources.formats import Format, has, read_rows
from service.adapters.sources.ndjson import decoded
from service.adapters.sources.rows import (
    RefusedError,
    Rule,
    Texts,
    Values,
    decimal,
    row_of,
    ruled,
    same,
)
from service.adapters.sources.values import moment

REQUIRED: Final = ("countname", "start", "end", "count")
SERVICE: Final = "Usage counts"


class _Line(msgspec.Struct):
    count_name: str
    start: str
    end: str
    count: str | int | float


def recognises(head: Head) -> bool:
    """Tell counts by their four columns, or keys."""
    is_lines = head.form == "ndjson" and head.names >= set(REQUIRED)
    return is_lines or has(head, REQUIRED)


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    if look(path).form != "ndjson":
        yield from read_rows(path, _FORMAT)
        return
    for number, raw, line in decoded(path, _LINE.decode):
        if isinstance(line, Flaw):
            yield line
            continue
        row = {
            "countname": line.count_name,
            "start": line.start,
            "end": line.end,
            "count": str(line.count),
        }
        values: Values = {}
        try:
            for rule in _RULES:
                values |= ruled(rule, row, {})
        except RefusedError as error:
            yield Flaw(number, "type", str(error), first_bytes(raw))
        else:
            yield row_of(number, values, [first_bytes(raw).decode("utf-8", "replace")])


def _named(row: Texts, _: dict[str, str]) -> Values:
    name = row.get("countname")
    if name is None:
        raise RefusedError("count_name is missing")
    return {"ResourceId": name, "SkuId": name, "ConsumedUnit": name, "ServiceName": SERVICE}


def _counted(row: Texts, _: dict[str, str]) -> Values:
    if "count" not in row:
        raise RefusedError("count is missing")
    count = decimal("count", row["count"])
    if count < 0:
        raise RefusedError("count is below 0")
    return {"ConsumedQuantity": count, "PricingQuantity": count}


def _period(row: Texts, _: dict[str, str]) -> Values:
    try:
        start, end = moment(row["start"]), moment(row["end"])
        month = _month(start)
    except KeyError as error:
        raise RefusedError(f"{error.args[0]} is missing") from None
    except (ValueError, OverflowError):
        raise RefusedError("start or end is not a time") from None
    return {
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "BillingPeriodStart": month[0],
        "BillingPeriodEnd": month[1],
    }


@lru_cache(maxsize=4096)
def _month(at: datetime) -> tuple[datetime, datetime]:
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = start.year * 12 + start.month
    return start, start.replace(year=months // 12, month=months % 12 + 1)


def _free(_row: Texts, _: dict[str, str]) -> Values:
    return {
        "BilledCost": "0",
        "EffectiveCost": "0",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
    }


_RULES: Final = (
    Rule(
        ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"),
        REQUIRED[1:3],
        _period,
    ),
    Rule(("ResourceId", "SkuId", "ConsumedUnit", "ServiceName"), REQUIRED[:1], _named),
    Rule(("ConsumedQuantity", "PricingQuantity"), REQUIRED[3:], _counted),
    Rule(("BilledCost", "EffectiveCost", "ChargeCategory", "ChargeFrequency"), (), _free),
    same("Tags", "tags"),
)
_FORMAT: Final = Format(REQUIRED, frozenset({*REQUIRED, "tags"}), lambda _: _RULES)
_LINE: Final = msgspec.json.Decoder(_Line)
SOURCE: Final = Source(
    recognises, read, appends=False, needs="the columns or keys count_name, start, end and count"
)
