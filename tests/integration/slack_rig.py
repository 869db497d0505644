"""A local Slack and the Slack app, both over HTTP, with a real store and whatever follows."""

import time
from contextlib import contextmanager

from fastapi import FastAPI

from service.adapters.slack_api import make_client
from service.adapters.slack_blocks import Look, blocks_of
from service.core.members import Member
from service.core.ports import Changes
from service.core.secret import Secret
from service.entrypoints.api.serve import serve
from service.entrypoints.local_slack import build_app
from service.entrypoints.local_slack import serve as serve_slack
from service.entrypoints.slack_app import PATH, SlackApp
from service.entrypoints.slack_deeds import Setup
from tests.factories import make_incident, make_notice

SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
ADA, BOB, EVE, VIC, NEW = "U0ADA", "U0BOB", "U0EVE", "U0VIC", "U0NEW"
USERS = {ADA: "ada", BOB: "bob", EVE: "eve", VIC: "vic", NEW: "new"}
MEMBERS = {
    ADA: Member(name=ADA, person="Ada", teams=[], role="admin"),
    BOB: Member(name=BOB, person="Bob", teams=["payments"]),
    EVE: Member(name=EVE, person="Eve", teams=["search", "web"]),
    VIC: Member(name=VIC, person="Vic", teams=["payments"], role="viewer"),
}


class Rig:
    """What a test presses and looks at. `said` are the intents that reached the pipeline's door."""

    def __init__(self, slack, hands, store, url, address):
        self.slack, self.hands, self.store = slack, hands, store
        self.url, self.address = url, address
        self.said = []
        self.refused = None
        self.then = lambda _intent: None
        self.offset = 0

    def follow(self, intent, _within):
        self.said.append(intent)
        if isinstance(self.refused, type):
            raise self.refused
        if self.refused is None:
            self.then(intent)
        return self.refused

    def save(self, **changes):
        self.offset += 1
        self.store.save(Changes(previous=self.offset - 1, offset=self.offset, **changes))

    def post(self, incident=None, **overrides):
        """Post a notice as the notifier would, and keep its incident in the store."""
        incident = incident or make_incident(**overrides)
        self.save(incidents=[incident])
        blocks = blocks_of(
            make_notice(incident=incident), Look("http://page.example", answers=True)
        )
        made = self.slack.call("chat.postMessage", {"channel": "finops", "blocks": blocks})
        return made["ts"]

    def press(self, user, ts, act, choice=""):
        """Press a button of a post and return what the person is told of it."""
        message = self.slack.channel("finops").message(ts)
        block_id = next(
            block["block_id"]
            for block in message["blocks"]
            for element in block.get("elements", ())
            if element.get("action_id") == act
        )
        where = {"channel": "finops", "ts": ts, "block_id": block_id, "action_id": act}
        return self.told(lambda: self.hands.press(user, where | {"choice": choice}, self.url + "/"))

    def command(self, user, text, channel="finops"):
        return self.told(
            lambda: self.hands.command(user, channel, f"/spend {text}", self.url + "/")
        )

    def submit(self, user, answer):
        return self.told(lambda: self.hands.submit(user, {"asked/answer": answer}))

    def told(self, do, within=5.0):
        """Do something and return what is whispered next; empty when a modal opens instead."""
        before, modals = len(self.slack.whispers), dict(self.slack.modals)
        do()
        until = time.monotonic() + within
        while time.monotonic() < until:
            if len(self.slack.whispers) > before:
                return self.slack.whispers[before]["text"]
            if any(modals.get(user) is not view for user, view in self.slack.modals.items()):
                return ""
            time.sleep(0.01)
        raise AssertionError("nobody was told anything")


@contextmanager
def slack_rig(store, **overrides):
    local = build_app(rate_limit=False, processing_seconds=0, users=USERS)
    with serve_slack(local) as url:
        rig = Rig(local.state.slack, local.state.hands, store, url, "")
        values = {
            "store": store,
            "client": make_client(Secret("xoxb-1"), f"{url}/api/", 5),
            "signing_secret": Secret(SIGNING_SECRET),
            "known": MEMBERS,
            "follow": rig.follow,
            "public_url": "http://page.example",
        }
        app = FastAPI()
        SlackApp(Setup(**(values | overrides))).mount(app)
        with serve(app) as address:
            rig.address = address + PATH
            rig.hands.reach(rig.address, Secret(SIGNING_SECRET))
            yield rig
