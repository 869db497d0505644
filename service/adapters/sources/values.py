"""Values as billing files really write them, turned into what an event holds."""

import re
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec

from service.core.events import CostEvent, TagValue
from service.core.money import MAX_DIGITS_AFTER, MAX_DIGITS_BEFORE

NULLS: Final = frozenset({None, "", "NULL", "null", "Null"})
LONGEST_TEXT: Final = 4096
NO_CURRENCY: Final = "XXX"  # ISO 4217

_ISO: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d(?:\.\d{1,9})?))?)?"
    r"\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?",
    re.IGNORECASE,
)
_AMERICAN: Final = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?: (\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AP]M))?)?",
    re.IGNORECASE,
)
_ROUNDING: Final = Context(prec=MAX_DIGITS_BEFORE + MAX_DIGITS_AFTER, rounding=ROUND_HALF_EVEN)
_FINEST: Final = Decimal((0, (1,), -MAX_DIGITS_AFTER))
_AMOUNT: Final = re.compile(r"(?:([+-])?[$€£¥]?|[$€£¥]([+-])) ?(\d{1,3}(?:,\d{3})+|\d+)(\.\d*)?")


@lru_cache(maxsize=65_536)
def moment(text: str) -> datetime:
    """Read a time. FOCUS says UTC, so one without a zone is UTC; an hour past 23 rolls over.

    Takes RFC 3339, `2024-09-18 22:00:00`, dates, `5/1/25` and `05/01/2025` (month first).
    ValueError for anything else.

    >>> str(moment("2023-02-01T30:00:00Z")), str(moment("5/1/25"))
    ('2023-02-02 06:00:00+00:00', '2025-05-01 00:00:00+00:00')
    """
    text = text.strip()
    if found := _ISO.fullmatch(text):
        day, hours, minutes, seconds, zone = found.groups()
        at = datetime.fromisoformat(day).replace(tzinfo=UTC)
        span = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        return at + span + timedelta(seconds=float(seconds or 0)) - _offset(zone)
    if found := _AMERICAN.fullmatch(text):
        month, date, year, hours, minutes, seconds, half = found.groups()
        hour = int(hours or 0)
        if half:
            hour = hour % 12 + (12 if half.upper() == "PM" else 0)
        at = datetime(
            int(year) + (2000 if len(year) == 2 else 0), int(month), int(date), tzinfo=UTC
        )
        return at + timedelta(hours=hour, minutes=int(minutes or 0), seconds=int(seconds or 0))
    raise ValueError("is not a time")


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone[0] not in "+-":
        return timedelta()
    digits = zone[1:].replace(":", "").ljust(4, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -span if zone[0] == "-" else span


def amount(text: str) -> str:
    """Take currency sign, thousands commas and brackets off an amount; ValueError if none.

    >>> amount("$10,000.00 "), amount("-$3"), amount("(1,234.50)")
    ('10000.00', '-3', '-1234.50')
    """
    bare = text.strip()
    in_brackets = bare.startswith("(") and bare.endswith(")")
    found = _AMOUNT.fullmatch(bare[1:-1] if in_brackets else bare)
    if found is None:
        raise ValueError("is not an amount")
    sign = "-" if in_brackets or "-" in (found[1], found[2]) else ""
    return sign + found[3].replace(",", "") + (found[4] or "")


def fine(amount: Decimal) -> Decimal:
    """Cut what is finer than any amount of money: APIs write binary fractions, to the last digit.

    >>> fine(Decimal("0.06000000000000000000000000000000000")), fine(Decimal("1.5"))
    (Decimal('0.060000000000000000000000000000'), Decimal('1.5'))
    """
    exponent = amount.as_tuple().exponent
    is_fine = isinstance(exponent, int) and exponent < -MAX_DIGITS_AFTER
    if is_fine and amount.adjusted() < MAX_DIGITS_BEFORE:
        return amount.quantize(_FINEST, context=_ROUNDING)
    return amount


@lru_cache(maxsize=4096)
def tags(text: str) -> dict[str, TagValue]:
    """Read tags: JSON, JSON without its braces, or a list of key and value. ValueError if neither.

    Blanks around a key are dropped; a nested value is kept as its JSON text.
    """
    bare = text.strip()
    for attempt in (bare, "{" + bare.rstrip(",") + "}"):
        try:
            found = _ANY.decode(attempt)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
        if isinstance(found, list):
            found = _from_pairs(found)
        if isinstance(found, dict):
            return _flat(found)
    raise ValueError("is not JSON")


def _from_pairs(pairs: list[object]) -> dict[object, object] | None:
    if not all(isinstance(pair, dict) and "key" in pair for pair in pairs):
        return None
    return {pair["key"]: pair.get("value") for pair in pairs}  # type: ignore[index, attr-defined]


def _flat(found: dict[object, object]) -> dict[str, TagValue]:
    flat: dict[str, TagValue] = {}
    for key, value in found.items():
        name = str(key).strip()[:LONGEST_TEXT]
        if name == key or name not in flat:
            flat[name] = _tag_value(value)
    return flat


def _tag_value(value: object) -> TagValue:
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value).decode()[:LONGEST_TEXT]
    if isinstance(value, str):
        return value[:LONGEST_TEXT]
    if isinstance(value, int) and abs(value) >= 2**63:
        return str(value)
    return value  # type: ignore[return-value]  # what is left of JSON is a tag value


