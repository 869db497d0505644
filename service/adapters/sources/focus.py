"""FOCUS 1.0 to 1.4 Cost and Usage exports, CSV or Parquet (https://focus.finops.org).

Only the columns that an event has are read; all others are dropped. Where files stray from the
specification (text NULL, naive times, "$10,000.00 ", wrong case), the value is read as it is meant.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from service.adapters.sources.base import (
    BrokenFileError,
    Completion,
    Flaw,
    Head,
    Row,
    Source,
    plain,
)
from service.adapters.sources.files import look
from service.adapters.sources.rows import FIELDS, Values, row_of
from service.adapters.sources.tables import read_table, texts_of

REQUIRED: Final = ("ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "BilledCost")

_COLUMNS: Final = {plain(field.encode_name): field.encode_name for field in FIELDS}


def recognises(head: Head) -> bool:
    """Tell a FOCUS table by at least two of its mandatory columns."""
    known = sum(plain(name) in head.names for name in REQUIRED)
    return head.form in ("csv", "parquet") and known >= 2


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    table = read_table(path, look(path), _COLUMNS.keys())
    for name in REQUIRED:
        if plain(name) not in table.columns:
            raise BrokenFileError(1, "format", f"the header has no {name}")
    places = [(index, _COLUMNS[name]) for index, name in enumerate(table.columns)
              if name in _COLUMNS]  # fmt: skip
    for item in table.rows:
        if isinstance(item, Flaw):
            yield item
        else:
            number, cells = item
            values: Values = {**texts_of(places, cells)}
            yield row_of(number, values, cells)


SOURCE: Final = Source(recognises, read, appends=False, needs=f"the columns {', '.join(REQUIRED)}")
