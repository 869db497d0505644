"""Webhooks against a real server: signed as the specification says, and never led inside."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.adapters.notifiers.webhook import Endpoint, Webhook, WebhookSettings, headers_of
from service.core.ports import Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from tests.factories import make_notice
from tests.mail_server import Authority
from tests.ports import free_port
from tests.web_server import Web, serve_web

KEY, OLD_KEY = b"k" * 32, b"o" * 32


def secret_of(key):
    return Secret(f"whsec_{base64.b64encode(key).decode()}")


def make_notifier(url, **overrides):
    endpoint = {"url": Secret(url), "secret": secret_of(KEY)}
    endpoint |= {"old_secret": overrides.pop("old_secret", None)}
    values = {"allowed_networks": ["127.0.0.0/8", "::1"], "timeout_seconds": 3} | overrides
    return Webhook(WebhookSettings(to={"hook": Endpoint(**endpoint)}, **values))


def notice(**overrides):
    return make_notice(destination="webhook:hook", **overrides)


def signature(received, key):
    headers = received.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + received.body
    mac = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"


def test_a_signature_is_the_one_that_other_implementations_make():
    # The example of the Standard Webhooks libraries' own tests.
    headers = headers_of(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
        [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_whole_notice_arrives_signed_with_both_secrets():
    server = Web()
    async with serve_web(server) as url:
        notifier = make_notifier(f"{url}/hook?a=b", old_secret=secret_of(OLD_KEY))
        outcome = await notifier.send(notice(), None)
    assert outcome == Sent({"webhook_id": notice().delivery_id})
    (received,) = server.received
    assert received.path == "/hook?a=b"
    assert received.headers["webhook-id"] == notice().delivery_id
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    both = [signature(received, KEY), signature(received, OLD_KEY)]
    assert received.headers["webhook-signature"].split(" ") == both


async def test_the_body_is_for_programs_money_as_text_and_times_with_z():
    server = Web()
    async with serve_web(server) as url:
        await make_notifier(url, public_url="https://spend.example.com").send(notice(), None)
    body = json.loads(server.received[0].body)
    assert (body["type"], body["schema_version"]) == ("notice.post", 1)
    assert body["timestamp"] == "2026-03-11T14:00:00Z"
    data = body["data"]
    assert data["incident"]["impact"] == "2310"
    assert data["incident"]["drivers"][0]["impact"] == "1990.5"
    assert data["url"] == f"https://spend.example.com/incidents/{data['incident_id']}"
    assert {"delivery_id", "seq", "reason", "why_here", "text", "action"} < data.keys()
    assert "chart" not in data


async def test_an_edit_is_told_too_and_says_that_it_is_one():
    server = Web()
    async with serve_web(server) as url:
        await make_notifier(url).send(notice(action="edit", reason="update", seq=1), {})
    assert json.loads(server.received[0].body)["type"] == "notice.edit"


async def test_what_may_have_been_lost_comes_again_under_the_same_id():
    server = Web()
    async with serve_web(server) as url:
        notifier, server.lost = make_notifier(url), True
        assert isinstance(await notifier.send(notice(), None), Unknown)
        server.lost = False
        assert isinstance(await notifier.find(notice()), Retry)
        assert isinstance(await notifier.send(notice(), None), Sent)
    first, again = server.received
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1",
     "[::ffff:127.0.0.1]", "user@127.0.0.1", "1.1.1.1@127.0.0.1"],
)  # fmt: skip
@pytest.mark.parametrize("allowed", [[], ["10.0.0.0/8"]])
async def test_no_name_of_this_machine_is_reached_unless_it_is_allowed(host, allowed):
    server = Web()
    async with serve_web(server) as url:
        target = url.replace("127.0.0.1", host)
        outcome = await make_notifier(target, allowed_networks=allowed).send(notice(), None)
    assert not isinstance(outcome, Sent)
    assert server.received == []


async def test_who_is_not_allowed_is_told_what_to_do():
    async with serve_web(Web()) as url:
        outcome = await make_notifier(url, allowed_networks=[]).send(notice(), None)
    assert isinstance(outcome, Refused)
    assert "allowed_networks" in outcome.reason


async def test_a_name_is_judged_by_the_address_that_is_connected_to(monkeypatch):
    def lookup(host, port, *args, **kwargs):
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    server = Web()
    async with serve_web(server) as url:
        monkeypatch.setattr("socket.getaddrinfo", lookup)
        target = url.replace("127.0.0.1", "public.example")
        outcome = await make_notifier(target, allowed_networks=[]).send(notice(), None)
    assert isinstance(outcome, Refused)
    assert server.received == []


async def test_a_redirect_is_not_followed():
    inside, outside = Web(), Web()
    async with serve_web(inside) as secret, serve_web(outside) as url:
        outside.status, outside.headers = 307, {"Location": f"{secret}/"}
        assert isinstance(await make_notifier(url).send(notice(), None), Refused)
    assert inside.received == []


async def test_a_server_with_a_certificate_of_its_own_authority(tmp_path):
    authority, server = Authority(tmp_path), Web()
    async with serve_web(server, tls=authority.server_context()) as url:
        stranger = await make_notifier(url).send(notice(), None)
        known = make_notifier(url, ca_file=str(authority.file))
        assert isinstance(await known.send(notice(), None), Sent)
    assert isinstance(stranger, Retry)
    assert len(server.received) == 1


async def test_no_proxy_of_the_environment_sees_it(monkeypatch):
    server, proxy = Web(), Web()
    async with serve_web(server) as url, serve_web(proxy) as between:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, between)
        assert isinstance(await make_notifier(url).send(notice(), None), Sent)
    assert proxy.received == []


@pytest.mark.parametrize(
    "wrong", ["s3cret", "whsec_", "whsec_QUJD", f"whsec_{'QUJD' * 30}", "whsec_not base64 at all!"]
)
def test_a_secret_that_protects_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        Endpoint(url=Secret("https://x.example"), secret=Secret(wrong))


async def test_the_receiver_in_the_documentation_takes_what_we_send(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "destinations.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    port = free_port()
    (tmp_path / "receiver.py").write_text(code.replace("8400", str(port)))
    (tmp_path / "webhook-secret").write_text(f"{secret_of(KEY).reveal()}\n")
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "receiver.py", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        notifier = make_notifier(f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(20):
            outcome = Retry("not asked yet")
            for _ in range(100):
                if isinstance(outcome, Retry):
                    await asyncio.sleep(0.1)
                    outcome = await notifier.send(notice(), None)
            assert isinstance(outcome, Sent)
            assert json.loads(await receiver.stdout.readline())["type"] == "notice.post"
        forged = Endpoint(url=Secret(f"http://127.0.0.1:{port}/"), secret=secret_of(OLD_KEY))
        settings = WebhookSettings(to={"hook": forged}, allowed_networks=["127.0.0.1"])
        assert isinstance(await Webhook(settings).send(notice(), None), Retry)
    finally:
        receiver.terminate()
        await receiver.wait()
