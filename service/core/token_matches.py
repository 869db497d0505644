"""Token matches: which usage of models a line of their bill is of, and how it is shared out.

A bill names projects and models or leaves them out, and a gateway names teams of its own. So usage
goes with the lines that are the most alike.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from service.core import money
from service.core.events import CostEvent, SeriesKey

# gpt-4o-2024-08-06, claude-sonnet-4-5-20250929, claude-sonnet-4-5-latest
_DATED: Final = re.compile(r"-(?:\d{4}-\d\d-\d\d|\d{8}|latest)$")
# Finer than any price of a token; what it rounds off goes to the dearest.
_FINEST: Final = Decimal("1E-12")
_RATE: Final = Decimal("1E-6")
_WIDE: Final = Context(prec=90)


class Part(NamedTuple):
    """What one step of a series says of one SKU: usage at its estimate, or a line of the bill.

    `row` is the newest row of that SKU: it names model and service.
    """

    series: SeriesKey
    step: int
    start: datetime
    end: datetime
    cost: Decimal
    quantity: Decimal
    row: CostEvent

    @property
    def model(self) -> str:
        """Return the model as every list writes it; empty when none is named."""
        return plain_model(str((self.row.tags or {}).get("model") or ""))


class Match(NamedTuple):
    """Usage, and the lines of the bill that are of it; one of them may be empty."""

    usage: list[Part]
    lines: list[Part]


class _Key(NamedTuple):
    currency: str
    project: str
    model: str


_Lines = dict[_Key, Match]


@lru_cache(maxsize=4096)
def plain_model(name: str) -> str:
    """Write a model without the prefix of a gateway and without its date.

    >>> plain_model("openai/gpt-4o-2024-08-06"), plain_model("claude-3.5-haiku-latest")
    ('gpt-4o', 'claude-3-5-haiku')
    """
    return _DATED.sub("", name.rpartition("/")[2].lower().replace(".", "-"))


def matched(usage: Iterable[Part], lines: Iterable[Part]) -> list[Match]:
    """Bring the usage and the bill of one day together; each part is in one match.

    Usage is of the lines that name its project and model, else of those that name one of the two
    and leave the other out, or leave out both; else of what is left of its model, whoever the bill
    says that it is. What no provider counted, but a gateway, is at last of all lines that are left.
    """
    by: _Lines = {}
    for line in lines:
        series = line.series
        key = _Key(series.billing_currency, series.sub_account_id, line.model)
        by.setdefault(key, Match([], [])).lines.append(line)
    services = {line.row.service_name for match in by.values() for line in match.lines}
    rest: dict[_Key, list[Part]] = {}
    for part in usage:
        key = _Key(part.series.billing_currency, part.series.sub_account_id, part.model)
        keys = (key, key._replace(model=""), key._replace(project=""), _Key(key.currency, "", ""))
        found = next((by[one] for one in keys if one in by), None)
        (rest.setdefault(keys[2], []) if found is None else found.usage).append(part)
    alone: list[Part] = []
    strays: dict[str, list[Part]] = {}
    for key, parts in sorted(rest.items()):
        free = [one for one in _free(by) if (one.currency, one.model) == (key.currency, key.model)]
        for part in _join(by, free, parts):
            strange = part.row.service_name not in services
            (strays.setdefault(key.currency, []) if strange else alone).append(part)
    for currency, parts in sorted(strays.items()):
        alone += _join(by, [one for one in _free(by) if one.currency == currency], parts)
    return [*by.values(), *([Match(alone, [])] if alone else [])]


def _free(by: _Lines) -> list[_Key]:
    return sorted(key for key, match in by.items() if not match.usage)


def _join(by: _Lines, free: Sequence[_Key], parts: list[Part]) -> list[Part]:
    """Make one match of some lines and parts; return the parts when there are no lines."""
    if not free:
        return parts
    first = by[free[0]]
    first.usage.extend(parts)
    for key in free[1:]:
        first.lines.extend(by.pop(key).lines)
    return []


def cost_of(parts: Iterable[Part]) -> Decimal:
    """Add up what parts cost."""
    return money.total(part.cost for part in parts)


def shared(parts: Collection[Part], amount: Decimal) -> list[Decimal]:
    """Share an amount out in proportion to what parts cost; the shares add up to it exactly."""
    costs = [part.cost for part in parts]
    whole = money.total(costs)
    if amount == whole or not whole:
        return costs
    shares = [_WIDE.divide(_WIDE.multiply(cost, amount), whole) for cost in costs]
    shares = [share.quantize(_FINEST, context=_WIDE) for share in shares]
    dearest = max(range(len(costs)), key=lambda at: abs(costs[at]))
    off = money.subtract(amount, money.total(shares))
    shares[dearest] = money.add(shares[dearest], off)
    return shares


def scaled(parts: Iterable[Part], rates: Mapping[str, Decimal]) -> list[tuple[Part, Decimal]]:
    """Return what parts cost at a share of their price, by model."""
    found: list[tuple[Part, Decimal]] = []
    for part in parts:
        cost, rate = part.cost, rates[part.model]
        if rate != 1:
            cost = _WIDE.multiply(cost, rate).quantize(_FINEST, context=_WIDE)
        found.append((part, cost))
    return found


def rates_of(costs: Iterable[tuple[Part, Decimal]]) -> dict[str, Decimal]:
    """Return the share of its price that each model cost."""
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for part, cost in costs:
        listed, billed = sums.get(part.model, (money.ZERO, money.ZERO))
        sums[part.model] = money.add(listed, part.cost), money.add(billed, cost)
    return {
        model: _WIDE.divide(billed, listed).quantize(_RATE, context=_WIDE)
        for model, (listed, billed) in sums.items()
        if listed
    }
