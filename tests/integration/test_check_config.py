"""check-config: whatever a config holds, one line says what is wrong with it, and names the key."""

import json
import math
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from service.config_file import load
from service.entrypoints.cli import app
from service.entrypoints.run import Service

GOOD = {
    "data_dir": "var", "log_level": "info", "remember_days": 62,
    "sources": {"aws": {"path": ".", "kind": "focus", "metric": "billed",
                        "settles_after_hours": 72}},
    "detection": {"false_findings_per_1000_resource_months": 100,
                  "purchases_from": {"USD": "1000"}, "detectors": {"spike": {}, "shift": {}}},
    "owners": {"tag_keys": ["team"], "sub_accounts": {"1": "a"}},
    "incidents": {"medium_per_day": "100", "high_per_day": "1000"},
    "route": {"receiver": "all", "min_impact": "10",
              "routes": [{"receiver": "all", "matchers": ['owner="a"'], "min_impact": 3}]},
    "receivers": {"all": ["console:", "slack:#spend", "email:a@example.com", "webhook:hook"]},
    "fallbacks": {"slack": ["pagerduty:night"]},
    "notifiers": {
        "slack": {"token_file": "token", "base_url": "https://slack.com/api/",
                  "timeout_seconds": 10},
        "email": {"host": "localhost", "sender": "a@example.com", "tls": "none", "port": 25,
                  "timeout_seconds": 20},
        "pagerduty": {"to": {"night": {"routing_key": "r" * 32}}},
        "webhook": {"to": {"hook": {"url": "https://hooks.example.com/x",
                                    "secret": "whsec_" + "QUJD" * 8}},
                    "allowed_networks": ["10.0.0.0/8"], "timeout_seconds": 10},
    },
    "prices": "prices.csv",
    "store": {"url": "redis://localhost:6379/0"},
    "api": {"host": "127.0.0.1", "port": 8321, "public_url": "https://spend.example.com"},
}  # fmt: skip


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value).replace("\x7f", "\\u007f")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("config")
    (place / "token").write_text("xoxb-1")
    (place / "binary").write_bytes(b"\xff\xfe\x00")
    (place / "prices.csv").write_text("provider,instance_type,region,usd_per_hour\naws,g,*,1\n")
    return place


