"""Prices of tokens by model, date and service tier: the packaged list, and the user's own."""

import csv
import re
from bisect import bisect_right
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from service.core.events import CostEvent
from service.core.money import EXACT

STANDARD: Final = "standard"
PER: Final = Decimal("1E-6")
_COLUMN: Final = "usd_per_mtok_"
# gpt-4o-2024-08-06, claude-sonnet-4-5-20250929
_DATED: Final = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8})$")


# By model and tier: from when on, what a million tokens of each kind cost in US dollars.
OwnPrices = Mapping[tuple[str, str], Mapping[date, Mapping[str, Decimal]]]
NO_PRICES: Final[OwnPrices] = MappingProxyType({})


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


def repriced(event: CostEvent, own: OwnPrices) -> CostEvent:
    """Return a row of token usage at the user's own price, as it is where there is none.

    Rows name their model by tag, and tier and kind of token in their SKU, as
    `gpt-4o-batch-cache_read-tokens`.
    """
    tags, sku, count = event.tags or {}, event.sku_id or "", event.pricing_quantity
    model = str(tags.get("model") or "")
    is_priced = own and tags.get("estimated") is True and count is not None
    head, tail = f"{model} ".replace(" ", "-"), "-tokens"
    if not is_priced or not sku.startswith(head) or not sku.endswith(tail):
        return event
    tier, _, kind = sku[len(head) : -len(tail)].rpartition("-")
    on = event.charge_period_start.date()
    price = _held(own, (model, tier or STANDARD), kind, on)
    if price is None or count is None:
        return event
    each = EXACT.multiply(price, PER)
    return msgspec.structs.replace(
        event,
        effective_cost=EXACT.multiply(each, count),
        list_unit_price=each,
        charge_description=f"{sku}: estimated at your price, ${price} per million",
    )


def _held(own: OwnPrices, name: tuple[str, str], kind: str, on: date) -> Decimal | None:
    """Return the price that held on a day; a price without a date always did."""
    model, tier = name
    for known in (model, _DATED.sub("", model)):
        dated = own.get((known, tier), {})
        held = [since for since in dated if since <= on and kind in dated[since]]
        if held:
            return dated[max(held)][kind]
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
