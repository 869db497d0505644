"""Group names: by what series are grouped, and which groups a row of a series names."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from service.core.events import GROUP_MARK, CostEvent, SeriesKey, TagValue
from service.core.owners import Owners, plain_key

BY_OWNER: Final = "owner"
BY_SUB_ACCOUNT: Final = "sub_account"
BY_TAG: Final = "tag:"
FIELDS: Final[Mapping[str, str]] = {
    BY_SUB_ACCOUNT: "sub_account_id",
    "service": "service_name",
    "region": "region_id",
}
MARK: Final = GROUP_MARK
LONGEST_VALUE: Final = 256

Values = tuple[str, ...]


class GroupName(NamedTuple):
    """What a group is made by: a dimension and its value."""

    by: str
    value: str

    @classmethod
    def of(cls, series: SeriesKey) -> "GroupName | None":
        """Read the name of a group series; None for any other series.

        >>> GroupName.of(SeriesKey("aws", "", "~group~tag:env=a=b", "USD", "hour"))
        GroupName(by='tag:env', value='a=b')
        """
        if not series.resource.startswith(MARK):
            return None
        by, _, value = series.resource.removeprefix(MARK).partition("=")
        return cls(by, value)


def check_group_by(group_by: Sequence[str]) -> None:
    """ValueError when groups are asked for by something that a row does not have."""
    for by in group_by:
        is_tag = by.startswith(BY_TAG) and len(by) > len(BY_TAG)
        if by != BY_OWNER and by not in FIELDS and not is_tag:
            known = ", ".join((BY_OWNER, *FIELDS, f"{BY_TAG}NAME"))
            raise ValueError(f"group_by: {by!r} is not one of {known}")


def values_of(group_by: Sequence[str], event: CostEvent, owners: Owners) -> Values:
    """Return a row's value of each dimension, empty where it has none."""
    tags = {plain_key(key): value for key, value in sorted((event.tags or {}).items())}
    found = []
    for by in group_by:
        value: TagValue
        if by == BY_OWNER:
            value = owners.of_row(event).name
        elif by in FIELDS:
            value = getattr(event, FIELDS[by])
        else:
            value = tags.get(plain_key(by.removeprefix(BY_TAG)))
        found.append("" if value is None else " ".join(str(value).split())[:LONGEST_VALUE])
    return tuple(found)


def groups_of(group_by: Sequence[str], series: SeriesKey, values: Values) -> tuple[SeriesKey, ...]:
    """Return the groups that values put a series into."""
    return tuple(
        SeriesKey(
            series.source,
            value if by == BY_SUB_ACCOUNT else "",
            f"{MARK}{by}={value}",
            series.billing_currency,
            series.grain,
        )
        for by, value in zip(group_by, values, strict=True)
        if value
    )
