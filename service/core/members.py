"""Members: which person a Slack user is, and whose spend they may see and act on."""

from typing import Annotated, Literal

import msgspec

from service.core.tokens import EVERY_TEAM

SlackUserId = Annotated[str, msgspec.Meta(pattern=r"^[UW][A-Z0-9]{2,20}$")]
SlackRole = Literal["viewer", "editor", "admin"]
PersonName = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
Teams = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=200)]], msgspec.Meta(max_length=100)
]


class Member(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="member"):
    """A Slack user, known by Slack's id for them.

    They see the owners in `teams`, or all with `*`; an admin sees and does everything. A viewer
    changes nothing.
    """

    name: SlackUserId
    person: PersonName
    teams: Teams
    role: SlackRole = "editor"

    @property
    def owners(self) -> list[str]:
        """Return whose it is: nobody's, for only an admin says who is who."""
        return []

    @property
    def sees_all(self) -> bool:
        """Tell whether every team's spend is theirs to see."""
        return self.role == "admin" or EVERY_TEAM in self.teams

    def sees(self, owner: str) -> bool:
        """Tell whether an owner's spend is theirs to see."""
        return self.sees_all or owner in self.teams
