"""The status and silences on a terminal."""

import getpass
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from service.config import ConfigError, Settings
from service.core.events import content_hash
from service.core.phrases import duration, moment
from service.entrypoints.client import Client
from service.entrypoints.incident_words import until_of

SOURCES: Final = (
    "source", "last row", "lag", "complete", "last hour", "rows", "late", "refused", "last error",
)  # fmt: skip
DESTINATIONS: Final = (
    "destination", "sent", "waiting", "unknown", "failed", "failing since", "last error",
)  # fmt: skip
PARTITIONS: Final = ("partition", "offset", "said", "state")
SILENCES: Final = ("silence", "until", "by", "matchers", "comment")
NUMBERS: Final = "rows late refused sent waiting unknown failed offset complete"


def read_status(settings: Settings) -> dict[str, Any]:
    """Ask how the service is; OSError when it does not answer."""
    return dict(Client(settings).ask("/v1/status"))


def head(status: Mapping[str, Any]) -> Iterator[str]:
    """Say how the service is in a few lines."""
    yield f"{status['state']}, as of {moment(datetime.fromisoformat(status['as_of']))}"
    yield from (f"  {reason}" for reason in status["reasons"])
    yield f"{status['incidents_firing']} incidents are firing; version {status['version']}"


def source_rows(status: Mapping[str, Any]) -> list[Sequence[object]]:
    """Put each source into a line."""
    return [
        (
            one["source"],
            _ago(one["age_seconds"]),
            _span(one["lag_seconds"]),
            "-" if one["completeness"] is None else f"{100 * one['completeness']:.0f} %",
            one["rows_last_hour"],
            one["events"],
            one["late"],
            one["rejected"],
            one["last_error"] or "",
        )
        for one in status["sources"]
    ]


def destination_rows(status: Mapping[str, Any]) -> list[Sequence[object]]:
    """Put each destination into a line."""
    return [
        (
            one["destination"].rstrip(":"),
            one["sent"],
            one["pending"],
            one["unknown"],
            one["dead"],
            _moment(one["failing_since"]),
            one["last_error"] or "",
        )
        for one in status["destinations"]
    ]


def partition_rows(status: Mapping[str, Any]) -> list[Sequence[object]]:
    """Put each partition into a line."""
    return [
        (
            f"{one['topic']}/{one['partition']}",
            one["offset"],
            _moment(one["at"]),
            "silent" if one["silent"] else "works",
        )
        for one in status["partitions"]
    ]


def add_silence(
    settings: Settings, matchers: Sequence[str], until: str, comment: str, name: str | None
) -> str:
    """Let what passes all matchers not be told from now on; return the silence's name."""
    client = Client(settings)
    now = client.now()
    who = getpass.getuser()
    body = {
        "matchers": list(matchers),
        "starts_at": now.isoformat(),
        "ends_at": until_of(until, now).isoformat(),
        "author": who,
        "comment": comment,
    }
    if not matchers:
        raise ConfigError("what is to be silent? --matcher 'owner=\"search\"', for instance")
    chosen = name or f"{who}-{content_hash({'body': body})[:8]}"
    client.ask(_path(chosen), "PUT", body)
    return chosen


def read_silences(settings: Settings) -> list[dict[str, Any]]:
    """Ask for the silences that stand; OSError when the service does not answer."""
    return list(Client(settings).every("/v1/silences"))


def silence_row(silence: Mapping[str, Any]) -> Sequence[object]:
    """Put a silence into a line."""
    return (
        silence["name"],
        _moment(silence["ends_at"]),
        silence["author"],
        ", ".join(silence["matchers"]),
        silence["comment"],
    )


def expire_silence(settings: Settings, name: str) -> None:
    """End a silence now; OSError when there is none of this name."""
    Client(settings).ask(_path(name), "DELETE")


def _path(name: str) -> str:
    return f"/v1/silences/{quote(name, safe='')}"


def _ago(seconds: float | None) -> str:
    return "never" if seconds is None else f"{_span(seconds)} ago"


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else duration(timedelta(seconds=max(0.0, seconds)))


def _moment(at: str | None) -> str:
    return "" if at is None else moment(datetime.fromisoformat(at))
