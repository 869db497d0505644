"""Exact money: Decimal in a context wide enough that a sum of billing rows is never rounded."""

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

# An amount has at most 15 digits before the point and 30 after it (real bills go down to 1e-11), so
# 10^15 of them add up within 60 digits; were they ever not to, Inexact is raised, never rounded.
EXACT: Final = Context(prec=60, traps=[Inexact, InvalidOperation])
ZERO: Final = Decimal(0)
MAX_DIGITS_BEFORE: Final = 15
MAX_DIGITS_AFTER: Final = 30


def flaw(amount: Decimal) -> str | None:
    """Say what keeps a value from being an amount of money, or None.

    >>> flaw(Decimal("NaN")), flaw(Decimal("1e999")), flaw(Decimal("35.2E-7"))
    ('is not finite', 'is out of range', None)
    """
    if not amount.is_finite():
        return "is not finite"
    if not amount:
        return None
    exponent = amount.as_tuple().exponent
    if amount.adjusted() >= MAX_DIGITS_BEFORE or int(exponent) < -MAX_DIGITS_AFTER:
        return "is out of range"
    return None


def check(name: str, amount: Decimal) -> None:
    """Raise ValueError, which names the key, unless an amount is one of 0 or more."""
    why = flaw(amount) or ("is below 0" if amount < 0 else None)
    if why is not None:
        message = f"{name} {why}"
        raise ValueError(message)


def add(left: Decimal, right: Decimal) -> Decimal:
    """Add exactly."""
    return EXACT.add(left, right)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add up exactly."""
    result = ZERO
    for amount in amounts:
        result = EXACT.add(result, amount)
    return result


def subtract(left: Decimal, right: Decimal) -> Decimal:
    """Subtract exactly."""
    return EXACT.subtract(left, right)


def text(amount: Decimal) -> str:
    """Write an amount as a plain decimal string without needless zeros.

    >>> text(Decimal("1E+2")), text(Decimal("0.500")), text(Decimal("-0.0"))
    ('100', '0.5', '0')
    """
    if not amount:
        return "0"
    plain = str(amount)
    if "E" in plain:
        plain = f"{amount:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def cents(amount: float) -> Decimal:
    """Bring a detector's estimate back to money: to 1e-6, which is finer than any price."""
    return Decimal(f"{amount:.6f}")
