"""The local Slack's page: a channel as a person would see it."""

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from service.entrypoints.local_slack_workspace import Channel, Workspace

WHISPERS_SHOWN: Final = 5
_MARKUP: Final = re.compile(
    r"`(?P<code>[^`\n]+)`"
    r"|\*(?P<bold>[^*\n]+)\*"
    r"|<!date\^(?P<at>\d+)\^(?P<format>[^|>]*)\|(?P<fallback>[^>]*)>"
    r"|<(?P<token>[^>]*)>"
)


def page(slack: Workspace, channel: str = "", user: str = "", *, home: bool = False) -> str:
    """Render a channel, the first one by default, or the app's Home tab, as one user sees it."""
    shown = slack.channels.get(channel) or next(iter(slack.channels.values()))
    me = slack.user(user)
    here = [one for one in list(slack.whispers) if one["user"] == me]
    return _TEMPLATES.get_template("local_slack.html").render(
        channels=slack.channels.values(),
        channel=shown,
        posts=_posts(shown),
        whispers=[one for one in here if one["channel"] in shown.names][-WHISPERS_SHOWN:],
        users=slack.users,
        me=me,
        modal=slack.modals.get(me),
        view=slack.homes.get(me),
        is_home=home,
    )


def _posts(channel: Channel) -> list[dict[str, Any]]:
    """Return the messages of a channel, each with its thread and, if edited, when."""
    posts = []
    for message in list(channel.messages):
        if "thread_ts" in message and "subtype" not in message:
            continue
        replies = [m for m in channel.messages if m.get("thread_ts") == message["ts"]]
        posts.append({"edited": None, "thread_ts": None, **message, "replies": replies})
    return posts


def mrkdwn(text: str) -> Markup:
    """Show Slack's markup: what was not escaped is seen to be a mention or a link."""
    done, shown = 0, Markup()
    for found in _MARKUP.finditer(text):
        shown += _plain(text[done : found.start()]) + _marked(found.groupdict())
        done = found.end()
    return shown + _plain(text[done:])


def _marked(parts: Mapping[str, str | None]) -> Markup:
    if parts["code"] is not None:
        return Markup("<code>{}</code>").format(_plain(parts["code"]))
    if parts["bold"] is not None:
        return Markup("<b>{}</b>").format(mrkdwn(parts["bold"]))
    if parts["at"] is not None:
        try:
            at = datetime.fromtimestamp(int(parts["at"]), UTC)
        except (OverflowError, ValueError, OSError):
            return _plain(parts["fallback"] or "")
        return escape(f"{at:%b} {at.day}, {at.year} {at:%H:%M}")
    return Markup('<span class="mention">{}</span>').format(parts["token"])


def _plain(text: str) -> Markup:
    return Markup("<br>").join(escape(line) for line in html.unescape(text).split("\n"))


def _clock(ts: str) -> str:
    return f"{datetime.fromtimestamp(float(ts), UTC):%H:%M}"


_TEMPLATES: Final = Environment(
    loader=PackageLoader("service.web"), autoescape=True, undefined=StrictUndefined
)


def drawn(chart: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a chart block as points of an image 600 wide and 160 high."""
    values = [[float(p["value"]) for p in one["data"]] for one in chart["series"]]
    top = max((value for line in values for value in line), default=0.0) or 1.0
    return [
        {
            "name": one["name"],
            "points": " ".join(
                f"{600 * at / max(len(line) - 1, 1):.0f},{155 - 150 * value / top:.0f}"
                for at, value in enumerate(line)
            ),
        }
        for one, line in zip(chart["series"], values, strict=True)
    ]


_TEMPLATES.filters |= {"drawn": drawn, "mrkdwn": mrkdwn, "plain": _plain, "clock": _clock}
