"""Alertmanager's API v2, asked by amtool as Debian ships it, and by hand where it asks nothing."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.intents import Mark
from service.core.marks import Marked
from service.core.ports import Changes
from service.core.routing import Route, Router
from service.core.tokens import Token
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import digest
from service.entrypoints.api.spend_table import Hearing
from service.telemetry import Metrics
from tests.factories import make_driver, make_incident
from tests.needs import need

SECRETS = {"ops": "o" * 40, "web": "w" * 40, "reader": "r" * 40}
TOKENS = [
    Token(name="ops", sha256=digest(SECRETS["ops"]), teams=["*"], role="admin"),
    Token(name="web", sha256=digest(SECRETS["web"]), teams=["web"], role="editor"),
    Token(name="reader", sha256=digest(SECRETS["reader"]), teams=["web"], role="viewer"),
]
ROUTER = Router(
    Route(
        receiver="everyone",
        routes=[
            Route(receiver="web-team", matchers=['owner="web"'], group_by=["kind", "region_id"])
        ],
    ),
    {"everyone": ["console:"], "web-team": ["console:"]},
)


def now():
    return datetime.now(tz=UTC)


def incidents():
    mark = Mark(at=now(), who="ana", via="api", why="later", incident_id="w2", act="snooze",
                until_growth=0.5)  # fmt: skip
    idle = make_incident(incident_id="idle", owner="ml", kind="idle_gpu", region_id="eu")
    return [
        make_incident(incident_id="w1", owner="web", kind="spike"),
        make_incident(incident_id="w2", owner="web", state="snoozed",
                      marks=[Marked(mark=mark, rate=Decimal(1), severity="high")]),
        make_incident(incident_id="w3", owner="web", state="resolved"),
        idle,
        make_incident(incident_id="m1", owner="ml", is_inhibited=True, drivers=[make_driver()]),
        make_incident(incident_id="old", owner="ml", backfill=True, severity="low"),
    ]  # fmt: skip


@pytest.fixture
def api(store):
    """Serve with a pipeline that follows what is said, as one machine does."""
    pipeline = build_pipeline(Settings(), {}, tells_history=False)
    things = {("token", one.name): one for one in TOKENS}
    offset = [7]
    store.save(Changes(previous=0, offset=7, incidents=incidents(), things=things))

    def follow(intent, _within):
        refused = pipeline.refusal(intent)
        if refused is None:
            offset[0] += 1
            store.save(pipeline.intent(intent, intent.at, offset[0]).changes)
        return refused

    pipeline.step([], now(), 7)
    app = build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=now(), now=now,
        follow=follow, hearing=Hearing(ROUTER), public_url="https://spend.example.com",
    )  # fmt: skip
    with serve(app) as url:
        yield url


@pytest.fixture
def amtool(api, tmp_path):
    program = need("amtool")

    def ask(*words, who="ops", code=0):
        config = tmp_path / f"{who}.yml"
        config.write_text(f"authorization:\n  credentials: {SECRETS[who]}\n")
        done = subprocess.run(
            [program, f"--alertmanager.url={api}", f"--http.config.file={config}", *words],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return ask


def asked(api, path, who="ops", code=200, **query):
    headers = {"Authorization": f"Bearer {SECRETS[who]}"}
    answer = httpx.get(f"{api}/api/v2/{path}", params=query, headers=headers)
    assert answer.status_code == code, answer.text
    return answer.json()


def names(alerts):
    return sorted(alert["labels"]["incident_id"] for alert in alerts)


def test_amtool_asks_what_fires_silences_it_sees_that_and_ends_it(amtool):
    assert "not a valid version" not in amtool("alert", "query")
    shown = json.loads(amtool("-o", "json", "alert", "query", "owner=web"))
    assert names(shown) == ["w1"]
    assert shown[0]["labels"]["alertname"] == "spike"
    made = amtool("silence", "add", "owner=web", "severity=~high|medium", "--author=ana",
                  "--comment=load test until Friday", "--duration=2h").strip()  # fmt: skip
    assert names(json.loads(amtool("-o", "json", "alert", "query", "owner=web"))) == []
    hidden = json.loads(amtool("-o", "json", "alert", "query", "--silenced", "incident_id=w1"))
    assert hidden[0]["status"] == {"state": "suppressed", "silencedBy": [made], "inhibitedBy": []}
    told = amtool("silence", "query")
    assert made in told
    assert "load test until Friday" in told
    assert made in amtool("silence", "query", "owner=web", "--created-by=ana")
    assert made not in amtool("silence", "query", "owner=ml")
    longer = amtool("silence", "update", "--duration=4h", made)
    assert made in longer
    amtool("silence", "expire", made)
    assert made not in amtool("silence", "query")
    assert names(json.loads(amtool("-o", "json", "alert", "query", "owner=web"))) == ["w1"]


def test_amtool_reads_the_routes_and_who_would_hear(amtool):
    tree = amtool("config", "routes", "show")
    assert "web-team" in tree
    assert amtool("config", "routes", "test", "owner=web").strip() == "web-team"
    assert amtool("config", "routes", "test", "owner=ml").strip() == "everyone"


def test_amtool_is_told_why_it_is_refused(amtool):
    refused = amtool("silence", "add", "colour=red", "--author=a", "--comment=c", code=1)
    assert "'colour' is not a label" in refused
    assert "403" in amtool("silence", "add", "owner=ml", "--author=a", "--comment=c",
                           who="reader", code=1)  # fmt: skip


def test_a_team_sees_and_silences_its_own(amtool, api):
    assert names(json.loads(amtool("-o", "json", "alert", "query", who="web"))) == ["w1"]
    made = amtool(
        "silence", "add", "kind=spike", "--author=bo", "--comment=mine", who="web"
    ).strip()
    (matcher, own) = asked(api, f"silence/{made}")["matchers"]
    assert (matcher["name"], own["name"], own["value"]) == ("kind", "owner", "web")
    other = amtool("silence", "add", "owner=ml", "--author=a", "--comment=c").strip()
    assert [one["id"] for one in asked(api, "silences", "web")] == [made]
    asked(api, f"silence/{other}", "web", 404)
    amtool("silence", "expire", other, who="web", code=1)
    assert "config" in asked(api, "status", "web")
    assert asked(api, "status", "web")["config"]["original"] == ""
    assert asked(api, "receivers", "web") == [{"name": "web-team"}]


def test_flags_choose_by_what_keeps_an_incident_from_being_told(api):
    every = asked(api, "alerts")
    assert names(every) == ["idle", "m1", "old", "w1", "w2"]
    states = {alert["labels"]["incident_id"]: alert["status"]["state"] for alert in every}
    assert states == {"idle": "active", "m1": "suppressed", "old": "unprocessed", "w1": "active",
                      "w2": "suppressed"}  # fmt: skip
    assert names(asked(api, "alerts", active="false")) == ["m1", "old", "w2"]
    assert names(asked(api, "alerts", silenced="false")) == ["idle", "m1", "old", "w1"]
    assert names(asked(api, "alerts", inhibited="false")) == ["idle", "old", "w1", "w2"]
    assert names(asked(api, "alerts", unprocessed="false")) == ["idle", "m1", "w1", "w2"]
    assert names(asked(api, "alerts", receiver="web.*")) == ["w1", "w2"]
    assert names(asked(api, "alerts", receiver="web")) == []
    assert names(asked(api, "alerts", filter=['owner="ml"', "kind!~idle.*"])) == ["m1", "old"]
    assert names(asked(api, "alerts", filter='team=""')) == names(every)
    (inhibited,) = asked(api, "alerts", filter="incident_id=m1")
    assert inhibited["status"]["inhibitedBy"] == ["idle"]
    assert inhibited["generatorURL"] == "https://spend.example.com/incidents/m1"


def test_no_pattern_holds_up_the_service(api):
    for hard in ("(.*)*x", "(a+)+$", ".*.*.*.*.*x"):
        assert asked(api, "alerts", filter=[f'{label}=~"{hard}"' for label in
                                            ("owner", "service_name", "kind")]) == []  # fmt: skip


def test_groups_are_those_of_the_routes(api):
    groups = asked(api, "alerts/groups", active="true", silenced="false")
    found = [(g["receiver"]["name"], g["labels"], names(g["alerts"])) for g in groups]
    assert found == [
        ("everyone", {}, ["idle", "m1", "old"]),
        ("web-team", {"kind": "spike", "region_id": "us-east-1"}, ["w1"]),
    ]


def test_what_cannot_be_understood_is_a_string_that_says_why(api):
    headers = {"Authorization": f"Bearer {SECRETS['ops']}"}
    for path, said in (
        ("alerts?filter=owner%3D~%22(%22", "not a regular expression"),
        ("alerts?receiver=(", "receiver"),
        ("alerts?filter=owner%3D~%22(?=a)%22", "not a regular expression"),
        ("alerts?active=perhaps", "active"),
    ):
        answer = httpx.get(f"{api}/api/v2/{path}", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
        assert said in answer.json()


def test_a_silence_that_is_none_is_refused(api):
    whole = {
        "matchers": [{"name": "owner", "value": "web", "isRegex": False, "isEqual": True}],
        "startsAt": now().isoformat(), "endsAt": (now() + timedelta(hours=1)).isoformat(),
        "createdBy": "ana", "comment": "why",
    }  # fmt: skip
    headers = {"Authorization": f"Bearer {SECRETS['ops']}"}
    for change, code, said in (
        ({"matchers": []}, 400, "a silence needs a matcher"),
        ({"endsAt": "2020-01-01T00:00:00Z"}, 400, "in the past"),
        ({"endsAt": "soon"}, 400, "RFC3339"),
        ({"comment": ""}, 400, "comment"),
        ({"id": "3b1f6d2e-0000-0000-0000-000000000000"}, 404, "no such silence"),
        ({"matchers": [{"name": "owner", "value": "(", "isRegex": True}]}, 400, "regular"),
    ):
        answer = httpx.post(f"{api}/api/v2/silences", json=whole | change, headers=headers)
        assert answer.status_code == code, answer.text
        assert said in answer.json()
    assert httpx.post(f"{api}/api/v2/silences", json=whole).json().startswith("Say who you are")


def test_a_silence_to_come_is_pending_and_one_that_was_ended_is_gone(api):
    headers = {"Authorization": f"Bearer {SECRETS['ops']}"}
    whole = {
        "matchers": [{"name": "alertname", "value": "spike", "isRegex": False}],
        "startsAt": (now() + timedelta(hours=1)).isoformat(),
        "endsAt": (now() + timedelta(hours=2)).isoformat(), "createdBy": "ana", "comment": "why",
    }  # fmt: skip
    made = httpx.post(f"{api}/api/v2/silences", json=whole, headers=headers).json()["silenceID"]
    shown = asked(api, f"silence/{made}")
    assert shown["status"] == {"state": "pending"}
    assert shown["matchers"][0]["name"] == "kind"
    assert httpx.delete(f"{api}/api/v2/silence/{made}", headers=headers).status_code == 200
    asked(api, f"silence/{made}", code=404)
    assert httpx.delete(f"{api}/api/v2/silence/{made}", headers=headers).status_code == 404
    audit = httpx.get(f"{api}/v1/audit?about=silence/{made}", headers=headers).json()["items"]
    assert [(one["what"], one["via"], one["who"]) for one in audit] == [
        ("drop", "alertmanager", "ops"), ("put", "alertmanager", "ops"),
    ]  # fmt: skip
