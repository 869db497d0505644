"""Effects: how much of a change is the price, and how much the quantity.

Bortkiewicz's split at the new quantities: the price effect is what the present quantities cost
beyond what they would have at the old prices (the numerator and denominator of a Paasche price
index); the rest of the change is the quantity's, new SKUs included.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from statistics import median
from typing import Final, NamedTuple

from service.core import money
from service.core.findings import Stretch
from service.core.ledger import Ledger
from service.core.state import Chunk, Saved, Streams
from service.core.stretches import Stretches
from service.core.token_use import TokenUse, Usage, use_of
from service.core.token_use import sentence_of as tokens_sentence

# The old price is the usual one of four weeks before the onset, if it was one price at all.
BEFORE_DAYS: Final = 28
LEAST_STEPS: Final = {1: 24, 24: 5}
STEADY: Final = 0.6
NEAR: Final = 0.01
# The present: the newest day of a stretch, or week of days.
NOW_STEPS: Final = {1: 24, 24: 7}
# SKUs without an old price may make up this much of the cost.
UNKNOWN: Final = 0.2
MOSTLY: Final = 0.8
MOST: Final = 5.0


class Split(NamedTuple):
    """Both effects, in money, adding up to the impact, and by how much prices moved."""

    price: Decimal
    quantity: Decimal
    price_change: float

    @property
    def is_price(self) -> bool:
        """Tell whether the price explains the change."""
        whole = money.add(self.price, self.quantity)
        return abs(self.price_change) >= NEAR and _share(self.price, whole) >= MOSTLY

    @property
    def is_quantity(self) -> bool:
        """Tell whether prices stood still."""
        return abs(self.price_change) < NEAR


class _Before(NamedTuple):
    """What was usual before a finding's onset: prices by SKU, and the cost of a step."""

    prices: dict[str, float]
    cost: float
    tokens: TokenUse = TokenUse()


class Effects:
    """Splits findings of series whose rows name quantities."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._before: dict[str, _Before] = {}

    def split(self, stretch: Stretch, *, remembers: bool) -> Split | None:
        """Split what a finding says; None where quantities or steady prices are not known.

        A detector that `remembers` judges the newest day against the days before, any other the odd
        periods against what was expected of them.
        """
        first, last = _present(stretch, remembers=remembers)
        before = self._usual_before(stretch)
        old = before.prices
        cost = at_old = unknown = 0.0
        for step in range(first, last + 1):
            for sku, (now, quantity) in self._ledger.usage(stretch.series, step).items():
                cost += float(now)
                price = old.get(sku)
                if price is None:
                    unknown += float(now)
                at_old += float(now) if price is None else price * float(quantity)
        if not old or not cost or unknown > UNKNOWN * abs(cost) or at_old <= 0:
            return None
        whole = stretch.sums.excess
        change = float(whole)
        if remembers:
            change = cost - before.cost * (last - first + 1)
        else:
            steps = range(first, last + 1)
            points = [stretch.points[step] for step in steps if step in stretch.points]
            change = float(money.total(point.excess for point in points))
        if abs(cost - at_old) > MOST * abs(change):
            return None
        share = (cost - at_old) / change if change else 0.0
        part = money.cents(share * float(whole))
        return Split(part, money.subtract(whole, part), cost / at_old - 1.0)

    def tokens(self, stretch: Stretch, *, remembers: bool) -> str | None:
        """Say what of the usage of models moved; None for what is no such usage."""
        first, last = _present(stretch, remembers=remembers)
        now = use_of(self._ledger.usage(stretch.series, step) for step in range(first, last + 1))
        before = self._usual_before(stretch).tokens if now.tokens else TokenUse()
        return tokens_sentence(before, now, stretch.step_hours, stretch.series.billing_currency)

    def forget(self, stretches: Stretches) -> None:
        """Let go of what was before findings that may not change any more."""
        self._before = {
            name: old for name, old in self._before.items() if stretches.get(name) is not None
        }

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._before.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._before = saved.values(name, _Before)

    def _usual_before(self, stretch: Stretch) -> _Before:
        known = self._before.get(stretch.finding_id)
        if known is None:
            first = stretch.since_step - BEFORE_DAYS * 24 // stretch.step_hours
            steps = range(first, stretch.since_step)
            found = (self._ledger.point(stretch.series, step) for step in steps)
            costs = [float(cost) for cost in found if cost is not None]
            usages = [self._ledger.usage(stretch.series, step) for step in steps]
            prices = _prices(usages, LEAST_STEPS[stretch.step_hours])
            known = _Before(prices, sum(costs) / max(len(costs), 1), use_of(usages))
            self._before[stretch.finding_id] = known
        return known


def _prices(usages: Iterable[Usage], least: int) -> dict[str, float]:
    """Return the price of each SKU that had one price most of the time."""
    prices: dict[str, list[float]] = {}
    for usage in usages:
        for sku, (cost, quantity) in usage.items():
            if cost > 0 and quantity > 0:
                prices.setdefault(sku, []).append(float(cost) / float(quantity))
    found = {}
    for sku, known in prices.items():
        usual = median(known)
        near = sum(abs(price - usual) <= NEAR * usual for price in known)
        if len(known) >= least and near >= STEADY * len(known):
            found[sku] = usual
    return found


def _present(stretch: Stretch, *, remembers: bool) -> tuple[int, int]:
    """Return the first and the last step that a finding is judged by."""
    last = stretch.last_step
    first = last - NOW_STEPS[stretch.step_hours] + 1
    return (first if remembers else max(first, stretch.since_step)), last


def sentence_of(split: Split) -> str:
    """Say what moved."""
    if split.is_quantity:
        return "The unit price did not change."
    word = "rose" if split.price_change > 0 else "fell"
    moved = f"The unit price {word} {abs(split.price_change):.0%}".replace("%", " %")
    if split.is_price:
        return f"{moved}; the quantity explains little of it."
    return f"{moved}, and the quantity changed as well."


def _share(part: Decimal, whole: Decimal) -> float:
    return float(part) / float(whole) if whole else 0.0
