"""What the links in a mail do: GET shows, POST acts, once, for whom it was mailed to."""

from email.headerregistry import Address

import httpx
import pytest

from service.adapters.mail_message import LINKS_LAST, message_of
from service.adapters.signed_links import Act, sign
from service.core.intents import Mark
from service.core.secret import Secret
from service.entrypoints.api.app import build_app
from service.entrypoints.api.limits import Rates
from service.entrypoints.api.serve import serve
from service.telemetry import Metrics
from tests.office import HOUR, T0, Office, odd

KEY, OLD, NEITHER = Secret("k" * 32), Secret("o" * 32), Secret("n" * 32)
ANA = "ana@example.org"
NOW = T0 + 2 * HOUR


class Rig:
    """A desk that tells one incident by mail, its store, and the page over both."""

    def __init__(self, store):
        receivers = {"everyone": [f"email:{ANA}"], "ml": ["slack:#ml"]}
        self.office, self.store, self.now = Office(receivers=receivers), store, NOW
        self.tell(T0 + HOUR, odd(rate=2400))
        self.incident = self.office.incident.incident_id
        self.mail = next(n for n in self.office.notices if n.destination == f"email:{ANA}")

    def tell(self, at, *members):
        self.office.tell(at, *members)
        assert self.store.save(self.office.changes) == "saved"

    def follow(self, intent, _within=0.0):
        refused = self.office.do(intent)
        assert self.store.save(self.office.changes) == "saved"
        return refused

    def app(self, **more):
        return build_app(
            store=self.store, history=None, metrics=Metrics("0"), started_at=NOW,
            now=lambda: self.now, follow=self.follow, **{"link_keys": [KEY, OLD]} | more,
        )  # fmt: skip

    def path(self, action="acknowledge", key=KEY, **values):
        expires = NOW + LINKS_LAST
        values = {"incident_id": self.incident, "who": ANA, "expires": expires} | values
        return f"/act?t={sign(Act(action=action, **values), key)}"

    @property
    def state(self):
        return self.store.incident(self.incident).state


@pytest.fixture
def rig(store):
    return Rig(store)


@pytest.fixture
def web(rig):
    transport = httpx.ASGITransport(app=rig.app(), client=("203.0.113.5", 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@pytest.mark.parametrize(
    ("action", "state"),
    [("acknowledge", "acknowledged"), ("expected", "expected"), ("not_an_issue", "expected")],
)
async def test_a_link_shows_what_it_would_do_and_its_button_does_it(rig, web, action, state):
    path = rig.path(action)
    shown = await web.get(path)
    assert (shown.status_code, rig.state) == (200, "firing")
    assert f'action="{path}"' in shown.text
    assert "Amazon EC2 · i-1" in shown.text
    assert ANA in shown.text
    done = await web.post(path)
    assert (done.status_code, rig.state) == (200, state)
    (intent,) = rig.store.intents()
    assert (intent.who, intent.via) == (ANA, "mail")
    assert intent.why == "by the link in a mail of 1 Jun 2026 02:00 UTC"


async def test_a_link_acts_once_although_it_was_taken_back_since(rig, web):
    path = rig.path()
    assert (await web.post(path)).status_code == 200
    rig.follow(Mark(act="undo", incident_id=rig.incident, at=NOW, who="bo", via="api", why="no"))
    for again in (await web.get(path), await web.post(path)):
        assert (again.status_code, rig.state) == (409, "firing")
        assert "used before" in again.text
    later = rig.path(expires=NOW + LINKS_LAST + HOUR)
    assert (await web.post(later)).status_code == 200


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path[:-3] + "abc", 403),
        (lambda path: path.replace("/act?t=", "/act?t=x"), 403),
        (lambda _: "/act", 403),
        (lambda _: "/act?t=" + "x" * 5000, 403),
    ],
)
async def test_what_is_not_a_link_of_ours_is_refused_and_does_nothing(rig, web, change, code):
    for method in ("GET", "POST"):
        answer = await web.request(method, change(rig.path()))
        assert (answer.status_code, rig.state) == (code, "firing")
        assert "<form" not in answer.text


async def test_a_link_of_a_foreign_key_is_forged_and_one_of_the_old_key_holds(rig, web):
    assert (await web.post(rig.path(key=NEITHER))).status_code == 403
    assert (await web.post(rig.path(key=OLD))).status_code == 200


async def test_without_a_key_no_link_holds(rig):
    transport = httpx.ASGITransport(app=rig.app(link_keys=[]))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as web:
        assert (await web.post(rig.path())).status_code == 403


async def test_a_link_expires(rig, web):
    rig.now = NOW + LINKS_LAST
    answer = await web.post(rig.path())
    assert (answer.status_code, rig.state) == (410, "firing")


async def test_a_link_acts_on_its_own_incident_alone(rig, web):
    rig.tell(NOW, odd(finding_id="f2", resource_id="i-2", service_name="Amazon S3"))
    other = next(name for name in rig.office.incidents if name != rig.incident)
    assert (await web.post(rig.path())).status_code == 200
    assert rig.store.incident(other).state == "firing"
    assert (await web.post(rig.path(incident_id="nobody"))).status_code == 404


async def test_what_can_no_longer_be_done_is_said(rig, web):
    rig.tell(NOW, odd(rate=2400, ended_at=T0 + HOUR))
    answer = await web.post(rig.path())
    assert answer.status_code == 409
    assert "it is over" in answer.text


def test_one_click_of_a_mail_program_unsubscribes_for_good(rig):
    message = message_of(
        rig.mail, sender=Address("", "s", "example.org"), recipient=Address(addr_spec=ANA), at=NOW,
        public_url="https://spend.example.org", link_key=KEY,
    )  # fmt: skip
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = httpx.URL(str(message["List-Unsubscribe"]).strip("<>"))
    with serve(rig.app()) as address:
        form = {"List-Unsubscribe": "One-Click"}
        answer = httpx.post(f"{address}{url.raw_path.decode()}", data=form)
    assert answer.status_code == 200
    rig.tell(NOW + HOUR, odd(rate=24000))
    rig.tell(NOW + HOUR, odd(finding_id="f2", resource_id="i-2", service_name="Amazon S3"))
    assert [n for n in rig.office.notices if n.at > NOW and n.destination == f"email:{ANA}"] == []


async def test_who_presses_too_often_is_slowed_down(rig):
    transport = httpx.ASGITransport(app=rig.app(rates=Rates(0.001, 3)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as web:
        codes = [(await web.post("/act?t=x")).status_code for _ in range(5)]
    assert codes == [403, 403, 403, 429, 429]


async def test_the_page_holds_no_markup_of_a_row(store):
    rig = Rig.__new__(Rig)
    rig.office, rig.store, rig.now = Office(), store, NOW
    rig.tell(T0 + HOUR, odd(service_name="<script>x</script>", rate=2400))
    rig.incident = rig.office.incident.incident_id
    transport = httpx.ASGITransport(app=rig.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as web:
        shown = await web.get(rig.path())
    assert "<script>x" not in shown.text
    assert "&lt;script&gt;x" in shown.text
