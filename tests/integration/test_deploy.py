"""The files under deploy/ and docker-compose.yml, as the tools that read them take them."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from service.config_file import load
from service.telemetry import Metrics
from tests.needs import need

TOP = Path(__file__).parents[2]
PROMETHEUS = TOP / "deploy" / "prometheus"
DASHBOARDS = sorted((TOP / "deploy" / "grafana" / "dashboards").glob("*.json"))
COMPOSE = yaml.safe_load((TOP / "docker-compose.yml").read_text())
OURS = {n: s for n, s in COMPOSE["services"].items() if s["image"].startswith("spendwatch:")}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def secrets(tmp_path):
    run(TOP / "deploy" / "secrets.sh", tmp_path / "secrets")
    return tmp_path / "secrets"


def test_docker_compose_takes_the_file():
    told = yaml.safe_load(run(need("docker-compose"), "-f", "docker-compose.yml", "config"))
    assert told["services"].keys() == COMPOSE["services"].keys()
    assert told["services"]["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_a_container_has_the_secrets_that_its_config_names(name):
    service = OURS[name]
    if "/etc/spendwatch/spendwatch.toml" in service["command"]:
        text = (TOP / "deploy" / "distributed.toml").read_text()
        assert set(re.findall(r"/run/secrets/([\w.-]+)", text)) <= set(service["secrets"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_has_no_rights_that_it_does_not_need(name):
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    if name != "kafka":  # its image writes its settings down at the start, as a user of its own
        assert service["read_only"] is True
        assert service["user"].split(":")[0] not in ("0", "root")


@pytest.mark.parametrize("name", OURS)
def test_what_runs_on_has_a_health_check(name):
    assert ("healthcheck" in OURS[name]) == (OURS[name]["restart"] == "unless-stopped")


def test_every_file_that_a_container_is_given_is_there():
    given = [
        mount.split(":")[0]
        for service in COMPOSE["services"].values()
        for mount in service.get("volumes", [])
        if mount.startswith("./")
    ]
    assert len(given) > 5
    assert [path for path in given if not (TOP / path).exists()] == []


def test_the_config_of_the_distributed_service_means_something(secrets, tmp_path):
    config = tmp_path / "spendwatch.toml"
    text = (TOP / "deploy" / "distributed.toml").read_text()
    config.write_text(text.replace("/run/secrets", str(secrets)))
    settings = load(config, {})
    assert settings.store.password.reveal() == (secrets / "store-password").read_text()
    assert settings.kafka.partitions * 2 == 16  # what the rule SpendwatchPartitionsUnread expects


def test_secrets_stay_when_they_are_there(secrets):
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    run(TOP / "deploy" / "secrets.sh", secrets)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o077 == 0


def test_prometheus_takes_its_settings_and_its_rules_say_what_they_should():
    promtool = need("promtool")
    run(promtool, "check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")
    run(promtool, "check", "rules", PROMETHEUS / "rules.yml")
    run(promtool, "test", "rules", PROMETHEUS / "rules_test.yml")


def rules():
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions():
    """Return every expression of rules and dashboards."""
    found = [rule["expr"] for rule in rules()]
    for file in DASHBOARDS:
        panels = json.loads(file.read_text())["panels"]
        found += [t["expr"] for p in panels for t in p.get("targets", []) if "expr" in t]
    return found


def exported():
    """Return every name that a process may serve."""
    names = set()
    for family in Metrics("test").registry.collect():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {family.name + end for end in ends.get(family.type, [""])}
    return names


def test_rules_and_dashboards_name_only_what_is_exported_or_recorded():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = set()
    for expression in expressions():
        named |= set(re.findall(r"[a-z:]*spendwatch_[a-z0-9_:]+", expression))
    assert len(named) > 12
    assert named - recorded - exported() == set()


def test_prometheus_asks_every_process_that_counts():
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    asked = {job["job_name"] for job in jobs}
    has_health = {name for name, service in OURS.items() if "--health" in service["command"]}
    assert asked == has_health | {"api"}
