"""The words for an incident: one set for Slack, e-mail, terminal and web page.

Everything that came with a row passes through `clean` on its way into a sentence, so that it is
plain text of one line. Escaping for a medium's own markup is left to that medium.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service.core import budget_words
from service.core.budget_figures import Figures
from service.core.budgets import KIND as BUDGET
from service.core.bundles import BUNDLES, LISTED
from service.core.cost_words import headline, lead, now_of, per_time
from service.core.drivers import Driver
from service.core.holds import IDLE
from service.core.incidents import FIRST, HISTORY, LAPSES, ONCE, TROUBLE, Incident
from service.core.notices import Notice
from service.core.phrases import clean, moment, money, signed
from service.core.state_words import done_in_words, said_last, status
from service.core.talks import Action, Reason

DRIVERS_SHOWN: Final = 3

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
# What a charge that was not used, or was bought once, ought to have cost is no figure to show.
_WITHOUT_EXPECTATION: Final = (IDLE, ONCE, FIRST, BUDGET, TROUBLE, *LAPSES, *BUNDLES)
# From here on it is not worth saying how many times normal it is.
_TIMES_SHOWN: Final = 1000
_DAY: Final = timedelta(days=1)


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
        amount = per_time(rate, incident)
    else:
        amount = "" if driver.impact is None else signed(driver.impact, incident.billing_currency)
    return DriverWords(amount, clean(driver.resource, 120), clean(driver.reason, 500))


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
        now=now_of(incident),
        lead=lead(incident, with_mean=False),  # `now` says it
        severity=incident.severity,
        drivers=_named_drivers(incident),
        said=said_last(incident),
        crossed=budget_words.newest(incident.budget) if incident.budget else "",
        done=done_in_words(incident.marks[-1].mark) if incident.marks else "",
    )


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
