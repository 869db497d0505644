"""Who is who in Slack, and what each may do: the config first, then what an admin linked."""

from collections.abc import Mapping
from typing import Final

from service.adapters.slack_blocks import escape
from service.core.incidents import Incident
from service.core.members import Member
from service.core.owners import UNOWNED
from service.core.phrases import clean
from service.core.ports import Store

KIND: Final = "member"
VIEWS: Final = "You may look, and change nothing: an admin can give you the role editor."


class People:
    """Finds the person behind a Slack user. Slack signed the user's id; nothing else is trusted."""

    def __init__(self, store: Store, known: Mapping[str, Member]) -> None:
        self._store = store
        self._known = known

    def find(self, user_id: str) -> Member | None:
        """Return who that is, None for a user that nobody has linked."""
        if user_id in self._known:
            return self._known[user_id]
        found = self._store.thing(KIND, user_id)
        return found if isinstance(found, Member) else None

    def is_fixed(self, user_id: str) -> bool:
        """Tell whether the config says who that is, which no command changes."""
        return user_id in self._known


def stranger(user_id: str) -> str:
    """Say to an unknown user how to become a known one."""
    name = escape(clean(user_id, 40))
    return (
        "I do not know you yet, so I show and change nothing. Ask an admin of Spendwatch to run "
        f"`/spend link <@{name}> YOUR-TEAM`, or to add `[slack_users.{name}]` to its config."
    )


def refusal(member: Member, incident: Incident, *, claims: bool = False) -> str | None:
    """Say why a person may not act on an incident, or None. What nobody owns, anyone may claim."""
    if not member.sees(incident.owner) and not (claims and incident.owner == UNOWNED):
        teams = ", ".join(clean(team, 100) for team in member.teams) or "none"
        owner = clean(incident.owner, 100)
        return escape(f"This belongs to {owner}, and your teams are: {teams}.")
    return VIEWS if member.role == "viewer" else None
