"""Who may see and do what: every route of the API, asked by everyone."""

import re
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from service.adapters.history import History
from service.core.allocation import Unallocated
from service.core.budget_figures import BudgetStatus, Figures
from service.core.budgets import Budget
from service.core.claims import Claim
from service.core.estimates import Gap
from service.core.intents import Put
from service.core.ports import Changes
from service.core.silences import Silence
from service.core.tokens import Token
from service.entrypoints.admin_token import new_token
from service.entrypoints.api.access import COOKIE, Local, digest
from service.entrypoints.api.allocation import Allocated
from service.entrypoints.api.app import build_app
from service.entrypoints.api.limits import LARGEST_BODY, Rates
from service.entrypoints.api.pages import live
from service.telemetry import Metrics
from tests.factories import (
    NOW,
    SERIES,
    make_chart,
    make_finding,
    make_gap,
    make_gpu_host,
    make_incident,
    make_notice,
    make_run_bill,
    make_unit_bill,
)

ADMIN = new_token()
ONE = Decimal(1)
INCIDENT, FINDING = make_incident(owner="ml"), make_finding(owner="ml")
SECRETS = {
    name: new_token()
    for name in ("own", "other", "editor", "other-editor", "ingest", "chief", "expired", "revoked")
}


def token(name, teams=("ml",), role="viewer", **more):
    return Token(name=name, sha256=digest(SECRETS[name]), teams=list(teams), role=role, **more)


TOKENS = [
    token("own"),
    token("other", ["web"]),
    token("editor", role="editor"),
    token("other-editor", ["web"], "editor"),
    token("ingest", [], "ingest"),
    token("chief", ["*"], "admin"),
    token("expired", expires_at=NOW),
]
# What an answer means here: a route's own, or whatever it says of what is asked of it.
LET_IN = {200, 204, 303, 400, 404, 409, 412, 415, 422, 501}
ALL = {"own", "other", "editor", "other-editor", "chief", "admin"}
MAY = {
    "viewer": ALL,
    "editor": {"editor", "other-editor", "chief", "admin"},
    "ingest": {"ingest", "chief", "admin"},
    "admin": {"chief", "admin"},
}
# What is about the one incident of team ml must not even seem to be there for another team.
THEIRS = re.compile(r"/v1/(incidents|findings|series)/")
PLACES = {
    "incident_id": INCIDENT.incident_id,
    "finding_id": FINDING.finding_id,
    "key:path": SERIES,
    "name": "own",
    "silence_id": "none",
}


@pytest.fixture
def filled(store):
    notice = make_notice(incident=INCIDENT, chart=make_chart())
    things = {("token", one.name): one for one in TOKENS}
    changes = Changes(
        previous=0, offset=1, incidents=[INCIDENT], findings=[FINDING], notices=[notice],
        things=things,
    )  # fmt: skip
    assert store.save(changes) == "saved"
    return store


def an_app(store, follow=None, **more):
    return build_app(
        store=store, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        follow=follow, **{"history": None, "local": Local(None, digest(ADMIN)), **more},
    )  # fmt: skip


