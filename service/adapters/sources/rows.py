"""Rows: what a table says, under FOCUS's names, turned into events."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from service.adapters.sources.base import RAW_BYTES, Flaw, FlawKind, Row
from service.adapters.sources.values import (
    LONGEST_TEXT,
    NO_CURRENCY,
    amount,
    moment,
    tags,
    tidy,
)
from service.core.events import CostEvent, flaw_of
from service.decoding import convert

# Money is not refused because of its tags: what cannot be read is kept under this key.
UNREADABLE: Final = "unreadable"

FIELDS: Final = msgspec.structs.fields(CostEvent)
_TIMES: Final = tuple(f.encode_name for f in FIELDS if "datetime" in str(f.type))
_AMOUNTS: Final = tuple(f.encode_name for f in FIELDS if "decimal.Decimal" in str(f.type))

Texts = Mapping[str, str]
Values = dict[str, object]


class RefusedError(Exception):
    """What keeps a row from being an event, in one line."""


class Rule(NamedTuple):
    """From which columns some fields of an event follow, and how.

    `of` is told a row's texts of these columns that are not null, and returns values under FOCUS's
    names, texts mostly; None says that the row does not say. It raises RefusedError or, where
    amounts are beyond what can be added exactly, ArithmeticError. A rule that is `tagged` is told
    the row's tags in columns of their own as well. The charge period's start and end are one
    rule's.

    `hands_on` are those of its columns that hold an amount or a name of almost each row's own. The
    rule only asks whether they are there and returns their texts as they are, or in lower case;
    what it does otherwise with one is as right, and slower. It must not ask for their type.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    of: Callable[[Texts, dict[str, str]], Values]
    tagged: bool = False
    hands_on: tuple[str, ...] = ()


def ruled(rule: Rule, row: Texts, tags: dict[str, str]) -> Values:
    """Run a rule; RefusedError and nothing else when it cannot say what the row is."""
    try:
        return rule.of(row, tags)
    except ArithmeticError:
        names = " and ".join(rule.names)
        raise RefusedError(f"what {names} follow from is not finite or out of range") from None


def same(name: str, column: str) -> Rule:
    """Say that a field is what a column says."""

    def of(row: Texts, _: dict[str, str]) -> Values:
        return {name: row[column]} if column in row else {}

    return Rule((name,), (column,), of, hands_on=(column,))


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
        return convert(values, CostEvent, strict=False)
    except msgspec.ValidationError:
        pass
    for name in _AMOUNTS:
        if isinstance(text := values.get(name), str):
            values[name] = decimal(name, text)
    try:
        return convert(
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
