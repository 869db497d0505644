"""Tokens: who may see and do what over the API. The token itself is never kept, only its hash."""

from typing import Annotated, Literal

import msgspec

from service.core.events import Aware

Role = Literal["viewer", "editor", "admin", "ingest"]
EVERY_TEAM = "*"
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Token(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="token"):
    """One key to the API, known by its name.

    `sha256` is the hex digest of a secret of at least 128 random bits, which needs no salt. It sees
    the owners in `teams`, or all with `*`, and does what its `role` may until `expires_at`.
    """

    name: Name
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    teams: list[str]
    role: Role
    expires_at: Aware | None = None

    @property
    def owners(self) -> list[str]:
        """Return whose it is: nobody's, for only an admin hands out tokens."""
        return []
