"""Owners: who a series belongs to, and which link of the chain said so."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from service.core.events import CostEvent, SeriesKey, TagValue

UNOWNED: Final = "unowned"


class Owner(NamedTuple):
    """An owner and, in words, what decided it."""

    name: str
    source: str


class Owners:
    """The chain: resource tag, then the sub-account's owner, then `unowned`.

    Tag keys are compared without case, blanks and a provider's prefix (`user:Team`, `aws:…/Owner`
    are `team` and `owner`); the first key of `tag_keys` that has a value wins. A number is a value,
    such as a cost centre's; true and false, which FOCUS gives a tag without one, are not.
    """

    def __init__(self, tag_keys: Sequence[str], sub_accounts: Mapping[str, str]) -> None:
        self._tag_keys = [plain_key(key) for key in tag_keys]
        self._sub_accounts = sub_accounts

    def of(self, tags: Mapping[str, TagValue] | None, sub_account_id: str | None) -> Owner:
        """Resolve one owner."""
        by_key = {plain_key(key): (key, value) for key, value in sorted((tags or {}).items())}
        for wanted in self._tag_keys:
            key, value = by_key.get(wanted, ("", None))
            name = _text(value)
            if name:
                return Owner(name, f"tag {' '.join(key.split())}={name}")
        account = self._sub_accounts.get(sub_account_id or "")
        if account:
            return Owner(account, f"owner of sub-account {sub_account_id}")
        return Owner(UNOWNED, "no owner tag, and the sub-account has no owner")


def _text(value: TagValue) -> str:
    if value is None or isinstance(value, bool):
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return " ".join(str(int(value) if whole else value).split())


class Calendars:
    """By which calendar a series is judged: its owner's, else its source's, else the default."""

    def __init__(
        self,
        owners: Owners,
        by_owner: Mapping[str, str],
        by_source: Mapping[str, str],
        default: str,
    ) -> None:
        self._owners = owners
        self._by_owner = by_owner
        self._by_source = by_source
        self._default = default

    def of(self, series: SeriesKey, about: CostEvent) -> str:
        """Return the name of a series' calendar."""
        owner = self._owners.of(about.tags, about.sub_account_id).name
        return self._by_owner.get(owner, self._of_source(series))

    def of_all(self, group: SeriesKey, abouts: Iterable[CostEvent]) -> str:
        """Return the name of the calendar that all of many series keep, else of their source's."""
        names = {self.of(group, about) for about in abouts}
        return names.pop() if len(names) == 1 else self._of_source(group)

    def _of_source(self, series: SeriesKey) -> str:
        return self._by_source.get(series.source, self._default)


@lru_cache(maxsize=8192)
def plain_key(key: str) -> str:
    """Return a tag's key without case, blanks and a provider's prefix."""
    return key.rsplit(":", 1)[-1].rsplit("/", 1)[-1].strip().lower()
