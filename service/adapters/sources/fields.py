"""Fields: what a value under FOCUS's name is in an event, worked out apart from its row.

`rows.row_of` says what a row is; what is not plainly an amount, a text or one of FOCUS's words is
asked of it, in a row where all else is sound.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from itertools import repeat
from typing import Final

from msgspec import NODEFAULT

from service.adapters.sources.base import Flaw
from service.adapters.sources.rows import FIELDS, RefusedError, Values, row_of
from service.adapters.sources.values import LONGEST_TEXT, NO_CURRENCY, SPELT, fine
from service.core.money import MAX_DIGITS_AFTER, MAX_DIGITS_BEFORE, flaw

PLACES: Final = {field.encode_name: at for at, field in enumerate(FIELDS)}
DEFAULTS: Final = {field.encode_name: field.default for field in FIELDS} | {
    "BillingCurrency": NO_CURRENCY
}
AMOUNT: Final = "amount"
TEXT: Final = "text"

_SOUND: Final[Values] = {
    "ChargePeriodStart": "2024-01-01",
    "ChargePeriodEnd": "2024-01-02",
    "ChargeCategory": "Usage",
    "BilledCost": "0",
    "BillingCurrency": NO_CURRENCY,
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
_OF_AMOUNTS: Final = b"0123456789.-Ee"
_FINEST: Final = Decimal((0, (1,), -MAX_DIGITS_AFTER))
_round: Final = Context(
    prec=MAX_DIGITS_BEFORE + MAX_DIGITS_AFTER, traps=[Inexact, InvalidOperation]
).quantize


class _AskError(Exception):
    """What `row_of` knows best."""


def fields(names: tuple[str, ...], values: Values) -> tuple[object, ...]:
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
    return tuple(getattr(item.event, FIELDS[PLACES[name]].name) for name in names)


def kind_of(name: str) -> str:
    """Return the kind of a field: a text is the same in all fields of one kind."""
    if name in _AMOUNTS:
        return AMOUNT
    return name if name in _WORDS or name in _OTHERS else TEXT


def each(name: str, texts: Sequence[str]) -> Sequence[object]:
    """Return what texts that are not null are as this field; RefusedError when one is bad."""
    kind = kind_of(name)
    if kind == AMOUNT:
        found = _amounts(texts)
        if found is not None:
            return found
    elif kind == TEXT and "" not in texts and max(map(len, texts), default=0) <= LONGEST_TEXT:
        return texts
    return [fields((name,), {name: text})[0] for text in texts]


def fine_amounts(amounts: Sequence[Decimal | None]) -> Sequence[Decimal | None]:
    """Cut what is finer than any amount of money; RefusedError when one is out of range."""
    try:
        _check_range(amounts)
        zeros = [amount for amount in amounts if amount is not None and not amount]
        is_fine = min(map(Decimal.adjusted, zeros), default=0) >= -MAX_DIGITS_AFTER
    except (Inexact, InvalidOperation):
        is_fine = False
    if not is_fine:
        amounts = [None if amount is None else fine(amount) for amount in amounts]
        if any(amount and flaw(amount) for amount in amounts):
            raise RefusedError("an amount is out of range")
    if any(map(Decimal.is_nan, filter(None, amounts))):
        raise RefusedError("an amount is not finite")
    return amounts


def _check_range(amounts: Iterable[Decimal | None]) -> None:
    """Raise Inexact or InvalidOperation for what is too big or too fine, but not for a NaN."""
    for _ in map(_round, filter(None, amounts), repeat(_FINEST)):
        pass


def _amounts(texts: Sequence[str]) -> Sequence[Decimal] | None:
    """Return amounts that are all plainly in range, None when one has to be looked at."""
    joined = "".join(texts)
    if not joined.isascii() or joined.encode().translate(None, _OF_AMOUNTS):
        return None
    try:
        amounts = [*map(Decimal, texts)]
        if max(map(len, texts), default=0) > MAX_DIGITS_BEFORE or "e" in joined.lower():
            _check_range(amounts)
    except (Inexact, InvalidOperation):
        return None
    return amounts


def _plainly(name: str, value: object) -> object:
    """Return what a value is, where that needs no thought."""
    if value is None:
        default = DEFAULTS[name]
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
