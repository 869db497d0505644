"""OpenAI's usage and costs, as its API answers (https://platform.openai.com/docs/api-reference/usage).

Buckets of `GET /v1/organization/usage/…` (a minute, an hour or a day) and of `…/costs` (a day). A
cost is what is billed, in dollars: BilledCost. Usage is tokens, priced at list: EffectiveCost, an
estimate that comes before the bill. No row has both, so that the two are never added up.

Cached and cache-write tokens are part of `input_tokens`. Audio and image tokens are part of it, and
of `output_tokens`, only in answers that also name `…_text_tokens`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.documents import row
from service.adapters.sources.token_rows import (
    REQUESTS,
    SERVICE_CATEGORY,
    Reading,
    RefusedError,
    Usage,
    results,
    rows_of,
)
from service.adapters.sources.values import fine
from service.adapters.token_prices import STANDARD
from service.core.events import CostEvent, Text
from service.core.money import ZERO

_SERVICE: Final = "OpenAI API"
_COSTS: Final = "organization.costs.result"
_TIERS: Final = {
    None: STANDARD, "default": STANDARD, "standard": STANDARD, "auto": STANDARD,
    "batch": "batch", "flex": "flex", "priority": "priority",
}  # fmt: skip


class _Bucket(msgspec.Struct):
    start_time: int
    end_time: int
    results: list[msgspec.Raw]


class _Kind(msgspec.Struct):
    object: Text = ""
    project_id: Text | None = None
    api_key_id: Text | None = None


class _Amount(msgspec.Struct):
    value: Decimal
    currency: Text = "usd"


class _Cost(_Kind):
    amount: _Amount | None = None
    line_item: Text | None = None
    quantity: Decimal | None = None


class _Used(_Kind):
    model: Text | None = None
    batch: bool | None = None
    service_tier: Text | None = None
    input_tokens: Decimal = ZERO
    input_cached_tokens: Decimal | None = None
    input_cache_write_tokens: Decimal | None = None
    input_text_tokens: Decimal | None = None
    input_audio_tokens: Decimal | None = None
    input_cached_audio_tokens: Decimal | None = None
    input_image_tokens: Decimal | None = None
    input_cached_image_tokens: Decimal | None = None
    output_tokens: Decimal = ZERO
    output_text_tokens: Decimal | None = None
    output_audio_tokens: Decimal | None = None
    output_image_tokens: Decimal | None = None
    num_model_requests: Decimal | None = None
    num_requests: Decimal | None = None
    images: Decimal | None = None
    characters: Decimal | None = None
    seconds: Decimal | None = None
    num_sessions: Decimal | None = None
    usage_bytes: Decimal | None = None


def recognises(head: Head) -> bool:
    """Tell buckets by start_time, end_time and results."""
    return head.inner >= {"starttime", "endtime", "results"}


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    return results(path, _BUCKET.decode, _reading)


def _reading(bucket: _Bucket) -> Reading:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (bucket.start_time, bucket.end_time))

    def rows(number: int, raw: bytes) -> Iterator[Row | Flaw]:
        if _KIND.decode(raw).object == _COSTS:
            yield row(number, raw, _cost(start, end, _COST.decode(raw)), "costs")
        else:
            yield from rows_of(number, raw, _usage(start, end, _USED.decode(raw)))

    return rows


def _cost(start: datetime, end: datetime, found: _Cost) -> CostEvent:
    if found.amount is None:
        raise RefusedError("amount is missing")
    item = found.line_item
    # "gpt-4o-2024-08-06, input"
    model = item.partition(",")[0] if item else None
    return CostEvent(
        charge_period_start=start,
        charge_period_end=end,
        charge_category="Usage",
        charge_frequency="Usage-Based",
        charge_description=item,
        billed_cost=fine(found.amount.value),
        billing_currency=found.amount.currency,
        service_category=SERVICE_CATEGORY,
        service_name=_SERVICE,
        sub_account_id=found.project_id,
        resource_id=found.api_key_id,
        sku_id=item,
        pricing_quantity=None if found.quantity is None else fine(found.quantity),
        tags=_tags(model, found),
    )


def _usage(start: datetime, end: datetime, used: _Used) -> Usage:
    return Usage(
        provider="openai",
        service_name=_SERVICE,
        dataset=used.object.removeprefix("organization.").removesuffix(".result") or "usage",
        start=start,
        end=end,
        model=used.model,
        tier="batch" if used.batch else _TIERS.get(used.service_tier),
        is_long=False,
        project=used.project_id,
        key=used.api_key_id,
        tags=_tags(used.model, used),
        tokens=_tokens(used),
        others={
            REQUESTS: used.num_model_requests or used.num_requests,
            "Images": used.images,
            "Characters": used.characters,
            "Seconds": used.seconds,
            "Sessions": used.num_sessions,
            "Bytes": used.usage_bytes,
        },
    )


def _tokens(used: _Used) -> dict[str, Decimal]:
    cached_audio = used.input_cached_audio_tokens or ZERO
    cached_image = used.input_cached_image_tokens or ZERO
    written = used.input_cache_write_tokens or ZERO
    audio = (used.input_audio_tokens or ZERO) - cached_audio
    image = (used.input_image_tokens or ZERO) - cached_image
    cached = used.input_cached_tokens or ZERO
    text, said = used.input_tokens - cached - written, used.output_tokens
    if used.input_text_tokens is not None:
        text -= audio + image
    if used.output_text_tokens is not None:
        said -= (used.output_audio_tokens or ZERO) + (used.output_image_tokens or ZERO)
    tokens = {
        "input": text,
        "cache_read": cached - cached_audio - cached_image,
        "cache_write": written,
        "input_audio": audio,
        "cache_read_audio": cached_audio,
        "input_image": image,
        "cache_read_image": cached_image,
        "output": said,
        "output_audio": used.output_audio_tokens or ZERO,
        "output_image": used.output_image_tokens or ZERO,
    }
    if any(count < 0 for count in tokens.values()):
        raise RefusedError("the parts of the tokens are more than the whole")
    return tokens


def _tags(model: str | None, found: _Kind) -> dict[str, str | int | float | bool | None]:
    named = {"model": model, "project": found.project_id, "api_key": found.api_key_id}
    return {key: value for key, value in named.items() if value}


_BUCKET: Final = msgspec.json.Decoder(_Bucket)
_KIND: Final = msgspec.json.Decoder(_Kind)
_COST: Final = msgspec.json.Decoder(_Cost)
_USED: Final = msgspec.json.Decoder(_Used)

SOURCE: Final = Source(
    recognises, read, appends=False, needs="OpenAI's start_time, end_time and results"
)
