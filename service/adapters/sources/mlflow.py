"""Runs of MLflow: `Run.to_dictionary()`, or an answer of `runs/search`, with a metric's history.

https://mlflow.org/docs/latest/api_reference/rest-api.html#mlflowrun. The metric that is watched is
the one whose `history` stands beside `info` and `data`, else the tag `spendwatch.metric`, of which
only the newest value is known. A host is the tag `host` or `hostname`, a resource `resource_id`.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from service.adapters.sources.base import Completion, Flaw, Head, Row, Source
from service.adapters.sources.runs import Measured, best_of, moment_of, read_runs
from service.core.events import Run, TagValue, Text

_OVER: Final = frozenset({"FINISHED", "FAILED", "KILLED"})
_HOST: Final = ("host", "hostname", "mlflow.host")
_NAME: Final = "mlflow.runName"
METRIC: Final = "spendwatch.metric"


class _Named(msgspec.Struct):
    key: Text
    value: str | float | None = None


class _Info(msgspec.Struct):
    run_id: Text
    start_time: int
    experiment_id: Text = ""
    experiment_name: Text | None = None
    run_name: Text | None = None
    user_id: Text | None = None
    status: Text | int = "RUNNING"
    end_time: int | None = None


class _Data(msgspec.Struct):
    metrics: dict[Text, float] | list[_Named] = {}
    tags: dict[Text, Text] | list[_Named] = {}


class _Point(msgspec.Struct):
    key: Text
    value: float
    timestamp: int


class _Run(msgspec.Struct):
    info: _Info
    data: _Data = msgspec.field(default_factory=_Data)
    history: list[_Point] = []
    exported_at: int | None = None


def recognises(head: Head) -> bool:
    """Tell a run by its id, its experiment's and its life cycle."""
    return head.inner >= {"runid", "experimentid", "lifecyclestage", "starttime"}


def read(path: Path) -> Iterator[Row | Flaw | Completion]:
    """Read one file; BrokenFileError where it ends early or cannot be read."""
    return read_runs(path, _RUN.decode, _run_of)


def _run_of(found: _Run) -> Run:
    info, tags = found.info, _tags(found.data.tags)
    metric = found.history[0].key if found.history else _text(tags.get(METRIC))
    history = [Measured(_at(p.timestamp), p.value) for p in found.history if p.key == metric]
    best = best_of(metric, history)
    ended = _at(info.end_time) if info.end_time and info.status in _OVER else None
    last = [one.at for one in history]
    last += [_at(ms) for ms in (info.start_time, info.end_time, found.exported_at) if ms]
    return Run(
        timestamp=max(last),
        run_id=info.run_id,
        experiment=info.experiment_name or info.experiment_id,
        started_at=_at(info.start_time),
        ended_at=ended,
        name=info.run_name or _text(tags.get(_NAME)),
        owner=info.user_id or _text(tags.get("mlflow.user")),
        metric=metric,
        best=None if best is None else best.value,
        best_at=None if best is None else best.at,
        hostname=next((_text(tags[name]) for name in _HOST if name in tags), None),
        resource_id=_text(tags.get("resource_id")),
        tags={name: value for name, value in tags.items() if not name.startswith("mlflow.")},
    )


def _tags(found: dict[str, str] | list[_Named]) -> dict[str, TagValue]:
    if isinstance(found, list):
        return {tag.key: tag.value for tag in found}
    return dict(found)


def _text(value: TagValue) -> str | None:
    return value if isinstance(value, str) and value else None


def _at(milliseconds: int) -> datetime:
    return moment_of(milliseconds / 1000)


_RUN: Final = msgspec.json.Decoder(_Run)

SOURCE: Final = Source(
    recognises, read, appends=True, needs="MLflow's run_id, experiment_id and lifecycle_stage"
)
