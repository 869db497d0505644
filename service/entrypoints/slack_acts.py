"""What a press of a button means: the intent it stands for, or why it stands for none.

The intent's moment is that of the press, so that the same press, heard twice, is one intent.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from service.adapters.slack_buttons import OF_ONE, SNOOZES, is_claimable, last_done
from service.core.incidents import Incident
from service.core.intents import Feedback, Intent, Mark
from service.core.members import Member

VIA: Final = "slack"
BY_BUTTON: Final = "by button"
VERDICTS: Final = ("expected", "new_level", "not_an_issue")
PLAIN_MARKS: Final = ("acknowledge", "unacknowledge")
DONE: Final = {
    "acknowledge": "Acknowledged: nobody is reminded of it.",
    "unacknowledge": "Taken back: it counts as seen by nobody.",
    "snooze": "Snoozed.",
    "assign": "Assigned.",
    "claim": "Claimed: what costs here is your team's from now on.",
    "expected": "Marked as expected: no more is said of it. Undo is on the post.",
    "new_level": "Taken for the new level. Undo is on the post.",
    "not_an_issue": "Marked as no issue: the next one has to be odder. Undo is on the post.",
    "undo": "Taken back.",
}
_NAME: Final = re.compile(r"(?:do|say):([A-Za-z0-9_-]{1,128}):[0-9]{1,9}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_STAMP: Final = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,6}))?")
_SPANS: Final = {"4h": timedelta(hours=4), "1d": timedelta(days=1), "7d": timedelta(days=7)}


class Press(NamedTuple):
    """One press: which button of which incident, with what value, at what moment of Slack's."""

    act: str
    incident_id: str
    value: str
    at: datetime


def press_of(action: Any) -> Press | None:
    """Read the action of a payload; None for what is no button of ours."""
    match action:
        case {"action_id": str(act), "block_id": str(block), "action_ts": str(stamp)}:
            found, at = _NAME.fullmatch(block), moment_of(stamp)
        case _:
            return None
    match action:
        case {"value": str(value)} | {"selected_option": {"value": str(value)}}:
            pass
        case {"selected_user": str(value)}:
            pass
        case _:
            value = ""
    if found is None or at is None:
        return None
    if act in OF_ONE:
        return Press(OF_ONE[act], value, "", at) if _ID.fullmatch(value) else None
    return Press(act.partition("/")[0], found[1], value, at)


def moment_of(stamp: str) -> datetime | None:
    """Read a moment as Slack writes it, in seconds with six decimals."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        return None
    micros = int((found[2] or "0").ljust(6, "0"))
    return datetime.fromtimestamp(int(found[1]), UTC) + timedelta(microseconds=micros)


def intent_of(
    press: Press, incident: Incident, member: Member, *, why: str = BY_BUTTON, to: str | None = None
) -> Intent | str:
    """Return what a press asks for, or in one sentence why it asks for nothing.

    `to` is the person or the team that a task is given to.
    """
    said: dict[str, Any] = {"at": press.at, "who": member.person, "via": VIA, "why": why}
    said["incident_id"] = press.incident_id
    if press.act in VERDICTS:
        return Feedback(verdict=press.act, **said)  # type: ignore[arg-type]  # one of VERDICTS
    if press.act in PLAIN_MARKS:
        return Mark(act=press.act, **said)  # type: ignore[arg-type]  # one of PLAIN_MARKS
    if press.act == "snooze" and press.value in SNOOZES:
        span = _SPANS.get(press.value)
        until = None if span is None else press.at + span
        return Mark(act="snooze", until=until, until_growth=None if span else 0.5, **said)
    if press.act == "assign" and to:
        return Mark(act="assign", to=to, **said)
    if press.act == "claim" and to:
        if not is_claimable(incident):
            return "It has an owner already."
        return Mark(act="claim", to=to, **said)
    if press.act == "undo":
        return _undo(press, incident, said)
    return "That is no button of this post any more."


def _undo(press: Press, incident: Incident, said: dict[str, Any]) -> Intent | str:
    """Take back what the button spoke of, and nothing that was done since."""
    if press.value != last_done(incident):
        return "Something else was done or taken back since: look at the post again."
    if press.value.startswith("feedback:"):
        return Feedback(verdict="undo", **said)
    return Mark(act="undo", **said)
