"""What a notice looks like in Slack: seven blocks, and two rows of buttons.

Text that came with a row stands only where Slack parses nothing (plain_text, rich_text) or inside
a code span, escaped; Slack's own markup is written by this module alone.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ContextBlock,
    HeaderBlock,
    ImageBlock,
    MarkdownTextObject,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextListElement,
    RichTextSectionElement,
    SectionBlock,
)
from slack_sdk.models.blocks.basic_components import SlackFile

from service.adapters.slack_buttons import buttons, open_button
from service.adapters.slack_chart import chart_block
from service.core.notices import Notice
from service.core.phrases import clean
from service.core.wording import DriverWords, Field, Words, footer, plain_text, words

FALLBACK_LIMIT: Final = 4000

_BOLD: Final = RichTextElementParts.TextStyle(bold=True)
_ITALIC: Final = RichTextElementParts.TextStyle(italic=True)
_CODE: Final = RichTextElementParts.TextStyle(code=True)


class Look(NamedTuple):
    """How posts look: where Open leads, and whether the app hears what is pressed.

    `mentions` names the Slack user or user group of an owner, `native` asks for Slack's own chart.
    """

    public_url: str | None = None
    answers: bool = False
    mentions: Mapping[str, str] = {}
    native: bool = False


PLAIN: Final = Look()


def blocks_of(
    notice: Notice, look: Look = PLAIN, *, picture: str | None = None
) -> list[dict[str, Any]]:
    """Build the blocks of a post. `picture` is the id of a file that Slack has processed.

    Every block has an id that changes with every update, as Slack asks.
    """
    said = words(notice.incident)
    mark = f"{clean(notice.incident_id, 64)}:{notice.seq}{':picture' if picture else ''}"
    blocks: list[Block] = [
        HeaderBlock(
            text=PlainTextObject(text=said.headline, emoji=False), block_id=f"headline:{mark}"
        ),
        RichTextBlock(elements=[_lead(said, mentioned(notice, look))], block_id=f"lead:{mark}"),
        SectionBlock(fields=[_field(field) for field in said.fields], block_id=f"figures:{mark}"),
    ]
    if picture is not None:
        alt = clean(f"Cost over time. {said.lead}", 2000)
        blocks.append(
            ImageBlock(slack_file=SlackFile(id=picture), alt_text=alt, block_id=f"chart:{mark}")
        )
    if said.drivers:
        blocks.append(RichTextBlock(elements=_drivers(said), block_id=f"drivers:{mark}"))
    if look.answers:
        blocks += buttons(notice.incident, notice.seq, look.public_url)
    elif look.public_url is not None:
        link = open_button(notice.incident_id, look.public_url)
        blocks.append(ActionsBlock(elements=[link], block_id=f"say:{mark}"))
    small = PlainTextObject(text=" · ".join(footer(notice)), emoji=False)
    blocks.append(ContextBlock(elements=[small], block_id=f"context:{mark}"))
    shown = [block.to_dict() for block in blocks]
    native = chart_block(notice.chart, f"chart:{mark}") if look.native and not picture else None
    return [*shown[:3], native, *shown[3:]] if native else shown


def mentioned(notice: Notice, look: Look) -> str | None:
    """Return the id of who is to be called: on the first post and when nobody took it, never else.

    A mention in an edit would call nobody, and one in every line would soon be muted. Of what is
    over nobody is called.
    """
    is_going_on = notice.incident.state != "resolved"
    is_first = notice.action == "post" and notice.reason == "first" and is_going_on
    if not is_first and notice.reason != "escalated":
        return None
    return look.mentions.get(notice.incident.owner)


def mention(id_: str) -> str:
    """Write a mention of a user or of a user group in Slack's markup."""
    return f"<!subteam^{id_}>" if id_.startswith("S") else f"<@{id_}>"


def fallback(notice: Notice, look: Look = PLAIN) -> str:
    """Return the plain text of a post: for notifications, screen readers and refused blocks."""
    text, who = plain_text(notice), mentioned(notice, look)
    cut = escape(text if len(text) <= FALLBACK_LIMIT else text[: FALLBACK_LIMIT - 1] + "…")
    return cut if who is None else f"{mention(who)} {cut}"


def escape(text: str) -> str:
    """Escape the three characters that Slack's markup begins with, and no other.

    >>> escape("<!channel> & `x`")
    '&lt;!channel&gt; &amp; `x`'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _lead(said: Words, who: str | None) -> RichTextSectionElement:
    parts: list[dict[str, Any] | Any] = [RichTextElementParts.Text(text=said.lead, style=_BOLD)]
    if who is not None:
        parts.append(RichTextElementParts.Text(text=" "))
        is_group = who.startswith("S")
        group, user = RichTextElementParts.UserGroup, RichTextElementParts.User
        parts.append(group(usergroup_id=who) if is_group else user(user_id=who))
    if said.status:
        parts.append(RichTextElementParts.Text(text=f"\n{said.status}", style=_ITALIC))
    return RichTextSectionElement(elements=parts)


def _field(field: Field) -> MarkdownTextObject:
    """Write a label over its value; a time is shown in each reader's own zone."""
    value = escape(field.value)
    if field.foreign:
        value = f"`{value.replace('`', chr(39))}`"
    elif field.at is not None:
        value = f"<!date^{int(field.at.timestamp())}^{{date_short_pretty}} {{time}}|{value}>"
    return MarkdownTextObject(text=f"*{field.label}*\n{value}", verbatim=True)


def _drivers(said: Words) -> list[Any]:
    title = RichTextElementParts.Text(text=said.drivers_title, style=_BOLD)
    return [
        RichTextSectionElement(elements=[title]),
        RichTextListElement(style="bullet", elements=[_driver(one) for one in said.drivers]),
    ]


def _driver(driver: DriverWords) -> RichTextSectionElement:
    parts = []
    if driver.rate:
        parts.append(RichTextElementParts.Text(text=f"{driver.rate} ", style=_BOLD))
    parts += [
        RichTextElementParts.Text(text=driver.resource or "unnamed", style=_CODE),
        RichTextElementParts.Text(text=f" {driver.reason}"),
    ]
    return RichTextSectionElement(elements=parts)
