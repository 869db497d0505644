"""Slack: one message per incident and channel, edited as it changes, with a thread beneath.

chat.postMessage has no idempotency key, so that a post whose reply was lost is looked for by its
metadata before it is sent again; chat.update may be repeated. See docs.slack.dev.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
import structlog
from slack_sdk import WebClient

from service.adapters.charts import picture_of
from service.adapters.slack_api import (
    Answer,
    Trouble,
    ask,
    listed,
    make_client,
    pages,
    upload,
)
from service.adapters.slack_blocks import (
    Look,
    blocks_of,
    escape,
    fallback,
    mention,
    mentioned,
)
from service.adapters.slack_limits import flaws
from service.core.notices import Notice
from service.core.phrases import clean, is_web_address
from service.core.ports import Outcome, Refused, Retry, Sent, Unknown
from service.core.secret import Secret

EVENT_TYPE: Final = "spendwatch_notice"
UPLOAD_WITHIN_SECONDS: Final = 10
# Slack's clock and ours may differ: a post is looked for from a little before it was due.
CLOCKS_DIFFER: Final = timedelta(minutes=5)

MentionId = Annotated[str, msgspec.Meta(pattern=r"^[USW][A-Z0-9]{2,20}$")]
_CHANNEL: Final = re.compile(r"#?[^\s#@<>&|,:]{1,80}")
_CHANNEL_ID: Final = re.compile(r"[CGD][A-Z0-9]{6,}")
_WORTH_WAITING: Final = timedelta(seconds=5)
_SEVERE: Final = frozenset({"growth", "severity_up", "reopened"})
_UGLY: Final = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"})
_GONE: Final = frozenset({"message_not_found", "edit_window_closed", "cant_update_message"})
_QUIET: Final = {"mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
_log = structlog.get_logger(__name__)


class SlackSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`token` is the bot's; with `public_url` every post has a button to the service's page.

    With `signing_secret` the app hears what is pressed, and posts have buttons for it. `mentions`
    names the user or user group of an owner by Slack's id.
    """

    token: Secret
    signing_secret: Secret | None = None
    mentions: dict[str, MentionId] = {}
    charts: Literal["png", "native"] = "png"
    base_url: str = WebClient.BASE_URL
    public_url: str | None = None
    timeout_seconds: Annotated[int, msgspec.Meta(ge=1, le=600)] = 10

    def __post_init__(self) -> None:
        """Refuse what cannot be sent as a header, and would be quoted by the error it causes."""
        if re.fullmatch(r"[!-~]+", self.token.reveal().strip()) is None:
            raise ValueError("token is empty or has characters that no Slack token has")
        if self.signing_secret is not None and not self.signing_secret.reveal().strip():
            raise ValueError("signing_secret is empty")
        for name in ("base_url", "public_url"):
            address = getattr(self, name)
            if address is not None and not is_web_address(address):
                message = f"{name} is not an http or https address"
                raise ValueError(message)


