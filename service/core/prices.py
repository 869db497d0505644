"""Prices of GPU instances: list prices by date, and what the bill says, which goes first."""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from service.core.events import EARLIEST

ANYWHERE: Final = "*"
UNDATED: Final = EARLIEST
_PROVIDERS: Final = {
    "aws": ("aws", "amazon"),
    "azure": ("azure", "microsoft"),
    "gcp": ("gcp", "gce", "google"),
}


class Price(NamedTuple):
    """One line of a price list: an instance-hour in US dollars from `since` on.

    `region_id` may be `ANYWHERE`. `gpus` is how many devices the instance shows, None if not said.
    """

    provider: str
    instance_type: str
    region_id: str
    since: datetime
    usd_per_hour: Decimal
    gpus: int | None
    source: str


class PricePoint(NamedTuple):
    """What an instance-hour costs at one moment, and in words where that figure comes from."""

    usd_per_hour: Decimal
    gpus: int | None
    source: str
    since: datetime


_Regions = dict[str, list[Price]]
_Lists = dict[str, dict[str, _Regions]]  # instance type, provider, region


class PriceBook:
    """List prices with their history; a user's own list goes before the packaged ones."""

    def __init__(self, listed: Iterable[Price], own: Iterable[Price] = ()) -> None:
        self._own = _indexed(own)
        self._listed = _indexed(listed)

    def price(
        self, provider: str | None, instance_type: str | None, region_id: str | None, at: datetime
    ) -> PricePoint | None:
        """Return the price that held at `at`; before the first list known, the first one.

        A region that is not listed gets the lowest price of the regions that are, and the source
        says so. Without a provider the type must be one provider's alone. None if it is not listed.
        """
        name = plain(instance_type)
        for lists, is_own in ((self._own, True), (self._listed, False)):
            regions = _of_provider(lists.get(name, {}), provider)
            for region in (plain(region_id), ANYWHERE):
                if region in regions:
                    return _point(_at(regions[region], at))
            if regions and not is_own:
                lowest = min((_at(prices, at) for prices in regions.values()), key=_by_price)
                why = f"{region_id} is not listed" if region_id else "the region is unknown"
                return _point(lowest, f"; the lowest of any region, as {why}")
        return None

    def find_type(self, text: str | None) -> str | None:
        """Return the first word of a text, such as a charge description, that is a listed type."""
        for word in (text or "").replace(",", " ").split():
            if plain(word) in self._own or plain(word) in self._listed:
                return word
        return None


def plain(text: str | None) -> str:
    """Bring a name to the form in which names are compared.

    >>> plain("East US"), plain(" Standard_ND96isr_H100_v5 ")
    ('eastus', 'standard_nd96isr_h100_v5')
    """
    return "".join((text or "").split()).casefold()


def provider_of(text: str | None) -> str:
    """Return the short name of a provider.

    >>> provider_of("Amazon Web Services"), provider_of("Microsoft Azure"), provider_of("lambda")
    ('aws', 'azure', 'lambda')
    """
    name = plain(text)
    for short, marks in _PROVIDERS.items():
        if any(mark in name for mark in marks):
            return short
    return name


def _indexed(prices: Iterable[Price]) -> _Lists:
    lists: _Lists = {}
    for price in prices:
        providers = lists.setdefault(plain(price.instance_type), {})
        regions = providers.setdefault(provider_of(price.provider), {})
        regions.setdefault(plain(price.region_id), []).append(price)
    for providers in lists.values():
        for regions in providers.values():
            for history in regions.values():
                history.sort(key=lambda price: price.since)
    return lists


def _of_provider(providers: dict[str, _Regions], provider: str | None) -> _Regions:
    if provider:
        return providers.get(provider_of(provider), {})
    return next(iter(providers.values())) if len(providers) == 1 else {}


def _at(history: list[Price], at: datetime) -> Price:
    return history[max(0, bisect_right(history, at, key=lambda price: price.since) - 1)]


def _by_price(price: Price) -> tuple[Decimal, str]:
    return price.usd_per_hour, price.region_id


def _point(price: Price, remark: str = "") -> PricePoint:
    where = "" if price.region_id == ANYWHERE else f", {price.region_id}"
    when = "" if price.since == UNDATED else f", {price.since.astimezone(UTC):%Y-%m-%d}"
    return PricePoint(
        price.usd_per_hour, price.gpus, f"{price.source}{where}{when}{remark}", price.since
    )
