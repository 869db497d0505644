"""The words for an incident: one set for Slack, e-mail, terminal and web page.

Everything that came with a row passes through `clean` on its way into a sentence, so that it is
plain text of one line. Escaping for a medium's own markup is left to that medium.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from service.core.deliveries import Action, Notice, Reason
from service.core.drivers import Driver
from service.core.incidents import Incident
from service.core.phrases import clean, duration, moment, money, signed, units

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
    "provisional": "Provisional: the provider may still change these hours.",
    "confirmed": "Confirmed: the provider's figures for these hours have settled.",
    "retracted": "Withdrawn: the provider restated these hours.",
}
_LINES: Final[Mapping[Reason, str]] = {
    "first": "{now} now. {lead}",
    "update": "{now} now. {lead}",
    "growth": "{now} now: it grew. {lead}",
    "severity_up": "{now} now: raised to {severity} severity. {lead}",
    "new_driver": "{now} now, with more behind it: {drivers}.",
    "reopened": "{now} again: it had stopped, and is back. {lead}",
    "confirmed": "{now}, confirmed: the provider's figures for these hours have settled.",
    "retracted": "Withdrawn: the provider restated these hours. {lead}",
    "resolved": "{lead}",
    "backfill": "Found in the history: {lead}",
}
# What a charge that was not used, or was bought once, ought to have cost is no figure to show.
_WITHOUT_EXPECTATION: Final = ("idle_gpu", "purchase")


class Field(NamedTuple):
    """One labelled value. `foreign` tells that it holds text which came with a row."""

    label: str
    value: str
    foreign: bool = False


class DriverWords(NamedTuple):
    """One driver: money per day (empty when unknown), what it is, and why it is odd."""

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
    shown = [] if incident.status == "retracted" else incident.drivers[:DRIVERS_SHOWN]
    explained = sum(driver.share for driver in shown)
    title = f"What changed (explains {min(explained, 1):.0%})" if explained else "What changed"
    return Words(
        headline=headline(incident),
        lead=lead(incident),
        fields=fields(incident),
        drivers_title=title.replace("%", " %"),
        drivers=tuple(_driver(driver, incident.billing_currency) for driver in shown),
        status=status(incident),
    )


def headline(incident: Incident) -> str:
    """Say how much, what and where in at most 150 characters; the figure comes first.

    A long name is cut, never the money or the region.
    """
    retracted = incident.status == "retracted"
    state = incident.severity if incident.state == "firing" else incident.state
    sign = _SIGNS["retracted" if retracted else state]
    where = f" ({clean(incident.region_id, 40)})" if incident.region_id else ""
    begin = f"{sign} {_amount_first(incident)} · "
    return begin + clean(incident.title, HEADLINE_LIMIT - units(begin) - units(where)) + where


def _amount_first(incident: Incident) -> str:
    rate, impact = incident.run_rate_per_day, incident.impact
    currency = incident.billing_currency
    if incident.status == "retracted":
        return "Withdrawn"
    if incident.kind == "purchase" and impact is not None:
        return f"{money(impact, currency)} once"
    if incident.state == "resolved":
        span = duration(_length(incident))
        return f"Over after {span}" if impact is None else f"{money(impact, currency)} in {span}"
    if rate is None:
        return "Cost unknown" if impact is None else f"{signed(impact, currency)} so far"
    if incident.kind == "idle_gpu":
        return f"{money(rate, currency)}/day wasted"
    return f"{signed(rate, currency)}/day"


def lead(incident: Incident) -> str:
    """Say what it cost so far and what it will cost; what it cost in all once it is over."""
    if incident.status == "retracted":
        return "These hours are normal now: there is nothing to do."
    so_far = _so_far(incident)
    if incident.kind == "purchase":
        return f"{so_far}."
    if incident.state == "resolved":
        if incident.is_new_level:
            return f"{so_far}; it stays at this level, taken as normal from now on."
        return f"{so_far}; back to normal."
    if not incident.run_rate_per_day:
        return f"{so_far}."
    month = incident.run_rate_per_day * DAYS_IN_MONTH
    less = " less" if month < 0 else ""
    next_month = f"{money(abs(month), incident.billing_currency)}/month{less}"
    return f"{so_far} · if it continues about {next_month}."


def _so_far(incident: Incident) -> str:
    impact, currency = incident.impact, incident.billing_currency
    span = duration(_length(incident))
    begin = "Total" if incident.state == "resolved" else "So far"
    if impact is None:
        return f"{begin} {span}; no price is known, so no cost is shown"
    amount = money(abs(impact), currency)
    if incident.kind == "purchase":
        return f"{amount} was spent once"
    if incident.kind == "idle_gpu":
        rate = incident.run_rate_per_day
        hourly = f"{money(rate / 24, currency)}/h wasted · " if rate else ""
        return f"{hourly}{begin.lower() if hourly else begin} {amount} in {span}"
    return f"{begin} {amount} {'under' if impact < 0 else 'over'} expected in {span}"


def fields(incident: Incident) -> tuple[Field, ...]:
    """Name the figures and the people. Figures that were withdrawn are not shown again."""
    currency = incident.billing_currency
    stands = incident.status != "retracted"
    found = []
    if stands and incident.kind not in _WITHOUT_EXPECTATION:
        low, high = money(incident.expected_low, currency), money(incident.expected_high, currency)
        spread = f" ({low} to {high})" if low != high else ""
        found += [
            Field("Actual", money(incident.actual, currency) + _compared(incident)),
            Field("Expected", money(incident.expected, currency) + spread),
        ]
    found.append(Field("Began", moment(incident.starts_at)))
    if stands:
        found.append(Field("Confidence", clean(incident.confidence, 300)))
    owner = f"{clean(incident.owner, 100)} ({clean(incident.owner_source, 150)})"
    found.append(Field("Owner", owner, foreign=True))
    if incident.sub_account_id:
        found.append(Field("Account", clean(incident.sub_account_id, 100), foreign=True))
    return tuple(found)


def _compared(incident: Incident) -> str:
    if incident.expected <= 0:
        return ""
    ratio = float(incident.actual / incident.expected)
    if ratio >= 2:
        return f" (about {ratio:.0f}x normal)"
    return f" ({ratio - 1:+.0%} against normal)".replace("%", " %")


def _driver(driver: Driver, currency: str) -> DriverWords:
    rate = driver.run_rate_per_day
    if not rate or driver.kind == "purchase":
        amount = "" if driver.impact is None else signed(driver.impact, currency)
    else:
        amount = f"{signed(rate, currency)}/day"
    return DriverWords(amount, clean(driver.resource, 120), clean(driver.reason, 300))


def status(incident: Incident) -> str:
    """Say how far the figures can be relied on, and what people have done about it."""
    if incident.status == "retracted":
        return _STATUSES["retracted"]
    done = _STATES.get(incident.state, "")
    if incident.kind == "idle_gpu":
        return done
    return " ".join(part for part in (_STATUSES[incident.status], done) if part)


def text_of(incident: Incident, action: Action, reason: Reason) -> str:
    """Say a transition in plain words: all of it for a post or an edit, one line for a thread."""
    return thread_line(incident, reason) if action == "thread" else _whole(incident, reason)


def _whole(incident: Incident, reason: Reason) -> str:
    said = words(incident)
    lines = ["Found in the history:"] if reason == "backfill" else []
    lines += [said.headline, said.lead, *(f"{field.label}: {field.value}" for field in said.fields)]
    if said.drivers:
        lines.append(f"{said.drivers_title}:")
        lines += [f"- {' '.join(d[:2]).strip()}: {d.reason}" for d in said.drivers]
    return "\n".join([*lines, said.status] if said.status else lines)


def thread_line(incident: Incident, reason: Reason) -> str:
    """Say in one line what changed, the newest figure first."""
    return _LINES[reason].format(
        now=_amount_first(incident),
        lead=lead(incident),
        severity=incident.severity,
        drivers=_named_drivers(incident),
    )


def _named_drivers(incident: Incident) -> str:
    said = [_driver(d, incident.billing_currency) for d in incident.drivers[:DRIVERS_SHOWN]]
    return ", ".join(f"{d.rate} {d.resource}".strip() for d in said)


def footer(notice: Notice) -> tuple[str, ...]:
    """Say how fresh this is, why it is told here, how fast it was told, and its name."""
    return (
        f"Data up to {moment(notice.data_until)}",
        f"Sent here by {clean(notice.why_here, 200)}",
        f"Told {clean(notice.opened_after, 100)}",
        f"Incident {clean(notice.incident_id, 40)[:12]}",
    )


def plain_text(notice: Notice) -> str:
    """Return the complete notice without any markup: for every medium that shows nothing else."""
    lines = [clean(line, 1000) for line in notice.text.splitlines()]
    return "\n".join([*lines, " · ".join(footer(notice))])


def _length(incident: Incident) -> timedelta:
    return (incident.ends_at or incident.updated_at) - incident.starts_at
