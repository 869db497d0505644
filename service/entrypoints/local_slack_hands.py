"""The hands of the local Slack's users: what they press and type, sent to the app as Slack does.

Every request is a form, signed with HMAC-SHA256 over `v0:timestamp:body`; see docs.slack.dev,
"Verifying requests from Slack" and "Handling user interaction".
"""

import hashlib
import hmac
import itertools
import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode

from service.core.secret import Secret
from service.entrypoints.local_slack_workspace import BOT, Args, SlackError, Workspace

TEAM: Final = {"id": BOT["team"], "domain": "local"}
WAITS_SECONDS: Final = 3.0


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """Sign a request as Slack does."""
    base = b"v0:" + timestamp.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()


class Hands:
    """Presses, types and submits for the users. Nothing is heard until `reach` was called."""

    def __init__(self, slack: Workspace) -> None:
        self._slack = slack
        self._address = ""
        self._secret = ""
        self._called = ""
        self._numbers = itertools.count(1)
        self._replies: dict[str, tuple[str, str]] = {}

    @property
    def is_heard(self) -> bool:
        """Tell whether it is known where the app listens."""
        return bool(self._address)

    def reach(self, address: str, secret: Secret, called: str = "") -> None:
        """Say where the app listens, and what its requests are signed with.

        `called` is how the app calls Slack, where that is not as a person's browser does.
        """
        self._address, self._secret, self._called = address, secret.reveal(), called

    def do(self, act: str, user: str, form: Mapping[str, str], base: str) -> None:
        """Do what a form of the page asks for; LookupError for what is not there."""
        if act == "press":
            self.press(user, form, base)
        elif act == "submit":
            self.submit(user, form)
        elif act == "cancel":
            self._slack.modals.pop(user, None)
        elif act == "command":
            self.command(user, form.get("channel", ""), form.get("text", ""), base)
        else:
            raise LookupError(act)

    def press(self, user: str, where: Mapping[str, str], base: str = "") -> None:
        """Press a button, or choose from a menu, of a message or of the Home tab.

        `where` has block_id, action_id and for a menu choice; channel and ts unless it is at home.
        """
        slack = self._slack
        block_id, action_id = where["block_id"], where["action_id"]
        payload: Args = {"type": "block_actions", "container": {"type": "view"}}
        if where.get("ts"):
            channel = slack.channel(where["channel"])
            message = channel.message(where["ts"])
            blocks = message["blocks"]
            payload |= {
                "channel": {"id": channel.id, "name": channel.name},
                "container": {
                    "type": "message",
                    "message_ts": message["ts"],
                    "channel_id": channel.id,
                },
                "message": message,
                "response_url": self._reply_url(user, channel.id, base),
            }
        else:
            payload["view"] = view = slack.homes[user]
            blocks = view["blocks"]
        element = _element(blocks, block_id, action_id)
        kind = element["type"]
        action: Args = {"type": kind, "block_id": block_id, "action_id": action_id}
        action["action_ts"] = slack.next_ts()
        if kind == "button":
            action |= {"value": element.get("value", ""), "text": element["text"]}
        elif kind == "static_select":
            chosen = [o for o in element["options"] if o["value"] == where["choice"]]
            action["selected_option"] = chosen[0]
        else:
            action["selected_user"] = where["choice"]
        self._send(payload | {"actions": [action]}, user)

    def submit(self, user: str, form: Mapping[str, str]) -> None:
        """Send a modal with what was filled in, by block_id/action_id; it closes if it may."""
        view = self._slack.modals[user]
        values: dict[str, Args] = {}
        for block in view["blocks"]:
            if block["type"] != "input":
                continue
            element = block["element"]
            given = form.get(f"{block['block_id']}/{element['action_id']}")
            answer: Args = {"type": element["type"], "value": given}
            if element["type"] == "static_select":
                chosen = [o for o in element["options"] if o["value"] == given]
                answer = {"type": element["type"], "selected_option": (chosen or [None])[0]}
            values.setdefault(block["block_id"], {})[element["action_id"]] = answer
        full = {**view, "state": {"values": values}}
        said = self._send({"type": "view_submission", "view": full}, user)
        if said.get("response_action") == "errors":
            self._slack.modals[user] = {**view, "errors": said["errors"]}
        else:
            self._slack.modals.pop(user, None)

    def command(self, user: str, channel: str, text: str, base: str = "") -> None:
        """Type a slash command."""
        word, _, rest = text.strip().partition(" ")
        place = self._slack.channel(channel)
        form = {
            "command": word if word.startswith("/") else f"/{word}",
            "text": rest,
            "user_id": user,
            "user_name": self._slack.users[user],
            "channel_id": place.id,
            "channel_name": place.name,
            "team_id": TEAM["id"],
            "trigger_id": self._slack.trigger(user),
            "response_url": self._reply_url(user, place.id, base),
        }
        said = self.post(urlencode(form).encode())
        if said.get("text"):
            self._slack.hear(user, place.id, str(said["text"]))

    def open_home(self, user: str) -> None:
        """Open the app's Home tab."""
        event = {"type": "app_home_opened", "user": user, "tab": "home", "event_ts": "1"}
        body = {"type": "event_callback", "team_id": TEAM["id"], "event": event}
        self.post(json.dumps(body | {"event_id": f"Ev{next(self._numbers)}"}).encode())

    def take_reply(self, name: str, text: str) -> bool:
        """Take what the app sends to the address that came with an action or a command."""
        found = self._replies.get(name)
        if found is None or not text:
            return False
        self._slack.hear(*found, text)
        return True

    def post(self, body: bytes, **headers: str) -> Args:
        """Send a body as Slack would, and return the answer; SlackError for anything but 200."""
        timestamp = str(int(time.time()))
        signed = {
            "X-Slack-Request-Timestamp": timestamp,
            "X-Slack-Signature": signature_of(self._secret, timestamp, body),
            "Content-Type": "application/json"
            if body[:1] == b"{"
            else "application/x-www-form-urlencoded",
        }
        request = urllib.request.Request(self._address, body, signed | headers, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=WAITS_SECONDS) as answer:  # noqa: S310
                said = answer.read()
        except HTTPError as error:
            raise SlackError(f"dispatch_failed ({error.code})") from None
        try:
            found = json.loads(said or b"{}")
        except ValueError:
            return {"text": said.decode()}
        return found if isinstance(found, dict) else {}

    def _send(self, payload: Args, user: str) -> Args:
        full = payload | {
            "user": {"id": user, "username": self._slack.users[user], "team_id": TEAM["id"]},
            "team": TEAM,
            "api_app_id": "A0LOCAL",
            "trigger_id": self._slack.trigger(user),
        }
        return self.post(urlencode({"payload": json.dumps(full)}).encode())

    def _reply_url(self, user: str, channel: str, base: str) -> str:
        name = str(next(self._numbers))
        self._replies[name] = user, channel
        return f"{self._called or base}replies/{name}"


def _element(blocks: list[Any], block_id: str, action_id: str) -> Args:
    for block in blocks:
        for element in block.get("elements", ()) if block.get("block_id") == block_id else ():
            if element.get("action_id") == action_id:
                found: Args = element
                return found
    raise LookupError(f"there is no {action_id} in {block_id}")