class Slack:
    """Serves the destinations `slack:#name` and `slack:C0123456789`."""

    Settings: ClassVar = SlackSettings

    def __init__(self, settings: SlackSettings) -> None:
        self._look = Look(
            settings.public_url,
            answers=settings.signing_secret is not None,
            mentions=settings.mentions,
            native=settings.charts == "native",
        )
        self._client = make_client(settings.token, settings.base_url, settings.timeout_seconds)
        self._pictures: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._channels: dict[str, str] = {}
        # Pictures share the threads with posts, which must not wait behind a burst of them.
        self._drawing = asyncio.Semaphore(3)

    @staticmethod
    def reaches(target: str) -> bool:
        """Take a channel's name, with or without #, or its id."""
        return _CHANNEL.fullmatch(target) is not None

    async def send(self, notice: Notice, ref: Mapping[str, str] | None) -> Outcome:
        """Post, edit or write in the thread; without `ref` everything is a post.

        A post returns as soon as Slack has it, and its picture follows by an edit; an edit brings
        its picture along. No failure of a picture is a failure of its notice. When the post to edit
        is gone, a new one takes its place and the outcome has a `ref` of its own.
        """
        if ref is None or notice.action == "post":
            return await self._post(notice, notice.destination.partition(":")[2])
        if notice.action == "edit":
            return await self._edit(notice, ref["channel"], ref["ts"])
        return await self._reply(notice, ref["channel"], ref["ts"])

    async def find(self, notice: Notice, ref: Mapping[str, str] | None = None) -> Outcome:
        """Look for a notice by its metadata: in its channel, and a reply beneath `ref`.

        Ask no sooner than the timeout after the send: Slack may still be at work on it.
        """
        oldest = f"{(notice.at - CLOCKS_DIFFER).timestamp():.6f}"
        words = {"oldest": oldest, "include_all_metadata": True, "limit": 200}
        if notice.action == "thread" and ref is not None:
            words |= {"channel": ref["channel"], "ts": ref["ts"]}
            return await self._find(self._client.conversations_replies, words, notice)
        channel = await self._channel_id(notice.destination.partition(":")[2].lstrip("#"))
        if not isinstance(channel, str):
            return channel
        words["channel"] = channel
        return await self._find(self._client.conversations_history, words, notice)

    async def close(self) -> None:
        """Let the pictures under way arrive."""
        await asyncio.gather(*self._pictures.values())

    async def _post(self, notice: Notice, channel: str) -> Outcome:
        answer = await self._say(
            self._client.chat_postMessage,
            self._looks(notice, None),
            channel=channel,
            text=fallback(notice, self._look),
            metadata=_metadata(notice),
            **_QUIET,
        )
        outcome = _sent(answer)
        if not isinstance(outcome, Sent):
            return outcome
        key = (outcome.ref["channel"], outcome.ref["ts"])
        self._channels[channel.lstrip("#")] = key[0]
        if notice.chart is not None and not self._look.native:
            self._pictures[key] = task = asyncio.create_task(self._add_picture(notice, *key))
            task.add_done_callback(lambda _: self._pictures.pop(key, None))
        return outcome

    async def _edit(self, notice: Notice, channel: str, ts: str) -> Outcome:
        under_way = self._pictures.get((channel, ts))
        if under_way is not None:
            await under_way
        picture = None if self._look.native else await self._picture(notice)
        answer = await self._update(notice, channel, ts, picture)
        if answer.error in _GONE:
            return await self._post(notice, channel)
        outcome = _sent(answer)
        return Retry(outcome.reason) if isinstance(outcome, Unknown) else outcome

    async def _reply(self, notice: Notice, channel: str, ts: str) -> Outcome:
        broadcast = notice.incident.severity == "high" and notice.reason in _SEVERE
        # In the channel it stands without its thread, and must say what it is about.
        about = f"{clean(notice.incident.title, 100)}: " if broadcast else ""
        who = mentioned(notice, self._look)
        call = f"{mention(who)} " if who else ""
        answer = await self._say(
            self._client.chat_postMessage,
            [],
            channel=channel,
            thread_ts=ts,
            text=call + escape(about + notice.text),
            metadata=_metadata(notice),
            reply_broadcast=broadcast,
            **_QUIET,
        )
        return _sent(answer)

    async def _update(self, notice: Notice, channel: str, ts: str, picture: str | None) -> Answer:
        return await self._say(
            self._client.chat_update,
            self._looks(notice, picture),
            channel=channel,
            ts=ts,
            text=fallback(notice, self._look),
            metadata=_metadata(notice),
        )

    def _looks(self, notice: Notice, picture: str | None) -> list[list[dict[str, Any]]]:
        """Return the blocks to try, the fairest first: a chart is refused most easily."""
        plain = blocks_of(notice, self._look._replace(native=False))
        if picture is not None:
            return [blocks_of(notice, self._look, picture=picture), plain]
        return [blocks_of(notice, self._look), plain] if self._look.native else [plain]

    async def _say(
        self, method: Callable[..., Any], looks: Sequence[list[dict[str, Any]]], **words: Any
    ) -> Answer:
        """Send text with the first blocks that Slack will have, and alone when it has none."""
        words |= {"parse": "none", "link_names": False}
        for blocks in looks:
            wrong = flaws(blocks)
            if not wrong:
                answer = await ask(method, **words, blocks=blocks)
                if answer.error not in _UGLY:
                    return answer
            _log.warning("slack_blocks_refused", flaws=wrong[:5])
        # An empty list takes the blocks of an earlier state away; to leave it out would keep them.
        return await ask(method, **words, blocks=[] if "ts" in words else None)

    async def _add_picture(self, notice: Notice, channel: str, ts: str) -> None:
        """Show the chart in a post that was sent without, unless someone has edited it since."""
        picture = await self._picture(notice)
        if picture is None:
            return
        for _ in range(3):
            history = self._client.conversations_history
            answer = await ask(history, channel=channel, latest=ts, inclusive=True, limit=1)
            if any(m.get("ts") == ts and "edited" in m for m in listed(answer, "messages")):
                return
            answer = await self._update(notice, channel, ts, picture)
            wait = answer.trouble.after if isinstance(answer.trouble, Retry) else None
            if wait is None or wait > _WORTH_WAITING:
                return
            await asyncio.sleep(wait.total_seconds())

    async def _picture(self, notice: Notice) -> str | None:
        """Upload the chart and wait until Slack can show it; None when that failed."""
        async with self._drawing:
            content = await asyncio.to_thread(picture_of, notice)
            if content is None:
                return None
            try:
                async with asyncio.timeout(UPLOAD_WITHIN_SECONDS):
                    return await upload(self._client, content)
            except TimeoutError:
                _log.warning("slack_upload_too_slow", delivery_id=notice.delivery_id)
                return None

    async def _find(
        self, method: Callable[..., Any], words: Mapping[str, Any], notice: Notice
    ) -> Outcome:
        async for answer in pages(method, **words):
            if answer.trouble is not None:
                return _cannot_look(answer.trouble)
            for message in listed(answer, "messages"):
                if _delivery_id(message) == notice.delivery_id:
                    return Sent({"channel": words["channel"], "ts": str(message.get("ts"))})
        return Retry("it is not in the channel")

    async def _channel_id(self, name: str) -> str | Outcome:
        """Return the id of a channel; only channels that the app is in can be looked into."""
        if name in self._channels or _CHANNEL_ID.fullmatch(name):
            return self._channels.get(name, name)
        kinds = "public_channel,private_channel"
        async for answer in pages(self._client.users_conversations, types=kinds, limit=1000):
            if answer.trouble is not None:
                return _cannot_look(answer.trouble)
            for channel in listed(answer, "channels"):
                self._channels[str(channel.get("name"))] = str(channel.get("id"))
        found = self._channels.get(name)
        return found or Refused(f"cannot look into #{clean(name, 80)}: invite the app to it")


def _sent(answer: Answer) -> Outcome:
    if answer.trouble is not None:
        return answer.trouble
    channel, ts = answer.data.get("channel"), answer.data.get("ts")
    if not (isinstance(channel, str) and isinstance(ts, str)):
        return Unknown("Slack took the message but did not say where it is")
    return Sent({"channel": channel, "ts": ts})


def _cannot_look(trouble: Trouble) -> Outcome:
    return trouble if isinstance(trouble, Refused) else Unknown(trouble.reason)


def _metadata(notice: Notice) -> dict[str, Any]:
    payload = {"delivery_id": notice.delivery_id, "seq": notice.seq}
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _delivery_id(message: Mapping[str, Any]) -> object:
    match message:
        case {"metadata": {"event_type": "spendwatch_notice", "event_payload": {"delivery_id": i}}}:
            return i
    return None
