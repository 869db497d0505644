"""What the app shows in Slack beside its posts: two questions, and the Home tab."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ContextBlock,
    DividerBlock,
    HeaderBlock,
    InputBlock,
    MarkdownTextObject,
    Option,
    PlainTextInputElement,
    PlainTextObject,
    SectionBlock,
    StaticSelectElement,
)
from slack_sdk.models.views import View

from service.adapters.slack_blocks import escape
from service.adapters.slack_buttons import buttons
from service.core.cost_words import headline
from service.core.incidents import Incident
from service.core.members import Member
from service.core.phrases import clean, moment
from service.core.silences import Silence
from service.core.subscriptions import Subscription
from service.core.tokens import EVERY_TEAM
from service.entrypoints.slack_acts import Press

ASKED: Final = "asked"
ANSWER: Final = "answer"
LONGEST_ANSWER: Final = 200
INCIDENTS_SHOWN: Final = 10
THINGS_SHOWN: Final = 20


class Question(NamedTuple):
    """What a modal is about: kept in the modal itself, and checked again when that is sent."""

    press: Press
    channel: str

    def pack(self) -> str:
        """Write it into a modal."""
        press = self.press
        at = press.at.isoformat()
        return json.dumps([press.act, press.incident_id, press.value, at, self.channel])

    @classmethod
    def unpack(cls, text: str) -> "Question | None":
        """Read it again; None for what this service did not write."""
        try:
            act, incident_id, value, at, channel = json.loads(text)
            press = Press(str(act), str(incident_id), str(value), datetime.fromisoformat(at))
        except (ValueError, TypeError):
            return None
        return cls(press, str(channel))


def ask_reason(incident: Incident, question: Question) -> dict[str, Any]:
    """Build the modal that asks why it is no issue."""
    field = PlainTextInputElement(
        action_id=ANSWER, max_length=LONGEST_ANSWER, min_length=1, placeholder="A sentence"
    )
    return _modal("Not an issue", incident, question, InputBlock(
        block_id=ASKED, label="Why? It is shown with the incident.", element=field
    ))  # fmt: skip


def ask_team(incident: Incident, member: Member, question: Question) -> dict[str, Any]:
    """Build the modal that asks which team claims it: one of the person's own, or any by name."""
    teams = [team for team in member.teams if team != EVERY_TEAM]
    if teams and all(len(team) <= 75 for team in teams):
        options = [Option(value=team, label=team) for team in teams[:100]]
        element: Any = StaticSelectElement(
            action_id=ANSWER, options=options, placeholder="Choose a team"
        )
    else:
        element = PlainTextInputElement(
            action_id=ANSWER, max_length=LONGEST_ANSWER, min_length=1, placeholder="payments"
        )
    return _modal(
        "Claim", incident, question, InputBlock(block_id=ASKED, label="Team", element=element)
    )


def answer_of(view: Any) -> str:
    """Read what was answered in a modal; empty when nothing was."""
    match view:
        case {"state": {"values": {"asked": {"answer": {"value": str(text)}}}}}:
            return clean(text, LONGEST_ANSWER) if text.strip() else ""
        case {
            "state": {"values": {"asked": {"answer": {"selected_option": {"value": str(text)}}}}}
        }:
            return text
    return ""


def _modal(title: str, incident: Incident, question: Question, asked: InputBlock) -> dict[str, Any]:
    what = SectionBlock(block_id="what", text=PlainTextObject(text=headline(incident), emoji=False))
    view = View(
        type="modal",
        callback_id=question.press.act,
        private_metadata=question.pack(),
        title=PlainTextObject(text=title),
        submit=PlainTextObject(text=title),
        close=PlainTextObject(text="Cancel"),
        blocks=[what, asked],
    )
    return view.to_dict()


class Home(NamedTuple):
    """What a person's Home tab shows."""

    member: Member
    incidents: Sequence[Incident]
    subscriptions: Sequence[Subscription]
    silences: Sequence[Silence]
    note: str = ""


