"""`spendwatch tokens`: keys to the API, made on this machine and known to the service by a hash."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from service.config import ConfigError, Settings
from service.core.phrases import moment
from service.core.tokens import EVERY_TEAM, Role
from service.entrypoints.admin_token import new_token
from service.entrypoints.api.access import digest
from service.entrypoints.client import Client

COLUMNS: Final = ("token", "role", "sees", "ends", "last used")


def create_token(
    settings: Settings, name: str, teams: Sequence[str], role: Role, days: int | None
) -> str:
    """Make a token and return it: it is shown this once, and kept nowhere.

    ConfigError for one that would see nothing, OSError for what the service refuses.
    """
    if not teams and role != "ingest":
        raise ConfigError(f"whose spend may it see? --team TEAM, or --team '{EVERY_TEAM}' for all")
    client = Client(settings)
    expires = None if days is None else client.now() + timedelta(days=days)
    token = new_token()
    body = {
        "sha256": digest(token),
        "teams": list(teams),
        "role": role,
        "expires_at": None if expires is None else expires.isoformat(),
    }
    client.ask(_path(name), "PUT", body)
    return token


def read_tokens(settings: Settings) -> list[dict[str, Any]]:
    """Ask the running service for its tokens; OSError when it does not answer."""
    return list(Client(settings).every("/v1/tokens"))


def row_of(token: Mapping[str, Any]) -> Sequence[object]:
    """Put a token into a line."""
    teams = ", ".join("everyone" if team == EVERY_TEAM else team for team in token["teams"])
    ends, used = (
        "never" if at is None else moment(datetime.fromisoformat(at))
        for at in (token["expires_at"], token["used_at"])
    )
    return token["name"], token["role"], teams or "-", ends, used


def revoke_token(settings: Settings, name: str) -> None:
    """Let a token be refused from now on; OSError when there is none of this name."""
    Client(settings).ask(_path(name), "DELETE")


def _path(name: str) -> str:
    return f"/v1/tokens/{quote(name, safe='')}"
