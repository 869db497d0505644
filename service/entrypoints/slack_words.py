"""The words of a `/spend` command: options, matchers, times and amounts, each refused in one line.

Slack writes channels and users as `<#C0123|name>` and `<@U0123|name>` (`should_escape` in the
manifest), and puts typographic quotes where plain ones were typed.
"""

import html
import re
import shlex
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from service.core.intervals import span_of
from service.core.matchers import LABELS, Matcher

LONGEST: Final = 2000
_OPTION: Final = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)
_MATCHER: Final = re.compile(r"([a-z_]+)\s*(=~|!~|!=|=)")
_CHANNEL: Final = re.compile(r"<#([CG][A-Z0-9]{2,20})(?:\|([^>]*))?>")
_USER: Final = re.compile(r"<@([UW][A-Z0-9]{2,20})(?:\|([^>]*))?>")
_AMOUNT: Final = re.compile(r"\+?\$?([0-9][0-9_,]{0,14}(?:\.[0-9]{1,4})?)(k?)", re.IGNORECASE)
_QUOTES: Final = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})  # noqa: RUF001
_BAD_QUOTES: Final = "a quotation mark is opened and not closed"


class WordError(Exception):
    """What is wrong with a command, in one line."""


class Words(NamedTuple):
    """A command taken apart; what is neither an option nor a matcher is plain, in order."""

    options: dict[str, str]
    matchers: list[str]
    channels: list[tuple[str, str]]
    users: list[tuple[str, str]]
    plain: list[str]


def split(text: str, options: frozenset[str]) -> Words:
    """Take a command apart. `options` are the names that may stand before `=`, beside labels."""
    if len(text) > LONGEST:
        raise WordError(f"that is longer than {LONGEST} characters")
    found = Words({}, [], [], [], [])
    for word in _split(text.translate(_QUOTES)):
        if channel := _CHANNEL.fullmatch(word):
            found.channels.append((channel[1], html.unescape(channel[2] or "")))
        elif user := _USER.fullmatch(word):
            found.users.append((user[1], html.unescape(user[2] or "")))
        else:
            _sort(html.unescape(word), options, found)
    return found


def _sort(word: str, options: frozenset[str], found: Words) -> None:
    option, matcher = _OPTION.fullmatch(word), _MATCHER.match(word)
    if option and option[1] in options:
        if option[1] in found.options:
            raise WordError(f"{option[1]} is given twice")
        found.options[option[1]] = option[2]
    elif matcher and matcher[1] in LABELS:
        try:
            Matcher.parse(word)
        except ValueError as error:
            raise WordError(str(error)) from None
        found.matchers.append(word)
    elif matcher:
        known = ", ".join([*sorted(options), *LABELS])
        raise WordError(f"there is no {matcher[1]} here; there are {known}")
    else:
        found.plain.append(word)


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    # An apostrophe is a letter of a reason, not a quote.
    lexer.quotes, lexer.escape, lexer.commenters = '"', "", ""
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        raise WordError(_BAD_QUOTES) from None


def amount_of(text: str) -> Decimal:
    """Read an amount of money: `4000`, `+$4,000`, `2.5k`."""
    found = _AMOUNT.fullmatch(text)
    try:
        amount = Decimal(found[1].replace(",", "").replace("_", "")) if found else Decimal(0)
    except InvalidOperation:
        amount = Decimal(0)
    if found is None or not amount:
        raise WordError(f"{text[:40]!r} is not an amount like 4000 or $4,000")
    return amount * 1000 if found[2] else amount


def until_of(options: dict[str, str], now: datetime) -> datetime:
    """Read an end: `for=4h`, or `until=2026-12-01T08:00`, in UTC unless it says otherwise."""
    if ("for" in options) == ("until" in options):
        raise WordError("say how long: for=4h, or until=2026-12-01T08:00")
    if "for" in options:
        try:
            until = now + span_of(options["for"])
        except (ValueError, OverflowError) as error:
            raise WordError(str(error)) from None
    else:
        until = _moment(options["until"])
    if until <= now:
        raise WordError("that is over already")
    if until - now > timedelta(days=366):
        raise WordError("that is longer than a year")
    return until


def _moment(text: str) -> datetime:
    try:
        if len(text) == len("2026-12-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WordError(f"{text[:40]!r} is not a time like 2026-12-01T08:00") from None
