"""AWS's shared files: keys and region of a profile, for machines without a role.

https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html. Keys that are in the files are
read; profiles that take up a role, sign on, or run a program are not.
"""

import configparser
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, Self

# Whoever rotates the keys writes them here: they are read anew this often.
_READ_AGAIN: Final = timedelta(minutes=5)


class SharedProfile(NamedTuple):
    """A profile with keys of its own; calling it reads them."""

    name: str
    region: str | None

    @classmethod
    def find(cls, name: str | None) -> Self | None:
        """Return a profile that has keys; the one that the environment names, if none is given.

        Keys in the environment go before a profile that nobody named.
        """
        if name is None and os.environ.get("AWS_ACCESS_KEY_ID"):
            return None
        found = cls(name or os.environ.get("AWS_PROFILE") or "default", None)
        if not _section("credentials", found.name).get("aws_access_key_id"):
            return None
        config = "default" if found.name == "default" else f"profile {found.name}"
        region = os.environ.get("AWS_REGION") or _section("config", config).get("region")
        return found._replace(region=region)

    def __call__(self) -> dict[str, object]:
        """Return the keys as the library asks for them."""
        keys = _section("credentials", self.name)
        return {
            "access_key_id": keys.get("aws_access_key_id", ""),
            "secret_access_key": keys.get("aws_secret_access_key", ""),
            "token": keys.get("aws_session_token"),
            "expires_at": datetime.now(UTC) + _READ_AGAIN,
        }


def _section(file: str, name: str) -> dict[str, str]:
    named = {"credentials": "AWS_SHARED_CREDENTIALS_FILE", "config": "AWS_CONFIG_FILE"}[file]
    path = Path(os.environ.get(named) or f"~/.aws/{file}").expanduser()
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}
