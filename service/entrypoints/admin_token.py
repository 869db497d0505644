"""The admin's token of a service: from the config, else one that its first start makes.

It lies in the data directory, which only the service's own user can read, so whoever may read it
could read everything else there too.
"""

import os
import secrets
from ipaddress import ip_network
from typing import Final

from service.config import ConfigError, Settings
from service.core.tokens import EVERY_TEAM
from service.entrypoints.api.access import PREFIX, Local, digest
from service.entrypoints.api.sign_on import Group, SignOn

FILE: Final = "admin-token"


def new_token() -> str:
    """Return a new secret of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def local_of(settings: Settings, token: str | None) -> Local:
    """Say how this machine and the admin are let in."""
    role = None if settings.api.local == "none" else settings.api.local
    return Local(role, None if token is None else digest(token), _sign_on_of(settings))


def _sign_on_of(settings: Settings) -> SignOn | None:
    known = settings.sign_on
    if known.secret is None:
        return None
    return SignOn(
        tuple(one.reveal() for one in (known.secret, known.old_secret) if one is not None),
        tuple(ip_network(one) for one in known.proxies),
        {
            name: Group(one.role, None if EVERY_TEAM in one.teams else frozenset(one.teams))
            for name, one in known.groups.items()
        },
    )


def known_token(settings: Settings) -> str | None:
    """Return the admin's token, None when there is none yet or it is another user's."""
    if settings.api.admin_token is not None:
        return settings.api.admin_token.reveal()
    try:
        return (settings.data_dir / FILE).read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def make_token(settings: Settings) -> str:
    """Return the admin's token; the first start writes a new one into the data directory."""
    if settings.api.admin_token is not None:
        return settings.api.admin_token.reveal()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.data_dir / FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        known = known_token(settings)
        if known is None:
            raise ConfigError(f"{path}: holds no token; remove it, and a new one is made") from None
        return known
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(token := new_token())
        file.flush()
        os.fsync(file.fileno())
    return token