def client(app, who=None, peer="127.0.0.1"):
    secret = ADMIN if who == "admin" else SECRETS.get(who)
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    transport = httpx.ASGITransport(app=app, client=(peer, 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


def routes():
    app = build_app(store=None, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW)
    found = [
        (method, route.path, (getattr(route, "openapi_extra", None) or {}).get("x-rule"))
        for route in app.routes
        if route.path not in ("/static", "/v1/openapi.json")
        for method in sorted(route.methods - {"HEAD"})
    ]
    assert len(found) > 15
    return found


async def ask(app, who, method, path):
    for name, value in PLACES.items():
        path = path.replace(f"{{{name}}}", value)
    said = {"verdict": "expected", "why": "load test"} if path.endswith("/feedback") else {}
    said = {"act": "acknowledge", "why": "on it"} if path.endswith("/marks") else said
    body = {"json": said} if method in ("POST", "PUT") else {}
    async with client(app, who) as http:
        return await http.request(method, path, **body)


@pytest.mark.parametrize(("method", "path", "rule"), routes())
async def test_every_route_asks_who_you_are(filled, method, path, rule, monkeypatch):
    monkeypatch.setattr(live, "LASTS_SECONDS", 0)  # signals would go on
    assert rule is not None, "a route without a rule"
    app = an_app(filled)
    for who in (*SECRETS, "admin", None):
        code = (await ask(app, who, method, path)).status_code
        if rule == "open":
            assert code not in (401, 403) or path in ("/sign-in", "/act"), (who, code)
        elif who in (None, "expired", "revoked"):
            assert code == 401, (who, code)
        elif who not in MAY[rule]:
            assert code == 403, (who, code)
        elif who.startswith("other") and THEIRS.search(path):
            assert code in (404, 415), (who, code)
        else:
            assert code in LET_IN, (who, code)


def test_only_an_admin_says_who_is_who_in_slack():
    rules = {rule for _, path, rule in routes() if path.startswith("/v1/members")}
    assert rules == {"admin"}


@pytest.mark.parametrize("path", ["/v1/incidents", "/v1/findings", "/v1/deliveries"])
async def test_a_list_holds_what_its_reader_may_see(filled, path):
    app = an_app(filled)
    for who, count in {"own": 1, "other": 0, "chief": 1, "admin": 1}.items():
        assert len((await ask(app, who, "GET", path)).json()["items"]) == count, who
    async with client(app, "own") as http:
        assert len((await http.get("/v1/incidents?owner=ml")).json()["items"]) == 1
    async with client(app, "other") as http:
        assert (await http.get("/v1/incidents?owner=ml")).json()["items"] == []
        assert (await http.get("/v1/status")).json()["incidents_firing"] == 0


async def test_of_experiments_and_estimates_a_team_is_told_its_own(filled):
    gap = Gap(service_name="EC2", billing_currency="USD", hours=1, estimated=ONE, billed=ONE)
    bills = [make_run_bill("a", team="ml"), make_run_bill("b", team="web")]
    app = an_app(filled, runs=lambda: bills, gaps=lambda: [gap])
    for who, seen in {"own": ["a"], "other": ["b"], "chief": ["a", "b"]}.items():
        told = (await ask(app, who, "GET", "/v1/experiments")).json()
        assert [run["run_id"] for run in told["runs"]] == seen
        assert [one["runs"] for one in told["experiments"]] == [len(seen)]
        estimates = (await ask(app, who, "GET", "/v1/status")).json()["estimates"]
        assert len(estimates) == (who == "chief")


async def test_of_gpus_a_team_is_told_its_own(filled):
    hosts = {"i-gpu": make_gpu_host(), "i-other": make_gpu_host(host="i-other", owner="web")}
    claimed = make_gpu_host(host="i-claimed", resource_id="i-claimed", owner="unowned")
    claim = Claim(name="c", owner="ml", author="ada", resource_id="i-claimed")
    more = {"gpus": hosts | {"i-claimed": claimed}, "things": {("claim", "c"): claim}}
    assert filled.save(Changes(previous=1, offset=2, **more)) == "saved"
    app = an_app(filled)
    for who, seen in {"own": ["i-claimed", "i-gpu"], "other": ["i-other"]}.items():
        told = (await ask(app, who, "GET", "/v1/gpus")).json()
        assert [host["host"] for host in told["hosts"]] == seen
        assert [pool["hosts"] for pool in told["pools"]] == [len(seen)]
    told = (await ask(app, "chief", "GET", "/v1/gpus?pool=train&limit=1")).json()
    (pool,) = told["pools"]
    assert (pool["provisioned"], pool["wasted_per_hour"]) == (6, "12.3")
    assert pool["idle_share"][-5:] == [0.5] * 5
    assert (len(told["starts"]), told["hosts_left_out"]) == (168, 2)
    assert filled.save(Changes(previous=2, offset=3, gpus=dict.fromkeys(hosts))) == "saved"
    told = (await ask(app, "chief", "GET", "/v1/gpus")).json()
    assert [host["host"] for host in told["hosts"]] == ["i-claimed"]


async def test_of_allocation_a_team_is_told_its_own(filled):
    gaps, units = [make_gap("ml", 1), make_gap("web", 2)], [make_unit_bill("ml")]
    app = an_app(filled, allocated=lambda: Allocated(Unallocated(gaps, []), units))
    for who, seen in {"own": ["ml"], "other": ["web"], "chief": ["ml", "web"]}.items():
        told = (await ask(app, who, "GET", "/v1/tag-policy")).json()
        assert [gap["owner"] for gap in told["gaps"]] == seen
        told = (await ask(app, who, "GET", "/v1/unit-costs")).json()
        assert len(told["items"]) == ("ml" in seen)


PAGES = ("/", "/incidents", "/incidents/{incident_id}", "/spend", "/gpus", "/budgets", "/mine",
         "/status", "/parts/days", "/parts/burn/own")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_shows_what_its_reader_may_see(filled, path, tmp_path):
    figures = Figures(
        name="own", what="ml", amount=ONE, currency="USD", severity="low", spent=ONE,
        period_start=NOW - timedelta(days=1), period_end=NOW + timedelta(days=1), as_of=NOW,
    )  # fmt: skip
    status = BudgetStatus(
        budget=Budget(name="own", amount=ONE, owner="ml"), owner="ml", state="over", figures=figures
    )
    silence = Silence(
        name="secret", matchers=["owner=ml"], starts_at=NOW, ends_at=NOW + timedelta(days=1),
        author="ana", comment="ours",
    )  # fmt: skip
    host = make_gpu_host(host="i-secret", owner="ml")
    saved = Changes(
        previous=1, offset=2, budgets={"own": status}, things={("silence", "secret"): silence},
        gpus={"i-secret": host},
    )  # fmt: skip
    assert filled.save(saved) == "saved"
    history = History(tmp_path / "history")
    app = an_app(filled, history=history)
    theirs = (INCIDENT.incident_id, INCIDENT.title, "i-secret", "secret", "burn-own", ">own ")
    for who in (None, "expired", "revoked", "ingest"):
        answer = await ask(app, who, "GET", path)
        assert answer.status_code == 303, who
        assert answer.headers["location"].startswith("/sign-in")
    for who in ("own", "editor", "chief", "admin"):
        assert (await ask(app, who, "GET", path)).status_code == 200, who
    for who in ("other", "other-editor"):
        answer = await ask(app, who, "GET", path)
        assert answer.status_code == (404 if "incidents/{" in path else 200)
        shown = answer.text.replace(f"/incidents/{INCIDENT.incident_id}", "")
        assert not [word for word in theirs if word in shown], who
    history.close()


async def test_one_comes_back_to_the_page_that_one_asked_for_and_to_no_other_site(filled):
    app = an_app(filled)
    async with client(app) as http:
        asked = await http.get("/incidents?owner=a%20b&state=all")
        assert asked.headers["location"] == "/sign-in?to=/incidents%3Fowner%3Da%2520b%26state%3Dall"
        form = await http.get(asked.headers["location"])
        assert 'value="/incidents?owner=a%20b&amp;state=all"' in form.text
        for to, led in {
            "/incidents?owner=a%20b": "/incidents?owner=a%20b",
            "//evil.example/": "/",
            "/\\evil.example": "/",
            "https://evil.example": "/",
            "/a\r\nSet-Cookie: a=b": "/",
        }.items():
            entered = await http.post("/sign-in", data={"token": SECRETS["own"], "to": to})
            assert (entered.status_code, entered.headers["location"]) == (303, led)


async def test_a_browser_signs_in_once_and_strangers_pages_cannot_use_that(filled):
    said = []
    app = an_app(filled, follow=lambda intent, _: said.append(intent))
    path = f"/v1/incidents/{INCIDENT.incident_id}/feedback"
    body = {"verdict": "expected", "why": "load test"}
    async with client(app) as http:
        refused = await http.post("/sign-in", data={"token": SECRETS["expired"]})
        assert (refused.status_code, COOKIE in refused.cookies) == (401, False)
        entered = await http.post("/sign-in", data={"token": SECRETS["editor"]})
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict"} <= set(entered.headers["set-cookie"].split("; "))
        assert (await http.get("/v1/status")).status_code == 200
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
            assert (await http.post(path, json=body, headers=headers)).status_code == 403
        assert said == []
        own = {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}
        assert (await http.post(path, json=body, headers=own)).status_code == 200
        assert [intent.who for intent in said] == ["editor"]
        await http.post("/sign-out")
        assert (await http.get("/v1/status")).status_code == 401


async def test_this_machine_needs_no_token_where_it_is_trusted_and_asks_itself(filled):
    app = an_app(filled, local=Local("viewer"))
    for peer, headers, code in (
        ("127.0.0.1", {}, 200),
        ("10.0.0.7", {}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}, 401),
        ("127.0.0.1", {"Authorization": "Bearer wrong"}, 401),
        ("127.0.0.1", {"Authorization": "Basic Zm9vOmJhcg=="}, 401),
    ):
        async with client(app, peer=peer) as http:
            assert (await http.get("/v1/status", headers=headers)).status_code == code


async def test_a_token_is_put_by_its_hash_used_and_dropped(filled):
    secret, said = new_token(), []

    def follow(intent, _):
        said.append(intent)
        thing = intent.thing if isinstance(intent, Put) else None
        filled.save(
            Changes(previous=said_before(), offset=len(said) + 1, things={("token", "new"): thing})
        )

    def said_before():
        return len(said)

    app = an_app(filled, follow=follow)
    async with client(app, "admin") as http, client(app) as user:
        user.headers["Authorization"] = f"Bearer {secret}"
        assert (await user.get("/v1/incidents")).status_code == 401
        body = {"sha256": digest(secret), "teams": ["ml"], "role": "viewer"}
        made = await http.put("/v1/tokens/new", json=body, params={"why": "for the wall"})
        assert (made.status_code, made.json()["used_at"]) == (200, None)
        assert "sha256" not in made.json()
        assert (said[0].who, said[0].via, said[0].why) == ("admin", "api", "for the wall")
        fresh = an_app(filled, follow=follow)
        async with client(fresh) as again:
            again.headers["Authorization"] = f"Bearer {secret}"
            assert (await again.get("/v1/incidents")).status_code == 200
        assert (await http.get("/v1/tokens/new")).json()["used_at"] is not None
        etag = made.headers["etag"]
        assert (
            await http.put("/v1/tokens/new", json=body, headers={"If-None-Match": "*"})
        ).status_code == 200
        gone = await http.delete("/v1/tokens/new", headers={"If-Match": etag})
        assert gone.status_code == 204
        assert said[-1].if_match == etag.strip('"')
        assert (await http.get("/v1/tokens/new")).status_code == 404


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"sha256": "x", "teams": [], "role": "viewer"}, "sha256"),
        ({"sha256": "0" * 64, "teams": [], "role": "owner"}, "role"),
        ({"sha256": "0" * 64, "teams": [], "role": "viewer", "extra": 1}, "extra"),
        ({"sha256": "0" * 64, "teams": [], "role": "viewer", "name": "else"}, "name"),
        ([], "object"),
    ],
)
async def test_a_thing_that_is_none_is_refused_in_one_line(filled, body, why):
    async with client(an_app(filled, follow=lambda *_: None), "admin") as http:
        answer = await http.put("/v1/tokens/new", json=body)
        assert answer.status_code == 422
        assert why in answer.json()["detail"]


