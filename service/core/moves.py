"""Moves: who moved spend from one window to another, split into price, quantity, new and gone.

Bortkiewicz's split at the new quantities, as for findings (`effects`), by series and SKU: the
price's part is what the present quantity costs beyond the old price, the quantity's the rest. A
series without any cost before is new, one without any after is gone, and a SKU that a series has
only once counts to the quantity. What names no quantity, or is no usage, is not split. The parts
add up to the change, to the last digit.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal
from typing import Final, NamedTuple

import msgspec

from service.core import money


class SkuSpend(NamedTuple):
    """What one SKU of one series cost in both windows, and how much of it was used."""

    values: tuple[str, ...]
    billing_currency: str
    series: str
    is_usage: bool
    before: Decimal
    after: Decimal
    quantity_before: Decimal
    quantity_after: Decimal


class Parts(msgspec.Struct, kw_only=True):
    """What a change is made of."""

    price: Decimal = money.ZERO
    quantity: Decimal = money.ZERO
    new: Decimal = money.ZERO
    gone: Decimal = money.ZERO
    not_split: Decimal = money.ZERO


class Move(msgspec.Struct, kw_only=True):
    """What one combination of values cost before and after, by how much it moved, and why."""

    labels: dict[str, str]
    billing_currency: str
    before: Decimal = money.ZERO
    after: Decimal = money.ZERO
    change: Decimal = money.ZERO
    parts: Parts = msgspec.field(default_factory=Parts)


class Moves(msgspec.Struct, kw_only=True):
    """The largest moves between two windows of one length, and all of each currency."""

    as_of: datetime
    before: datetime
    since: datetime
    until: datetime
    by: list[str]
    totals: list[Move]
    items: list[Move]
    moves_left_out: int


def moves_of(by: tuple[str, ...], rows: Iterable[SkuSpend]) -> tuple[list[Move], list[Move]]:
    """Return every move, the largest first, and the sum of each currency."""
    of_series: dict[str, list[SkuSpend]] = {}
    for row in rows:
        of_series.setdefault(row.series, []).append(row)
    moves: dict[tuple[tuple[str, ...], str], Move] = {}
    totals: dict[str, Move] = {}
    for skus in of_series.values():
        is_new = not any(row.before for row in skus)
        is_gone = not any(row.after for row in skus)
        for row in skus:
            currency = row.billing_currency
            total = totals.setdefault(currency, Move(labels={}, billing_currency=currency))
            key = row.values, currency
            move = moves.get(key)
            if move is None:
                labels = dict(zip(by, row.values, strict=True))
                move = moves[key] = Move(labels=labels, billing_currency=currency)
            for one in (move, total):
                _add(one, row, is_new=is_new, is_gone=is_gone)
    found = [move for move in moves.values() if move.change]
    found.sort(key=lambda move: (-abs(move.change), sorted(move.labels.items())))
    return found, [totals[currency] for currency in sorted(totals)]


def _add(move: Move, row: SkuSpend, *, is_new: bool, is_gone: bool) -> None:
    change = money.subtract(row.after, row.before)
    move.before = money.add(move.before, row.before)
    move.after = money.add(move.after, row.after)
    move.change = money.add(move.change, change)
    parts = move.parts
    if is_new:
        parts.new = money.add(parts.new, change)
    elif is_gone:
        parts.gone = money.add(parts.gone, change)
    elif not row.is_usage or not (row.quantity_before or row.quantity_after):
        parts.not_split = money.add(parts.not_split, change)
    else:
        price = _of_price(row)
        parts.price = money.add(parts.price, price)
        parts.quantity = money.add(parts.quantity, money.subtract(change, price))


def _of_price(row: SkuSpend) -> Decimal:
    """Return what the present quantity costs beyond the old price, to a millionth."""
    if row.quantity_before <= 0 or row.quantity_after <= 0:
        return money.ZERO
    at_old_price = _WIDE.divide(_WIDE.multiply(row.before, row.quantity_after), row.quantity_before)
    return _WIDE.subtract(row.after, at_old_price).quantize(_MILLIONTH)


_WIDE: Final = Context(prec=80)
_MILLIONTH: Final = Decimal("0.000001")
