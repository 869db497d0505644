"""Labels: what spend can be asked by, as the newest row of a series names it."""

from typing import Final

import msgspec

from service.core.events import CostEvent, SeriesKey
from service.core.ledger import Labels
from service.core.owners import Owners, plain_key

LONGEST: Final = 256
# All of a row that its series' labels are made of, beside the series itself.
NAMED_BY: Final = (
    "billing_account_id",
    "sub_account_name",
    "service_category",
    "service_name",
    "region_id",
    "resource_id",
    "resource_name",
    "resource_type",
    "tags",
)


def labels_of(series: SeriesKey, about: CostEvent, owners: Owners) -> Labels:
    """Return the labels of a series from its newest row."""
    return Labels(
        series.source,
        owners.of_row(about).name,
        about.billing_account_id,
        series.sub_account_id,
        about.sub_account_name or "",
        about.service_category or "",
        about.service_name or "",
        about.region_id or "",
        about.resource_id or "",
        about.resource_name or "",
        about.resource_type or "",
        series.billing_currency,
        series.grain,
        _tags(about),
    )


def _tags(about: CostEvent) -> str:
    found: dict[str, str] = {}
    for key, value in sorted((about.tags or {}).items()):
        text = "" if value is None else " ".join(str(value).split())[:LONGEST]
        if text:
            found.setdefault(plain_key(key), text)
    return msgspec.json.encode(found).decode()