async def test_who_was_overtaken_is_told(filled):
    app = an_app(filled, follow=lambda *_: "token 'own' was changed meanwhile")
    body = {"sha256": "0" * 64, "teams": [], "role": "viewer"}
    async with client(app, "admin") as http:
        answer = await http.put("/v1/tokens/own", json=body, headers={"If-Match": '"old"'})
        assert answer.status_code == 412


async def test_who_asks_too_often_waits_and_others_do_not(filled):
    clock = [0.0]
    app = an_app(filled, rates=Rates(1.0, 2, lambda: clock[0]))
    async with client(app, "own") as http, client(app, "other") as other:
        codes = [(await http.get("/v1/status")).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert (await http.get("/v1/status")).headers["retry-after"] == "1"
        assert (await other.get("/v1/status")).status_code == 200
        clock[0] += 1.0
        assert (await http.get("/v1/status")).status_code == 200


async def test_too_large_a_body_is_refused_whatever_its_length_is_said_to_be(filled):
    app = an_app(filled)

    async def drip():
        for _ in range(LARGEST_BODY // 65536 + 2):
            yield b" " * 65536

    path, kind = "/v1/tokens/new", {"Content-Type": "application/json"}
    async with client(app, "admin") as http:
        for body in (b" " * (LARGEST_BODY + 1), drip()):
            answer = await http.put(path, content=body, headers=kind)
            assert answer.status_code == 413
            assert answer.json()["detail"] == "A body holds at most 1 MiB."


async def test_a_revoked_token_is_refused_within_a_second(filled):
    at = [NOW]
    app = build_app(
        store=filled, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: at[0]
    )
    async with client(app, "own") as http:
        assert (await http.get("/v1/status")).status_code == 200
        filled.save(Changes(previous=1, offset=2, things={("token", "own"): None}))
        at[0] += timedelta(seconds=1)
        assert (await http.get("/v1/status")).status_code == 401
