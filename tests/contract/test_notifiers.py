"""What every notifier promises, run over NOTIFIERS against real servers on loopback.

A notifier that is added to the dict is given a rig here: how to stand up its destination, what can
go wrong there, and what then has to be said.
"""

import base64
import contextlib
import html
import io
import json
import logging
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any, NamedTuple

import pytest

from service.adapters.notifiers import NOTIFIERS
from service.config_file import checked
from service.core.ports import Notifier, Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.local_slack_workspace import Fault
from tests.factories import make_chart, make_driver, make_incident, make_notice
from tests.mail_server import Authority, Mailbox, serve_mail
from tests.ports import free_port
from tests.web_server import PagerDutyServer, Web, serve_web

SECRET = "xoxb-do-not-tell"
PATIENCE_SECONDS = 3  # a machine that is busy with other tests may take one to answer
HOSTILE = {
    "mentions": "<!channel> <@U1> <!subteam^S1|all> @here",
    "a link": "<https://evil.example|your bank> https://evil.example",
    "headers": "i-1\r\nBcc: victim@example.com\r\n\r\nbody",
    "five thousand characters": "x" * 5000,
    "a direction override": "i-\u202egpj.exe\u2066\u200f",
    "backticks": "``` `a` ```",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "terminal controls": "\x1b[2J\x1b]0;own\x07\x9b31m\x00",
    "rich markup": "[bold red]x[/] [link=https://evil.example]y[/link]",
    "templates": "{{ 7*7 }} {% raw %} {0} %s",
    "surrogates": "\ud83d a\udc00",
}


class Rig(NamedTuple):
    """A destination that runs: its notifier, what is read there, and what became markup there."""

    notifier: Notifier
    destination: str
    told: Callable[[], list[str]]
    markup: Callable[[], list[str]]


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# --- Slack ----------------------------------------------------------------------------------------


@asynccontextmanager
async def slack_rig(tmp_path, fault: Fault | str | None = None):
    app = build_app(rate_limit=False, processing_seconds=0)
    slack = app.state.slack
    if isinstance(fault, Fault):
        slack.faults.append(fault)
    with serve(app) as url:
        base_url = f"http://127.0.0.1:{free_port()}/" if fault == "server is down" else url
        kind = NOTIFIERS["slack"]
        settings = kind.Settings(
            token=Secret(SECRET), base_url=f"{base_url}/api/", timeout_seconds=PATIENCE_SECONDS
        )
        notifier = kind(settings)
        try:
            yield Rig(
                notifier, "slack:#finops", lambda: slack_texts(slack), lambda: slack_markup(slack)
            )
        finally:
            await notifier.close()


def slack_texts(slack):
    return [html.unescape(m["text"]) for m in slack.channels["finops"].messages]


def slack_markup(slack):
    """Return what Slack would show as a mention, a link or a formatted name."""
    found = []
    for message in slack.channels["finops"].messages:
        found += [message["text"]] if set("<>") & set(message["text"]) else []
        for block in message["blocks"]:
            texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
            for text in texts:
                if isinstance(text, dict) and text["type"] == "mrkdwn":
                    label, _, value = text["text"].partition("\n")
                    found += [value] if "<" in value.replace("<!date^", "") else []
                    found += [value] if label == "*Owner*" and value.count("`") != 2 else []
            found += [str(part) for part in parts_of(block) if part in FORBIDDEN_PARTS]
    return found


FORBIDDEN_PARTS = {"user", "usergroup", "channel", "broadcast", "link", "emoji"}


def parts_of(value):
    if isinstance(value, dict):
        yield value.get("type")
        for inner in value.values():
            yield from parts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts_of(inner)


def says(error):
    return Fault("chat.postMessage", error=error)


