"""apprise itself, against a real server: words and no markup, and what it cannot tell."""

import asyncio
import json

import pytest

from service.adapters.notifiers.apprise import Apprise, AppriseSettings, AppriseTarget
from service.core.ports import Retry, Sent, Unknown
from service.core.secret import Secret
from tests.factories import make_incident, make_notice
from tests.unit.test_wording import make_over
from tests.web_server import Web, serve_web


@pytest.fixture
async def server():
    server = Web()
    async with serve_web(server) as server.url:
        yield server


def make_notifier(server, query="", **overrides):
    url = Secret(f"{server.url.replace('http', 'json', 1)}/hook{query}")
    values = {"timeout_seconds": 2} | overrides
    return Apprise(AppriseSettings(to={"team": AppriseTarget(url=url)}, **values))


def notice(**overrides):
    return make_notice(destination="apprise:team", **overrides)


def said(server):
    return [json.loads(received.body) for received in server.received]


async def test_a_post_is_its_headline_and_its_words(server):
    assert isinstance(await make_notifier(server).send(notice(), None), Sent)
    (one,) = said(server)
    assert one["title"].startswith("🔴 +$1,240/day")
    assert one["message"].startswith("So far $2,310 over expected")
    assert one["type"] == "failure"


async def test_a_line_of_the_thread_stands_alone_and_says_what_it_is_about(server):
    line = notice(action="thread", reason="resolved", seq=2, incident=make_over())
    await make_notifier(server).send(line, {})
    (one,) = said(server)
    assert one["title"] == "Amazon EC2 · prod-payments"
    assert one["message"].startswith("Total $4,120")
    assert one["type"] == "success"


async def test_an_edit_is_not_sent_and_the_outcome_says_so(server):
    outcome = await make_notifier(server).send(notice(action="edit", reason="update"), {"a": "b"})
    assert outcome == Sent({"a": "b", "told": "no"})
    assert server.received == []


@pytest.mark.parametrize(
    ("form", "shown"),
    [("html", "&lt;b&gt;"), ("markdown", r"\*all\*"), ("text", "<b>")],
)
async def test_a_service_with_markup_gets_words_that_are_none(server, form, shown):
    bold = notice(incident=make_incident(owner="<b>*all*</b>"))
    await make_notifier(server, f"?format={form}").send(bold, None)
    assert shown in said(server)[0]["message"]


async def test_nobody_is_called_by_the_name_of_a_resource(server):
    calling = notice(incident=make_incident(owner="@everyone @Here <@U1> <!channel> a@b.example"))
    await make_notifier(server).send(calling, None)
    text = said(server)[0]["message"]
    assert not any(call in text for call in ("@everyone", "@Here", "<@", "<!"))
    assert "a@b.example" in text


async def test_what_failed_may_have_arrived_and_is_sent_again(server):
    notifier, server.status = make_notifier(server), 500
    outcome = await notifier.send(notice(), None)
    assert outcome == Unknown("apprise could not send it, or got no answer (failure)")
    assert isinstance(await notifier.find(notice()), Retry)
    server.status = 200
    assert isinstance(await notifier.send(notice(), None), Sent)


async def test_a_service_that_hangs_is_left_in_time(server):
    notifier, server.slow_seconds = make_notifier(server, timeout_seconds=1), 2
    async with asyncio.timeout(1.9):
        assert isinstance(await notifier.send(notice(), None), Unknown)


async def test_a_redirect_does_not_carry_the_notice_elsewhere(server):
    elsewhere = Web()
    async with serve_web(elsewhere) as url:
        server.status, server.headers = 307, {"Location": url}
        assert isinstance(await make_notifier(server).send(notice(), None), Unknown)
    assert elsewhere.received == []


@pytest.mark.parametrize("url", ["nothing://x", "discord://", "", "json://", "s3cret"])
def test_a_url_that_apprise_does_not_know_is_refused_and_not_quoted(url):
    with pytest.raises(ValueError, match=r"^to\.team: apprise knows no such service") as caught:
        Apprise(AppriseSettings(to={"team": AppriseTarget(url=Secret(url))}))
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "workflows://prod.westus.logic.azure.com:443/643e69f83c8944/4db8fd8e7c/",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/",
        "opsgenie://a6k4ABnck26hDh8AA3EDHoOVdDEUlw3nty/",
    ],
)
def test_the_urls_in_the_documentation_are_urls(url):
    Apprise(AppriseSettings(to={"team": AppriseTarget(url=Secret(url))}))
