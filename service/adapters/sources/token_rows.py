"""Usage of language models: tokens of one kind as a row, with what the list of prices asks."""

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from service.adapters.sources.base import Flaw, Row, first_bytes
from service.adapters.sources.documents import records, row
from service.adapters.sources.ndjson import NOT_DECODED
from service.adapters.token_prices import PER, STANDARD, TokenPrice, token_price
from service.core.events import CostEvent, TagValue
from service.core.money import EXACT, ZERO

TOKENS: Final = "Tokens"
REQUESTS: Final = "Requests"
SERVICE_CATEGORY: Final = "AI and Machine Learning"


class RefusedError(Exception):
    """What keeps a result from being rows, in one line."""


class Bucket(Protocol):
    """A period and its results, not decoded yet."""

    results: list[msgspec.Raw]


_Bucket = TypeVar("_Bucket", bound=Bucket)
Reading = Callable[[int, bytes], Iterator[Row | Flaw]]


class Usage(NamedTuple):
    """What one key used of one model in one period; no tier where the list has no price for it.

    `tokens` are counts by kind of the price list, none of them counted twice, and `others` by unit.
    `dataset` tells apart the reports that stand beside each other: one never supersedes another.
    """

    provider: str
    service_name: str
    dataset: str
    start: datetime
    end: datetime
    model: str | None
    tier: str | None
    is_long: bool
    project: str | None
    key: str | None
    tags: dict[str, TagValue]
    tokens: dict[str, Decimal]
    others: dict[str, Decimal | None]


def results(
    path: Path, decode: Callable[[bytes], _Bucket], read: Callable[[_Bucket], Reading]
) -> Iterator[Row | Flaw]:
    """Read the buckets of a usage or cost API; a bad result costs itself and no other."""
    for number, raw, bucket in records(path, decode):
        if isinstance(bucket, Flaw):
            yield bucket
            continue
        try:
            rows = read(bucket)
        except (ValueError, OverflowError):
            yield Flaw(number, "type", "the bucket's start or end is not a time", first_bytes(raw))
            continue
        for result in bucket.results:
            try:
                yield from rows(number, bytes(result))
            except (*NOT_DECODED, ArithmeticError, RefusedError) as error:
                yield Flaw(number, "type", _why(error), first_bytes(bytes(result)))


def _why(error: Exception) -> str:
    return "an amount is out of range" if isinstance(error, ArithmeticError) else str(error)


def rows_of(number: int, raw: bytes, usage: Usage) -> Iterator[Row | Flaw]:
    """Yield a row for each kind of token that was used, and for what else was counted.

    Nothing is billed by a report of usage: BilledCost is 0, and EffectiveCost what the tokens cost
    at the list price of the day, null where that is not known. Such rows are tagged `estimated`.
    """
    for kind, count in usage.tokens.items():
        if count:
            yield row(number, raw, _tokens(usage, kind, count), usage.dataset)
    for unit, amount in usage.others.items():
        if amount:
            yield row(number, raw, _event(usage, unit.lower(), unit, amount), usage.dataset)


def _tokens(usage: Usage, kind: str, count: Decimal) -> CostEvent:
    price = _price(usage, kind)
    if price is None:
        return _event(usage, f"{kind} tokens", TOKENS, count)
    each = EXACT.multiply(price.usd_per_mtok, PER)
    return _event(usage, f"{kind} tokens", TOKENS, count, each, price)


def _price(usage: Usage, kind: str) -> TokenPrice | None:
    if usage.model is None or usage.tier is None:
        return None
    price = token_price(usage.provider, usage.model, kind, usage.tier, usage.start.date())
    return None if price is not None and price.rises and usage.is_long else price


def _event(
    usage: Usage,
    what: str,
    unit: str,
    count: Decimal,
    each: Decimal | None = None,
    price: TokenPrice | None = None,
) -> CostEvent:
    model, tier = usage.model or "unknown model", usage.tier
    by = "" if tier in (None, STANDARD) else f" {tier}"
    about = "no list price is known"
    if unit == REQUESTS:
        about = "counted, not priced"
    elif price is not None:
        since = f" of {price.since}" if price.since else ""
        about = f"estimated at the list price{since}, ${price.usd_per_mtok} per million"
    cost = None if each is None else EXACT.multiply(each, count)
    return CostEvent(
        charge_period_start=usage.start,
        charge_period_end=usage.end,
        charge_category="Usage",
        charge_frequency="Usage-Based",
        charge_description=f"{model}{by} {what}: {about}",
        billed_cost=ZERO,
        effective_cost=cost,
        list_cost=cost,
        billing_currency="USD",
        service_category=SERVICE_CATEGORY,
        service_name=usage.service_name,
        sub_account_id=usage.project,
        resource_id=usage.key,
        resource_type=None if usage.key is None else "API key",
        sku_id=f"{model}{by} {what}".replace(" ", "-"),
        list_unit_price=each,
        pricing_quantity=count,
        pricing_unit=unit,
        consumed_quantity=count,
        consumed_unit=unit,
        tags=usage.tags | {"estimated": True},
    )
