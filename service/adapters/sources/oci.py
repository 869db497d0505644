"""Oracle Cloud's cost reports: CSV, every six hours (Cost and Usage Reports, cost columns).

Columns: https://docs.oracle.com/iaas/Content/Billing/Concepts/costusagereportsoverview.htm.
A report holds what became known since the one before, late rows too, so it takes nothing back of
what came before. A row is known by its reference number. cost/myCost includes the overage. A
correction is a row of its own, and adds to the one that it refers to (Oracle does not say whether
it might replace it); rows that correct nothing fill backreferenceNo as well.
"""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.formats import Format, has, read_rows
from service.adapters.sources.rows import RefusedError, Rule, Texts, Values, same
from service.adapters.sources.values import moment

REQUIRED: Final = (
    "lineitemreferenceno", "lineitemintervalusagestart", "lineitemintervalusageend", "costmycost",
)  # fmt: skip
_SAME: Final = {
    "x_EventId": "lineitemreferenceno",
    "BillingAccountId": "lineitemtenantid",
    "SubAccountId": "productcompartmentid",
    "SubAccountName": "productcompartmentname",
    "ResourceId": "productresourceid",
    "ServiceName": "productservice",
    "RegionId": "productregion",
    "SkuId": "costproductsku",
    "ChargeDescription": "productdescription",
    "BillingCurrency": "costcurrencycode",
    "BilledCost": "costmycost",
    "EffectiveCost": "costmycost",
    "PricingQuantity": "usagebilledquantity",
    "PricingUnit": "costskuunitdescription",
    "ConsumedQuantity": "usagebilledquantity",
    "ConsumedUnit": "costskuunitdescription",
}
_TAGS: Final = "tags/"


def recognises(head: Head) -> bool:
    """Tell a cost report by its reference number, its interval and its cost."""
    return has(head, REQUIRED)


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError when its header or the rest of it cannot be read."""
    return read_rows(path, _FORMAT)


def _period(row: Texts, _: dict[str, str]) -> Values:
    try:
        start = moment(row["lineitemintervalusagestart"])
        end = moment(row["lineitemintervalusageend"])
        month = _month(start)
    except KeyError as error:
        raise RefusedError(f"{error.args[0]} is missing") from None
    except (ValueError, OverflowError):
        raise RefusedError("the interval's start or end is not a time") from None
    return {
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "BillingPeriodStart": month[0],
        "BillingPeriodEnd": month[1],
    }


def _charge(row: Texts, _: dict[str, str]) -> Values:
    corrects = row.get("lineitemiscorrection", "").lower() == "true"
    return {
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeClass": "Correction" if corrects else None,
    }


@lru_cache(maxsize=4096)
def _month(at: datetime) -> tuple[datetime, datetime]:
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = start.year * 12 + start.month
    return start, start.replace(year=months // 12, month=months % 12 + 1)


def _tag_of(title: str) -> str | None:
    """Return the tag that a column holds.

    >>> _tag_of("tags/Oracle-Tags.CreatedBy")
    'Oracle-Tags.CreatedBy'
    """
    return title[len(_TAGS) :] or None if title.lower().startswith(_TAGS) else None


_RULES: Final = (
    Rule(
        ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"),
        REQUIRED[1:3],
        _period,
    ),
    Rule(("ChargeCategory", "ChargeFrequency", "ChargeClass"), ("lineitemiscorrection",), _charge),
    Rule(("Tags",), (), lambda _, tags: {"Tags": tags or None}, tagged=True),
    *(same(name, column) for name, column in _SAME.items()),
)
_FORMAT: Final = Format(
    REQUIRED,
    frozenset({*REQUIRED, *_SAME.values(), "lineitemiscorrection"}),
    lambda _: _RULES,
    _tag_of,
)
SOURCE: Final = Source(
    recognises,
    read,
    appends=False,
    needs="the columns of an OCI cost report, lineItem/… and cost/myCost",
    adds=True,
)
