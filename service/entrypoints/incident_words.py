"""Incidents on a terminal: found by how their name begins, listed, shown, and acted on."""

import getpass
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode

from service.config import ConfigError, Settings
from service.core.intervals import span_of
from service.core.phrases import moment, signed
from service.entrypoints.client import Client, NotThereError

SHORTEST_NAME: Final = 6
COLUMNS: Final = ("incident", "state", "severity", "owner", "since", "so far", "a day", "what")
TO_THE_RIGHT: Final = "so far a day"


def read_incidents(settings: Settings, filters: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Ask for incidents; OSError when the service does not answer."""
    asked = urlencode({name: value for name, value in filters.items() if value is not None})
    return list(Client(settings).ask(f"/v1/incidents?{asked}")["items"])


def row_of(incident: Mapping[str, Any]) -> tuple[str, ...]:
    """Put an incident into a line of a table."""
    return (
        incident["incident_id"][:12],
        incident["state"],
        incident["severity"],
        incident["owner"],
        _moment(incident["starts_at"]),
        _amount(incident["impact"], incident),
        _amount(incident["run_rate_per_day"], incident),
        incident["title"],
    )


def lines_of(incident: Mapping[str, Any]) -> Iterator[str]:
    """Say what there is to say of one incident."""
    yield f"{incident['title']} ({incident['kind']}, {incident['status']})"
    yield f"incident {incident['incident_id']}"
    yield f"{incident['state']}, {incident['severity']} severity"
    yield f"owner: {incident['owner']} ({incident['owner_source']})"
    until = f" until {_moment(incident['ends_at'])}" if incident["ends_at"] else ""
    yield f"since {_moment(incident['starts_at'])}{until}"
    cost, rate = (_amount(incident[name], incident) for name in ("impact", "run_rate_per_day"))
    yield f"so far {cost}, {rate} a day"
    if incident["quiet"]:
        yield f"held: {incident['quiet']}"
    for driver in incident["drivers"]:
        cost = _amount(driver["impact"], incident)
        yield f"  {cost}  {driver['resource']}: {driver['reason']}"
    done = [(one["at"], one["who"], one["verdict"], one["why"]) for one in incident["feedback"]]
    marks = [one["mark"] for one in incident["marks"]]
    done += [(one["at"], one["who"], _did(one), one["why"]) for one in marks]
    for at, who, what, why in sorted(done):
        yield f"  {_moment(at)}  {who}: {what}: {why}"
    yield f"why it was told, or not: spendwatch why {incident['incident_id'][:12]}"


def read_incident(settings: Settings, begin: str) -> dict[str, Any]:
    """Ask for the incident whose name begins so; OSError when there is none."""
    client = Client(settings)
    found: dict[str, Any] = client.ask(f"/v1/incidents/{whole_name(client, begin)}")
    return found


def act(settings: Settings, begin: str, act: str, why: str | None, **more: Any) -> str:
    """Tell the service what is done about an incident; return one line on what came of it."""
    client = Client(settings)
    body = {"act": act, "why": why or "by command", "who": getpass.getuser(), "via": "cli"} | more
    found = client.ask(f"/v1/incidents/{whole_name(client, begin)}/marks", "POST", body)
    return f"{found['title']}: {found['state']}"


def judge(settings: Settings, begin: str, verdict: str, why: str, who: str | None) -> str:
    """Tell the service what an incident is; return one line on what came of it."""
    client = Client(settings)
    body = {"verdict": verdict, "why": why, "who": who or getpass.getuser(), "via": "cli"}
    found = client.ask(f"/v1/incidents/{whole_name(client, begin)}/feedback", "POST", body)
    return f"{found['title']}: {found['state']}"


def undo(settings: Settings, begin: str, why: str | None) -> str:
    """Take back what was said or done last, whichever of both it was."""
    incident = read_incident(settings, begin)
    said: list[str] = []
    for one in incident["feedback"]:
        said = said[:-1] if one["verdict"] == "undo" else [*said, one["at"]]
    done = [one["mark"]["at"] for one in incident["marks"] if one["mark"]["act"] != "comment"]
    if said and said[-1] >= max(done, default=""):
        return judge(settings, begin, "undo", why or "by command", None)
    return act(settings, begin, "undo", why)


def now_there(settings: Settings) -> datetime:
    """Return the service's own time; OSError when it does not answer."""
    return Client(settings).now()


def until_of(text: str, now: datetime) -> datetime:
    """Read an end: a duration such as 4h, or a time in RFC 3339; ConfigError for anything else."""
    try:
        return now + span_of(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is neither a duration like 4h nor a time") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def read_trace(settings: Settings, name: str) -> dict[str, Any]:
    """Ask why a finding was told; of an incident, that of its first finding."""
    client = Client(settings)
    try:
        return dict(client.ask(f"/v1/findings/{quote(name, safe='')}/trace"))
    except NotThereError:
        incident = client.ask(f"/v1/incidents/{whole_name(client, name)}")
    finding = incident["finding_ids"][0]
    return dict(client.ask(f"/v1/findings/{quote(finding, safe='')}/trace"))


def trace_lines(trace: Mapping[str, Any]) -> Iterator[str]:
    """Say a trace, step by step; what is worked out anew is marked."""
    yield str(trace["summary"])
    for step in trace["steps"]:
        at = f"{_moment(step['at'])}  " if step["at"] else ""
        anew = "" if step["recorded"] else " (worked out now, from what stands now)"
        yield f"  {at}{step['text']}{anew}"


def whole_name(client: Client, begin: str) -> str:
    """Return the name of the incident that begins so; what begins none is taken as it is."""
    if len(begin) < SHORTEST_NAME:
        raise ConfigError(f"{begin!r} is too short for an incident: {SHORTEST_NAME} signs at least")
    name = quote(begin, safe="")
    if name != begin:  # it has signs that no incident's name has
        return name
    asked = f"/v1/incidents?begins={name}&limit=2"
    found = [str(item["incident_id"]) for item in client.ask(asked)["items"]]
    if len(found) > 1 and begin not in found:
        raise ConfigError(f"{begin!r} begins several incidents: give more of its name")
    return found[0] if len(found) == 1 else name


def _did(mark: Mapping[str, Any]) -> str:
    return f"{mark['act']} {mark['to']}" if mark.get("to") else str(mark["act"])


def _moment(at: str) -> str:
    return moment(datetime.fromisoformat(at))


def _amount(amount: str | None, incident: Mapping[str, Any]) -> str:
    return "-" if amount is None else signed(Decimal(amount), incident["billing_currency"])