def home_view(home: Home, public_url: str | None) -> dict[str, Any]:
    """Build the Home tab: my incidents with their buttons, my subscriptions, my silences."""
    member = home.member
    teams = "every team" if member.sees_all else ", ".join(member.teams) or "no team"
    blocks: list[Block] = []
    if home.note:
        blocks.append(SectionBlock(text=MarkdownTextObject(text=home.note, verbatim=True)))
    blocks.append(_header(f"Incidents of {clean(teams, 100)}"))
    for number, incident in enumerate(home.incidents[:INCIDENTS_SHOWN]):
        blocks += _incident(incident, number, public_url)
    if len(home.incidents) > INCIDENTS_SHOWN:
        blocks.append(_small(f"and {len(home.incidents) - INCIDENTS_SHOWN} more, on the page"))
    if not home.incidents:
        blocks.append(_small("Nothing is odd just now."))
    blocks += [DividerBlock(), _header("Subscriptions")]
    blocks.append(_lines([subscription_line(one) for one in home.subscriptions]))
    blocks += [DividerBlock(), _header("Silences")]
    blocks.append(_lines([silence_line(one) for one in home.silences]))
    blocks.append(_small("Set them up with /spend in a channel; /spend help says how."))
    return {"type": "home", "blocks": [block.to_dict() for block in blocks]}


def stranger_view(text: str) -> dict[str, Any]:
    """Build the Home tab of somebody whom nobody has linked."""
    section = SectionBlock(text=MarkdownTextObject(text=text, verbatim=True))
    return {"type": "home", "blocks": [section.to_dict()]}


def subscription_line(one: Subscription) -> str:
    """Write a subscription as one line of Slack's markup."""
    kind, _, target = one.destination.partition(":")
    where = f"<#{escape(target)}>" if kind == "slack" and target[:1] in "CG" else ""
    more = [f"`{_code(text)}`" for text in one.matchers]
    more += [f"{one.min_severity} or worse"] if one.min_severity else []
    more += [f"{one.digest} digest"] if one.digest else []
    team = "every team" if one.team == EVERY_TEAM else one.team
    told = where or f"`{_code(one.destination)}`"
    return f"`{_code(one.name)}` {told} hears of {_shown(team)} {' '.join(more)}".strip()


def silence_line(one: Silence) -> str:
    """Write a silence as one line of Slack's markup."""
    matchers = " ".join(f"`{_code(text)}`" for text in one.matchers)
    said = _shown(f"{one.author}: {one.comment}")
    return f"`{_code(one.name)}` {matchers} until {moment(one.ends_at)} ({said})"


def _incident(incident: Incident, number: int, public_url: str | None) -> list[Block]:
    """Show one incident; every id of an action differs from those of the others."""
    section = SectionBlock(
        block_id=f"incident:{number}", text=PlainTextObject(text=headline(incident), emoji=False)
    )
    rows: list[Block] = []
    for row in buttons(incident, number, public_url):
        as_dict = row.to_dict()
        for element in as_dict["elements"]:
            element["action_id"] += f"/{number}"
        rows.append(ActionsBlock(block_id=row.block_id, elements=as_dict["elements"]))
    return [section, *rows]


def _header(text: str) -> HeaderBlock:
    return HeaderBlock(text=PlainTextObject(text=text, emoji=False))


def _small(text: str) -> ContextBlock:
    return ContextBlock(elements=[PlainTextObject(text=text, emoji=False)])


def _lines(lines: Sequence[str]) -> Block:
    if not lines:
        return _small("None.")
    text = "\n".join(f"• {line}" for line in lines[:THINGS_SHOWN])
    return SectionBlock(text=MarkdownTextObject(text=text[:3000], verbatim=True))


def _shown(text: str) -> str:
    return escape(clean(text, 200))


def _code(text: str) -> str:
    return escape(clean(text, 200)).replace("`", "'")
