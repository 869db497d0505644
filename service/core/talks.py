"""Talks: what each destination was told of an incident, and what is news to it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from service.core.budget_figures import Figures
from service.core.budgets import KIND as BUDGET
from service.core.drivers import Driver
from service.core.incidents import ONCE, Incident
from service.core.money import ZERO
from service.core.routing import Policy
from service.core.severity import SEVERITIES

# A thread is for what a person must notice: at most one line in three hours, but for an end or a
# rise in severity. The figures are from the routing policy measured in ARCHITECTURE.md.
QUIET_IN_THREAD: Final = timedelta(hours=3)
NEW_DRIVER_SHARE: Final = Decimal("0.2")
GROWTH: Final = Decimal("1.5")
MOST_REMINDERS: Final = 3
EDIT_SHARE: Final = Decimal("0.05")
BUDGET_EDIT_SHARE: Final = Decimal("0.1")
# What a person did is shown at once, whatever the hour.
BY_HAND: Final = ("feedback", "mark")
ESCALATED: Final = "escalation"

# A digest is a post that is never edited.
Action = Literal["post", "edit", "thread", "digest"]
Reason = Literal[
    "first", "new_driver", "growth", "severity_up", "confirmed", "retracted", "resolved",
    "reopened", "update", "backfill", "feedback", "mark", "reminder", "escalated", "snooze_over",
    "summary", "digest", "planned", "threshold",
]  # fmt: skip


class Told(msgspec.Struct):
    """What a destination was last told of an incident, and which series and thresholds ever.

    Since `nags_from` nobody has seen to it; `nags` says how often that was said. `is_behind` tells
    that there is more to say, which has to wait.
    """

    seq: int
    why: str
    at: datetime
    incident: Incident
    drivers: set[str]
    run_rate: Decimal
    thread_at: datetime
    last_at: datetime
    nags_from: datetime
    nags: int = 0
    escalated: bool = False
    is_behind: bool = False
    thresholds: list[str] = []


class Talk(msgspec.Struct, kw_only=True):
    """All that is said of one incident, or of a bundle, by destination.

    `waits` says since when it could have been told but for a wait of the route; `shared` names the
    bundle that tells it; `digested` are those whose digest has it, or will. `due` is when to look
    again. `said_elsewhere` is what it had cost when another incident's notice said it; `was_held`
    tells that somebody, or another notice, once kept it from being told.
    """

    told: dict[str, Told] = {}
    waits: dict[str, datetime] = {}
    shared: dict[str, str] = {}
    digested: list[str] = []
    said_elsewhere: Decimal | None = None
    was_held: bool = False
    due: datetime | None = None


class Says(NamedTuple):
    """What a conversation says now, each action once; `wait` is when to look again."""

    actions: Sequence[Action] = ()
    reason: Reason = "update"
    wait: datetime | None = None


class Nags(NamedTuple):
    """Whether to remind, whether to tell others, and when to look again."""

    reminds: bool = False
    escalates: bool = False
    waits: Sequence[datetime | None] = ()


def begin(incident: Incident, why: str, now: datetime) -> Told:
    """Begin a conversation with a post."""
    return Told(
        seq=0,
        why=why,
        at=now,
        incident=incident,
        drivers={d.series for d in incident.drivers},
        run_rate=incident.run_rate_per_day or ZERO,
        thread_at=now,
        last_at=now,
        nags_from=now,
        thresholds=_thresholds(incident),
    )


def follow_up(
    last: Told, incident: Incident, policy: Policy, now: datetime, *, is_silenced: bool
) -> Says:
    """Go on with a conversation: numbers edit the post, what a person must notice goes beneath.

    While it is silenced nothing goes beneath; in a quiet hour, and within the route's
    `group_interval`, all but what a person did has to wait.
    """
    if last.incident.state == incident.state == "expected":
        return Says()  # nothing more is to be said of it
    reason, last.is_behind = _material(last, incident, now), False
    if reason not in BY_HAND and is_silenced:
        reason = None
    if reason is None and not _moved(last.incident, incident):
        return Says()
    if reason not in BY_HAND and not is_silenced:
        until = policy.quiet_until(incident.severity, now)
        if until is None and reason != "severity_up":
            until = last.last_at + policy.group_interval
        if until is not None and until > now:
            last.is_behind = True
            return Says(wait=until)
    if incident.state == "firing" != last.incident.state:
        last.nags_from, last.nags, last.escalated = now, 0, False
    last.incident, last.last_at = incident, now
    if reason is None:
        return Says(("edit",))
    last.drivers |= {d.series for d in incident.drivers}
    last.thresholds += _untold(last, incident)
    last.run_rate = max(last.run_rate, incident.run_rate_per_day or ZERO, key=abs)
    last.thread_at = now
    return Says(("edit", "thread"), reason)


def nag(
    last: Told, incident: Incident, policy: Policy, now: datetime, held_until: datetime | None
) -> Nags:
    """Remind of what nobody has acknowledged, and have others told.

    At most MOST_REMINDERS times, and not before `held_until`.
    """
    if incident.state != "firing" or last.why.startswith(ESCALATED):
        return Nags()
    reminder, escalation = _nags_at(last, incident, policy)
    if not any(at is not None and at <= now for at in (reminder, escalation)):
        return Nags(waits=(reminder, escalation))
    if held_until is not None:
        return Nags(waits=(held_until,))
    escalates = escalation is not None and escalation <= now
    last.escalated = last.escalated or escalates
    if reminder is not None and reminder <= now:
        last.nags += 1
    return Nags(reminds=True, escalates=escalates, waits=_nags_at(last, incident, policy))


def _nags_at(
    last: Told, incident: Incident, policy: Policy
) -> tuple[datetime | None, datetime | None]:
    """Return when to remind next, and when to tell others, of what nobody acknowledges."""
    reminder = None
    if policy.repeat_interval is not None and last.nags < MOST_REMINDERS:
        reminder = last.nags_from + (last.nags + 1) * policy.repeat_interval
    after = policy.escalate_after.get(incident.severity)
    return reminder, None if after is None or last.escalated else last.nags_from + after


def _material(last: Told, incident: Incident, now: datetime) -> Reason | None:
    """Name the first reason why a person should look again, or None."""
    before = last.incident
    if incident.status == "retracted" and before.status != "retracted":
        return "retracted"
    if incident.feedback != before.feedback:
        return "feedback"
    if len(incident.marks) > len(before.marks):
        return "mark"
    if _untold(last, incident):
        return "threshold"
    if incident.state == "resolved":
        was_open = before.state not in ("resolved", "expected")
        is_news = was_open and incident.kind != ONCE and not _kept(incident)
        return "resolved" if is_news else None
    if before.state == "resolved":
        return "reopened"
    is_quiet = incident.state == "snoozed" or incident.kind == BUDGET
    return None if is_quiet else _worse(last, incident, now)


def _worse(last: Told, incident: Incident, now: datetime) -> Reason | None:
    """Name the first reason why it is worse than it was said to be, or None."""
    before = last.incident
    if SEVERITIES.index(incident.severity) > SEVERITIES.index(before.severity):
        return "severity_up"
    if before.state == "snoozed":
        return "snooze_over"
    if now - last.thread_at < QUIET_IN_THREAD:
        return None
    rate = incident.run_rate_per_day or ZERO
    if any(_is_new_driver(driver, last, rate) for driver in incident.drivers):
        return "new_driver"
    grew = last.run_rate and abs(rate) >= GROWTH * abs(last.run_rate)
    return "growth" if grew else None


def _thresholds(incident: Incident) -> list[str]:
    """Name the thresholds that are crossed, each with when: at another amount it is another one."""
    crossed = incident.budget.crossed if incident.budget is not None else ()
    return [f"{one.what} {one.at.isoformat()}" for one in crossed]


def _untold(last: Told, incident: Incident) -> list[str]:
    return [one for one in _thresholds(incident) if one not in last.thresholds]


def _is_new_driver(driver: Driver, last: Told, rate: Decimal) -> bool:
    """Tell whether a series nobody was told of makes up a good part of what it costs now."""
    if driver.series in last.drivers or driver.run_rate_per_day is None or not rate:
        return False
    return driver.run_rate_per_day / rate >= NEW_DRIVER_SHARE


def _moved(before: Incident, after: Incident) -> bool:
    """Tell whether the numbers or the status in a post are worth an edit."""
    if before.state == "expected" != after.state:
        return True
    if (before.status, before.severity, len(before.finding_ids)) != (
        after.status,
        after.severity,
        len(after.finding_ids),
    ):
        return True
    if [(one.series, one.state) for one in before.drivers if one.state] != [
        (one.series, one.state) for one in after.drivers if one.state
    ]:
        return True  # of a bundle: what became of one of its incidents
    if (before.exhausts is None) != (after.exhausts is None):
        return True
    if before.budget is not None and after.budget is not None:
        return _moved_budget(before.budget, after.budget)
    figures = (
        (before.impact, after.impact),
        (before.run_rate_per_day, after.run_rate_per_day),
    )
    return any(_differ(old or ZERO, new or ZERO) for old, new in figures)


def _kept(incident: Incident) -> bool:
    """Tell whether a budget's period has ended within its amount."""
    figures = incident.budget
    return figures is not None and figures.is_over and figures.spent < figures.amount


def _moved_budget(before: Figures, after: Figures) -> bool:
    """Tell whether a budget's figures moved by a good part of its amount, or what is crossed."""
    if (before.amount, before.crossed) != (after.amount, after.crossed):
        return True
    if not after.crossed:
        return False
    figures = ((before.spent, after.spent), (before.forecast, after.forecast))
    least = BUDGET_EDIT_SHARE * after.amount
    return any(abs((new or ZERO) - (old or ZERO)) >= least for old, new in figures)


def _differ(old: Decimal, new: Decimal) -> bool:
    return new != old and abs(new - old) >= EDIT_SHARE * max(abs(old), abs(new))
