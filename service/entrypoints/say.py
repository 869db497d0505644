"""`spendwatch feedback`: what a person says of an incident, told to the service that runs here."""

import getpass
from typing import Final, get_args

from service.config import ConfigError, Settings
from service.core.intents import Verdict
from service.entrypoints.client import Client

SHORTEST_NAME: Final = 6


def say_feedback(settings: Settings, incident: str, verdict: str, why: str, who: str | None) -> str:
    """Tell the running service; return one line on what has changed.

    ConfigError for what nobody could follow, OSError for what the service refuses.
    """
    known = {name.replace("_", "-"): name for name in get_args(Verdict)}
    if verdict not in known:
        raise ConfigError(f"no verdict {verdict!r}; there are {', '.join(known)}")
    client = Client(settings)
    said = {"verdict": known[verdict], "why": why, "who": who or getpass.getuser(), "via": "cli"}
    name = _whole_name(client, incident)
    found = client.ask(f"/v1/incidents/{name}/feedback", "POST", said)
    return f"{found['title']}: {found['state']}"


def _whole_name(client: Client, begin: str) -> str:
    if len(begin) < SHORTEST_NAME:
        raise ConfigError(f"{begin!r} is too short for an incident: {SHORTEST_NAME} signs at least")
    names = [item["incident_id"] for item in client.ask("/v1/incidents")["items"]]
    found = [name for name in names if name.startswith(begin)]
    if len(found) > 1:
        raise ConfigError(f"{begin!r} begins {len(found)} incidents: give more of its name")
    return found[0] if found else begin
