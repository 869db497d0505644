"""The buttons of a notice in Slack: what may be done about its incident as it stands.

A button names its incident by the id of its block, `do:INCIDENT:SEQ` or `say:INCIDENT:SEQ`, for a
menu of users holds no value of its own. A post that tells several incidents has menus instead,
whose choices are its incidents. Who presses it, and whether they may, is not in it.
"""

from typing import Final

from slack_sdk.models.blocks import (
    ActionsBlock,
    ButtonElement,
    InteractiveElement,
    Option,
    PlainTextObject,
    StaticSelectElement,
    UserSelectElement,
)

from service.core.budgets import KIND as BUDGET
from service.core.bundles import BUNDLES
from service.core.drivers import Driver
from service.core.holds import IDLE
from service.core.incidents import FIRST, HISTORY, LAPSES, ONCE, RUNAWAY, TROUBLE, Incident
from service.core.intents import in_effect as said_in_effect
from service.core.marks import in_effect as done_in_effect
from service.core.owners import INFERRED, UNOWNED
from service.core.phrases import clean, signed

SNOOZES: Final = {"4h": "4 hours", "1d": "1 day", "7d": "7 days", "50%": "until it costs 50 % more"}
# Of these nothing was learnt that a new level, or a higher bar, could change.
_NOT_LEARNT: Final = (IDLE, FIRST, ONCE, RUNAWAY, BUDGET, *LAPSES)
# Of a post that tells several, what is done about the one that is chosen.
OF_ONE: Final = {"acknowledge_one": "acknowledge", "expected_one": "expected"}
_ASKS: Final = {"acknowledge_one": "Acknowledge one…", "expected_one": "One is expected…"}
# What an option may hold, in characters.
_LONGEST_LABEL: Final = 75
_NO_LIFE: Final = (HISTORY, TROUBLE, *BUNDLES)
# An incident's name is at most this long; a block's may be 255.
_LONGEST_NAME: Final = 128


def buttons(incident: Incident, seq: int, public_url: str | None) -> list[ActionsBlock]:
    """Build what a person can press: one row to see to it, one to say what it is."""
    name = clean(incident.incident_id, _LONGEST_NAME)
    rows = {
        "do": [*_to_do(incident), *_of_one(incident)],
        "say": [*_to_say(incident), *_undo(incident)],
    }
    if public_url is not None:
        rows["say"].append(open_button(incident.incident_id, public_url))
    return [
        ActionsBlock(elements=elements, block_id=f"{row}:{name}:{seq}")
        for row, elements in rows.items()
        if elements
    ]


def open_button(incident_id: str, public_url: str) -> ButtonElement:
    """Build the link to the service's page."""
    url = f"{public_url.rstrip('/')}/incidents/{incident_id}"
    return ButtonElement(text=_plain("Open"), url=url, action_id="open")


def is_claimable(incident: Incident) -> bool:
    """Tell whether nobody is known for sure to own it."""
    is_weak = incident.owner == UNOWNED or incident.owner_source.startswith(INFERRED)
    return is_weak and incident.kind != BUDGET


def last_done(incident: Incident) -> str | None:
    """Name the intent that an undo would take back: the newest in effect. None when there is none.

    `feedback:ID` or `mark:ID`, as the two are taken back one by one each.
    """
    found = [(one.at, "feedback", one.intent_id) for one in said_in_effect(incident.feedback)[-1:]]
    marks = [one.mark for one in done_in_effect(incident.marks)[-1:]]
    found += [(one.at, "mark", one.intent_id) for one in marks]
    if not found:
        return None
    _, kind, intent_id = max(found)
    return f"{kind}:{intent_id}"


def _is_open(incident: Incident) -> bool:
    live = incident.state in ("firing", "acknowledged", "snoozed")
    return live and incident.status != "retracted" and incident.kind not in _NO_LIFE


def _to_do(incident: Incident) -> list[InteractiveElement]:
    if not _is_open(incident):
        return []
    found: list[InteractiveElement] = []
    if incident.state != "acknowledged":
        found.append(_button("acknowledge", "Acknowledge", "primary"))
    if incident.state != "firing":
        wake = "Wake" if incident.state == "snoozed" else "Unacknowledge"
        found.append(_button("unacknowledge", wake))
    if incident.state != "snoozed":
        options = [Option(value=value, label=label) for value, label in SNOOZES.items()]
        found.append(StaticSelectElement(placeholder="Snooze", options=options, action_id="snooze"))
    found.append(UserSelectElement(placeholder="Assign", action_id="assign"))
    if is_claimable(incident):
        found.append(_button("claim", "Claim"))
    return found


def _of_one(incident: Incident) -> list[InteractiveElement]:
    """Build the menus of a bundle: each choice names one of its incidents, and acts on that one."""
    if incident.kind not in BUNDLES:
        return []
    alive = [one for one in incident.drivers if one.state in ("firing", "acknowledged", "snoozed")]
    found: list[InteractiveElement] = []
    for act, asks in _ASKS.items():
        unseen = act == "acknowledge_one"
        options = [
            Option(value=one.series, text=_plain(_named(one, incident.billing_currency)))
            for one in alive
            if not (unseen and one.state == "acknowledged")
        ]
        if options:
            found.append(StaticSelectElement(placeholder=asks, options=options, action_id=act))
    return found


def _named(one: Driver, currency: str) -> str:
    """Name an incident of a bundle as its line there does, within what an option holds."""
    amount = "" if one.impact is None else f"{signed(one.impact, currency)} "
    mark = f" ({one.series[:6]})"
    return amount + clean(one.resource, _LONGEST_LABEL - len(amount) - len(mark)) + mark


def _to_say(incident: Incident) -> list[InteractiveElement]:
    if not _is_open(incident):
        return []
    found: list[InteractiveElement] = [_button("expected", "Expected")]
    if incident.kind not in _NOT_LEARNT:
        found.append(_button("new_level", "New level"))
        found.append(_button("not_an_issue", "Not an issue", "danger"))
    return found


def _undo(incident: Incident) -> list[InteractiveElement]:
    last = None if incident.kind in _NO_LIFE else last_done(incident)
    return [] if last is None else [_button("undo", "Undo", value=last)]


def _button(act: str, label: str, style: str | None = None, value: str = "") -> ButtonElement:
    return ButtonElement(text=_plain(label), action_id=act, style=style, value=value or act)


def _plain(text: str) -> PlainTextObject:
    return PlainTextObject(text=text, emoji=False)
