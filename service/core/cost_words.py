"""What an incident costs, in words: the headline, and the sentence under it.

Everything that came with a row passes through `clean`, as everywhere in `wording`.
"""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Final

from service.core import budget_words
from service.core.budget_figures import Figures
from service.core.bundles import BUNDLES
from service.core.holds import IDLE
from service.core.incidents import FIRST, HISTORY, LAPSES, ONCE, TROUBLE, UNTAGGED, UNUSED, Incident
from service.core.marks import standing
from service.core.money import ZERO
from service.core.phrases import clean, duration, money, signed, units

HEADLINE_LIMIT: Final = 150
DAYS_IN_MONTH: Final = 30

_SIGNS: Final[Mapping[str, str]] = {
    "high": "🔴",
    "medium": "🟠",
    "low": "🔵",
    "acknowledged": "🟡",
    "snoozed": "💤",
    "expected": "🟢",
    "resolved": "✅",
    "retracted": "⚪",
}
_ENDINGS: Final[Mapping[str, str]] = {
    "worked": "at work again",
    "pod": "given to a new pod",
    "used": "in use again",
    "unbilled": "no longer billed",
    "silent": "no longer seen, so that nobody knows whether it idles on",
    "run": "the run is over",
    "mended": "mended",
}
# A rate per day, and what a month of it would cost, are said of a day of data, not of an hour.
_DAY: Final = timedelta(days=1)
# From here on it is worth saying that a row was there, and nobody read it.
_OURS: Final = timedelta(hours=1)


def headline(incident: Incident) -> str:
    """Say how much, what and where in at most 150 characters; the figure comes first.

    A long name is cut, never the money or the region.
    """
    retracted = incident.status == "retracted"
    state = incident.severity if incident.state == "firing" else incident.state
    unknown = incident.state == "resolved" and incident.ending == "silent"
    sign = _SIGNS["retracted" if retracted or unknown else state]
    if incident.kind == HISTORY:
        sign = _SIGNS["low"]
    where = f" ({clean(incident.region_id, 40)})" if incident.region_id else ""
    begin = f"{sign} {_amount_first(incident)} · "
    return begin + clean(incident.title, HEADLINE_LIMIT - units(begin) - units(where)) + where


def _amount_first(incident: Incident) -> str:
    impact, currency = incident.impact, incident.billing_currency
    if incident.status == "retracted":
        return "Withdrawn"
    if incident.kind == TROUBLE:
        return "Works again" if incident.state == "resolved" else "Spendwatch"
    if incident.budget is not None:
        return budget_words.share(incident.budget)
    if incident.kind == ONCE and impact is not None:
        return f"{money(impact, currency)} once"
    if incident.kind in LAPSES:
        how = "/month not tagged" if incident.kind == UNTAGGED else " for nothing"
        return f"{money(incident.actual, currency)}{how}"
    if incident.kind in (HISTORY, "digest") and impact is not None:
        return f"{signed(impact, currency)} in all"
    if incident.kind in BUNDLES and not incident.drivers:
        return "Not spent"
    return _rate_first(incident)


def _rate_first(incident: Incident) -> str:
    rate, impact = incident.run_rate_per_day, incident.impact
    currency = incident.billing_currency
    idle = " for idle GPUs" if incident.kind == IDLE else ""
    if incident.state == "resolved":
        span = duration(_length(incident))
        if impact is None:
            return f"Over after {span}{' of idle GPUs' if idle else ''}"
        return f"Ended: {money(impact, currency)}{idle} in {span}"
    if rate is None:
        return f"Cost unknown{idle}" if impact is None else f"{signed(impact, currency)} so far"
    if idle:
        return f"{money(rate, currency)}/day{idle}"
    return per_time(rate, incident)


def per_time(rate: Decimal, incident: Incident) -> str:
    """Write a rate by the hour until there is a day of data to speak of a day."""
    currency = incident.billing_currency
    if _is_young(incident):
        return f"{signed(rate / 24, currency)}/h"
    return f"{signed(rate, currency)}/day"


def _is_young(incident: Incident) -> bool:
    return incident.kind != IDLE and _length(incident) < _DAY


def now_of(incident: Incident) -> str:
    """Say the newest figure, and over what it is a mean."""
    figure = _amount_first(incident)
    if incident.state == "resolved" or not incident.run_rate_per_day or incident.kind == IDLE:
        return figure
    return f"{figure} {'on average' if _is_young(incident) else 'over the last 24 h'}"


def lead(incident: Incident, *, with_mean: bool = True) -> str:
    """Say what it cost so far and what it will cost; what it cost in all once it is over."""
    if incident.budget is not None:
        return _lead_of_budget(incident, incident.budget)
    said = _lead(incident, with_mean=with_mean)
    if incident.exhausts is None or incident.state == "resolved":
        return said
    return f"{said} {budget_words.exhausts(incident.exhausts, incident.billing_currency)}"


