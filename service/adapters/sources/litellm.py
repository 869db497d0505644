"""LiteLLM's spend logs, one row a request, as JSON of its API or CSV of its table.

Schema: LiteLLM_SpendLogs in https://github.com/BerriAI/litellm/blob/main/schema.prisma; the API is
GET /spend/logs. A request is one row of the hour in which it began. What it spent is LiteLLM's own
reckoning with its list of prices, in US dollars, and nobody's invoice: EffectiveCost, an estimate.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes, plain
from service.adapters.sources.documents import records, row
from service.adapters.sources.files import look
from service.adapters.sources.tables import named_rows
from service.adapters.sources.token_rows import REQUESTS, SERVICE_CATEGORY, TOKENS
from service.adapters.sources.values import LONGEST_TEXT, fine, moment
from service.core.events import CostEvent, TagValue, Text, content_hash
from service.core.money import ZERO
from service.decoding import convert

_HOUR: Final = timedelta(hours=1)
_REQUIRED: Final = frozenset({"requestid", "spend", "starttime", "model"})


class _Line(msgspec.Struct, rename={"start_time": "startTime"}):
    request_id: Text
    spend: Decimal
    start_time: str
    model: Text | None = None
    api_key: Text | None = None
    total_tokens: Decimal | None = None
    custom_llm_provider: Text | None = None
    model_group: Text | None = None
    team_id: Text | None = None
    organization_id: Text | None = None
    # Objects of the API, texts in CSV and in older versions.
    metadata: Any = None
    request_tags: Any = None


_COLUMNS: Final = {plain(name): name for name in _Line.__struct_encode_fields__}


def recognises(head: Head) -> bool:
    """Tell spend logs by a request's id, beginning, model and spend."""
    names = head.names if head.form in ("csv", "parquet") else head.inner
    return head.form != "unknown" and names >= _REQUIRED


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    head = look(path)
    if head.form in ("csv", "parquet"):
        yield from _table(path, head)
        return
    for number, raw, line in records(path, _LINE.decode):
        if isinstance(line, Flaw):
            yield line
        else:
            yield from _rows(number, raw, line)


def _table(path: Path, head: Head) -> Iterator[Row | Flaw]:
    for item in named_rows(path, head, _COLUMNS):
        if isinstance(item, Flaw):
            yield item
            continue
        number, raw, texts = item
        try:
            line = convert(texts, _Line, strict=False)
        except msgspec.ValidationError as error:
            yield Flaw(number, "type", str(error), first_bytes(raw))
        else:
            yield from _rows(number, raw, line)


def _rows(number: int, raw: bytes, line: _Line) -> Iterator[Row | Flaw]:
    """Yield what a request cost, by its tokens, and that it was one."""
    try:
        start = moment(line.start_time).replace(minute=0, second=0, microsecond=0)
        end = start + _HOUR
    except (ValueError, OverflowError):
        reason = f"startTime {line.start_time[:40]!r} is not a time"
        yield Flaw(number, "type", reason, first_bytes(raw))
        return
    about = _object(line.metadata)
    spend, model = fine(line.spend), line.model or "unknown model"
    event = CostEvent(
        charge_period_start=start,
        charge_period_end=end,
        charge_category="Usage",
        charge_frequency="Usage-Based",
        billed_cost=ZERO,
        effective_cost=spend,
        billing_currency="USD",
        service_category=SERVICE_CATEGORY,
        service_name=line.custom_llm_provider or "LiteLLM",
        sub_account_id=line.team_id or line.organization_id,
        sub_account_name=_text(about, "user_api_key_team_alias"),
        resource_id=_key(line.api_key),
        resource_name=_text(about, "user_api_key_alias"),
        resource_type="API key",
        sku_id=f"{model} tokens".replace(" ", "-"),
        pricing_quantity=line.total_tokens,
        pricing_unit=TOKENS,
        tags=_tags(line, about),
        x_event_id=line.request_id,
    )
    yield row(number, raw, event)
    yield row(
        number,
        raw,
        msgspec.structs.replace(
            event,
            effective_cost=ZERO,
            sku_id=f"{model} requests".replace(" ", "-"),
            pricing_quantity=Decimal(1),
            pricing_unit=REQUESTS,
            x_event_id=f"{line.request_id}~",
        ),
    )


def _key(api_key: str | None) -> str | None:
    """Name a key by its hash; LiteLLM stores that, but for keys that it does not know."""
    if api_key and api_key.startswith("sk-"):
        return content_hash(api_key.encode())
    return api_key or None


def _object(value: object) -> Mapping[str, object]:
    value = _parsed(value)
    return value if isinstance(value, dict) else {}


def _parsed(value: object) -> object:
    if isinstance(value, str):
        try:
            return _ANY.decode(value)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
    return value


def _text(about: Mapping[str, object], *names: str) -> str | None:
    for name in names:
        value = about.get(name)
        if isinstance(value, str) and value:
            return value[:LONGEST_TEXT]
    return None


def _tags(line: _Line, about: Mapping[str, object]) -> dict[str, TagValue]:
    """Take the request's tags, `key:value` or bare; model, team and project go before them."""
    found: dict[str, TagValue] = {}
    given = _parsed(line.request_tags)
    for text in given if isinstance(given, list) else ():
        if isinstance(text, str) and text.strip():
            key, _, value = text.partition(":")
            found[key.strip()[:LONGEST_TEXT]] = value.strip()[:LONGEST_TEXT] or True
    named = {
        "model": line.model_group or line.model,
        "team": _text(about, "user_api_key_team_alias") or line.team_id,
        "project": _text(about, "user_api_key_project_alias", "user_api_key_project_id"),
    }
    return found | {key: value for key, value in named.items() if value} | {"estimated": True}


_LINE: Final = msgspec.json.Decoder(_Line, strict=False)
_ANY: Final = msgspec.json.Decoder()

SOURCE: Final = Source(
    recognises, read, appends=True, needs="LiteLLM's request_id, startTime, model and spend"
)
