"""How an incident stands, in words: how far its figures settled, and what people did about it."""

from collections.abc import Mapping
from typing import Final

from service.core.bundles import BUNDLES
from service.core.holds import IDLE
from service.core.incidents import HISTORY, ONCE, TROUBLE, Incident
from service.core.intents import MUTES, Act, Feedback, Mark, Verdict, in_effect
from service.core.marks import comments_of, standing
from service.core.phrases import clean, moment

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
_SAID: Final[Mapping[Verdict, str]] = {
    "expected": "Marked as expected by {who} ({why}): no more is said of it.",
    "new_level": "Taken for the new level by {who} ({why}).",
    "not_an_issue": "Marked as no issue by {who} ({why}): the next one has to be odder.",
    "undo": "{who} took that back ({why}).",
}


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


def said_last(incident: Incident) -> str:
    """Say what a person said of it last."""
    return _said_of(incident.feedback[-1]) if incident.feedback else ""


def _said_of(one: Feedback) -> str:
    return _SAID[one.verdict].format(who=clean(one.who, 100), why=clean(one.why, 200))
