"""`spendwatch feedback`: what a person says of an incident, told to the service that runs here."""

import getpass
import json
import urllib.error
import urllib.request
from typing import Any, Final, get_args

from service.config import ConfigError, Settings
from service.core.intents import Verdict

SHORTEST_NAME: Final = 6
TIMEOUT_SECONDS: Final = 30.0
ANYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 - what is listened on, not bound here


def say_feedback(settings: Settings, incident: str, verdict: str, why: str, who: str | None) -> str:
    """Tell the running service; return one line on what has changed.

    ConfigError for what nobody could follow, OSError for what the service refuses.
    """
    known = {name.replace("_", "-"): name for name in get_args(Verdict)}
    if verdict not in known:
        raise ConfigError(f"no verdict {verdict!r}; there are {', '.join(known)}")
    host = "127.0.0.1" if settings.api.host in ANYWHERE else settings.api.host
    base = f"http://{f'[{host}]' if ':' in host else host}:{settings.api.port}/v1/incidents"
    said = {"verdict": known[verdict], "why": why, "who": who or getpass.getuser(), "via": "cli"}
    name = _whole_name(base, incident)
    found = _ask(f"{base}/{name}/feedback", said)
    return f"{found['title']}: {found['state']}"


def _whole_name(base: str, begin: str) -> str:
    if len(begin) < SHORTEST_NAME:
        raise ConfigError(f"{begin!r} is too short for an incident: {SHORTEST_NAME} signs at least")
    names = [item["incident_id"] for item in _ask(base)["items"]]
    found = [name for name in names if name.startswith(begin)]
    if len(found) > 1:
        raise ConfigError(f"{begin!r} begins {len(found)} incidents: give more of its name")
    return found[0] if found else begin


def _ask(url: str, body: dict[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise OSError(_reason(error)) from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"the service does not answer at {url}: {reason}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the service answered {error.code}"
