"""`/spend`: what a team sets up for itself, and what it asks, from any channel.

A command answers with a text of Slack's markup, shown to nobody else, or with an intent and what to
say once it is in effect. A team sets up only what is its own.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from service.adapters.slack_blocks import escape
from service.core.cost_words import headline
from service.core.members import Member
from service.core.money import ZERO
from service.core.phrases import clean, duration
from service.core.ports import FindingFilter, IncidentFilter, Store
from service.decoding import convert
from service.entrypoints.slack_people import KIND, VIEWS, People
from service.entrypoints.slack_setups import Asked, Reply, Setups, code, drop, plan_line, put, shown
from service.entrypoints.slack_views import silence_line, subscription_line
from service.entrypoints.slack_words import WordError, split

LISTED: Final = 20
LOOKS_THROUGH: Final = 2000
_ADMIN_ONLY: Final = "Only an admin says who is who."


class Command(NamedTuple):
    """One word after `/spend`."""

    usage: str
    does: str
    run: Callable[[Asked], Reply]
    changes: bool = False


class Commands:
    """All commands. `test` posts to a channel and says how that went."""

    def __init__(
        self,
        store: Store,
        people: People,
        test: Callable[[str], str],
        destinations: Collection[str] = (),
    ) -> None:
        self._store = store
        self._people = people
        self._test = test
        self.setups = setups = Setups(store, destinations)
        self._known: Final[Mapping[str, Command]] = {
            "subscribe": Command(
                "subscribe [TEAM] [#channel] [min=50] [severity=medium] [digest=daily] "
                "[quiet=20:00-08:00 zone=Europe/Berlin] [service_name=~…]",
                "tell this channel, or another, of a team's spend",
                setups.subscribe,
                changes=True,
            ),
            "unsubscribe": Command(
                "unsubscribe [NAME]", "end a subscription, this channel's if it is the only one",
                setups.unsubscribe, changes=True,
            ),
            "silence": Command(
                'silence INCIDENT|service_name="…" for=4h REASON',
                "say nothing of it for a while; it is still recorded", setups.silence, changes=True,
            ),
            "plan": Command(
                "plan [TEAM] 4000 until=2026-12-01T08:00 [currency=EUR] REASON",
                "let a team spend that much more before anyone hears of it", setups.plan,
                changes=True,
            ),
            "budget": Command(
                "budget [TEAM] 5000 [service=…] [tag=KEY=VALUE] [account=…] [currency=EUR] "
                "[period=quarter]",
                "what a team may spend; without more, how its budgets stand", setups.budget,
            ),
            "end": Command(
                "end NAME", "end a silence, a plan or a budget", setups.end, changes=True
            ),
            "list": Command("list", "what your teams have set up", self._list),
            "who": Command("who RESOURCE", "who owns it, and what says so", self._who),
            "status": Command("status", "how fresh everything is, and what is odd", self._status),
            "test": Command("test", "post to this channel, to see that it works", self._try),
            "link": Command(
                'link @user TEAM[,TEAM] [role=editor] [as="Ada Lovelace"]',
                "say who a Slack user is (admins)", self._link, changes=True,
            ),
            "unlink": Command("unlink @user", "take that back (admins)", self._unlink, True),
        }  # fmt: skip

    def run(self, asked: Asked) -> Reply:
        """Follow one command as far as it can be without changing anything."""
        word, _, rest = asked.text.strip().partition(" ")
        command = self._known.get(word.lower())
        if command is None:
            return Reply(self._help(word))
        if command.changes and asked.member.role == "viewer":
            return Reply(VIEWS)
        try:
            return command.run(asked._replace(text=rest))
        except (WordError, msgspec.ValidationError, ValueError) as error:
            why = escape(clean(str(error), 300))
            return Reply(f"Nothing has changed: {why}.\n`/spend {command.usage}`")

    def _help(self, word: str) -> str:
        known = word.lower() in ("", "help")
        begin = [] if known else [f"There is no `/spend {escape(clean(word, 40))}`."]
        lines = [f"`/spend {escape(c.usage)}`: {c.does}" for c in self._known.values()]
        return "\n".join([*begin, *lines])

    def _list(self, asked: Asked) -> Reply:
        member = asked.member
        parts = (
            (
                "Subscriptions",
                [subscription_line(s) for s in self.setups.mine(member, "subscription")],
            ),
            ("Silences", [silence_line(s) for s in self.setups.mine(member, "silence")]),
            ("Plans", [plan_line(p) for p in self.setups.mine(member, "plan")]),
        )
        return Reply("\n".join(_listed(parts)))

    def _who(self, asked: Asked) -> Reply:
        wanted = " ".join(split(asked.text, frozenset()).plain).lower()
        if not wanted:
            raise WordError("name a resource, or a part of its name")
        found: dict[tuple[str, str], str] = {}
        for one in self._store.findings(FindingFilter(limit=LOOKS_THROUGH)):
            name = one.resource_id or one.series
            if wanted in name.lower() and asked.member.sees(one.owner):
                found.setdefault((name, one.owner), one.owner_source)
        lines = [
            f"`{code(name)}` belongs to {shown(owner)} ({shown(source)})"
            for (name, owner), source in list(found.items())[:LISTED]
        ]
        said = "Nothing that was ever odd and is your teams' has that in its name."
        return Reply("\n".join(lines) or said)

    def _status(self, asked: Asked) -> Reply:
        where = IncidentFilter(state="firing", limit=LOOKS_THROUGH)
        mine = [one for one in self._store.incidents(where) if asked.member.sees(one.owner)]
        mine.sort(key=lambda one: abs(one.run_rate_per_day or ZERO), reverse=True)
        counts = self._store.delivery_counts()
        waiting = counts.get("ready", 0) + counts.get("sending", 0) + counts.get("unknown", 0)
        lines = [
            f"{shown(one.source)}: {one.events:,} rows, the newest came "
            f"{duration(max(asked.at - one.last_arrived_at, asked.at - asked.at))} ago"
            for one in self._store.sources()
            if one.last_arrived_at is not None
        ]
        lines.append(f"{waiting} messages wait, {counts.get('dead', 0)} could not be delivered")
        lines.append(f"Of your teams' incidents, {len(mine)} are firing:")
        lines += [f"• {shown(headline(one))}" for one in mine[:LISTED]]
        return Reply("\n".join(lines))

    def _try(self, asked: Asked) -> Reply:
        return Reply(self._test(asked.channel))

    def _link(self, asked: Asked) -> Reply:
        if asked.member.role != "admin":
            return Reply(_ADMIN_ONLY)
        words = split(asked.text, frozenset({"role", "as"}))
        user, name = self._user(words.users)
        teams = [team for word in words.plain for team in word.split(",") if team]
        role = words.options.get("role", "editor")
        if not teams and role != "admin":
            raise WordError("say whose spend they may see, or * for everyone's")
        person = words.options.get("as") or name or user
        thing = convert(
            {"type": KIND, "name": user, "person": person, "teams": teams, "role": role}, Member
        )
        whose = "everything" if thing.sees_all else ", ".join(teams)
        said = f"Done: <@{user}> is {shown(person)}, {role} of {shown(whose)}."
        return put(asked, thing, said)

    def _unlink(self, asked: Asked) -> Reply:
        if asked.member.role != "admin":
            return Reply(_ADMIN_ONLY)
        user, _ = self._user(split(asked.text, frozenset()).users)
        return drop(asked, KIND, user)

    def _user(self, users: list[tuple[str, str]]) -> tuple[str, str]:
        if len(users) != 1:
            raise WordError("name one user, with @")
        if self._people.is_fixed(users[0][0]):
            raise WordError("the config says who that is, under [slack_users]")
        return users[0]


def _listed(parts: tuple[tuple[str, list[str]], ...]) -> Iterator[str]:
    for title, lines in parts:
        yield f"*{title}*"
        yield from (f"• {line}" for line in lines[:LISTED] or ["none"])
