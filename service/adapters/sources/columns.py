"""Columns: what rows say, worked out once for each text and not for each row.

`rows.row_of` says what a row is; what is done here gives the very same events, or nothing at all:
whatever is not plainly an amount, a text or one of FOCUS's words is asked of `row_of` itself, in a
row where all else is sound. A batch with one bad row is read row by row, so that it is refused for
the reason, and with the number, that it has there.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import repeat
from typing import Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from msgspec import NODEFAULT

from service.adapters.sources.base import Flaw
from service.adapters.sources.rows import FIELDS, RefusedError, Rule, Values, row_of
from service.adapters.sources.tables import Batch
from service.adapters.sources.values import LONGEST_TEXT, NO_CURRENCY, NULLS, SPELT
from service.core.events import CostEvent
from service.core.money import flaw

_K = TypeVar("_K")
_V = TypeVar("_V")
_Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

# So many texts and what they are; then the memory begins anew.
REMEMBERED: Final = 16_384
_WIDEST: Final = 2**62
_SOUND: Final[Values] = {
    "ChargePeriodStart": "2024-01-01",
    "ChargePeriodEnd": "2024-01-02",
    "ChargeCategory": "Usage",
    "BilledCost": "0",
    "BillingCurrency": NO_CURRENCY,
}
_PLACES: Final = {field.encode_name: at for at, field in enumerate(FIELDS)}
_DEFAULTS: Final = {field.encode_name: field.default for field in FIELDS} | {
    "BillingCurrency": NO_CURRENCY
}
_AMOUNTS: Final = frozenset(f.encode_name for f in FIELDS if "decimal.Decimal" in str(f.type))
_WORDS: Final = {f.encode_name: SPELT[f.name] for f in FIELDS if f.name in SPELT}
_OTHERS: Final = frozenset(
    f.encode_name for f in FIELDS if "datetime" in str(f.type) or "int" in str(f.type)
) | {"BillingCurrency", "Tags"}
# At most 15 digits before the point and 30 after it, whichever way the exponent moves it.
_PLAIN_AMOUNT: Final = re.compile(
    r"-?(?:[0-9]{1,15}(?:\.[0-9]{0,30})?|[0-9](?:\.[0-9]{0,20})?[Ee]-[0-9])"
)


class _AskError(Exception):
    """What `row_of` knows best."""


class _Memory(dict[_K, _V]):
    """What a function returns, remembered for a bounded number of arguments."""

    def __init__(self, function: Callable[[_K], _V]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: _K) -> _V:
        found = self._function(key)
        if len(self) >= REMEMBERED:
            self.clear()
        self[key] = found
        return found


class Plan:
    """How the columns of one file become the fields of events, by FOCUS's names.

    `rules` say which columns a field follows from; a rule's row has no others. `tagged` are columns
    that hold a tag each, by its key: only rules that are `tagged` see them.
    """

    def __init__(
        self, rules: Iterable[Rule], places: Mapping[str, int], tagged: Sequence[tuple[int, str]]
    ) -> None:
        self._steps = [_Step(rule, places, tagged) for rule in rules]
        named = {name for step in self._steps for name in step.rule.names}
        self._is_possible = all(
            name in named for name, default in _DEFAULTS.items() if default is NODEFAULT
        )

    def events(self, batch: Batch) -> list[CostEvent] | None:
        """Return a batch's rows as events, None when they are to be read row by row."""
        if not self._is_possible:
            return None
        columns = {at: _column(array) for at, array in batch.columns.items()}
        fields: list[Iterable[object]] = [repeat(default) for default in _DEFAULTS.values()]
        try:
            for step in self._steps:
                for name, column in step.columns(columns):
                    fields[_PLACES[name]] = column
        except RefusedError:
            return None
        return list(map(CostEvent, *fields))


class _Column(NamedTuple):
    """For each row a number, and the texts that the numbers stand for; what is null is None."""

    numbers: _Numbers
    texts: list[str | None]


def _column(array: pa.DictionaryArray) -> _Column:
    texts = [None if text in NULLS else text for text in array.dictionary.to_pylist()]
    numbers = array.indices
    if numbers.null_count:
        texts.append(None)
        numbers = numbers.fill_null(len(texts) - 1)
    return _Column(numbers.to_numpy(), texts)


