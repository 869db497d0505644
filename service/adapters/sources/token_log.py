"""Token logs: what an inference service counted, a request or a minute a row, in CSV or Parquet.

The columns of Azure's public traces (https://github.com/Azure/AzurePublicDataset), TIMESTAMP,
ContextTokens and GeneratedTokens, or the names that others give these; beside them requests, model,
provider, key, project and team, where they are. Nobody's invoice: an estimate, at the price of the
model, one's own or its provider's, else no money.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source, first_bytes, label
from service.adapters.sources.files import look
from service.adapters.sources.rows import RefusedError, decimal
from service.adapters.sources.tables import named_rows
from service.adapters.sources.token_rows import REQUESTS, Usage, rows_of
from service.adapters.sources.values import moment
from service.adapters.token_prices import STANDARD
from service.core.events import CostEvent

SERVICE: Final = "Token log"
_HOUR: Final = timedelta(hours=1)
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "at": ("timestamp", "minute", "time", "starttime"),
    "input": ("contexttokens", "inputtokens", "prompttokens"),
    "output": ("generatedtokens", "outputtokens", "completiontokens"),
}
_OTHERS: Final = ("requests", "model", "provider", "key", "project", "team")
_COLUMNS: Final = {name: what for what, names in _NAMES.items() for name in names} | {
    name: name for name in _OTHERS
}


def recognises(head: Head) -> bool:
    """Tell token logs by a column each for the time and for the tokens that came and went."""
    return head.form in ("csv", "parquet") and all(
        not head.names.isdisjoint(names) for names in _NAMES.values()
    )


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read.

    A row is known by the file's name and its place: a log that grows may be read again.
    """
    log = label(Path(path.name.removesuffix(".gz").partition(".")[0]))
    for item in named_rows(path, look(path), _COLUMNS):
        if isinstance(item, Flaw):
            yield item
            continue
        number, raw, texts = item
        try:
            usage = _usage(texts, log)
        except RefusedError as error:
            yield Flaw(number, "type", str(error), first_bytes(raw))
            continue
        for row in rows_of(number, raw, usage):
            if isinstance(row, Row) and isinstance(row.event, CostEvent):
                name = f"{log}:{number}:{row.event.sku_id}"
                named = msgspec.structs.replace(row.event, x_event_id=name)
                yield row._replace(event=named)
            else:
                yield row


def _usage(row: Mapping[str, str], log: str) -> Usage:
    try:
        start = moment(row["at"]).replace(minute=0, second=0, microsecond=0)
        end = start + _HOUR
    except (KeyError, ValueError, OverflowError):
        raise RefusedError("the time is missing, or is not one") from None
    counts = {name: decimal(name, row.get(name, "0")) for name in ("input", "output")}
    requests = decimal("requests", row.get("requests", "1"))
    if not all(count.is_finite() and count >= 0 for count in (requests, *counts.values())):
        raise RefusedError("a count is below 0, or no number")
    named = {name: row[name] for name in ("model", "project", "team") if name in row}
    return Usage(
        provider=row.get("provider", ""),
        service_name=SERVICE,
        dataset="",
        start=start,
        end=end,
        model=row.get("model"),
        tier=STANDARD,
        is_long=False,
        project=row.get("project"),
        key=row.get("key") or (f"model/{row['model']}" if "model" in row else log),
        tags={**named},
        tokens=counts,
        others={REQUESTS: requests},
    )


SOURCE: Final = Source(
    recognises,
    read,
    appends=True,
    needs="a time and tokens in and out, as TIMESTAMP, ContextTokens",
)
