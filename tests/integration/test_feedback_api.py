"""POST /v1/incidents/{id}/feedback: answered once it is in effect."""

import httpx
import pytest

from service.core.intents import Feedback
from service.core.ports import Changes
from service.entrypoints.api.access import Local
from service.entrypoints.api.app import build_app
from service.telemetry import Metrics
from tests.factories import NOW, make_incident

BODY = {"verdict": "expected", "why": "load test", "who": "ana"}


@pytest.fixture
def said():
    return []


@pytest.fixture
def ask(store, said):
    incident = make_incident()
    store.save(Changes(previous=0, offset=1, incidents=[incident]))

    async def ask(
        name=incident.incident_id,
        body=BODY,
        peer="127.0.0.1",
        follows=None,
        what="feedback",
        **headers,
    ):
        def follow(intent, _within):
            said.append(intent)
            if isinstance(follows, type):
                raise follows
            return follows

        app = build_app(
            store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
            hosts={"127.0.0.1"}, local=Local("admin"),
            follow=None if follows == "nobody" else follow,
        )  # fmt: skip
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        transport = httpx.ASGITransport(app=app, client=(peer, 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(f"/v1/incidents/{name}/{what}", json=body, headers=names)

    return ask


async def test_feedback_is_handed_on_with_who_when_where_and_why(ask, said):
    answer = await ask()
    assert answer.status_code == 200
    assert answer.json()["incident_id"] == make_incident().incident_id
    assert said == [
        Feedback(
            at=NOW, incident_id=make_incident().incident_id, verdict="expected",
            who="ana", via="api", why="load test",
        )
    ]  # fmt: skip


async def test_a_mark_is_handed_on_with_who_when_where_and_why(ask, said):
    snooze = {"act": "snooze", "why": "tomorrow", "until": "2026-03-20T00:00:00Z"}
    answer = await ask(what="marks", body=snooze)
    assert (answer.status_code, answer.json()["state"]) == (200, "firing")
    (mark,) = said
    until = NOW.replace(day=20, hour=0, minute=0)
    assert (mark.act, mark.until, mark.at, mark.why) == ("snooze", until, NOW, "tomorrow")
    assert mark.via == "api"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"act": "snooze", "why": "x"}, "either until or until_growth"),
        ({"act": "dance", "why": "x"}, "act"),
        ({"act": "assign", "why": "x"}, "to is for assign"),
        ({"act": "snooze", "why": "x", "until": "2026-03-20T00:00:00"}, "until"),
        ({"act": "acknowledge"}, "why"),
    ],
)
async def test_half_a_mark_is_refused_with_the_reason(ask, said, body, why):
    answer = await ask(what="marks", body=body)
    assert (answer.status_code, said) == (422, [])
    assert why in answer.text


@pytest.mark.parametrize(
    ("how", "code", "why"),
    [
        ({"peer": "10.0.0.7"}, 401, "Say who you are"),
        ({"X_Forwarded_For": "10.0.0.7"}, 401, "Say who you are"),
        ({"Forwarded": "for=10.0.0.7"}, 401, "Say who you are"),
        ({"Sec_Fetch_Site": "cross-site"}, 403, "another site"),
        ({"Content_Type": "text/plain"}, 422, "body"),
        ({"Content_Type": ""}, 422, "body"),
        ({"Content_Type": "application/csp+json"}, 415, "application/json"),
        ({"Host": "evil.example"}, 400, "not known under that name"),
        ({"name": "nobody"}, 404, "no such incident"),
        ({"name": "a%0Ab"}, 422, "incident_id"),
        ({"body": BODY | {"verdict": "fine"}}, 422, "verdict"),
        ({"body": {"verdict": "undo"}}, 422, "why"),
        ({"body": BODY | {"why": ""}}, 422, "why"),
        ({"body": BODY | {"role": "admin"}}, 422, "role"),
        ({"follows": "nobody"}, 501, "only reads"),
        ({"follows": "there is nothing to take back"}, 409, "nothing to take back"),
        ({"follows": TimeoutError}, 503, "say it again"),
    ],
)
async def test_what_is_refused_says_why(ask, said, how, code, why):
    answer = await ask(**how)
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in answer.json()["detail"]
    if "follows" not in how:
        assert said == []
