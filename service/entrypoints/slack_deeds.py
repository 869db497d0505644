"""What people do in Slack, done, and said what came of it in a text of Slack's markup.

Who they are is looked up, and what they may is checked, each time and by the store.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from service.adapters.slack_api import advice_for
from service.adapters.slack_blocks import escape
from service.core.incidents import Incident
from service.core.intents import Intent
from service.core.members import Member
from service.core.money import ZERO
from service.core.phrases import clean
from service.core.ports import (
    IncidentFilter,
    LogUnavailableError,
    Store,
    StoreUnavailableError,
    WrittenDownError,
)
from service.core.secret import Secret
from service.core.tokens import EVERY_TEAM
from service.entrypoints.api.feedback import WITHIN_SECONDS, Follow
from service.entrypoints.slack_acts import DONE, Press, intent_of, moment_of, press_of
from service.entrypoints.slack_commands import Commands
from service.entrypoints.slack_people import People, refusal, stranger
from service.entrypoints.slack_setups import Asked
from service.entrypoints.slack_views import (
    Home,
    Question,
    ask_reason,
    ask_team,
    home_view,
    stranger_view,
)

INCIDENTS_READ: Final = 500
LIVE: Final = ("firing", "acknowledged", "snoozed")
_BUSY: Final = "Spendwatch is busy, and nothing has changed: try again in a moment."
_WRITTEN: Final = "It is written down, and will be done as soon as whoever does it is back."
_READS: Final = "This process only reads, and nothing has changed: ask an admin to look at its log."
_NO_STORE: Final = "Spendwatch cannot read what it knows just now: try again in a moment."
_GONE: Final = "There is no such incident any more."


class Setup(NamedTuple):
    """What the Slack app needs. `moment` turns a moment of Slack's into the service's time."""

    store: Store
    client: WebClient
    signing_secret: Secret
    known: Mapping[str, Member]
    follow: Follow | None
    public_url: str | None = None
    moment: Callable[[datetime], datetime] = lambda at: at
    destinations: Collection[str] = ()


class Deeds:
    """Does what is asked. Every method answers with a text, and raises for no expected failure."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._store = setup.store
        self._client = setup.client
        self._people = People(setup.store, setup.known)
        self._commands = Commands(setup.store, self._people, self._test, setup.destinations)

    def press(self, body: dict[str, Any], user: str, channel: str) -> str:
        """Do what a button asks for; empty when a question was asked instead."""
        return self._heard(lambda: self._press(body, user, channel))

    def answer(self, press: Press, user: str, text: str) -> str:
        """Do what a modal asks for; whether this person may is looked at again."""
        return self._heard(lambda: self._answered(press, user, text))

    def command(self, body: dict[str, Any], signed_at: str) -> str:
        """Follow a `/spend` that Slack signed at a moment."""
        return self._heard(lambda: self._command(body, signed_at))

    def home(self, user: str, note: str) -> dict[str, Any]:
        """Return a user's Home tab, with a note above it if there is one."""
        try:
            member = self._people.find(user)
            return stranger_view(stranger(user)) if member is None else self._home(member, note)
        except StoreUnavailableError:
            return stranger_view(_NO_STORE)

    def _press(self, body: dict[str, Any], user: str, channel: str) -> str:
        actions = body.get("actions") or [None]
        press = press_of(actions[0])
        if press is None:
            return "That is no button of mine."
        return self._act(press, user, channel, str(body.get("trigger_id")))

    def _act(self, press: Press, user: str, channel: str, trigger: str) -> str:
        member = self._people.find(user)
        if member is None:
            return stranger(user)
        incident = self._store.incident(press.incident_id)
        if incident is None:
            return _GONE
        refused = refusal(member, incident, claims=press.act == "claim")
        if refused is not None:
            return refused
        team = _only_team(member)
        if press.act == "not_an_issue" or (press.act == "claim" and team is None):
            question = Question(press, channel)
            reason = press.act == "not_an_issue"
            ask = ask_reason(incident, question) if reason else ask_team(incident, member, question)
            self._client.views_open(trigger_id=trigger, view=ask)
            return ""
        to = self._name_of(press.value) if press.act == "assign" else team
        intent = intent_of(self._in_service(press), incident, member, to=to)
        return intent if isinstance(intent, str) else self._follow(intent, DONE[press.act])

    def _answered(self, press: Press, user: str, answer: str) -> str:
        member = self._people.find(user)
        incident = self._store.incident(press.incident_id)
        if member is None:
            return stranger(user)
        if incident is None:
            return _GONE
        is_claim = press.act == "claim"
        refused = refusal(member, incident, claims=is_claim)
        if refused is None and is_claim and not member.sees(answer):
            refused = escape(f"{clean(answer, 100)} is not a team of yours.")
        if refused is not None:
            return refused
        press = self._in_service(press)
        if is_claim:
            intent = intent_of(press, incident, member, to=answer)
        else:
            intent = intent_of(press, incident, member, why=answer)
        return intent if isinstance(intent, str) else self._follow(intent, DONE[press.act])

    def _command(self, body: dict[str, Any], signed_at: str) -> str:
        user = str(body.get("user_id"))
        member = self._people.find(user)
        if member is None:
            return stranger(user)
        signed = moment_of(signed_at)
        if signed is None:
            return _BUSY
        at = self._setup.moment(signed)
        place = str(body.get("channel_id")), str(body.get("channel_name"))
        asked = Asked(member, *place, at, str(body.get("text") or ""))
        reply = self._commands.run(asked)
        return reply.text if reply.intent is None else self._follow(reply.intent, reply.text)

    def _home(self, member: Member, note: str) -> dict[str, Any]:
        found: list[Incident] = []
        for state in LIVE:
            found += self._store.incidents(IncidentFilter(state=state, limit=INCIDENTS_READ))
        mine = [one for one in found if member.sees(one.owner) and not one.backfill]
        mine.sort(key=lambda one: abs(one.run_rate_per_day or ZERO), reverse=True)
        mine_of = self._commands.setups.mine
        home = Home(member, mine, mine_of(member, "subscription"), mine_of(member, "silence"), note)
        return home_view(home, self._setup.public_url)

    def _in_service(self, press: Press) -> Press:
        return press._replace(at=self._setup.moment(press.at))

    def _heard(self, do: Callable[[], str]) -> str:
        """Do it and return what to say of it, also when something behind does not answer."""
        try:
            return do()
        except StoreUnavailableError:
            return _NO_STORE
        except OSError:
            return "Slack does not answer me just now, and nothing has changed: press again."
        except SlackApiError as error:
            return f"Slack did not take that: {code_of(error)}. Nothing has changed: press again."

    def _follow(self, intent: Intent, done: str) -> str:
        if self._setup.follow is None:
            return _READS
        try:
            refused = self._setup.follow(intent, WITHIN_SECONDS)
        except WrittenDownError:
            return _WRITTEN
        except (TimeoutError, LogUnavailableError):
            return _BUSY
        return done if refused is None else f"Nothing has changed: {escape(clean(refused, 300))}."

    def _name_of(self, user_id: str) -> str | None:
        """Return what a Slack user is called: as we know them, else as Slack does."""
        member = self._people.find(user_id)
        if member is not None:
            return member.person
        known = self._client.users_info(user=user_id).get("user") or {}
        profile = known.get("profile") or {}
        name = profile.get("display_name") or known.get("real_name") or known.get("name")
        return clean(str(name), 120) if name else None

    def _test(self, channel: str) -> str:
        try:
            self._client.chat_postMessage(
                channel=channel, text="Spendwatch can post here. This is only a test."
            )
        except SlackApiError as error:
            return f"I cannot post here. {escape(advice_for(code_of(error)))}"
        return "I can post here, and I hear you."


def _only_team(member: Member) -> str | None:
    """Return the one team that a person can mean."""
    return member.teams[0] if len(member.teams) == 1 and member.teams[0] != EVERY_TEAM else None


def code_of(error: SlackApiError) -> str:
    """Return Slack's word for what is wrong, which is all of an error that is fit to be shown."""
    code = error.response.get("error") if error.response is not None else None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{2,64}", code) else "no reason"