SLACK_CASES: Mapping[str, tuple[Any, type]] = {
    "429": (Fault("chat.postMessage", status=429, retry_after=7), Retry),
    "429 without Retry-After": (Fault("chat.postMessage", status=429), Retry),
    "403 of a proxy": (Fault("chat.postMessage", status=403), Retry),
    "404": (Fault("chat.postMessage", status=404), Retry),
    **{str(n): (Fault("chat.postMessage", status=n), Unknown) for n in (500, 502, 503, 504)},
    "server is down": ("server is down", Retry),
    "connection dropped before": (Fault("chat.postMessage", dropped=True), Unknown),
    "reply lost": (Fault("chat.postMessage", lost=True), Unknown),
    "reply too late": (Fault("chat.postMessage", slow_seconds=PATIENCE_SECONDS + 1), Unknown),
    "reply is no JSON": (Fault("chat.postMessage", garbage=True), Unknown),
    **{
        error: (says(error), Refused)
        for error in (
            "channel_not_found", "not_in_channel", "is_archived", "restricted_action",
            "invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive",
            "missing_scope", "an_error_of_next_year",
        )
    },
    **{error: (says(error), Retry) for error in ("ratelimited", "rate_limited")},
    **{
        error: (says(error), Unknown)
        for error in (
            "internal_error", "fatal_error", "service_unavailable", "request_timeout",
            "duplicate_message_not_found", "Not A Code! xoxb-1",
        )
    },
    **{
        error: (says(error), Sent)
        for error in ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long")
    },
    "upload fails": (Fault("files.getUploadURLExternal", status=500), Sent),
    "upload is not processed": (Fault("files.completeUploadExternal", error="fatal_error"), Sent),
    "picture cannot be shown": (Fault("chat.update", error="invalid_blocks"), Sent),
}  # fmt: skip


# --- E-mail ---------------------------------------------------------------------------------------


@asynccontextmanager
async def email_rig(tmp_path, case: Mapping[str, Any] | None = None):
    case = case or {}
    mailbox, authority = Mailbox(), Authority(tmp_path)
    for name, value in case.get("mailbox", {}).items():
        setattr(mailbox, name, value)
    context = authority.server_context(*case.get("names", ()))
    served = {} if case.get("offers_no_tls") else {"starttls": context, "password": SECRET}
    async with serve_mail(mailbox, **served) as port:
        kind = NOTIFIERS["email"]
        settings = {
            "host": "127.0.0.1",
            "port": free_port() if case.get("is_down") else port,
            "sender": "cost@example.com",
            "ca_file": str(authority.file),
            "username": "cost",
            "password": Secret(case.get("password", SECRET)),
            "timeout_seconds": PATIENCE_SECONDS,
        }
        notifier = kind(kind.Settings(**settings))
        yield Rig(
            notifier,
            case.get("destination", "email:team@example.org"),
            lambda: [mail.get_body(("plain",)).get_content() for mail in mailbox.mails],
            lambda: mail_markup(mailbox.mails),
        )
        await notifier.close()


def mail_markup(mails):
    found = []
    for mail in mails:
        found += [name for name in mail if name.lower() in {"bcc", "cc", "reply-to"}]
        tags = Tags()
        tags.feed(mail.get_body(("html",)).get_content())
        for tag, attributes in tags.found:
            found += [tag] if tag in {"script", "a"} or "onerror" in attributes else []
            found += [tag] if tag == "img" and attributes["src"] != "cid:chart" else []
    return found


EMAIL_CASES: Mapping[str, tuple[Any, type]] = {
    **{
        f"{code} at RCPT": ({"mailbox": {"rcpt_reply": f"{code} no"}}, verdict)
        for code, verdict in (
            (421, Retry),
            (450, Retry),
            (451, Retry),
            (550, Refused),
            (553, Refused),
        )
    },
    **{
        f"{code} at DATA": ({"mailbox": {"data_reply": f"{code} no"}}, verdict)
        for code, verdict in ((451, Retry), (452, Retry), (552, Refused), (554, Refused))
    },
    "connection dropped at RCPT": ({"mailbox": {"drops_at_rcpt": True}}, Retry),
    "connection dropped after DATA": ({"mailbox": {"drops_after_data": True}}, Unknown),
    "reply to DATA too late": ({"mailbox": {"data_seconds": PATIENCE_SECONDS + 1}}, Unknown),
    "server is down": ({"is_down": True}, Retry),
    "certificate of another host": ({"names": ("elsewhere.example",)}, Retry),
    "server offers no TLS": ({"offers_no_tls": True}, Refused),
    "wrong password": ({"password": "guess"}, Refused),
    "destination is no address": ({"destination": "email:team"}, Refused),
    "destination with a header": (
        {"destination": "email:a@b.example\r\nBcc: c@d.example"},
        Refused,
    ),
}


