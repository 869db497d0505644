"""FOCUS 1.0 to 1.4 Cost and Usage exports, CSV or Parquet (https://focus.finops.org).

Only the columns that an event has are read; all others are dropped. Where files stray from the
specification (text NULL, naive times, "$10,000.00 ", wrong case), the value is read as it is meant.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import (
    RAW_BYTES,
    BrokenFileError,
    Completion,
    Flaw,
    FlawKind,
    Head,
    Row,
    Source,
    plain,
)
from service.adapters.sources.files import look
from service.adapters.sources.tables import read_table
from service.adapters.sources.values import (
    LONGEST_TEXT,
    NO_CURRENCY,
    NULLS,
    amount,
    moment,
    tags,
    tidy,
)
from service.core.events import CostEvent, flaw_of

REQUIRED: Final = ("ChargePeriodStart", "ChargePeriodEnd", "ChargeCategory", "BilledCost")
# Money is not refused because of its tags: what cannot be read is kept under this key.
UNREADABLE: Final = "unreadable"

_FIELDS: Final = msgspec.structs.fields(CostEvent)
_COLUMNS: Final = {plain(field.encode_name): field.encode_name for field in _FIELDS}
_TIMES: Final = frozenset(f.encode_name for f in _FIELDS if "datetime" in str(f.type))
_AMOUNTS: Final = tuple(f.encode_name for f in _FIELDS if "decimal.Decimal" in str(f.type))


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
        yield item if isinstance(item, Flaw) else _row(item[0], item[1], places)


def _row(number: int, cells: Sequence[str | None], places: list[tuple[int, str]]) -> Row | Flaw:
    texts = {name: cell for index, name in places if (cell := cells[index]) not in NULLS}
    values: dict[str, object] = {"BillingCurrency": NO_CURRENCY, **texts}
    try:
        _read_texts(values)
        event = tidy(_convert(values))
    except _RefusedError as error:
        return _flaw(number, "type", str(error), cells)
    why = flaw_of(event)
    return Row(number, event) if why is None else _flaw(number, "range", why, cells)


class _RefusedError(Exception):
    pass


def _read_texts(values: dict[str, object]) -> None:
    for name in _TIMES & values.keys():
        try:
            values[name] = moment(str(values[name]))
        except (ValueError, OverflowError):
            raise _RefusedError(f"{name} {_shown(values[name])} is not a time") from None
    text = values.get("Tags")
    if text is not None:
        try:
            values["Tags"] = tags(str(text))
        except ValueError:
            values["Tags"] = {UNREADABLE: str(text)[:LONGEST_TEXT]}
    prose = values.get("ChargeDescription")
    if prose is not None:
        values["ChargeDescription"] = str(prose)[:LONGEST_TEXT]


def _convert(values: dict[str, object]) -> CostEvent:
    try:
        return msgspec.convert(values, CostEvent, strict=False)
    except msgspec.ValidationError:
        pass
    for name in _AMOUNTS:
        text = values.get(name)
        try:
            values[name] = None if text is None else Decimal(str(text))
        except ArithmeticError:
            try:
                values[name] = Decimal(amount(str(text)))
            except ValueError as error:
                raise _RefusedError(f"{name} {_shown(text)} {error}") from None
    try:
        return msgspec.convert(
            {name: value for name, value in values.items() if value is not None},
            CostEvent,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise _RefusedError(_explain(str(error))) from None


def _explain(text: str) -> str:
    if text.startswith("Object missing required field"):
        return f"{text.split('`')[1]} is missing"
    return text


def _shown(value: object) -> str:
    return repr(str(value)[:40])


def _flaw(number: int, kind: FlawKind, reason: str, cells: Sequence[str | None]) -> Flaw:
    raw = ",".join(cell or "" for cell in cells[:RAW_BYTES])
    return Flaw(number, kind, reason, raw.encode()[:RAW_BYTES])


SOURCE: Final = Source(recognises, read, appends=False, needs=f"the columns {', '.join(REQUIRED)}")
