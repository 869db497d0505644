"""Rows: what a table says, under FOCUS's names, turned into events; and tables of other names."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from service.adapters.sources.base import (
    RAW_BYTES,
    BrokenFileError,
    Flaw,
    FlawKind,
    Head,
    Row,
    plain,
)
from service.adapters.sources.files import look
from service.adapters.sources.tables import read_table, texts_of
from service.adapters.sources.values import (
    LONGEST_TEXT,
    NO_CURRENCY,
    amount,
    moment,
    tags,
    tidy,
)
from service.core.events import CostEvent, flaw_of

# Money is not refused because of its tags: what cannot be read is kept under this key.
UNREADABLE: Final = "unreadable"

FIELDS: Final = msgspec.structs.fields(CostEvent)
_TIMES: Final = tuple(f.encode_name for f in FIELDS if "datetime" in str(f.type))
_AMOUNTS: Final = tuple(f.encode_name for f in FIELDS if "decimal.Decimal" in str(f.type))

Texts = Mapping[str, str]
Values = dict[str, object]
Mapper = Callable[[Texts, dict[str, str]], Values]


class RefusedError(Exception):
    """What keeps a row from being an event, in one line."""


class Format(NamedTuple):
    """A table of a provider's own columns, which are named as `flat` writes them.

    `mapper` is told which of the wanted columns a file has, and returns what turns one row (its
    texts that are not null, its tags) into values under FOCUS's names; None says that the row does
    not say. That raises RefusedError and nothing else. `tag_of` takes a column's title and returns
    the key of the tag that the column holds, None when it holds none.
    """

    required: tuple[str, ...]
    columns: frozenset[str]
    mapper: Callable[[frozenset[str]], Mapper]
    tag_of: Callable[[str], str | None] | None = None


def flat(name: str) -> str:
    """Write a column's name as `plain` does, and without the slash of older exports.

    >>> flat("lineItem/UsageStartDate") == flat("line_item_usage_start_date")
    True
    """
    return plain(name).replace("/", "")


def has(head: Head, columns: Sequence[str]) -> bool:
    """Tell whether a table has all of these columns, named as `flat` does."""
    return head.form in ("csv", "parquet") and set(columns) <= {
        name.replace("/", "") for name in head.names
    }


class _Wanted(Container[str]):
    def __init__(self, form: Format) -> None:
        self._form = form

    def __contains__(self, name: object) -> bool:
        text = str(name)
        tag_of = self._form.tag_of
        return flat(text) in self._form.columns or (tag_of is not None and tag_of(text) is not None)


def read_rows(path: Path, form: Format, dataset: str = "") -> Iterator[Row | Flaw]:
    """Read one table; BrokenFileError when its header or the rest of it cannot be read.

    `dataset` is that of its rows.
    """
    table = read_table(path, look(path), _Wanted(form))
    names = [flat(name) for name in table.columns]
    for name in form.required:
        if name not in names:
            raise BrokenFileError(1, "format", f"the header has no {name}")
    places = [(index, name) for index, name in enumerate(names) if name in form.columns]
    tag_of = form.tag_of
    tagged = [] if tag_of is None else [
        (index, key)
        for index, title in enumerate(table.titles)
        if names[index] not in form.columns and (key := tag_of(title)) is not None
    ]  # fmt: skip
    focus_of = form.mapper(frozenset(name for _, name in places))
    for item in table.rows:
        if isinstance(item, Flaw):
            yield item
            continue
        number, cells = item
        try:
            values = focus_of(texts_of(places, cells), texts_of(tagged, cells))
        except RefusedError as error:
            yield flaw_at(number, "type", str(error), cells)
        else:
            yield row_of(number, values, cells, dataset)


def read_texts(path: Path, columns: Container[str]) -> Iterator[Texts]:
    """Read some columns of one table, and only what is not null of them; bad rows are left out."""
    table = read_table(path, look(path), columns)
    places = [(index, name) for index, name in enumerate(table.columns) if name in columns]
    for item in table.rows:
        if not isinstance(item, Flaw):
            yield texts_of(places, item[1])


def row_of(
    number: int, values: Values, cells: Sequence[str | None], dataset: str = ""
) -> Row | Flaw:
    """Turn values under FOCUS's names, texts mostly, into an event, or say what is wrong."""
    values.setdefault("BillingCurrency", NO_CURRENCY)
    try:
        _read_texts(values)
        event = tidy(_convert(values))
    except RefusedError as error:
        return flaw_at(number, "type", str(error), cells)
    why = flaw_of(event)
    return Row(number, event, dataset) if why is None else flaw_at(number, "range", why, cells)


def decimal(name: str, text: str) -> Decimal:
    """Read an amount exactly; RefusedError names the column."""
    try:
        return Decimal(text)
    except ArithmeticError:
        try:
            return Decimal(amount(text))
        except ValueError as error:
            raise RefusedError(f"{name} {_shown(text)} {error}") from None


def _read_texts(values: Values) -> None:
    for name in _TIMES:
        value = values.get(name)
        if isinstance(value, str):
            try:
                values[name] = moment(value)
            except (ValueError, OverflowError):
                raise RefusedError(f"{name} {_shown(value)} is not a time") from None
    text = values.get("Tags")
    if isinstance(text, str):
        try:
            values["Tags"] = tags(text)
        except ValueError:
            values["Tags"] = {UNREADABLE: text[:LONGEST_TEXT]}
    prose = values.get("ChargeDescription")
    if prose is not None:
        values["ChargeDescription"] = str(prose)[:LONGEST_TEXT]


def _convert(values: Values) -> CostEvent:
    try:
        return msgspec.convert(values, CostEvent, strict=False)
    except msgspec.ValidationError:
        pass
    for name in _AMOUNTS:
        if isinstance(text := values.get(name), str):
            values[name] = decimal(name, text)
    try:
        return msgspec.convert(
            {name: value for name, value in values.items() if value is not None},
            CostEvent,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise RefusedError(_explain(str(error))) from None


def _explain(text: str) -> str:
    if text.startswith("Object missing required field"):
        return f"{text.split('`')[1]} is missing"
    return text


def _shown(value: object) -> str:
    return repr(str(value)[:40])


def flaw_at(number: int, kind: FlawKind, reason: str, cells: Sequence[str | None]) -> Flaw:
    """Refuse a row."""
    raw = ",".join(cell or "" for cell in cells[:RAW_BYTES])
    return Flaw(number, kind, reason, raw.encode()[:RAW_BYTES])
