"""Runs as MLflow and W&B export them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.reading import read

SAMPLES = Path(__file__).parents[2] / "data" / "sources"


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_real_runs_of_mlflow_are_read_with_when_their_metric_last_improved():
    runs = {run.name: run for run in read(SAMPLES / "mlflow.ndjson").events}
    assert set(runs) == {"lr-0", "lr-1", "lr-2", "lr-3"}
    done, stuck = runs["lr-0"], runs["lr-3"]
    assert (done.experiment, done.owner, done.hostname) == ("resnet-50", "ada", "gpu-7")
    assert (done.started_at, done.ended_at) == (at("2026-03-04T10:00"), at("2026-03-04T15:00"))
    assert (done.metric, done.best_at) == ("val_loss", at("2026-03-04T14:00"))
    assert (stuck.ended_at, stuck.best_at) == (None, at("2026-03-05T08:00"))
    assert stuck.timestamp == at("2026-03-06T21:00")
    assert done.tags == {"team": "vision", "host": "gpu-7"}


def test_the_rest_api_of_mlflow_writes_tags_as_pairs(tmp_path):
    info = {"run_id": "r", "experiment_id": "7", "lifecycle_stage": "active", "status": "FAILED",
            "start_time": 1772618400000, "end_time": 1772622000000}  # fmt: skip
    tags = [{"key": "hostname", "value": "n1"}, {"key": "resource_id", "value": "i-1"}]
    metrics = [{"key": "loss", "value": 0.5}]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"info": info, "data": {"tags": tags, "metrics": metrics}}))
    [run] = read(path).events
    assert (run.hostname, run.resource_id, run.ended_at) == ("n1", "i-1", at("2026-03-04T11:00"))
    assert run.best_at is None


def test_runs_of_wandb_are_read_by_the_names_of_its_public_api():
    done, running, crashed = read(SAMPLES / "wandb.json").events
    assert (done.run_id, done.experiment, done.owner) == ("3k9v2w1a", "acme/llm-tuning", "ada")
    assert (done.hostname, done.metric, done.best) == ("gpu-7", "eval/loss", 1.31)
    assert done.best_at == at("2026-03-04T13:00")
    assert done.tags == {"team": "nlp", "group": "lr-sweep"}
    assert (running.ended_at, running.timestamp) == (None, at("2026-03-06T21:00"))
    assert crashed.ended_at == at("2026-03-06T09:10")


def test_a_host_is_the_resource_that_the_config_says(tmp_path):
    hosts = {"gpu-7": {"resource_id": "i-1", "instance_type": "p5.48xlarge"}}
    events = read(SAMPLES / "wandb.json", hosts=hosts).events
    assert [run.resource_id for run in events] == ["i-1", None, None]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("created_at", "yesterday", "is not a time"),
        ("heartbeat_at", "1999-01-01T00:00:00Z", None),
        ("id", "", "the run has no id"),
        ("created_at", "1999-01-01T00:00:00Z", "a time is outside 2000 to 2199"),
    ],
)
def test_a_run_that_cannot_be_is_refused_alone(tmp_path, field, value, reason):
    runs = json.loads((SAMPLES / "wandb.json").read_bytes())
    runs[0][field] = value
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(runs))
    result = read(path)
    assert result.reasons == ([] if reason is None else [reason])
    assert len(result.events) == (3 if reason is None else 2)
