"""People behind a single sign-on proxy: the proxy's word is taken, and nobody else's."""

from ipaddress import ip_network

import httpx
import pytest

from service.config import GroupSettings, Settings, SignOnSettings
from service.core.intents import Put
from service.core.ports import Changes
from service.core.secret import Secret
from service.core.tokens import Token
from service.entrypoints.admin_token import local_of
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import digest
from service.telemetry import Metrics
from tests.factories import NOW, make_incident

SECRET, OLD = "s" * 32, "o" * 32
TOKEN = "t" * 40
GROUPS = {
    "finops": GroupSettings(teams=["*"], role="admin"),
    "everyone": GroupSettings(teams=["*"]),
    "ml-devs": GroupSettings(teams=["ml"], role="editor"),
    "web-readers": GroupSettings(teams=["web"]),
}
ANA = {"X-Proxy-Secret": SECRET, "X-Forwarded-User": "u-1", "X-Forwarded-Email": "ana@example.com"}


def sign_on(**changes):
    usual = {"secret": Secret(SECRET), "groups": GROUPS}
    return Settings(sign_on=SignOnSettings(**usual | changes))


def an_app(store, settings, follow=None):
    return build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=local_of(settings, None), follow=follow,
    )  # fmt: skip


@pytest.fixture
def filled(store):
    incidents = [make_incident(incident_id=name, owner=name) for name in ("ml", "web", "data")]
    token = Token(name="t", sha256=digest(TOKEN), teams=["data"], role="viewer")
    things = {("token", "t"): token}
    store.save(Changes(previous=0, offset=1, incidents=incidents, things=things))
    return store