def _together(columns: Sequence[_Column]) -> tuple[_Numbers, list[tuple[str | None, ...]]]:
    """Return for each row a number, and what the columns say together where they have it."""
    numbers, width = columns[0].numbers.astype(np.int64), len(columns[0].texts)
    for column in columns[1:]:
        if width * len(column.texts) >= _WIDEST:
            known, numbers = np.unique(numbers, return_inverse=True)
            width = len(known)
        numbers = numbers * len(column.texts) + column.numbers
        width *= len(column.texts)
    _, first, numbers = np.unique(numbers, return_index=True, return_inverse=True)
    cells = (map(c.texts.__getitem__, c.numbers[first].tolist()) for c in columns)
    return numbers, list(zip(*cells, strict=True))


class _Step:
    """One rule for one file."""

    def __init__(
        self, rule: Rule, places: Mapping[str, int], tagged: Sequence[tuple[int, str]]
    ) -> None:
        self.rule = rule
        self._named = [(name, places[name]) for name in rule.columns if name in places]
        self._tagged = list(tagged) if rule.tagged else []
        self._places = [at for _, at in self._named] + [at for at, _ in self._tagged]
        self._known = _Memory(self._fields)
        is_plain = rule.names[0] not in _OTHERS and rule.names[0] not in _WORDS
        self._copies = rule.copies and is_plain

    def columns(self, columns: Mapping[int, _Column]) -> Iterator[tuple[str, Iterable[object]]]:
        """Yield each field's name and its values, row by row."""
        names = self.rule.names
        if not self._places:
            yield from zip(names, map(repeat, self._fields(())), strict=True)
            return
        if len(self._places) > 1:
            numbers, cells = _together([columns[at] for at in self._places])
            found = [self._known[key] for key in cells]
        else:
            numbers, texts = columns[self._places[0]]
            if self._copies:
                # Hardly any amount or name comes again in the next block.
                found = [(_field(names[0], text),) for text in texts]
            else:
                found = [self._known[text,] for text in texts]
        rows = numbers.tolist()
        for at, name in enumerate(names):
            values = [fields[at] for fields in found]
            yield name, map(values.__getitem__, rows)

    def _fields(self, cells: tuple[str | None, ...]) -> tuple[object, ...]:
        """Return the fields of one row of the rule's columns; RefusedError when one is bad."""
        said = zip(self._named, cells, strict=False)
        row = {name: cell for (name, _), cell in said if cell is not None}
        tags: dict[str, str] = {}
        if self._tagged:
            found = zip(self._tagged, cells[len(self._named) :], strict=True)
            tags = {key: cell for (_, key), cell in found if cell is not None}
        return checked(self.rule.names, self.rule.of(row, tags))


def _field(name: str, value: object) -> object:
    try:
        return _plainly(name, value)
    except _AskError:
        return checked((name,), {name: value})[0]


def checked(names: tuple[str, ...], values: Values) -> tuple[object, ...]:
    """Return these fields of an event, from what a row says; RefusedError when one is bad."""
    try:
        return tuple(_plainly(name, values.get(name)) for name in names)
    except _AskError:
        pass
    sound: Values = {name: value for name, value in _SOUND.items() if name not in names}
    said = {name: values[name] for name in names if values.get(name) is not None}
    item = row_of(0, sound | said, ())
    if isinstance(item, Flaw):
        raise RefusedError(item.reason)
    return tuple(getattr(item.event, FIELDS[_PLACES[name]].name) for name in names)


def _plainly(name: str, value: object) -> object:
    """Return what a value is, where that needs no thought."""
    if value is None:
        default = _DEFAULTS[name]
        if default is not NODEFAULT:
            return default
    elif name in _AMOUNTS:
        if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value):
            return Decimal(value)
        if isinstance(value, Decimal) and flaw(value) is None:
            return value
    elif name in _WORDS:
        if value in _WORDS[name]:
            return value
    elif name == "ChargeDescription":
        return str(value)[:LONGEST_TEXT]
    elif name not in _OTHERS and isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT:
        return value
    raise _AskError
