"""Previews: what a subscription or a budget would have told, had it stood in the days before."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import dropwhile

import msgspec

from service.core import money
from service.core.boxes import next_digest
from service.core.budgets import Budget, Period, share_of, start_of_day
from service.core.holds import labels_of
from service.core.incidents import Incident
from service.core.phrases import counted
from service.core.phrases import money as said
from service.core.rates import Rates
from service.core.routing import Policy
from service.core.severity import at_least
from service.core.subscriptions import Subscription


class Caught(msgspec.Struct, kw_only=True):
    """Of what a team's incidents cost, what would have been told at once, and in a digest."""

    billing_currency: str
    told: Decimal = money.ZERO
    in_digests: Decimal = money.ZERO
    whole: Decimal = money.ZERO


class SubscriptionPreview(msgspec.Struct, kw_only=True):
    """What a subscription would have sent: posts, not their edits, and digests.

    It goes by what the incidents came to in the end; silences, plans and the destination's budget
    of posts are left out.
    """

    since: datetime
    until: datetime
    incidents: int
    posts: int
    digests: int
    in_digests: int
    caught: list[Caught]
    incident_ids: list[str]
    text: str


class WouldCross(msgspec.Struct, kw_only=True):
    """A threshold, and the day on which that much was spent."""

    what: str
    day: datetime


class BudgetPeriod(msgspec.Struct, kw_only=True):
    """What would have counted to a budget in one period, and what would have been told."""

    period_start: datetime
    period_end: datetime
    spent: Decimal
    crossed: list[WouldCross]
    is_over: bool


class BudgetPreview(msgspec.Struct, kw_only=True):
    """What a budget would have told, by its thresholds alone: forecasts are not made again."""

    budget: Budget
    periods: list[BudgetPeriod]
    notices: int
    text: str


def preview_subscription(
    wanted: Subscription, incidents: Iterable[Incident], since: datetime, until: datetime,
    rates: Rates,
) -> SubscriptionPreview:  # fmt: skip
    """Say what a subscription would have sent of the incidents that opened in a window."""
    policy = Policy(
        min_impact=wanted.min_impact,
        min_severity=wanted.min_severity,
        quiet_hours=wanted.quiet_hours,
        digest=wanted.digest,
    )
    caught: dict[str, Caught] = {}
    posts: list[str] = []
    kept: list[str] = []
    mornings: set[datetime] = set()
    theirs = 0
    for one in sorted(incidents, key=lambda one: (one.opened_at, one.incident_id)):
        labels = labels_of(one)
        if one.backfill or not since <= one.opened_at < until:
            continue
        if not _is_of(wanted, labels):
            continue
        theirs += 1
        amount = max(one.impact or money.ZERO, money.ZERO)
        sums = caught.setdefault(
            one.billing_currency, Caught(billing_currency=one.billing_currency)
        )
        sums.whole = money.add(sums.whole, amount)
        if not wanted.wants(labels) or not _reaches(one, policy, rates):
            continue
        floor = policy.min_severity
        if policy.digest is None or (floor is not None and at_least(one.severity, floor)):
            if floor is None or at_least(one.severity, floor):
                posts.append(one.incident_id)
                sums.told = money.add(sums.told, amount)
            continue
        kept.append(one.incident_id)
        mornings.add(next_digest(policy, one.opened_at))
        sums.in_digests = money.add(sums.in_digests, amount)
    found = [caught[currency] for currency in sorted(caught)]
    return SubscriptionPreview(
        since=since,
        until=until,
        incidents=theirs,
        posts=len(posts),
        digests=len(mornings),
        in_digests=len(kept),
        caught=found,
        incident_ids=[*posts, *kept],
        text=_words(len(posts), len(mornings), found, (until - since).days),
    )


def preview_budget(
    budget: Budget, days: Mapping[int, Decimal], first: int, today: int
) -> BudgetPreview:
    """Say what a budget would have told from day `first` to `today`, by what counts to it a day."""
    periods: dict[Period, list[int]] = {}
    for day in range(first, today + 1):
        period = budget.period_of(day)
        if period is not None:
            periods.setdefault(period, []).append(day)
    told = [
        _period(budget, period, {day: days.get(day, money.ZERO) for day in known}, today)
        for period, known in periods.items()
        if known[0] == period.begin  # of one that is known in part, nobody can say
    ]
    told = list(dropwhile(lambda one: not one.spent, told))  # nothing is known of so long ago
    notices = sum(len(one.crossed) for one in told)
    text = _of_periods(budget, told, notices)
    return BudgetPreview(budget=budget, periods=told, notices=notices, text=text)


def _of_periods(budget: Budget, told: Sequence[BudgetPeriod], notices: int) -> str:
    if not told:
        return "No period of it is known from its beginning yet."
    over = sum(one.spent > budget.amount for one in told)
    spent = ", ".join(
        f"{said(one.spent, budget.currency)}{'' if one.is_over else ' so far'}" for one in told
    )
    return (
        f"This would have sent {counted(notices, 'notice')} in {counted(len(told), 'period')}, "
        f"with {over} above {said(budget.amount, budget.currency)}: {spent}."
    )


def _period(
    budget: Budget, period: Period, costs: Mapping[int, Decimal], today: int
) -> BudgetPeriod:
    spent = money.ZERO
    crossed: list[WouldCross] = []
    left = sorted(budget.thresholds)
    for day in sorted(costs):
        spent = money.add(spent, costs[day])
        while left and spent >= share_of(budget.amount, left[0]):
            crossed.append(WouldCross(what=f"{left.pop(0):g} %", day=start_of_day(day)))
    return BudgetPeriod(
        period_start=start_of_day(period.begin),
        period_end=start_of_day(period.end),
        spent=spent,
        crossed=crossed,
        is_over=period.end <= today,
    )


def _is_of(wanted: Subscription, labels: Mapping[str, str]) -> bool:
    return msgspec.structs.replace(wanted, matchers=[]).wants(labels)


def _reaches(incident: Incident, policy: Policy, rates: Rates) -> bool:
    if incident.impact is None:
        return True
    amount, currency = abs(incident.impact), incident.billing_currency
    return rates.reaches(amount, currency, incident.starts_at, policy.min_impact)


def _words(posts: int, digests: int, caught: Iterable[Caught], days: int) -> str:
    sent = counted(posts, "notice") + (f" and {counted(digests, 'digest')}" if digests else "")
    parts = [
        f"{said(money.add(one.told, one.in_digests), one.billing_currency)} of "
        f"{said(one.whole, one.billing_currency)}"
        for one in caught
        if one.whole
    ]
    what = f", and caught {', '.join(parts)}" if parts else ""
    return f"This would have sent {sent} in the last {counted(days, 'day')}{what}."
