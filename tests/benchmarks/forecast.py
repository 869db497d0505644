"""How far budgets' forecasts are off, against a straight line: python -m tests.benchmarks.forecast.

Of every month, after 5, 10 and 20 of its days, over the bundled sample (by owner, by service
and in all) and over invented months. Prints the table of docs/budgets.md; --write puts it there.
"""

import sys
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.adapters.sources import Reader, SnapshotBook
from service.core.events import CostEvent
from service.core.forecast import EPOCH, Past, outlook, weekday
from service.core.ledger import Ledger
from service.core.owners import Owners
from service.entrypoints.demo import ACCOUNT_OWNERS, months

PAGE = Path(__file__).parents[2] / "docs" / "budgets.md"
BEGIN, END = "<!-- forecast -->", "<!-- /forecast -->"
AFTER = (5, 10, 20)
SEED = 20_261_122
SERIES = 400


class Spend(NamedTuple):
    """One sum over time: what its days cost, and whose it is."""

    family: str
    usage: dict[int, float]
    fees: dict[int, float]


class Error(NamedTuple):
    """One forecast: what it was of, after how many days, and how far off."""

    family: str
    after: int
    ours: float
    straight: float
    covered: bool


def sample():
    """Return the sample's sums, as a budget would hold them."""
    ledger, owners = Ledger({}, "effective"), Owners(["owner", "team"], ACCOUNT_OWNERS)
    with SnapshotBook.temporary() as book:
        for inputs in months():
            for arrival in Reader(inputs, mode="replay", reject=print, snapshots=book):
                if isinstance(arrival.event, CostEvent):
                    ledger.take(arrival.source, arrival.event)
    sums = defaultdict(lambda: (defaultdict(float), defaultdict(float)))
    for series in ledger.series():
        about, currency = ledger.about(series), series.billing_currency
        owner = owners.of(about.tags, about.sub_account_id).name
        scopes = (
            ("all", ""), ("owner", owner), ("service", about.service_name),
        )  # fmt: skip
        hours = 1 if series.grain == "hour" else 24
        for step in ledger.steps(series):
            for charge, cost in ledger.charges(series, step).items():
                if charge in ("usage", "fee", "adjustment"):
                    for scope in scopes:
                        sums[*scope, currency][charge == "fee"][step * hours // 24] += float(cost)
    return [
        Spend(f"sample, by {scope[0]}" if scope[0] != "all" else "sample, all", *known)
        for scope, known in sums.items()
        if sum(known[0].values()) > 300
    ]


def invented(count=SERIES, seed=SEED):
    """Return sums of seven months with one thing each that happens to real ones."""
    random = np.random.default_rng(seed)
    first = (date(2026, 1, 1) - EPOCH).days
    days = np.arange(first, (date(2026, 8, 1) - EPOCH).days)
    week = np.array([weekday(day) for day in days.tolist()])
    dates = [date.fromordinal(EPOCH.toordinal() + day) for day in days.tolist()]
    found = []
    for number in range(count):
        family = FAMILIES[number % len(FAMILIES)]
        noise = np.zeros(len(days))
        shocks = random.normal(0, random.uniform(0.02, 0.12), len(days))
        for at in range(1, len(days)):
            noise[at] = 0.5 * noise[at - 1] + shocks[at]
        cost = random.lognormal(5, 1) * np.exp(noise)
        fees = {}
        if family in ("invented, weekdays", "invented, growth on weekdays"):
            cost *= np.where(week >= 5, random.uniform(0.2, 0.8), 1)
        if family in ("invented, growth", "invented, growth on weekdays"):
            cost *= np.exp(random.uniform(-0.008, 0.012) * np.arange(len(days)))
        if family == "invented, new level":
            cost[random.integers(60, len(days)) :] *= random.choice([0.6, 1.5, 2.0])
        if family == "invented, bursts":
            for at in random.integers(40, len(days), 5):
                cost[at : at + random.integers(1, 4)] *= random.uniform(2, 6)
        if family == "invented, drifting":
            cost *= np.exp(np.cumsum(random.normal(0, 0.03, len(days))))
        if family == "invented, month-start fees":
            part = random.uniform(3, 12) * float(np.median(cost))
            fees = {d: part for d, at in zip(days.tolist(), dates, strict=True) if at.day == 1}
        found.append(Spend(family, dict(zip(days.tolist(), cost.tolist(), strict=True)), fees))
    return found


FAMILIES = (
    "invented, level",
    "invented, weekdays",
    "invented, growth",
    "invented, growth on weekdays",
    "invented, new level",
    "invented, bursts",
    "invented, drifting",
    "invented, month-start fees",
)


def errors(spend):
    """Forecast every whole month of a sum but its first, from what was known after some days."""
    last = max(spend.usage)
    at = EPOCH.toordinal() + min(spend.usage)
    begin = date.fromordinal(at)
    begin = begin.replace(day=1) if begin.day > 1 else begin
    while True:
        begin = _next_month(begin)
        start, end = (begin - EPOCH).days, (_next_month(begin) - EPOCH).days
        if end > last + 1:
            return
        was = _cost(spend, start, end)
        for after in AFTER:
            until = start + after
            known = Past(
                {day: cost for day, cost in spend.usage.items() if day < until},
                {day: cost for day, cost in spend.fees.items() if day < until},
                until,
            )
            spent = _cost(spend, start, until)
            ahead = outlook(known, until, end)
            if ahead is not None and was > 0:
                said = ahead.total(spent, 0.0)
                straight = spent / after * (end - start)
                yield Error(
                    spend.family, after, abs(said.total / was - 1), abs(straight / was - 1),
                    said.low <= was <= said.high,
                )  # fmt: skip


def _next_month(at):
    return date(at.year + at.month // 12, at.month % 12 + 1, 1)


def _cost(spend, begin, end):
    usage, fees = spend.usage, spend.fees
    return sum(usage.get(day, 0.0) + fees.get(day, 0.0) for day in range(begin, end))


def table(found):
    """Write the mean absolute percentage errors, and how often the range held the truth."""
    lines = [
        f"| | months | {' | '.join(f'day {day} | straight line' for day in AFTER)} | in range |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(error.family for error in found):
        mine = [error for error in found if error.family == family]
        cells = [family, str(len(mine) // len(AFTER))]
        for after in AFTER:
            of = [error for error in mine if error.after == after]
            cells += [
                f"{np.mean([e.ours for e in of]):.1%}",
                f"{np.mean([e.straight for e in of]):.1%}",
            ]
        cells.append(f"{np.mean([e.covered for e in mine]):.0%}")
        lines.append(f"| {' | '.join(cells)} |".replace("%", " %"))
    return "\n".join(lines)


def main():
    """Print the table, or write it."""
    found = [error for spend in [*sample(), *invented()] for error in errors(spend)]
    text = table(found)
    print(text)
    if "--write" in sys.argv:
        page = PAGE.read_text("utf-8")
        head, rest = page.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
