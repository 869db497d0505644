"""What `/spend` sets up for a team: subscriptions, silences and plans, each of that team alone."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from service.adapters.slack_blocks import escape
from service.core import budget_words
from service.core.budget_figures import BudgetStatus
from service.core.budgets import Budget
from service.core.events import content_hash
from service.core.incidents import Incident
from service.core.intents import Drop, Intent, Put
from service.core.intervals import QuietHours
from service.core.members import Member
from service.core.phrases import clean, moment, money
from service.core.plans import Plan
from service.core.ports import IncidentFilter, Store
from service.core.silences import Silence
from service.core.standing import Standing
from service.core.subscriptions import Subscription
from service.core.tokens import EVERY_TEAM
from service.decoding import convert
from service.entrypoints.slack_acts import VIA
from service.entrypoints.slack_people import VIEWS
from service.entrypoints.slack_views import silence_line, subscription_line
from service.entrypoints.slack_words import WordError, amount_of, split, until_of

SHORTEST_NAME: Final = 6
# What a budget may be of, beside its team, by the word for it in a command.
_BUDGET_WORDS: Final = {"service": "service", "tag": "tag", "account": "sub_account"}
_SLUG: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Asked(NamedTuple):
    """A command as it was given: by whom, where, when, and the rest of its words."""

    member: Member
    channel: str
    channel_name: str
    at: datetime
    text: str


class Reply(NamedTuple):
    """What to say, at once or once `intent` is in effect."""

    text: str
    intent: Intent | None = None


class Setups:
    """Makes the things, and knows which of those that stand are whose.

    `destinations` are those of the config: a channel that is told by a route keeps that name, so
    that it hears once of what both a route and a subscription tell it.
    """

    def __init__(self, store: Store, destinations: Collection[str] = ()) -> None:
        self._store = store
        self._destinations = frozenset(destinations)

    def mine(self, member: Member, kind: str) -> list[Any]:
        """Return what stands of a kind and is a person's to see."""
        return [one for one in self._store.things(kind) if _is_theirs(member, one)]

    def subscribe(self, asked: Asked) -> Reply:
        """Let a channel hear of a team."""
        options = frozenset({"min", "severity", "digest", "quiet", "zone"})
        words = split(asked.text, options)
        given, team = words.options, _team(asked.member, words.plain)
        destination = self._destination(words.channels or [(asked.channel, asked.channel_name)])
        values: dict[str, Any] = {
            "type": "subscription",
            "name": _name(team, {"team": team, "destination": destination}),
            "team": team,
            "destination": destination,
            "matchers": words.matchers,
            "min_severity": given.get("severity"),
            "quiet_hours": _quiet(given),
            "digest": given.get("digest"),
        }
        if "min" in given:
            values["min_impact"] = amount_of(given["min"])
        thing = convert(values, Subscription)
        return put(asked, thing, f"Done: {subscription_line(thing)}.")

    def unsubscribe(self, asked: Asked) -> Reply:
        """End a subscription."""
        name = one(split(asked.text, frozenset()).plain, "name")
        here = self._named(asked.channel, asked.channel_name)
        mine = self.mine(asked.member, "subscription")
        found = [one for one in mine if (one.name == name if name else one.destination == here)]
        if len(found) != 1:
            which = "that name" if name else "this channel"
            raise WordError(f"there are {len(found)} subscriptions of {which}: see /spend list")
        return drop(asked, "subscription", found[0].name)

    def silence(self, asked: Asked) -> Reply:
        """Say nothing of what passes matchers, for a while."""
        words = split(asked.text, frozenset({"for", "until"}))
        matchers, reason = list(words.matchers), list(words.plain)
        if not matchers:
            incident = self._incident(asked.member, reason.pop(0) if reason else "")
            matchers = [f'incident_id="{incident.incident_id}"']
        if not asked.member.sees_all:
            matchers.append(_owners(asked.member))
        if not reason:
            raise WordError("say why, at the end")
        thing = Silence(
            name="pending",
            matchers=matchers,
            starts_at=asked.at,
            ends_at=until_of(words.options, asked.at),
            author=asked.member.person,
            comment=" ".join(reason)[:200],
        )
        thing = msgspec.structs.replace(thing, name=_name("silence", msgspec.to_builtins(thing)))
        return put(asked, thing, f"Done: {silence_line(thing)}.", why=thing.comment)

    def plan(self, asked: Asked) -> Reply:
        """Let a team spend more before anyone hears."""
        words = split(asked.text, frozenset({"for", "until", "currency"}))
        plain = list(words.plain)
        first = plain[0] if plain else ""
        is_amount = bool(re.match(r"\+?\$?[0-9]", first))
        team = _team(asked.member, [] if is_amount else [plain.pop(0)] if plain else [])
        amount = amount_of(plain.pop(0) if plain else "")
        if not plain:
            raise WordError("say what for, at the end")
        thing = Plan(
            name="pending",
            team=team,
            amount=amount,
            billing_currency=words.options.get("currency", "USD").upper(),
            starts_at=asked.at,
            until=until_of(words.options, asked.at),
            comment=" ".join(plain)[:200],
            matchers=words.matchers,
        )
        thing = msgspec.structs.replace(thing, name=_name(team, msgspec.to_builtins(thing)))
        return put(asked, thing, f"Done: {plan_line(thing)}.", why=thing.comment)

    def budget(self, asked: Asked) -> Reply:
        """Set a team's budget, or show how those of the person's teams stand."""
        if not asked.text.strip():
            mine = [one for one in self._store.budgets() if asked.member.sees(one.owner)]
            return Reply("\n".join(budget_line(one) for one in mine) or "There is no budget.")
        if asked.member.role == "viewer":
            return Reply(VIEWS)
        words = split(asked.text, frozenset({*_BUDGET_WORDS, "currency", "period"}))
        plain = list(words.plain)
        is_amount = bool(plain) and bool(re.match(r"\+?\$?[0-9]", plain[-1]))
        amount = amount_of(plain.pop() if is_amount else "")
        of = {"owner": _team(asked.member, plain)}
        of |= {_BUDGET_WORDS[k]: v for k, v in words.options.items() if k in _BUDGET_WORDS}
        values: dict[str, Any] = {"type": "budget", "name": _name(of["owner"], of), **of}
        values |= {"amount": amount, "currency": words.options.get("currency", "USD").upper()}
        thing = convert(values | {"period": words.options.get("period", "month")}, Budget)
        return put(asked, thing, f"Done: `{code(thing.name)}` {shown(thing.in_words)}.")

    def end(self, asked: Asked) -> Reply:
        """End a silence, a plan or a budget."""
        name = one(split(asked.text, frozenset()).plain, "name")
        for kind in ("silence", "plan", "budget"):
            if name in {one.name for one in self.mine(asked.member, kind)}:
                return drop(asked, kind, name or "")
        raise WordError("none of your silences, plans and budgets has that name: see /spend list")

    def _destination(self, channels: list[tuple[str, str]]) -> str:
        """Return the one channel that is meant, as a destination."""
        if len(channels) > 1:
            raise WordError("one channel is enough")
        if channels[0][0][:1] not in "CG":
            raise WordError("name a channel: this is a conversation of people")
        return self._named(*channels[0])

    def _named(self, channel: str, name: str) -> str:
        by_name = {f"slack:#{name}", f"slack:{name}"} & self._destinations
        return min(by_name, default=f"slack:{channel}")

    def _incident(self, member: Member, begin: str) -> Incident:
        if len(begin) < SHORTEST_NAME:
            raise WordError("name an incident by the first signs that its notice shows last")
        known = self._store.incidents(IncidentFilter(begins=begin))
        mine = [i for i in known if member.sees(i.owner)]
        if len(mine) != 1:
            raise WordError(f"{len(mine)} incidents of your teams begin like that")
        return mine[0]