def _lead_of_budget(incident: Incident, figures: Figures) -> str:
    said = budget_words.sentence(figures)
    if incident.status == "retracted":
        return f"It was not so: {said}"
    if incident.state == "resolved" and not figures.is_over:
        return f"Within the budget again: {said}"
    return said


def _lead(incident: Incident, *, with_mean: bool) -> str:
    if incident.status == "retracted":
        what = "It was taken back" if incident.kind == ONCE else "These hours are normal now"
        return f"{what}: there is nothing to do."
    if incident.kind == TROUBLE:
        over = f"It lasted {duration(_length(incident))}."
        going = "What is spent meanwhile may not be told: look at the status and the logs."
        return over if incident.state == "resolved" else going
    if incident.kind == HISTORY:
        return (
            "Over before this source was first read, so it is told once, here; "
            "what goes on is told on its own."
        )
    if incident.kind in BUNDLES and incident.state == "resolved":
        return "All of this is over." if incident.drivers else "The plan is over, and unused."
    if incident.kind in LAPSES:
        return _lead_of_lapse(incident)
    so_far = _so_far(incident)
    if incident.state == "resolved" and incident.kind != ONCE:
        return f"{so_far}; {_how_it_ended(incident)}."
    if not incident.run_rate_per_day or incident.kind == ONCE:
        return f"{so_far}."
    return f"{so_far}{_mean(incident) if with_mean else ''}{_next_month(incident)}."


def _lead_of_lapse(incident: Incident) -> str:
    if incident.state == "resolved":
        return f"It is {_how_it_ended(incident)}."
    cost = money(incident.actual, incident.billing_currency)
    if incident.kind == UNTAGGED:
        return f"{cost} in the last 30 days is of resources whose tags break a policy."
    since = "lately" if incident.kind == UNUSED else "since its machine last ran"
    return f"{cost} {since}{_next_month(incident)}."


def _how_it_ended(incident: Incident) -> str:
    last = standing(incident.marks)
    if last is not None and last.mark.act == "resolve" and last.over_at is None:
        return f"resolved by {clean(last.mark.who, 100)}"
    if incident.came_late:
        return _how_late(incident)
    if incident.is_new_level:
        return "it stays at this level, taken as normal from now on"
    if incident.kind == FIRST:
        return "it has stopped"
    return _ENDINGS.get(incident.ending, "back to normal")


def _how_late(incident: Incident) -> str:
    """Say why nobody heard while it went on: how late the provider was, and how late we were."""
    came, ended = incident.arrived_at, incident.period_end
    if came is None or ended is None:
        return "over before it could be told"
    what = "its samples" if incident.kind == IDLE else "the bill for it"
    said = f"over before it could be told: {what} arrived {duration(came - ended)} after it ended"
    ours = incident.opened_at - came
    return f"{said}, and was read {duration(ours)} later" if ours >= _OURS else said


def _mean(incident: Incident) -> str:
    """Say what the rate is a mean of, where that is not all there is."""
    rate, length = abs(incident.run_rate_per_day or ZERO), _length(incident)
    if incident.kind == IDLE or length in (timedelta(hours=1), _DAY):
        return ""
    if length < _DAY:
        return f", on average {money(rate / 24, incident.billing_currency)}/h"
    return f", the last 24 h at {money(rate, incident.billing_currency)}/day"


def _next_month(incident: Incident) -> str:
    if _length(incident) < _DAY:
        return ""
    month = (incident.run_rate_per_day or ZERO) * DAYS_IN_MONTH
    less = " less" if month < 0 else ""
    return f" · if it continues about {money(abs(month), incident.billing_currency)}/month{less}"


def _so_far(incident: Incident) -> str:
    impact, currency = incident.impact, incident.billing_currency
    span = duration(_length(incident))
    begin = "Total" if incident.state == "resolved" else "So far"
    if impact is None:
        return f"{begin} {span}; no price is known, so no cost is shown"
    amount = money(abs(impact), currency)
    if incident.kind == ONCE:
        return f"{amount} was spent once"
    if incident.kind == IDLE:
        rate = incident.run_rate_per_day
        hourly = f"{money(rate / 24, currency)}/h wasted · " if rate else ""
        return f"{hourly}{begin.lower() if hourly else begin} {amount} in {span}{_saves(incident)}"
    if incident.kind == FIRST:
        return f"{begin} {amount} in {span}"
    return f"{begin} {amount} {'under' if impact < 0 else 'over'} expected in {span}"


def _saves(incident: Incident) -> str:
    """Say what stopping idle GPUs would save, which may be less than they cost."""
    saves, currency = incident.avoidable_per_day, incident.billing_currency
    if incident.state == "resolved" or saves is None:
        return ""
    if not saves:
        return " · stopping saves nothing"
    return f" · stopping saves {money(saves / 24, currency)}/h"


def _length(incident: Incident) -> timedelta:
    return (incident.ends_at or incident.odd_until) - incident.starts_at
