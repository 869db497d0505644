"""How amounts, times and foreign text are written for people, in every medium alike."""

import re
import unicodedata
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

# What a config may call one of the places that a notifier reaches by name.
TARGET: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

_VISIBLE: Final = re.compile(r"[!#-;=?-\[\]-_a-~]+")  # nothing that HTML or a header would obey
_HOST: Final = re.compile(r"[\w.:%-]{1,253}")


def money(amount: Decimal, currency: str) -> str:
    """Write an amount for a person: three or four figures, dollars as $, XXX as no currency.

    >>> money(Decimal("1234.5"), "USD"), money(Decimal("31.5"), "EUR"), money(Decimal("-4"), "XXX")
    ('$1,234', '31.50 EUR', '-4')
    >>> money(Decimal("0.0123"), "USD"), money(Decimal("0.00000012"), "USD")
    ('$0.0123', 'under $0.0001')
    """
    size = abs(amount)
    if 0 < size < Decimal("0.0001"):
        return f"under {_with_unit('0.0001', currency)}"
    digits = 0 if size >= 100 or size == int(size) else 2 if size >= Decimal("0.1") else 4
    return ("-" if amount < 0 else "") + _with_unit(f"{size:,.{digits}f}", currency)


def _with_unit(text: str, currency: str) -> str:
    if currency == "USD":
        return f"${text}"
    return text if currency == "XXX" else f"{text} {clean(currency, 12)}".rstrip()


def signed(amount: Decimal, currency: str) -> str:
    """Write a difference: with its sign, also when it is a plus."""
    return f"+{money(amount, currency)}" if amount > 0 else money(amount, currency)


def date(at: datetime) -> str:
    """Write a date as people do, of UTC.

    >>> from datetime import UTC
    >>> date(datetime(2026, 3, 9, tzinfo=UTC)), moment(datetime(2026, 3, 9, 18, 5, tzinfo=UTC))
    ('9 Mar 2026', '9 Mar 2026 18:05 UTC')
    """
    return f"{at.day} {at:%b %Y}"


def moment(at: datetime) -> str:
    """Write a time as people do, in UTC."""
    return f"{date(at)} {at:%H:%M} UTC"


def duration(span: timedelta) -> str:
    """Write a length of time in its two largest useful units.

    >>> [duration(timedelta(minutes=minutes)) for minutes in (50, 60, 90, 44 * 60, 78 * 60)]
    ['50 min', '1 h', '90 min', '44 h', '3 d 6 h']
    """
    minutes = max(int(span.total_seconds() // 60), 0)
    if minutes < 120 and (minutes % 60 or not minutes):
        return f"{minutes} min"
    days, hours = divmod(minutes // 60, 24)
    if minutes < 72 * 60:
        return f"{minutes // 60} h"
    return f"{days} d {hours} h" if hours else f"{days} d"


def counted(count: int, what: str) -> str:
    """Write how many there are.

    >>> counted(1, "day"), counted(0, "day")
    ('1 day', '0 days')
    """
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def clean(text: str, limit: int) -> str:
    r"""Bring a foreign text to one line of visible characters, cut to `limit` UTF-16 units.

    Control characters and line ends become blanks; direction overrides, invisible characters and
    lone surrogates go (Unicode categories Cc, Cf, Cs, Co, Cn, Zl, Zp).

    >>> clean("a\u202eb\r\nBcc: x\x1b[2J", 30), clean("i-0123456789", 8)
    ('ab Bcc: x [2J', 'i-01234…')
    """
    limit = max(limit, 1)
    kept = "".join(
        " " if category in {"Cc", "Zl", "Zp"} else "" if category[0] == "C" else char
        for char in text[: 8 * limit + 64]
        for category in (unicodedata.category(char),)
    )
    line = " ".join(kept.split())
    if units(line) <= limit:
        return line
    while units(line) > limit - 1:
        line = line[: limit - 1] if len(line) >= limit else line[:-1]
    return line.rstrip() + "…"


def is_web_address(text: str) -> bool:
    """Tell whether a text is an http or https address that can be called and linked.

    >>> is_web_address("https://spend.example.com/x"), is_web_address("http://[")
    (True, False)
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and _VISIBLE.fullmatch(text) is not None
    )


def is_host(text: str) -> bool:
    """Tell whether a text can be a host: a name that the domain system can hold, or an address.

    >>> is_host("localhost"), is_host("::1"), is_host("a..b"), is_host("")
    (True, True, False, False)
    """
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return _HOST.fullmatch(text) is not None


def units(text: str) -> int:
    """Count UTF-16 code units: what a limit of a web service may mean by a character."""
    return len(text) + sum(char > "\uffff" for char in text)
