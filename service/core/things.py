"""Things: what an account spends on, by which first spend is told: what a leaked key would start.

A region, a service, a family of instances or models, and who created it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from service.core.events import NEW_MARK, CostEvent, SeriesKey, TagValue
from service.core.owners import plain_key

# In the order in which they are told: one that is new explains what is new within it.
DIMENSIONS: Final = ("region", "service", "family", "principal")
NOWHERE: Final = frozenset({"global", "aws-global", "any", "none", "unassigned", "unknown"})
MARK: Final = NEW_MARK
LONGEST_VALUE: Final = 128

# p4d.24xlarge, db.r6g.large, ml.g5.2xlarge
_AWS: Final = re.compile(r"\b([a-z][a-z0-9-]{1,14})\.(?:nano|micro|small|medium|\d*x?large|metal)")
# Standard_NC8as_T4_v3: the number of cores is a size, the rest is the family
_AZURE: Final = re.compile(r"\b(?:Standard|Basic)_([A-Z]{1,4})\d+(?:-\d+)?([a-z]*(?:_\w+)*)")
# a2-highgpu-1g, n2-standard-8
_GCP: Final = re.compile(r"\b([a-z]\d[a-z]?)-(?:standard|high\w+|megagpu|ultragpu|edgegpu|custom)")
# USE1-claude-haiku-4-5-input-tokens
_MODEL: Final = re.compile(
    r"^(?:[A-Z]{2,4}\d?-)?(.+?)[-_ ](?:cache\w*|batch|input|output|prompt|completion).*$"
)
# assumed-role/Role/session, AssumedRole:AROA...:session (AWS): the role acts, sessions come and go
_SESSION: Final = re.compile(r"(assumed-role/[^/]+|assumedrole:[^:]+)[/:].*", re.IGNORECASE)
# name/i-0123456789abcdef0, job-4bf92f35-77b3-4da6-a3ce-929d0e0e4736, runner-1718000000
_INSTANCE: Final = re.compile(
    r"(?:[-_/:@](?:i-[0-9a-f]{8,17}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|[-_]\d{10,})$",
    re.IGNORECASE,
)


class Thing(NamedTuple):
    """One thing that one account spends on, at one grain and in one currency."""

    account: SeriesKey
    dimension: str
    value: str

    @property
    def series(self) -> SeriesKey:
        """Return the series of all that is spent on it."""
        return self.account._replace(resource=f"{MARK}{self.dimension}={self.value}")


def account_of(series: SeriesKey) -> SeriesKey:
    """Return the account that a series belongs to."""
    return series._replace(resource="")


def things_of(series: SeriesKey, event: CostEvent, principal: str | None) -> tuple[Thing, ...]:
    """Return what a row of plain usage is spent on."""
    region = event.region_id if (event.region_id or "").lower() not in NOWHERE else None
    family = family_of(event.sku_id or "", event.charge_description or "", event.pricing_unit or "")
    values = (region, event.service_name, family, principal)
    account = account_of(series)
    return tuple(
        Thing(account, dimension, " ".join(value.split())[:LONGEST_VALUE])
        for dimension, value in zip(DIMENSIONS, values, strict=True)
        if value
    )


@lru_cache(maxsize=8192)
def family_of(sku_id: str, description: str, unit: str) -> str | None:
    """Return the family of instances or the model that a SKU is of, where it can be read.

    >>> family_of("BoxUsage:p4d.24xlarge", "", "Hours"), family_of("X", "a db.r6g.large hour", "")
    ('p4d', 'r6g')
    >>> family_of("Standard_NC8as_T4_v3", "", "Hours"), family_of("a2-highgpu-1g", "", "Hours")
    ('NCas_T4_v3', 'a2')
    >>> family_of("USE1-claude-haiku-4-5-input-tokens", "", "1K tokens"), family_of("X7", "", "GB")
    ('claude-haiku-4-5', None)
    """
    for text in (sku_id, description):
        if found := _AWS.search(text):
            return found[1]
        if found := _AZURE.search(text):
            return found[1] + found[2]
        if found := _GCP.search(text):
            return found[1]
    if "token" in unit.lower() and (found := _MODEL.match(sku_id)):
        return found[1]
    return None


def principal_of(tags: Mapping[str, TagValue] | None, keys: Sequence[str]) -> str | None:
    """Return who created a resource: the first of some tags that has a value, without its session.

    >>> principal_of({"createdBy": "arn:aws:sts::1:assumed-role/Deploy/run-7"}, ["createdby"])
    'arn:aws:sts::1:assumed-role/Deploy'
    >>> principal_of({"createdBy": "AssumedRole:AROAX:alice"}, ["createdby"])
    'AssumedRole:AROAX'
    >>> principal_of({"creator": "nodes/i-0abc1234def567890"}, ["creator"])
    'nodes'
    """
    wanted = {plain_key(key): number for number, key in enumerate(keys)}
    found = [
        (wanted[plain_key(key)], key, value)
        for key, value in (tags or {}).items()
        if plain_key(key) in wanted and isinstance(value, str) and value.strip()
    ]
    return _lasting(min(found)[2].strip()) if found else None


def _lasting(principal: str) -> str:
    """Leave out what is another one each time: sessions, and the numbers of instances and runs."""
    return _INSTANCE.sub("", _SESSION.sub(r"\1", principal)) or principal
