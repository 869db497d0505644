"""The words for an incident: one set for Slack, e-mail, terminal and web page.

Everything that came with a row passes through `clean` on its way into a sentence, so that it is
plain text of one line. Escaping for a medium's own markup is left to that medium.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from service.core import budget_words
from service.core.budget_figures import Figures
from service.core.budgets import KIND as BUDGET
from service.core.bundles import BUNDLES, LISTED
from service.core.deliveries import Notice
from service.core.drivers import Driver
from service.core.holds import IDLE
from service.core.incidents import (
    FIRST,
    HISTORY,
    LAPSES,
    ONCE,
    TROUBLE,
    UNTAGGED,
    UNUSED,
    Incident,
)
from service.core.intents import MUTES, Act, Feedback, Mark, Verdict, in_effect
from service.core.marks import comments_of, standing
from service.core.money import ZERO
from service.core.phrases import clean, duration, moment, money, signed, units
from service.core.talks import Action, Reason

HEADLINE_LIMIT: Final = 150
DRIVERS_SHOWN: Final = 3
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
_STATES: Final[Mapping[str, str]] = {
    "acknowledged": "Acknowledged.",
    "snoozed": "Snoozed.",
    "expected": "Marked as expected.",
    "resolved": "Resolved.",
}
_STATUSES: Final[Mapping[str, str]] = {
    "provisional": "Provisional: the provider may still change these figures.",
    "estimated": "Estimated: in part from telemetry and prices, until the bill comes.",
    "confirmed": "Confirmed: the provider's figures have settled.",
    "retracted": "Withdrawn: the provider restated these figures.",
}
_LINES: Final[Mapping[Reason, str]] = {
    "first": "{now}. {lead}",
    "update": "{now}. {lead}",
    "growth": "{now}: it grew. {lead}",
    "severity_up": "{now}: raised to {severity} severity. {lead}",
    "new_driver": "{now}, with more behind it: {drivers}.",
    "reopened": "{now} again: it had stopped, and is back. {lead}",
    "confirmed": "{now}, confirmed: the provider's figures have settled.",
    "retracted": "Withdrawn: the provider restated these figures. {lead}",
    "resolved": "{lead}",
    "backfill": "Found in the history: {lead}",
    "feedback": "{said} {lead}",
    "threshold": "{crossed}: {lead}",
    "mark": "{done}",
    "reminder": "Nobody has acknowledged this yet: {now}. {lead}",
    "escalated": "Nobody has acknowledged this, so others were told: {now}. {lead}",
    "snooze_over": "{now}: the snooze is over. {lead}",
    "summary": "Beyond the posts for here: {now}. {lead}",
    "digest": "In the digest: {now}. {lead}",
    "planned": "About a plan: {now}. {lead}",
}
_DONE: Final[Mapping[Act, str]] = {
    "acknowledge": "Acknowledged by {who} ({why}).",
    "unacknowledge": "{who} took the acknowledgement back ({why}).",
    "snooze": "Snoozed by {who} until {until} ({why}).",
    "assign": "Assigned to {to} by {who} ({why}).",
    "comment": "{who}: {why}",
    "resolve": "Resolved by {who} ({why}), unless something new is found.",
    "claim": "{who} said that this is {to}'s ({why}).",
    "undo": "{who} took back what was done last ({why}).",
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
_SAID: Final[Mapping[Verdict, str]] = {
    "expected": "Marked as expected by {who} ({why}): no more is said of it.",
    "new_level": "Taken for the new level by {who} ({why}).",
    "not_an_issue": "Marked as no issue by {who} ({why}): the next one has to be odder.",
    "undo": "{who} took that back ({why}).",
}
# What a charge that was not used, or was bought once, ought to have cost is no figure to show.
_WITHOUT_EXPECTATION: Final = (IDLE, ONCE, FIRST, BUDGET, TROUBLE, *LAPSES, *BUNDLES)
# From here on it is not worth saying how many times normal it is.
_TIMES_SHOWN: Final = 1000
# A rate per day, and what a month of it would cost, are said of a day of data, not of an hour.
_DAY: Final = timedelta(days=1)
# From here on it is worth saying that a row was there, and nobody read it.
_OURS: Final = timedelta(hours=1)


class Field(NamedTuple):
    """One labelled value. `foreign` tells that it holds text which came with a row.

    `at` is the moment that the value is, for a medium that shows it in the reader's own zone.
    """

    label: str
    value: str
    foreign: bool = False
    at: datetime | None = None


class DriverWords(NamedTuple):
    """One driver: money per time (empty when unknown), what it is, and why it is odd."""

    rate: str
    resource: str
    reason: str


class Words(NamedTuple):
    """All that is said of an incident, in the order in which it is shown."""

    headline: str
    lead: str
    fields: tuple[Field, ...]
    drivers_title: str
    drivers: tuple[DriverWords, ...]
    status: str


def words(incident: Incident) -> Words:
    """Say everything there is to say of an incident as it stands."""
    if incident.budget is not None:
        return _words_of_budget(incident, incident.budget)
    most = LISTED if incident.kind in BUNDLES else DRIVERS_SHOWN
    shown = [] if incident.status == "retracted" else incident.drivers[:most]
    explained = min(sum(driver.share for driver in shown), 1)
    says_more = len(incident.drivers) > 1 and explained
    title = f"What changed (explains {explained:.0%})" if says_more else "What changed"
    if incident.kind in BUNDLES:
        title = "Incidents, those with most money first"
    return Words(
        headline=headline(incident),
        lead=lead(incident),
        fields=fields(incident),
        drivers_title=title.replace("%", " %"),
        drivers=tuple(_driver(driver, incident) for driver in shown),
        status=status(incident),
    )


def _words_of_budget(incident: Incident, figures: Figures) -> Words:
    movers = [] if incident.status == "retracted" else figures.movers[:DRIVERS_SHOWN]
    is_more = any(mover.more > 0 for mover in movers)
    since = "in the same days before" if figures.burn is None else "on the same two days last week"
    return Words(
        headline=headline(incident),
        lead=lead(incident),
        fields=fields(incident),
        drivers_title=f"More than {since}" if is_more else "Most of it",
        drivers=tuple(
            DriverWords(
                signed(m.more, figures.currency) if is_more else money(m.cost, figures.currency),
                clean(m.name, 120),
                f"{money(m.cost, figures.currency)} so far",
            )
            for m in movers
        ),
        status=status(incident),
    )


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
    return _per_time(rate, incident)


def _per_time(rate: Decimal, incident: Incident) -> str:
    """Write a rate by the hour until there is a day of data to speak of a day."""
    currency = incident.billing_currency
    if _is_young(incident):
        return f"{signed(rate / 24, currency)}/h"
    return f"{signed(rate, currency)}/day"


def _is_young(incident: Incident) -> bool:
    return incident.kind != IDLE and _length(incident) < _DAY


def _now(incident: Incident) -> str:
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


def fields(incident: Incident) -> tuple[Field, ...]:
    """Name the figures and the people. Figures that were withdrawn are not shown again."""
    currency = incident.billing_currency
    stands = incident.status != "retracted"
    found = [] if incident.budget is None else _fields_of_budget(incident.budget)
    if stands and incident.kind not in _WITHOUT_EXPECTATION:
        low, high = money(incident.expected_low, currency), money(incident.expected_high, currency)
        spread = f" ({low} to {high})" if low != high else ""
        found += [
            Field("Actual", money(incident.actual, currency) + _compared(incident)),
            Field("Expected", money(incident.expected, currency) + spread),
        ]
    if incident.assignee:
        found.append(Field("Seen to by", clean(incident.assignee, 100), foreign=True))
    begin = "Bought" if incident.kind == ONCE else "Began"
    if incident.budget is None:
        found.append(_moment(begin, incident.starts_at))
    has_end = incident.kind != ONCE and incident.budget is None
    if incident.state == "resolved" and incident.ends_at is not None and has_end:
        found.append(_moment("Ended", incident.ends_at))
    if incident.kind in (HISTORY, TROUBLE):
        return tuple(found)
    if stands and incident.confidence:
        found.append(Field("Confidence", clean(incident.confidence, 300)))
    owner = f"{clean(incident.owner, 100)} ({clean(incident.owner_source, 150)})"
    found.append(Field("Owner", owner, foreign=True))
    if incident.sub_account_id:
        found.append(Field("Account", clean(incident.sub_account_id, 100), foreign=True))
    return tuple(found)


def _fields_of_budget(figures: Figures) -> list[Field]:
    """Name what belongs to a budget: its period, its thresholds, and what is beside what counts."""
    period = f"{figures.period_start:%d %b %Y} to {figures.period_end - _DAY:%d %b %Y}"
    found = [Field("Period", period)]
    if figures.crossed:
        found.append(Field("Crossed", budget_words.crossings(figures.crossed)))
    if end := budget_words.forecast(figures):
        found.append(Field("Forecast", end))
    for label, cost in (
        ("Credits, not counted", figures.credit),
        ("Tax, not counted", figures.tax),
    ):
        if cost:
            found.append(Field(label, money(cost, figures.currency)))
    if figures.not_counted:
        also = ", ".join(clean(currency, 12) for currency in figures.not_counted)
        found.append(Field("Not counted", f"what is billed in {also}", foreign=True))
    return found


def _moment(label: str, at: datetime) -> Field:
    return Field(label, moment(at), at=at)


def _compared(incident: Incident) -> str:
    if incident.expected <= 0:
        return ""
    ratio = float(incident.actual / incident.expected)
    if ratio > _TIMES_SHOWN:
        return f" (over {_TIMES_SHOWN:,}x normal)"
    if ratio >= 2:
        return f" (about {ratio:.0f}x normal)"
    return f" ({ratio - 1:+.0%} against normal)".replace("%", " %")


def _driver(driver: Driver, incident: Incident) -> DriverWords:
    rate = driver.run_rate_per_day
    if rate and incident.kind != HISTORY:
        amount = _per_time(rate, incident)
    else:
        amount = "" if driver.impact is None else signed(driver.impact, incident.billing_currency)
    return DriverWords(amount, clean(driver.resource, 120), clean(driver.reason, 500))


def status(incident: Incident) -> str:
    """Say how far the figures can be relied on, and what people have done about it."""
    if incident.status == "retracted":
        return _STATUSES["retracted"]
    if incident.kind in (HISTORY, TROUBLE):
        return ""
    over = incident.state == "resolved" and incident.kind == ONCE  # what happens once has no end
    done = "" if over else _stands(incident)
    settled = "" if incident.kind in (IDLE, *BUNDLES) else _settled(incident)
    said = [f"{clean(one.who, 100)}: {clean(one.why, 200)}" for one in comments_of(incident.marks)]
    return " ".join(part for part in (settled, done, *said[-1:]) if part)


def _stands(incident: Incident) -> str:
    """Say in which state it is, and who left it so."""
    if incident.state == "expected":
        muting = [one for one in in_effect(incident.feedback) if one.verdict in MUTES]
        return _said_of(muting[-1]) if muting else _STATES["expected"]
    last = standing(incident.marks)
    by_hand = last is not None and last.over_at is None and last.mark.act != "unacknowledge"
    if last is None or not by_hand or incident.state == "firing":
        return _STATES.get(incident.state, "")
    if incident.state == "resolved" and last.mark.act != "resolve":
        return _STATES["resolved"]
    return _done(last.mark)


def _done(mark: Mark) -> str:
    """Say what a person did about an incident."""
    until = f"it costs {mark.until_growth or 0:.0%} more a day".replace("%", " %")
    return _DONE[mark.act].format(
        who=clean(mark.who, 100),
        why=clean(mark.why, 200),
        to=clean(mark.to or "", 100),
        until=moment(mark.until) if mark.until is not None else until,
    )


def done_in_words(one: Mark | Feedback) -> str:
    """Say what a person did about an incident, or said of it, and why."""
    return _done(one) if isinstance(one, Mark) else _said_of(one)


def _settled(incident: Incident) -> str:
    if incident.estimated:
        return _STATUSES["estimated"]
    until = incident.settled_until
    if incident.status != "provisional" or until is None or until <= incident.starts_at:
        return _STATUSES[incident.status]
    return f"Settled up to {moment(until)}; the provider may still change what came after."


def text_of(incident: Incident, action: Action, reason: Reason) -> str:
    """Say a transition in plain words: all of it for a post or an edit, one line for a thread."""
    return thread_line(incident, reason) if action == "thread" else _whole(incident)


def _whole(incident: Incident) -> str:
    said = words(incident)
    lines = [said.headline, said.lead, *(f"{field.label}: {field.value}" for field in said.fields)]
    if said.drivers:
        lines.append(f"{said.drivers_title}:")
        lines += [f"- {' '.join(d[:2]).strip()}: {d.reason}" for d in said.drivers]
    return "\n".join([*lines, said.status] if said.status else lines)


def thread_line(incident: Incident, reason: Reason) -> str:
    """Say in one line what changed, the newest figure first."""
    return _LINES[reason].format(
        now=_now(incident),
        lead=lead(incident, with_mean=False),  # `now` says it
        severity=incident.severity,
        drivers=_named_drivers(incident),
        said=_said(incident),
        crossed=budget_words.newest(incident.budget) if incident.budget else "",
        done=_done(incident.marks[-1].mark) if incident.marks else "",
    )


def _said(incident: Incident) -> str:
    """Say what a person said of it last."""
    return _said_of(incident.feedback[-1]) if incident.feedback else ""


def _said_of(one: Feedback) -> str:
    return _SAID[one.verdict].format(who=clean(one.who, 100), why=clean(one.why, 200))


def _named_drivers(incident: Incident) -> str:
    said = [_driver(driver, incident) for driver in incident.drivers[:DRIVERS_SHOWN]]
    return ", ".join(f"{d.rate} {d.resource}".strip() for d in said)


def footer(notice: Notice) -> tuple[str, ...]:
    """Say how fresh this is, why it is told here, how fast it was told, and its name."""
    return (
        f"Data up to {moment(notice.data_until)}",
        f"Sent here by {clean(notice.why_here, 200)}",
        f"Told {clean(notice.told_after, 200)}",
        f"Incident {clean(notice.incident_id, 40)[:12]}",
    )


def plain_text(notice: Notice) -> str:
    """Return the complete notice without any markup: for every medium that shows nothing else."""
    lines = [clean(line, 1000) for line in notice.text.splitlines()]
    return "\n".join([*lines, " · ".join(footer(notice))])


def _length(incident: Incident) -> timedelta:
    return (incident.ends_at or incident.odd_until) - incident.starts_at