_CATEGORIES: Final = frozenset({"Usage", "Purchase", "Tax", "Credit", "Adjustment"})
_FREQUENCIES: Final = frozenset({None, "Usage-Based", "Recurring", "One-Time"})
_CLASSES: Final = frozenset({None, "Correction"})
_STATUSES: Final = frozenset({None, "Used", "Unused"})
_SPELLINGS: Final = {
    name.lower(): name
    for name in _CATEGORIES | _FREQUENCIES | _CLASSES | _STATUSES
    if name is not None
}
SPELT: Final = {
    "charge_category": _CATEGORIES,
    "charge_frequency": _FREQUENCIES,
    "charge_class": _CLASSES,
    "commitment_discount_status": _STATUSES,
    "capacity_reservation_status": _STATUSES,
}
# What has no name is null: an empty ResourceId is no resource that all such rows share.
_NULLABLE: Final = (
    "resource_id", "resource_name", "resource_type", "sub_account_id", "region_id", "sku_id",
    "service_name",
)  # fmt: skip
_nullable: Final = attrgetter(*_NULLABLE)
_TIMES: Final = (
    "charge_period_start",
    "charge_period_end",
    "billing_period_start",
    "billing_period_end",
    "x_arrived_at",
)


def tidy(event: CostEvent) -> CostEvent:
    """Bring FOCUS's own words into FOCUS's spelling, currencies into capitals, times into UTC."""
    if (
        event.charge_category in _CATEGORIES
        and event.charge_frequency in _FREQUENCIES
        and event.charge_class in _CLASSES
        and event.commitment_discount_status in _STATUSES
        and event.capacity_reservation_status in _STATUSES
        and event.billing_currency.isupper()
        and event.billing_currency == event.billing_currency.strip()
        and event.charge_period_start.tzinfo is UTC
        and event.charge_period_end.tzinfo is UTC
        and (event.billing_period_start is None or event.billing_period_start.tzinfo is UTC)
        and (event.billing_period_end is None or event.billing_period_end.tzinfo is UTC)
        and (event.x_arrived_at is None or event.x_arrived_at.tzinfo is UTC)
        and "" not in _nullable(event)
    ):
        return event
    changes: dict[str, object] = {"billing_currency": _currency(event.billing_currency)}
    for field in SPELT:
        value = getattr(event, field)
        if value is not None:
            changes[field] = _SPELLINGS.get(value.strip().lower(), value)
    for field in _TIMES:
        value = getattr(event, field)
        if value is not None:
            changes[field] = value.astimezone(UTC)
    named = zip(_NULLABLE, _nullable(event), strict=True)
    changes |= {field: None for field, value in named if value == ""}
    return msgspec.structs.replace(event, **changes)


def _currency(text: str) -> str:
    code = text.strip()
    return code.upper() if len(code) == 3 and code.isalpha() else code or NO_CURRENCY


_ANY: Final = msgspec.json.Decoder()
