"""Tokens: whether more requests, longer ones, or dearer tokens made the usage of models cost more.

What is spent is requests x tokens per request x price of a token. The price of a token moves with
the list, and with the mix of models and of kinds of token (input, output, cached).
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from detectors.base import money

# A change below this is none.
NEAR: Final = 0.01
# Above this, times are easier to read than percent.
TIMES: Final = 3.0
UNMOVED: Final = "did not change"

Usage = Mapping[str, tuple[Decimal, Decimal]]


class TokenUse(NamedTuple):
    """What a step used, on average: requests (0 when they are not counted), tokens, their cost."""

    requests: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0


class TokenEffects(NamedTuple):
    """By how much each part made a step cost more, in money; `requests` None if not counted.

    They add up to the change: what requests did at the old length and price, what the length did to
    the new requests, and what the price did to the new tokens.
    """

    requests: float | None
    length: float
    price: float


def use_of(steps: Iterable[Usage]) -> TokenUse:
    """Average what some steps used, by SKU: `MODEL-KIND-tokens…` and `MODEL-requests`."""
    count, requests, tokens, spent = 0, 0.0, 0.0, 0.0
    for usage in steps:
        count += bool(usage)
        for sku, (cost, quantity) in usage.items():
            if "-tokens" in sku:
                tokens += float(quantity)
                spent += float(cost)
            elif sku.endswith("-requests"):
                requests += float(quantity)
    return TokenUse(requests / count, tokens / count, spent / count) if count else TokenUse()


def effects_of(before: TokenUse, now: TokenUse) -> TokenEffects | None:
    """Split a change; None unless tokens were used and paid for before and after."""
    if not (before.tokens > 0 and now.tokens > 0 and before.cost > 0 and now.cost > 0):
        return None
    price = now.cost - now.tokens * before.cost / before.tokens
    if not (before.requests and now.requests):
        return TokenEffects(None, now.cost - before.cost - price, price)
    by_requests = (now.requests / before.requests - 1) * before.cost
    return TokenEffects(by_requests, now.cost - before.cost - price - by_requests, price)


def sentence_of(before: TokenUse, now: TokenUse, step_hours: int, currency: str) -> str | None:
    """Say what moved, and what that costs in a step; None where `effects_of` is."""
    effects = effects_of(before, now)
    if effects is None:
        return None
    per = "h" if step_hours == 1 else "day"

    def part(name: str, new: float, old: float, effect: float) -> str:
        moved = _moved(new, old)
        if moved == UNMOVED:
            return f"{name} {moved}"
        return f"{name} {moved} ({'+' if effect > 0 else ''}{money(effect, currency)}/{per})"

    price = part("the price of a token", now.cost / now.tokens, before.cost / before.tokens,
                 effects.price)  # fmt: skip
    if effects.requests is None:
        return (
            f"{part('The number of tokens', now.tokens, before.tokens, effects.length)}, {price}."
        )
    requests = part("Requests", now.requests, before.requests, effects.requests)
    lengths = now.tokens / now.requests, before.tokens / before.requests
    return f"{requests}, {part('tokens per request', *lengths, effects.length)}, {price}."


def _moved(now: float, before: float) -> str:
    """Say by how much.

    >>> _moved(1.0, 1.001), _moved(1.2, 1.0), _moved(0.5, 1.0), _moved(34, 10)
    ('did not change', 'rose 20 %', 'fell 50 %', 'rose to 3.4 times')
    """
    change = now / before - 1
    if abs(change) < NEAR:
        return UNMOVED
    if change + 1 >= TIMES:
        return f"rose to {change + 1:.1f} times"
    return f"{'rose' if change > 0 else 'fell'} {abs(change) * 100:.0f} %"
