"""A client of the running service's API, for commands: as the admin of this machine's service."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from service.config import Settings
from service.entrypoints.admin_token import known_token

TIMEOUT_SECONDS: Final = 30.0
NOT_FOUND: Final = 404
HEALTH_SECONDS: Final = 5.0
ANYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - what is listened on, not bound here
TOKEN_VARIABLE: Final = "SPENDWATCH_TOKEN"  # noqa: S105 - where a token is, not one


class NotThereError(OSError):
    """The service says that there is no such thing."""


class Client:
    """Asks with the token in SPENDWATCH_TOKEN, else with the admin's, else without any.

    OSError, in one line, when the service does not answer or refuses; NotThereError when there is
    no such thing.
    """

    def __init__(self, settings: Settings) -> None:
        host = "127.0.0.1" if settings.api.host in ANYWHERE else settings.api.host
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}"
        self._token = os.environ.get(TOKEN_VARIABLE) or known_token(settings)

    def ask(self, path: str, method: str = "GET", body: object = None) -> Any:
        """Return what the service answers, None where it answers nothing."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._base + path, data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                said = answer.read()
                return json.loads(said) if said else None
        except urllib.error.HTTPError as error:
            kind = NotThereError if error.code == NOT_FOUND else OSError
            raise kind(_reason(error)) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise OSError(f"the service does not answer at {self._base}: {reason}") from None

    def now(self) -> datetime:
        """Return the service's own time, which in a demo is not this machine's."""
        return datetime.fromisoformat(self.ask("/v1/status")["as_of"])

    def every(self, path: str) -> Iterator[Any]:
        """Yield all items of a list, page by page."""
        at: str | None = path
        while at is not None:
            page = self.ask(at)
            yield from page["items"]
            at = page.get("next")


def ask_health(url: str) -> str:
    """Return what a process says of itself; OSError, in one line, when it is not well."""
    try:
        with urllib.request.urlopen(url, timeout=HEALTH_SECONDS) as answer:  # noqa: S310
            return str(answer.read().decode("utf-8", "replace").strip())
    except urllib.error.HTTPError as error:
        raise OSError(error.read().decode("utf-8", "replace").strip()) from None
    except (OSError, ValueError) as error:
        raise OSError(f"{url}: {getattr(error, 'reason', error)}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code}"