@pytest.fixture
def check(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("SPENDWATCH_STORE_URL", "SPENDWATCH_SLACK_TOKEN", "SPENDWATCH_EMAIL_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    def check(config):
        path = folder / "c.toml"
        text = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in config.items())
        path.write_text(text, "utf-8")
        result = CliRunner().invoke(app, ["check-config", str(path)])
        assert result.exception is None or isinstance(result.exception, SystemExit), text
        if result.exit_code == 0:
            assert result.stdout.endswith("ok\n")
            loaded = load(path)
            if loaded.sources:  # the parts on Kafka need none
                Service(loaded, print)  # what passes is what a run takes
            return ""
        assert result.exit_code == 2, text
        (line,) = result.stderr.splitlines()
        assert line.startswith("spendwatch: ")
        assert "/.venv/" not in line
        return line

    return check


def changed(where, value):
    config = deepcopy(GOOD)
    *path, last = where.split("/")
    table = config
    for key in path:
        table = table[key]
    table[last] = value
    return config


def test_a_good_config_is_ok(check):
    assert check(GOOD) == ""


def test_it_says_who_stands_in(check, folder):
    check(changed("fallbacks", {"slack": ["pagerduty:night"], "slack:#spend": []}))
    said = CliRunner().invoke(app, ["check-config", str(folder / "c.toml")]).stdout
    assert "fallback for slack: pagerduty:night\nfallback for slack:#spend: nobody\n" in said


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("notifiers", 3, "notifiers"),
        ("notifiers/slack", 3, "notifiers.slack"),
        ("notifiers/slak", {}, "notifiers: 'slak'"),
        ("notifiers/slack/token_file", "binary", "notifiers.slack.token_file"),
        ("notifiers/slack/token_file", "a\0b", "notifiers.slack.token_file"),
        ("notifiers/slack/token_file", "/dev/zero", "notifiers.slack.token_file"),
        ("notifiers/slack/base_url", "http://[", "notifiers.slack"),
        ("notifiers/slack/timeout_seconds", 0, "timeout_seconds"),
        ("notifiers/email/timeout_seconds", math.nan, "timeout_seconds"),
        ("notifiers/email/port", 0, "port"),
        (
            "notifiers/email",
            {"host": "a", "sender": "a@b.example", "ca_file": "nowhere"},
            "notifiers.email",
        ),
        ("data_dir", "a\0b", "data_dir"),
        ("data_dir", "token", "data_dir"),
        ("data_dir", "token/x", "data_dir"),
        ("store/url", "http://localhost", "store.url"),
        ("store/url", "redis://localhost:99999", "store.url"),
        ("store/url", "redis://localhost?colour=red", "store.url"),
        ("store", 3, "store"),
        ("api/host", "", "host"),
        ("api/host", "a..b", "host"),
        ("api/host", "a\0b", "host"),
        ("api/port", 99999, "api.port"),
        ("api/public_url", "http://[", "public_url"),
        ("route/min_impact", "NaN", "min_impact"),
        ("route/min_impact", "Infinity", "min_impact"),
        ("route/min_impact", -1, "min_impact"),
        ("incidents/high_per_day", "1", "medium_per_day"),
        ("incidents/medium_per_day", math.nan, "medium_per_day"),
        ("detection/purchases_from", {"USD": "-1"}, "purchases_from.USD"),
        ("detection/false_findings_per_1000_resource_months", math.nan, "false_findings"),
        ("detection/detectors", {}, "detectors"),
        ("detection/detectors", {"spyke": {}}, "spyke"),
        ("detection/detectors", {"spike": {"colour": 1}}, "spike"),
        ("detection/detectors", {"river.anomaly.LODA": {"name": 1}}, "name"),
        ("sources/aws/settles_after_hours", math.nan, "settles_after_hours"),
        ("sources/aws/settles_after_hours", 1e300, "settles_after_hours"),
        ("sources/aws/path", "nowhere", "sources.aws.path"),
        ("sources/aws/kind", "excel", "sources.aws.kind"),
        ("sources/..", {"path": "."}, "sources"),
        ("receivers/all", [], "receivers"),
        ("receivers/all", ["pager:me"], "receivers.all"),
        ("receivers/all", ["slack:"], "receivers.all"),
        ("receivers/all", ["email:nobody"], "receivers.all"),
        ("receivers/all", ["pagerduty:day"], "receivers.all: 'pagerduty:day' is not under"),
        ("receivers/all", ["apprise:chat"], "notifiers.apprise"),
        ("fallbacks/slack", ["pager:me"], "fallbacks.slack"),
        ("fallbacks", {"slak": ["console:"]}, "fallbacks: 'slak'"),
        ("notifiers/pagerduty/to", {"a b": {"routing_key": "r"}}, "notifiers.pagerduty"),
        ("notifiers/pagerduty/to/night", {"routing_key": ""}, "routing_key"),
        ("notifiers/pagerduty/to/night", {"routing_key_file": "nowhere"}, "to.night.routing_key"),
        ("notifiers/webhook/to/hook/url", "hooks.example.com", "url is not"),
        ("notifiers/webhook/to/hook/secret", "s3cret", "whsec_"),
        ("notifiers/webhook/allowed_networks", ["10.0.0.1/8"], "10.0.0.1/8"),
        ("notifiers/webhook/timeout_seconds", math.nan, "timeout_seconds"),
        ("api/link_key", "short", "link_key"),
        ("prices", "binary", "prices"),
        ("prices", "nowhere.csv", "prices"),
        ("remember_days", 10**30, "remember_days"),
    ],
)
def test_what_would_fail_later_is_said_at_once(check, where, value, named):
    assert named in check(changed(where, value))


def places(value, prefix=""):
    for key, below in value.items():
        yield prefix + key
        if isinstance(below, dict):
            yield from places(below, f"{prefix}{key}/")


ODD = st.one_of(
    st.sampled_from(
        ["", "\0", "a\nb", "..", "/", "token", "NaN", "-1", "1e999", "é", "\u202e", "x" * 5000,
         "http://[", "redis://", "river.anomaly", "river.anomaly.base", "=", 0, -1, 10**400,
         math.nan, math.inf, -math.inf, 1e308, True, [], {}, [[]], [{}], {"": ""}]
    ),
    st.recursive(
        st.integers() | st.floats() | st.booleans() | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
        max_leaves=4,
    ),
)  # fmt: skip


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(sorted(places(GOOD))),
            st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=8)),
            ODD,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_value_anywhere_ends_in_one_line(check, changes):
    config = deepcopy(GOOD)
    for where, extra, value in changes:
        *path, last = where.split("/")
        table = config
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[last if extra is None else extra] = value
    check(config)
