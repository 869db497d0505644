"""What the local Slack keeps and which calls it takes: channels, messages, files, views, users."""

import itertools
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from service.adapters.slack_limits import flaws, view_flaws

# Slack refuses near 13,200 characters of blocks; see service/adapters/slack_limits.py.
LARGEST_BLOCKS: Final = 13_200
LONGEST_TEXT: Final = 40_000
CALLS_KEPT: Final = 10_000
BOT: Final = {"user": "U0SPENDWATCH", "bot_id": "B0SPENDWATCH", "team": "T0LOCAL"}
Args = dict[str, Any]
TRIGGER_SECONDS: Final = 3.0
EVERYONE: Final = {"U0LOCAL001": "you"}


class Fault(NamedTuple):
    """What goes wrong with the next `times` calls of `method`.

    `error` and `status` refuse the call. A call with `lost`, `garbage` or `slow_seconds` is carried
    out, and then the connection is closed without a reply, the reply is no JSON, or it is late.
    `dropped` closes the connection before anything is done.
    """

    method: str
    error: str = ""
    status: int = 0
    retry_after: int | None = None
    dropped: bool = False
    lost: bool = False
    garbage: bool = False
    slow_seconds: float = 0.0
    times: int = 1


class SlackError(Exception):
    """An answer with `ok: false` and this code."""


