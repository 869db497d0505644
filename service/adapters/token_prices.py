"""List prices of tokens by model, date and service tier, from the packaged list."""

import csv
import re
from bisect import bisect_right
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, NamedTuple

STANDARD: Final = "standard"
PER: Final = Decimal("1E-6")
_COLUMN: Final = "usd_per_mtok_"
# gpt-4o-2024-08-06, claude-sonnet-4-5-20250929
_DATED: Final = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8})$")


class TokenPrice(NamedTuple):
    """What a million tokens of one kind cost in US dollars, from `since` on (None: always).

    With `rises`, requests of long context cost more.
    """

    usd_per_mtok: Decimal
    since: date | None
    rises: bool


class _Line(NamedTuple):
    since: date | None
    rises: bool
    usd: dict[str, Decimal]


@lru_cache(maxsize=4096)
def token_price(provider: str, model: str, kind: str, tier: str, on: date) -> TokenPrice | None:
    """Return the list price that held on a day; before the first list known, the first one.

    A model of a dated name that is not listed costs what the undated one does. None when the list
    does not have the model, the tier or the kind: nothing is guessed.

    >>> token_price("openai", "gpt-4o-2024-08-06", "input", "standard", date(2026, 3, 4))
    TokenPrice(usd_per_mtok=Decimal('2.5'), since=None, rises=False)
    >>> token_price("openai", "gpt-9", "input", "standard", date(2026, 3, 4)) is None
    True
    """
    listed = _listed()
    for name in (model, _DATED.sub("", model)):
        history = listed.get((provider, name, tier))
        if history:
            at = bisect_right(history, on, key=lambda line: line.since or date.min) - 1
            line = history[max(0, at)]
            usd = line.usd.get(kind)
            return None if usd is None else TokenPrice(usd, line.since, line.rises)
    return None


@cache
def _listed() -> dict[tuple[str, str, str], list[_Line]]:
    found: dict[tuple[str, str, str], list[_Line]] = {}
    with (files("service") / "prices" / "llm_tokens.csv").open(encoding="utf-8") as text:
        for row in csv.DictReader(text):
            since = date.fromisoformat(row["since"]) if row["since"] else None
            usd = {
                name.removeprefix(_COLUMN): Decimal(value)
                for name, value in row.items()
                if name.startswith(_COLUMN) and value
            }
            key = row["provider"], row["model"], row["service_tier"]
            found.setdefault(key, []).append(_Line(since, row["rises_with_context"] == "1", usd))
    for history in found.values():
        history.sort(key=lambda line: line.since or date.min)
    return found
