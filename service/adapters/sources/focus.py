"""FOCUS 1.0 to 1.4 Cost and Usage exports, CSV or Parquet (https://focus.finops.org).

Only the columns that an event has are read; all others are dropped. Where files stray from the
specification (text NULL, naive times, "$10,000.00 ", wrong case), the value is read as it is meant.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, plain
from service.adapters.sources.formats import Format, flat, read_rows
from service.adapters.sources.rows import FIELDS, Rule, Texts, Values, same

REQUIRED: Final = ("ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "BilledCost")

_COLUMNS: Final = {flat(field.encode_name): field.encode_name for field in FIELDS}
_PERIOD: Final = REQUIRED[:2]


def recognises(head: Head) -> bool:
    """Tell a FOCUS table by at least two of its mandatory columns."""
    known = sum(plain(name) in head.names for name in REQUIRED)
    return head.form in ("csv", "parquet") and known >= 2


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    return read_rows(path, _FORMAT)


def _period(row: Texts, _: dict[str, str]) -> Values:
    return {name: row[flat(name)] for name in _PERIOD if flat(name) in row}


_RULES: Final = (
    Rule(_PERIOD, tuple(map(flat, _PERIOD)), _period),
    *(same(name, column) for column, name in _COLUMNS.items() if name not in _PERIOD),
)
_FORMAT: Final = Format(REQUIRED, frozenset(_COLUMNS), lambda _: _RULES)
SOURCE: Final = Source(recognises, read, appends=False, needs=f"the columns {', '.join(REQUIRED)}")