# --- Console --------------------------------------------------------------------------------------


class ClosedPipe(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@asynccontextmanager
async def console_rig(tmp_path, case: str | None = None):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    outs = {"pipe is closed": ClosedPipe(), "output takes ASCII alone": ascii_only}
    out = outs.get(case, io.StringIO())
    with contextlib.redirect_stdout(out):
        kind = NOTIFIERS["console"]
        notifier = kind(kind.Settings())
        yield Rig(
            notifier,
            "console:",
            lambda: out.getvalue().split("\n\n")[:-1],
            lambda: [c for c in out.getvalue() if c != "\n" and unicodedata.category(c)[0] == "C"],
        )
        await notifier.close()


CONSOLE_CASES: Mapping[str, tuple[Any, type]] = {
    "pipe is closed": ("pipe is closed", Retry),
    "output takes ASCII alone": ("output takes ASCII alone", Refused),
}

# --- PagerDuty, webhooks, apprise -----------------------------------------------------------------


@asynccontextmanager
async def web_rig(server, case, settings, told, markup):
    """Stand up a destination behind a web server; `settings` makes its table from the address."""
    case = case or {}
    for name, value in case.get("server", {}).items():
        setattr(server, name, value)
    async with serve_web(server) as url:
        down = f"http://127.0.0.1:{free_port()}"
        kind, table = settings(down if case.get("is_down") else url, case)
        notifier = NOTIFIERS[kind](checked(table, NOTIFIERS[kind].Settings, kind))
        yield Rig(notifier, f"{kind}:{case.get('to', 'team')}", told, markup)
        await notifier.close()


def unseen(texts):
    """Return the texts that hold what no one sees, and a program may obey."""
    return [text for text in texts if not text.replace("\n", "").isprintable()]


def texts_in(value):
    """Yield every text of a JSON document, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from texts_in(list(value.values()))
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def pagerduty_rig(tmp_path, case: Mapping[str, Any] | None = None):
    server = PagerDutyServer()

    def settings(url, case):
        key = Secret(case.get("key", server.KEY))
        return "pagerduty", {
            "to": {"team": {"routing_key": key}},
            "base_url": url,
            "timeout_seconds": PATIENCE_SECONDS,
        }

    def markup():
        ours = {"client_url", "links", "images"}
        found = unseen(text for event in server.triggers for text in texts_in(event))
        return found + [name for event in server.triggers for name in event if name in ours]

    def told():
        return ["\n".join(texts_in(event["payload"])) for event in server.triggers]

    return web_rig(server, case, settings, told, markup)


def webhook_rig(tmp_path, case: Mapping[str, Any] | None = None):
    server = Web()

    def settings(url, case):
        return "webhook", {
            "to": {
                "team": {
                    "url": Secret(f"{url}/hook?key={SECRET}"),
                    "secret": Secret(WEBHOOK_SECRET),
                }
            },
            "allowed_networks": case.get("allowed_networks", ["127.0.0.1"]),
            "timeout_seconds": PATIENCE_SECONDS,
        }

    def bodies():
        return [json.loads(received.body) for received in server.received]

    def told():
        return [said["data"]["text"] for said in bodies() if said["type"] != "notice.edit"]

    def markup():
        names = {name.lower() for received in server.received for name in received.headers}
        return [*unseen(texts_in(bodies())), *sorted(names - WEBHOOK_HEADERS)]

    return web_rig(server, case, settings, told, markup)


def apprise_rig(tmp_path, case: Mapping[str, Any] | None = None):
    server = Web()

    def settings(url, case):
        address = url.replace("http://", "json://")
        return "apprise", {
            "to": {"team": {"url": Secret(f"{address}/{SECRET}?format={case.get('as', 'text')}")}},
            "timeout_seconds": PATIENCE_SECONDS,
        }

    def told():
        said = [json.loads(received.body) for received in server.received]
        return [f"{one['title']}\n{one['message']}" for one in said]

    def markup():
        calls = ("@here", "<!", "<@", "<#")
        return [text for text in told() if any(call in text for call in calls)]

    return web_rig(server, case, settings, told, markup)


WEBHOOK_SECRET = f"whsec_{base64.b64encode(2 * SECRET.encode()).decode()}"
WEBHOOK_HEADERS = {
    "host", "connection", "content-type", "content-length", "user-agent", "accept",
    "accept-encoding", "webhook-id", "webhook-timestamp", "webhook-signature",
}  # fmt: skip


def answers(status, **more):
    return {"server": {"status": status} | more}


WEB_CASES: Mapping[str, tuple[Any, type]] = {
    **{str(status): (answers(status), Retry) for status in (401, 403, 404, 407, 409, 429)},
    **{str(status): (answers(status), Unknown) for status in (500, 502, 503, 504)},
    "503 with half a body": (answers(503, hangs=True), Unknown),
    "redirected": (answers(302, headers={"Location": "http://127.0.0.1:1/"}), Refused),
    "server is down": ({"is_down": True}, Retry),
    "reply lost": ({"server": {"lost": True}}, Unknown),
    "reply too late": ({"server": {"slow_seconds": PATIENCE_SECONDS + 1}}, Unknown),
    "name is not configured": ({"to": "nobody"}, Refused),
}
PAGERDUTY_CASES = WEB_CASES | {
    "400": (answers(400, answer=b"no JSON"), Refused),
    "wrong key": ({"key": SECRET}, Refused),
    "200 of a proxy": (answers(200), Unknown),
}
WEBHOOK_CASES = WEB_CASES | {
    **{str(status): (answers(status), Refused) for status in (400, 405, 410, 413, 415, 422)},
    "endless reply": (answers(200, answer=b"x" * 10**7), Sent),
    "204": (answers(204, answer=b""), Sent),
    "200 with half a body": (answers(200, hangs=True), Sent),
    "address is private": ({"allowed_networks": []}, Refused),
}
# It cannot tell why a message failed, so that nothing is ever certainly not there.
APPRISE_CASES = {
    name: (case, verdict if verdict is Refused and name != "redirected" else Unknown)
    for name, (case, verdict) in WEB_CASES.items()
}

RIGS = {
    "apprise": apprise_rig,
    "console": console_rig,
    "email": email_rig,
    "pagerduty": pagerduty_rig,
    "slack": slack_rig,
    "webhook": webhook_rig,
}
CASES = {
    "apprise": APPRISE_CASES,
    "console": CONSOLE_CASES,
    "email": EMAIL_CASES,
    "pagerduty": PAGERDUTY_CASES,
    "slack": SLACK_CASES,
    "webhook": WEBHOOK_CASES,
}
EVERY_CASE = [(kind, case) for kind, cases in CASES.items() for case in cases]
EVERY_KIND = pytest.mark.parametrize("kind", sorted(NOTIFIERS))


def test_every_notifier_has_a_rig():
    assert set(RIGS) == set(CASES) == set(NOTIFIERS)


@EVERY_KIND
async def test_a_post_is_told_once_and_whole(kind, tmp_path):
    async with RIGS[kind](tmp_path) as rig:
        outcome = await rig.notifier.send(make_notice(destination=rig.destination), None)
        assert isinstance(outcome, Sent)
        told = rig.told()
        assert len(told) == 1
        for part in ("+$1,240/day", "payments", "i-0abc1234def567890", "route owner=payments"):
            assert part in told[0]


@EVERY_KIND
async def test_a_line_of_the_thread_is_told_after_its_post(kind, tmp_path):
    async with RIGS[kind](tmp_path) as rig:
        first = await rig.notifier.send(make_notice(destination=rig.destination), None)
        line = make_notice(destination=rig.destination, action="thread", reason="growth", seq=2)
        assert isinstance(await rig.notifier.send(line, first.ref), Sent)
        assert len(rig.told()) == 2
        assert "it grew" in rig.told()[1]


@EVERY_KIND
async def test_an_edit_is_taken_and_never_adds_a_second_unread_message(kind, tmp_path):
    async with RIGS[kind](tmp_path) as rig:
        first = await rig.notifier.send(make_notice(destination=rig.destination), None)
        done = make_incident(state="resolved", run_rate_per_day=None)
        edit = make_notice(
            destination=rig.destination, action="edit", reason="resolved", seq=1, incident=done
        )
        assert isinstance(await rig.notifier.send(edit, first.ref), Sent)
        if kind == "console":  # what was printed stays, and the edit says that it is one
            assert rig.told()[1].startswith("[edited] ✅")
        else:
            assert len(rig.told()) == 1


@EVERY_KIND
async def test_what_was_told_can_be_asked_for_or_may_be_told_again(kind, tmp_path):
    async with RIGS[kind](tmp_path) as rig:
        notice = make_notice(destination=rig.destination)
        assert isinstance(await rig.notifier.find(notice, None), Retry)
        sent = await rig.notifier.send(notice, None)
        found = await rig.notifier.find(notice, None)
        assert found == sent or isinstance(found, Retry)


@pytest.mark.parametrize(("kind", "case"), EVERY_CASE, ids=[": ".join(pair) for pair in EVERY_CASE])
async def test_every_failure_gets_its_verdict_and_tells_no_secret(
    kind, case, tmp_path, caplog, capsys
):
    caplog.set_level(logging.DEBUG)
    fault, verdict = CASES[kind][case]
    async with RIGS[kind](tmp_path, fault) as rig:
        chart = make_chart() if kind == "slack" and verdict is Sent else None
        notice = make_notice(destination=rig.destination, chart=chart)
        outcome = await rig.notifier.send(notice, None)
        assert isinstance(outcome, verdict), outcome
        if not isinstance(outcome, Sent):
            assert outcome.reason
            assert outcome.reason.isprintable()
        shown = f"{outcome!r} {rig.notifier!r} {vars(rig.notifier)!r}"
    printed = capsys.readouterr()
    assert SECRET not in f"{shown} {caplog.text} {printed.out} {printed.err}"


@EVERY_KIND
async def test_settings_never_print_a_secret(kind):
    settings = NOTIFIERS[kind].Settings
    required = {"token": Secret(SECRET), "password": Secret(SECRET), "username": "u"}
    required |= {"host": "h", "sender": "a@b.example", "link_key": Secret(SECRET)}
    target = {
        "apprise": {"url": Secret(f"json://{SECRET}")},
        "pagerduty": {"routing_key": Secret(SECRET)},
        "webhook": {"url": Secret(f"https://{SECRET}"), "secret": Secret(WEBHOOK_SECRET)},
    }
    required |= {"to": {"team": target.get(kind)}}
    given = {name: required[name] for name in settings.__struct_fields__ if name in required}
    assert SECRET not in repr(checked(given, settings, kind))
    assert WEBHOOK_SECRET not in repr(checked(given, settings, kind))


@EVERY_KIND
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("action", ["post", "thread"])
async def test_text_that_came_with_a_row_stays_text(kind, text, action, tmp_path):
    incident = make_incident(
        title=text,
        owner=text,
        owner_source=text,
        sub_account_id=text,
        service_name=text,
        region_id=text,
        billing_currency=text,
        drivers=[make_driver(series=text, resource=text, reason=text)],
    )
    async with RIGS[kind](tmp_path) as rig:
        post = make_notice(destination=rig.destination, chart=None)
        first = await rig.notifier.send(post, None)
        notice = make_notice(
            destination=rig.destination, action=action, reason="new_driver", seq=2, chart=None,
            incident=incident, why_here=text, told_after=text,
        )  # fmt: skip
        ref = first.ref if action == "thread" else None
        assert isinstance(await rig.notifier.send(notice, ref), Sent)
        assert len(rig.told()) == 2
        assert rig.markup() == []