def put(asked: Asked, thing: Any, done: str, why: str = "") -> Reply:
    """Reply by letting a thing stand."""
    said = {"at": asked.at, "who": asked.member.person, "via": VIA}
    return Reply(done, Put(thing=thing, why=why or "/spend", **said))  # type: ignore[arg-type]


def _is_theirs(member: Member, thing: Standing) -> bool:
    """Tell whether a thing is of a person's teams: a silence is, if it is held to them."""
    held = isinstance(thing, Silence) and bool(member.teams) and _owners(member) in thing.matchers
    mine = bool(thing.owners) and set(member.teams) >= set(thing.owners)
    return member.sees_all or held or mine


def _owners(member: Member) -> str:
    """Write the matcher that holds a person's silence to what is theirs."""
    if not member.teams:
        raise WordError("you have no team")
    if len(member.teams) == 1 and '"' not in member.teams[0]:
        return f'owner="{member.teams[0]}"'
    return f'owner=~"{"|".join(re.escape(team) for team in sorted(member.teams))}"'


def _team(member: Member, plain: list[str]) -> str:
    """Return the team that is meant: the one named, else the person's only one."""
    team = one(plain, "team")
    if team is None:
        own = [one for one in member.teams if one != EVERY_TEAM]
        if len(own) != 1:
            raise WordError("name a team")
        return own[0]
    if not (member.sees_all if team == EVERY_TEAM else member.sees(team)):
        raise WordError(f"{team!r} is not a team of yours")
    return team


def _quiet(given: Mapping[str, str]) -> QuietHours | None:
    if "quiet" not in given:
        if "zone" in given:
            raise WordError("zone goes with quiet=20:00-08:00")
        return None
    start, dash, end = given["quiet"].partition("-")
    if not dash:
        raise WordError("write quiet hours as quiet=20:00-08:00")
    return QuietHours(start=start, end=end, location=given.get("zone", "UTC"))


def one(words: list[str], what: str) -> str | None:
    """Return the only word there is, None when there is none."""
    if len(words) > 1:
        raise WordError(f"one {what} is enough; {words[1][:40]!r} is too much")
    return words[0] if words else None


def drop(asked: Asked, kind: str, name: str) -> Reply:
    """Reply by letting a thing stand no more."""
    said = {"at": asked.at, "who": asked.member.person, "via": VIA, "why": "/spend"}
    intent = Drop(kind=kind, name=name, **said)  # type: ignore[arg-type]
    return Reply(f"Done: the {kind} `{code(name)}` is over.", intent)


def _name(begin: str, content: Mapping[str, object]) -> str:
    """Name a thing by what it is about and by its content: said twice, it is one."""
    plain = _SLUG.sub("-", begin).strip("-._")[:40] or "all"
    return f"{plain}-{content_hash(content)[:8]}"


def budget_line(one: BudgetStatus) -> str:
    """Write how a budget stands as one line of Slack's markup."""
    said = budget_words.sentence(one.figures)
    state = one.state.replace("_", " ")
    return f"`{code(one.budget.name)}` of {shown(one.owner)}, {state}: {shown(said)}"


def plan_line(one: Plan) -> str:
    """Write a plan as one line of Slack's markup."""
    amount = shown(money(one.amount, one.billing_currency))
    said = f"{shown(one.team)} may spend {amount} more until {moment(one.until)}"
    return f"`{code(one.name)}` {said} ({shown(one.comment)})"


def shown(text: str) -> str:
    """Write foreign text into Slack's markup."""
    return escape(clean(text, 200))


def code(text: str) -> str:
    """Write foreign text into a code span."""
    return shown(text).replace("`", "'")
