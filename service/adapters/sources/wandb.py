"""Runs of Weights & Biases, as its public API shows them (https://docs.wandb.ai/ref/python/public-api).

One object a run: what `wandb.Api().runs(...)` gives of each, by the names of its attributes: id,
name, project, entity, state, created_at, heartbeat_at, user, tags, config, summary, metadata (whose
host is the machine's), and of one metric the rows of `history(keys=[METRIC])`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.runs import Measured, best_of, moment_of, read_runs
from service.adapters.sources.values import moment
from service.core.events import Run, TagValue, Text

_OVER: Final = frozenset({"finished", "failed", "crashed", "killed"})
_CONFIG: Final = ("team", "owner", "resource_id")


class _Metadata(msgspec.Struct):
    host: Text | None = None


class _Run(msgspec.Struct):
    id: Text
    created_at: Text
    state: Text
    project: Text = ""
    entity: Text = ""
    heartbeat_at: Text | None = None
    name: Text | None = None
    user: Text | None = None
    group: Text | None = None
    config: dict[Text, Any] = {}
    metadata: _Metadata | None = None
    history: list[dict[Text, Any]] = []


def recognises(head: Head) -> bool:
    """Tell a run by its project, state and heartbeat."""
    return head.inner >= {"project", "state", "createdat", "heartbeatat"}


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    return read_runs(path, _RUN.decode, _run_of)


def _run_of(found: _Run) -> Run:
    metric, history = _history(found.history)
    best = best_of(metric, history)
    started = moment(found.created_at)
    seen = started if found.heartbeat_at is None else moment(found.heartbeat_at)
    said = {name: found.config.get(name) for name in _CONFIG}
    texts = {name: value for name, value in said.items() if isinstance(value, str) and value}
    resource = texts.pop("resource_id", None)
    tags: dict[str, TagValue] = {**texts, **({"group": found.group} if found.group else {})}
    return Run(
        timestamp=max(started, seen, *(one.at for one in history)),
        run_id=found.id,
        experiment=f"{found.entity}/{found.project}".strip("/"),
        started_at=started,
        ended_at=max(started, seen) if found.state in _OVER else None,
        name=found.name,
        owner=found.user,
        metric=metric,
        best=None if best is None else best.value,
        best_at=None if best is None else best.at,
        hostname=found.metadata.host if found.metadata else None,
        resource_id=resource,
        tags=tags,
    )


def _history(rows: list[dict[str, Any]]) -> tuple[str | None, list[Measured]]:
    """Return the metric that the rows are of, and its values: the first key that is not theirs."""
    metric = next((key for row in rows for key in row if not key.startswith("_")), None)
    found = []
    for row in rows:
        value, at = row.get(metric or ""), row.get("_timestamp")
        if isinstance(value, int | float) and isinstance(at, int | float):
            found.append(Measured(moment_of(at), float(value)))
    return metric, found


_RUN: Final = msgspec.json.Decoder(_Run)

SOURCE: Final = Source(
    recognises, read, appends=True, needs="W&B's project, state, created_at and heartbeat_at"
)