class Channel:
    """A channel with its messages, oldest first."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.id = f"C{number:08d}"
        self.names = (self.id, name, f"#{name}")
        self.has_app = True
        self.is_archived = False
        self.messages: list[Args] = []

    def message(self, ts: object) -> Args:
        """Return one message; `message_not_found` otherwise."""
        for message in self.messages:
            if message["ts"] == ts:
                return message
        raise SlackError("message_not_found")


class File:
    """An uploaded file, shown only once it has been processed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.content = b""
        self.ready_at: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether messages may show it."""
        return self.ready_at is not None and time.monotonic() >= self.ready_at


class Workspace:
    """What Slack keeps. Read and changed by tests while the server runs."""

    def __init__(
        self,
        channels: Sequence[str],
        processing_seconds: float,
        users: Mapping[str, str] = EVERYONE,
    ) -> None:
        self.users = dict(users)
        self.whispers: list[Args] = []
        self.modals: dict[str, Args] = {}
        self.homes: dict[str, Args] = {}
        self._triggers: dict[str, tuple[str, float]] = {}
        self.faults: list[Fault] = []
        self.calls: deque[tuple[str, Args]] = deque(maxlen=CALLS_KEPT)
        self.rate_limit = False
        self.tokens: set[str] | None = None
        self.files: dict[str, File] = {}
        self.channels = {name: Channel(name, at) for at, name in enumerate(channels, 1)}
        self._processing_seconds = processing_seconds
        self._posted_at: dict[str, float] = defaultdict(lambda: float("-inf"))
        self._last_ts = 0
        self._numbers = itertools.count(1)

    def next_fault(self, method: str) -> Fault:
        """Return what is to go wrong with this call; nothing by default."""
        for at, fault in enumerate(self.faults):
            if fault.method == method:
                left = [fault._replace(times=fault.times - 1)] if fault.times > 1 else []
                self.faults[at : at + 1] = left
                return fault
        return Fault(method)

    def check_token(self, authorization: str) -> None:
        """Refuse a call without a token, or with one that is not among `tokens`."""
        token = authorization.removeprefix("Bearer ")
        if not token:
            raise SlackError("not_authed")
        if self.tokens is not None and token not in self.tokens:
            raise SlackError("invalid_auth")

    def call(self, method: str, args: Args, error: str = "") -> Args:
        """Carry out one method; SlackError when Slack would refuse it, or is told to."""
        if error:
            raise SlackError(error)
        known: dict[str, Callable[[Args], Args]] = {
            "auth.test": lambda _: dict(BOT),
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "users.conversations": lambda _: self._conversations(),
            "chat.postEphemeral": self._whisper,
            "views.open": self._open,
            "views.publish": self._publish,
            "users.info": self._user,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
            "files.info": self._info,
        }
        if method not in known:
            raise SlackError("unknown_method")
        return {"ok": True, **known[method](args)}

    def channel(self, name: object, *, to_write: bool = False) -> Channel:
        """Return a channel by name or id, if the app may use it."""
        for channel in self.channels.values():
            if name in channel.names:
                if not channel.has_app:
                    raise SlackError("not_in_channel")
                if channel.is_archived and to_write:
                    raise SlackError("is_archived")
                return channel
        raise SlackError("channel_not_found")

    def seconds_to_wait(self, method: str, args: Args) -> int:
        """Return what Retry-After says: one message a second in a channel, if limits are on."""
        if not self.rate_limit or method != "chat.postMessage":
            return 0
        asked, now = args.get("channel"), time.monotonic()
        for channel in self.channels.values():
            if asked in channel.names and now - self._posted_at[channel.id] < 1:
                return 1
            if asked in channel.names:
                self._posted_at[channel.id] = now
        return 0

    def user(self, name: str) -> str:
        """Return a user's id, the first user's unless it is one."""
        return name if name in self.users else next(iter(self.users))

    def trigger(self, user: str) -> str:
        """Return what lets the app open one view for a user, within three seconds."""
        name = f"{next(self._numbers)}.{self.next_ts()}"
        self._triggers[name] = user, time.monotonic()
        return name

    def hear(self, user: str, channel: str, text: str) -> None:
        """Show a user something that nobody else sees."""
        whisper = {"user": user, "channel": channel, "text": text, "ts": self.next_ts()}
        self.whispers.append(whisper)

    def view_id(self) -> str:
        """Name a view."""
        return f"V{next(self._numbers):09d}"

    def _whisper(self, args: Args) -> Args:
        channel = self.channel(args.get("channel"), to_write=True)
        if args.get("user") not in self.users:
            raise SlackError("user_not_in_channel")
        text = str(args.get("text") or "")
        if not text:
            raise SlackError("no_text")
        self.hear(str(args["user"]), channel.id, text)
        return {"message_ts": self.whispers[-1]["ts"]}

    def _open(self, args: Args) -> Args:
        user, at = self._triggers.pop(str(args.get("trigger_id")), ("", 0.0))
        if not user:
            raise SlackError("invalid_trigger_id")
        if time.monotonic() - at > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        view = self._view(args, "modal")
        self.modals[user] = view
        return {"view": view}

    def _publish(self, args: Args) -> Args:
        if args.get("user_id") not in self.users:
            raise SlackError("user_not_found")
        view = self._view(args, "home")
        self.homes[str(args["user_id"])] = view
        return {"view": view}

    def _view(self, args: Args, kind: str) -> Args:
        view: Args = args["view"]
        if view["type"] != kind or view_flaws(view):
            raise SlackError("invalid_arguments")
        return {**view, "id": self.view_id(), "hash": self.next_ts()}

    def _user(self, args: Args) -> Args:
        name = self.users.get(str(args.get("user")))
        if name is None:
            raise SlackError("user_not_found")
        profile = {"display_name": name, "real_name": name}
        return {"user": {"id": args["user"], "name": name, "profile": profile}}

    def _post(self, args: Args) -> Args:
        channel = self.channel(args.get("channel"), to_write=True)
        message: Args = {"type": "message", "ts": self.next_ts(), **BOT}
        message |= self._content(args)
        if args.get("thread_ts"):
            channel.message(args["thread_ts"])
            message["thread_ts"] = args["thread_ts"]
            if args.get("reply_broadcast"):
                message["subtype"] = "thread_broadcast"
        channel.messages.append(message)
        return {"channel": channel.id, "ts": message["ts"], "message": message}

    def _update(self, args: Args) -> Args:
        channel = self.channel(args.get("channel"), to_write=True)
        message = channel.message(args.get("ts"))
        message |= self._content(args, before=message)
        message["edited"] = {"user": BOT["user"], "ts": self.next_ts()}
        return {"channel": channel.id, "ts": message["ts"], "text": message["text"]}

    def _content(self, args: Args, before: Args | None = None) -> Args:
        blocks: list[Args] = args.get("blocks", (before or {}).get("blocks")) or []
        text = str(args.get("text") or "")[:LONGEST_TEXT]
        if not text and not blocks:
            raise SlackError("no_text")
        if len(json.dumps(blocks, ensure_ascii=False)) > LARGEST_BLOCKS:
            raise SlackError("msg_blocks_too_long")
        pictures = [b["slack_file"].get("id") for b in blocks if b.get("slack_file")]
        if flaws(blocks, size=LARGEST_BLOCKS) or not all(map(self._is_ready, pictures)):
            raise SlackError("invalid_blocks")
        content = {"text": text, "blocks": blocks}
        return content | ({"metadata": args["metadata"]} if args.get("metadata") else {})

    def _history(self, args: Args) -> Args:
        channel = self.channel(args.get("channel"))
        shown = [
            m for m in channel.messages if "thread_ts" not in m or m.get("subtype") is not None
        ]
        return _paged(shown[::-1], args)

    def _replies(self, args: Args) -> Args:
        channel = self.channel(args.get("channel"))
        first = channel.message(args.get("ts"))
        return _paged(
            [first, *(m for m in channel.messages if m.get("thread_ts") == first["ts"])], args
        )

    def _conversations(self) -> Args:
        mine = [{"id": c.id, "name": c.name} for c in self.channels.values() if c.has_app]
        return {"channels": mine, "response_metadata": {"next_cursor": ""}}

    def _upload_url(self, args: Args) -> Args:
        file_id = f"F{next(self._numbers):09d}"
        self.files[file_id] = File(str(args.get("filename") or "file"))
        return {"file_id": file_id, "upload_url": f"upload/{file_id}"}

    def _complete(self, args: Args) -> Args:
        ids = [file.get("id") for file in args.get("files", [])]
        for file_id in ids:
            self._file(file_id).ready_at = time.monotonic() + self._processing_seconds
        return {"files": [{"id": file_id, "title": "Cost"} for file_id in ids]}

    def _info(self, args: Args) -> Args:
        file = self._file(args.get("file"))
        return {"file": {"id": args["file"], "mimetype": "image/png" if file.is_ready else ""}}

    def _file(self, file_id: object) -> File:
        if file_id not in self.files:
            raise SlackError("file_not_found")
        return self.files[str(file_id)]

    def _is_ready(self, file_id: str) -> bool:
        return file_id in self.files and self.files[file_id].is_ready

    def next_ts(self) -> str:
        """Return a moment, later than any before."""
        self._last_ts = max(self._last_ts + 1, time.time_ns() // 1000)
        return f"{self._last_ts // 10**6}.{self._last_ts % 10**6:06d}"


def _paged(messages: Sequence[Args], args: Args) -> Args:
    """Return one page in the order given; metadata only when asked for, as Slack does."""
    latest, inclusive = args.get("latest"), args.get("inclusive") in ("1", True)
    oldest = float(args.get("oldest") or 0)
    found = [
        m
        for m in messages
        if float(m["ts"]) > oldest
        and (latest is None or m["ts"] < latest or (inclusive and m["ts"] == latest))
    ]
    start, limit = int(args.get("cursor") or 0), int(args.get("limit") or 100)
    after = str(start + limit) if start + limit < len(found) else ""
    hidden = () if args.get("include_all_metadata") in ("1", True) else ("metadata",)
    shown = [{k: v for k, v in m.items() if k not in hidden} for m in found[start : start + limit]]
    return {
        "messages": shown,
        "has_more": bool(after),
        "response_metadata": {"next_cursor": after},
    }