async def asked(app, headers, path="/v1/incidents", method="GET", peer="127.0.0.1", **body):
    transport = httpx.ASGITransport(app=app, client=(peer, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        return await http.request(method, path, headers=headers, **body)


def of(*groups, **more):
    return ANA | {"X-Forwarded-Groups": ",".join(groups)} | more


async def seen(app, *groups):
    answer = await asked(app, of(*groups))
    assert answer.status_code == 200, answer.text
    return sorted(one["owner"] for one in answer.json()["items"])


async def test_groups_say_what_people_see_and_do(filled):
    said = []
    app = an_app(filled, sign_on(), follow=lambda intent, _: said.append(intent))
    assert await seen(app, "finops") == ["data", "ml", "web"]
    assert await seen(app, "ml-devs", "strangers") == ["ml"]
    assert await seen(app, "ml-devs", "web-readers") == ["ml", "web"]
    both = of("ml-devs", "web-readers")
    for owner, code in (("ml", 200), ("web", 404)):
        path = f"/v1/incidents/{owner}/marks"
        answer = await asked(app, both, path, "POST", json={"act": "acknowledge", "why": "on it"})
        assert answer.status_code == code, owner
    assert [intent.who for intent in said] == ["ana@example.com"]
    for groups, code in ((["finops"], 200), (["ml-devs"], 403), (["everyone", "ml-devs"], 403)):
        assert (await asked(app, of(*groups), "/v1/tokens")).status_code == code


async def test_an_admin_of_one_team_is_none_of_all(filled):
    groups = GROUPS | {"ml-admins": GroupSettings(teams=["ml"], role="admin")}
    app = an_app(filled, sign_on(groups=groups))
    hidden = Put(at=NOW, who="root", via="cli", why="w",
                 thing=Token(name="x", sha256="0" * 64, teams=["web"], role="viewer"))  # fmt: skip
    filled.save(Changes(previous=1, offset=2, intents=[hidden]))
    assert (await asked(app, of("everyone", "ml-admins"), "/v1/audit")).json()["items"] == []
    assert len((await asked(app, of("finops"), "/v1/audit")).json()["items"]) == 1


async def test_who_is_in_no_group_is_told_so_and_open_routes_stay_open(filled):
    app = an_app(filled, sign_on())
    for groups in ([], ["strangers"]):
        answer = await asked(app, of(*groups))
        assert (answer.status_code, "groups" in answer.json()["detail"]) == (403, True)
        assert (await asked(app, of(*groups), "/livez")).status_code == 200


@pytest.mark.parametrize(
    "forged",
    [
        {"X-Proxy-Secret": ""},
        {"X-Proxy-Secret": SECRET[:-1]},
        {"X-Proxy-Secret": SECRET.upper()},
        {"X-Proxy-Secret": "é" * 16},
        {"X-Forwarded-Email": "", "X-Forwarded-User": ""},
        {"X-Forwarded-Email": "a" * 121},
        {"X-Forwarded-Email": "ana\x7f@example.com"},
    ],
)
async def test_what_is_forged_is_refused(filled, forged):
    app = an_app(filled, sign_on())
    headers = {name: value.encode() for name, value in (of("finops") | forged).items()}
    assert (await asked(app, headers)).status_code == 401


async def test_what_is_missing_is_refused_and_a_secret_said_twice_too(filled):
    app = an_app(filled, sign_on())
    without = {name: value for name, value in of("finops").items() if name != "X-Proxy-Secret"}
    assert (await asked(app, without)).status_code == 401
    twice = [*of("finops").items(), ("X-Proxy-Secret", "x")]
    assert (await asked(app, twice)).status_code == 401
    assert (await asked(app, {})).status_code == 401


async def test_what_is_replayed_from_elsewhere_or_after_a_change_of_the_secret_is_refused(filled):
    app = an_app(filled, sign_on())
    assert (await asked(app, of("finops"), peer="10.0.0.7")).status_code == 401
    away = an_app(filled, sign_on(proxies=["10.0.0.0/24"]))
    assert (await asked(away, of("finops"), peer="10.0.0.7")).status_code == 200
    assert (await asked(away, of("finops"))).status_code == 401
    changing = an_app(filled, sign_on(secret=Secret("n" * 32), old_secret=Secret(SECRET)))
    assert (await asked(changing, of("finops"))).status_code == 200
    changed = an_app(filled, sign_on(secret=Secret("n" * 32)))
    assert (await asked(changed, of("finops"))).status_code == 401


def test_the_address_is_that_of_the_connection_whatever_a_header_says(filled):
    app = an_app(filled, sign_on(proxies=["10.0.0.7"]))
    with serve(app) as url:
        headers = of("finops") | {"X-Forwarded-For": "10.0.0.7"}
        assert httpx.get(f"{url}/v1/incidents", headers=headers).status_code == 401
    with serve(an_app(filled, sign_on())) as url:
        assert httpx.get(f"{url}/v1/incidents", headers=headers).status_code == 200


async def test_off_unless_configured_and_a_token_speaks_for_itself(filled):
    app = an_app(filled, Settings())
    assert (await asked(app, of("finops"))).status_code == 401
    app = an_app(filled, sign_on())
    answer = await asked(app, of("finops") | {"Authorization": f"Bearer {TOKEN}"})
    assert [one["owner"] for one in answer.json()["items"]] == ["data"]
    wrong = await asked(app, of("finops") | {"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401


async def test_pages_of_strangers_cannot_use_that_somebody_has_signed_on(filled):
    app = an_app(filled, sign_on(), follow=lambda *_: None)
    path, body = "/v1/incidents/ml/marks", {"act": "acknowledge", "why": "on it"}
    for more, code in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
        ({"Origin": "https://127.0.0.1", "X-Forwarded-Proto": "https"}, 200),
    ):
        answer = await asked(app, of("ml-devs") | more, path, "POST", json=body)
        assert answer.status_code == code, more


def test_what_protects_by_half_is_refused():
    for wrong in (
        {"secret": Secret("short")},
        {"secret": None, "old_secret": Secret(OLD)},
        {"proxies": ["everywhere"]},
    ):
        with pytest.raises(ValueError, match=r"secret|everywhere"):
            sign_on(**wrong)
    assert local_of(sign_on(), None).sign_on.proxies[0] == ip_network("127.0.0.1")
