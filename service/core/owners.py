"""Owners: who a series belongs to, and which link of the chain said so."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from service.core.events import CostEvent, SeriesKey, TagValue

UNOWNED: Final = "unowned"
# How an owner's source begins where nobody said so.
INFERRED: Final = "inferred from"
FEWEST_SIBLINGS: Final = 3
SIBLINGS_AGREE: Final = 0.8
COST_CATEGORY: Final = "cost_category/"


class Owner(NamedTuple):
    """An owner and, in words, what decided it."""

    name: str
    source: str


class Entry(NamedTuple):
    """Who owns something by a catalogue, and in which file that stands."""

    owner: str
    file: str


class Catalogue(NamedTuple):
    """What a company's own list of its systems says, by resource, by name and by sub-account."""

    by_resource: Mapping[str, Entry] = {}
    by_name: Mapping[str, Entry] = {}
    by_account: Mapping[str, Entry] = {}


NO_CATALOGUE: Final = Catalogue()
_NOBODY: Final = Owner(UNOWNED, "no owner tag, and the sub-account has no owner")


class Owners:
    """The chain: tag, cost category, the sub-account's owner, the catalogue, then `unowned`.

    Tag keys are compared without case, blanks and a provider's prefix (`user:Team`, `aws:…/Owner`
    are `team` and `owner`); the first key of `tag_keys` that has a value wins. A number is a value,
    such as a cost centre's; true and false, which FOCUS gives a tag without one, are not.
    The catalogue knows a resource by its id, by a tag of `name_keys` that names an entry, or by its
    sub-account. What people claim, and what is inferred from siblings, comes after.
    """

    def __init__(
        self,
        tag_keys: Sequence[str],
        sub_accounts: Mapping[str, str],
        catalogue: Catalogue = NO_CATALOGUE,
        name_keys: Sequence[str] = (),
    ) -> None:
        self._tag_keys = [plain_key(key) for key in tag_keys]
        self._sub_accounts = sub_accounts
        self._catalogue = catalogue
        self._is_listed = any(catalogue)
        self._name_keys = [plain_key(key) for key in name_keys]

    def of_row(self, row: CostEvent) -> Owner:
        """Resolve the owner of what a row is about."""
        return self.of(row.tags, row.sub_account_id, row.resource_id)

    def of(
        self,
        tags: Mapping[str, TagValue] | None,
        sub_account_id: str | None,
        resource_id: str | None = None,
    ) -> Owner:
        """Resolve one owner."""
        own: dict[str, tuple[str, str]] = {}
        categories: dict[str, tuple[str, str]] = {}
        for key, value in sorted((tags or {}).items()):
            is_category = key.lower().startswith(COST_CATEGORY)
            shown = " ".join((key[len(COST_CATEGORY) :] if is_category else key).split())
            (categories if is_category else own)[plain_key(key)] = shown, _text(value)
        for what, found in (("tag", own), ("cost category", categories)) if tags else ():
            for wanted in self._tag_keys:
                key, name = found.get(wanted, ("", ""))
                if name:
                    return Owner(name, f"{what} {key}={name}")
        account = self._sub_accounts.get(sub_account_id or "")
        if account:
            return Owner(account, f"owner of sub-account {sub_account_id}")
        listed = None
        if self._is_listed:
            listed = self._listed(own, sub_account_id, resource_id)
        return listed or _NOBODY

    def _listed(
        self,
        tags: Mapping[str, tuple[str, str]],
        sub_account_id: str | None,
        resource_id: str | None,
    ) -> Owner | None:
        """Look an owner up in the catalogue."""
        listed = self._catalogue
        found = listed.by_resource.get(resource_id or "")
        if found is not None:
            return Owner(found.owner, f"{found.file}: resource {resource_id}")
        for wanted in self._name_keys:
            key, name = tags.get(wanted, ("", ""))
            found = listed.by_name.get(name.lower())
            if found is not None:
                return Owner(found.owner, f"{found.file}: {key}={name}")
        found = listed.by_account.get(sub_account_id or "")
        if found is not None:
            return Owner(found.owner, f"{found.file}: sub-account {sub_account_id}")
        return None


def infer(siblings: Iterable[Owner], where: str) -> Owner | None:
    """Infer an owner from those of the resources beside it, or None when they do not agree.

    Of three or more that have an owner at least four in five must have the same, and they must not
    be fewer than half of all: else too little is known of who owns things here.
    """
    names = [one.name for one in siblings]
    owned = [name for name in names if name != UNOWNED]
    if len(owned) < FEWEST_SIBLINGS or 2 * len(owned) < len(names):
        return None
    most = max(sorted(set(owned)), key=owned.count)
    share = owned.count(most) / len(owned)
    if share < SIBLINGS_AGREE:
        return None
    said = f"{owned.count(most)} of {len(owned)} owned resources in {where}, {share:.0%} sure"
    return Owner(most, f"{INFERRED} {said}".replace("%", " %"))


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
        return self.of_owner(series, self._owners.of_row(about).name)

    def of_owner(self, series: SeriesKey, owner: str) -> str:
        """Return the name of the calendar that what is an owner's keeps."""
        return self._by_owner.get(owner, self._of_source(series))

    def of_all(self, group: SeriesKey, abouts: Iterable[CostEvent]) -> str:
        """Return the name of the calendar that all of many series keep, else of their source's."""
        return self.of_owners(group, (self._owners.of_row(about).name for about in abouts))

    def of_owners(self, group: SeriesKey, owners: Iterable[str]) -> str:
        """Return the name of the calendar that all of many owners keep, else of the source's."""
        names = {self.of_owner(group, owner) for owner in owners}
        return names.pop() if len(names) == 1 else self._of_source(group)

    def _of_source(self, series: SeriesKey) -> str:
        return self._by_source.get(series.source, self._default)


@lru_cache(maxsize=8192)
def plain_key(key: str) -> str:
    """Return a tag's key without case, blanks and a provider's prefix."""
    return key.rsplit(":", 1)[-1].rsplit("/", 1)[-1].strip().lower()
