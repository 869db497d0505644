"""Anthropic's usage and cost reports, as its Admin API answers.

https://docs.claude.com/en/api/usage-cost-api: buckets of `usage_report/messages` (a minute, an hour
or a day) and of `cost_report` (a day). A cost is what is billed, in cents as a decimal text:
BilledCost, in dollars. Usage is tokens, priced at list: EffectiveCost, an estimate that comes
before the bill. No row has both, so that the two are never added up. Priority Tier is in no cost
report.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.documents import row
from service.adapters.sources.token_rows import (
    SERVICE_CATEGORY,
    Reading,
    Usage,
    results,
    rows_of,
)
from service.adapters.sources.values import fine, moment
from service.adapters.token_prices import STANDARD
from service.core.events import CostEvent, TagValue, Text
from service.core.money import EXACT, ZERO

_SERVICE: Final = "Claude API"
# A null workspace is the default one.
_DEFAULT: Final = "default"
_CENT: Final = Decimal("0.01")
_TIERS: Final = {None: STANDARD, "standard": STANDARD, "batch": "batch"}
_EVERYWHERE: Final = frozenset({None, "global", "not_available"})
_SHORT: Final = frozenset({None, "0-200k"})


class _Bucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[msgspec.Raw]


class _Any(msgspec.Struct):
    uncached_input_tokens: msgspec.Raw = msgspec.Raw()


class _Result(msgspec.Struct):
    workspace_id: Text | None = None
    model: Text | None = None
    service_tier: Text | None = None
    context_window: Text | None = None
    inference_geo: Text | None = None


class _Cost(_Result, kw_only=True):
    amount: Decimal
    currency: Text = "USD"
    description: Text | None = None
    cost_type: Text | None = None
    token_type: Text | None = None


class _Written(msgspec.Struct):
    ephemeral_5m_input_tokens: Decimal = ZERO
    ephemeral_1h_input_tokens: Decimal = ZERO


class _Tools(msgspec.Struct):
    web_search_requests: Decimal | None = None


class _Used(_Result, kw_only=True):
    uncached_input_tokens: Decimal
    cache_read_input_tokens: Decimal = ZERO
    cache_creation: _Written | None = None
    output_tokens: Decimal = ZERO
    server_tool_use: _Tools | None = None
    api_key_id: Text | None = None
    speed: Text | None = None


def recognises(head: Head) -> bool:
    """Tell buckets by starting_at, ending_at and results."""
    return head.inner >= {"startingat", "endingat", "results"}


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    return results(path, _BUCKET.decode, _reading)


def _reading(bucket: _Bucket) -> Reading:
    start, end = moment(bucket.starting_at), moment(bucket.ending_at)

    def rows(number: int, raw: bytes) -> Iterator[Row | Flaw]:
        if not bytes(_ANY.decode(raw).uncached_input_tokens):
            yield row(number, raw, _cost(start, end, _COST.decode(raw)), "cost_report")
        else:
            yield from rows_of(number, raw, _usage(start, end, _USED.decode(raw)))

    return rows


def _cost(start: datetime, end: datetime, found: _Cost) -> CostEvent:
    parts = (found.model, found.service_tier, found.context_window, found.inference_geo)
    what = (found.token_type or found.cost_type, *parts)
    return CostEvent(
        charge_period_start=start,
        charge_period_end=end,
        charge_category="Usage",
        charge_frequency="Usage-Based",
        charge_description=found.description,
        billed_cost=fine(EXACT.multiply(fine(found.amount), _CENT)),
        billing_currency=found.currency,
        service_category=SERVICE_CATEGORY,
        service_name=_SERVICE,
        sub_account_id=found.workspace_id or _DEFAULT,
        sku_id="/".join(part for part in what if part) or None,
        tags=_tags(found, None),
    )


def _usage(start: datetime, end: datetime, used: _Used) -> Usage:
    written, tools = used.cache_creation or _Written(), used.server_tool_use or _Tools()
    # Inference in one country and fast mode cost more, by factors that the list does not have.
    is_listed = used.inference_geo in _EVERYWHERE and used.speed in (None, STANDARD)
    return Usage(
        provider="anthropic",
        service_name=_SERVICE,
        dataset="usage_report",
        start=start,
        end=end,
        model=used.model,
        tier=_TIERS.get(used.service_tier) if is_listed else None,
        is_long=used.context_window not in _SHORT,
        project=used.workspace_id or _DEFAULT,
        key=used.api_key_id,
        tags=_tags(used, used.api_key_id),
        tokens={
            "input": used.uncached_input_tokens,
            "cache_read": used.cache_read_input_tokens,
            "cache_write": written.ephemeral_5m_input_tokens,
            "cache_write_1h": written.ephemeral_1h_input_tokens,
            "output": used.output_tokens,
        },
        others={"Web searches": tools.web_search_requests},
    )


def _tags(found: _Result, key: str | None) -> dict[str, TagValue]:
    project = found.workspace_id or _DEFAULT
    named = {"model": found.model, "project": project, "api_key": key}
    return {name: value for name, value in named.items() if value}


_BUCKET: Final = msgspec.json.Decoder(_Bucket)
_ANY: Final = msgspec.json.Decoder(_Any)
_COST: Final = msgspec.json.Decoder(_Cost)
_USED: Final = msgspec.json.Decoder(_Used)

SOURCE: Final = Source(
    recognises, read, appends=False, needs="Anthropic's starting_at, ending_at and results"
)
