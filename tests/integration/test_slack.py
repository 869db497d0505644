"""The Slack notifier through slack_sdk, over HTTP, against the local Slack."""

import asyncio
import logging
import random
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from service.adapters.notifiers.slack import Slack, SlackSettings
from service.adapters.slack_api import ask, make_client
from service.core.ports import Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.local_slack_workspace import Fault
from tests.factories import make_incident, make_notice
from tests.faults.wires import Wires
from tests.unit.test_wording import make_over

SCOPES = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "users.conversations": "channels:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "files.info": "files:read",
}


class Desk:
    """A local Slack, and notifiers that talk to it."""

    def __init__(self, slack, url):
        self.slack = slack
        self.url = url
        self.channel = slack.channels["finops"]
        self.notifiers = []

    def notifier(self, **overrides):
        values = {"token": Secret("xoxb-1"), "base_url": f"{self.url}/api/", "timeout_seconds": 5}
        self.notifiers.append(Slack(SlackSettings(**(values | overrides))))
        return self.notifiers[-1]

    def fail(self, method, **how):
        self.slack.faults.append(Fault(method, **how))

    def called(self, method):
        return [args for name, args in self.slack.calls if name == method]

    async def until_called(self, method):
        for _ in range(500):
            if self.called(method):
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"{method} was never called")

    def block_types(self, at=0):
        return [block["type"] for block in self.channel.messages[at]["blocks"]]


@pytest.fixture
async def desk():
    app = build_app(rate_limit=False, processing_seconds=0.3)
    with serve(app) as url:
        desk = Desk(app.state.slack, url)
        yield desk
        for notifier in desk.notifiers:
            await notifier.close()


async def test_a_first_post_waits_for_no_picture_and_the_picture_follows(desk):
    notifier = desk.notifier()
    assert isinstance(await notifier.send(make_notice(), None), Sent)
    assert "image" not in desk.block_types()
    await notifier.close()
    assert desk.block_types() == ["header", "rich_text", "section", "image", "rich_text", "context"]
    assert next(iter(desk.slack.files.values())).content.startswith(b"\x89PNG")
    assert len(desk.channel.messages) == 1


async def test_an_edit_right_after_the_post_is_not_overwritten_by_its_picture(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(), None)
    edit = make_notice(seq=1, action="edit", reason="resolved", incident=make_over())
    assert await notifier.send(edit, sent.ref) == sent
    await notifier.close()
    message = desk.channel.messages[0]
    assert message["blocks"][0]["text"]["text"].startswith("✅")
    assert "image" in desk.block_types()


async def test_a_late_picture_does_not_undo_what_another_process_has_edited(desk):
    first, second = desk.notifier(), desk.notifier()
    sent = await first.send(make_notice(), None)
    edit = make_notice(seq=1, action="edit", incident=make_over(), chart=None)
    await second.send(edit, sent.ref)
    await first.close()
    assert desk.channel.messages[0]["blocks"][0]["text"]["text"].startswith("✅")


async def test_an_edit_waits_for_a_picture_that_is_about_to_be_shown(desk):
    desk.fail("conversations.history", slow_seconds=0.6)
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(), None)
    await desk.until_called("conversations.history")
    edit = make_notice(seq=1, action="edit", incident=make_over(), chart=None)
    assert await notifier.send(edit, sent.ref) == sent
    await notifier.close()
    assert desk.channel.messages[0]["blocks"][0]["text"]["text"].startswith("✅")


async def test_what_another_process_edits_while_a_picture_waits_is_not_undone(desk):
    desk.fail("chat.update", status=429, retry_after=1)
    first, second = desk.notifier(), desk.notifier()
    sent = await first.send(make_notice(), None)
    await desk.until_called("chat.update")
    await second.send(make_notice(seq=1, action="edit", incident=make_over(), chart=None), sent.ref)
    await first.close()
    assert desk.channel.messages[0]["blocks"][0]["text"]["text"].startswith("✅")


async def test_a_picture_that_fails_costs_the_picture_alone(desk):
    desk.fail("files.completeUploadExternal", error="fatal_error")
    notifier = desk.notifier()
    await notifier.send(make_notice(), None)
    await notifier.close()
    assert "image" not in desk.block_types()
    assert "section" in desk.block_types()


async def test_a_picture_that_slack_will_not_show_leaves_the_blocks_as_they_were(desk):
    desk.fail("chat.update", error="invalid_blocks")
    notifier = desk.notifier()
    await notifier.send(make_notice(), None)
    await notifier.close()
    assert desk.block_types() == ["header", "rich_text", "section", "rich_text", "context"]


async def test_slacks_own_chart_is_shown_and_nothing_is_uploaded(desk):
    notifier = desk.notifier(charts="native")
    await notifier.send(make_notice(), None)
    await notifier.close()
    assert desk.block_types()[3] == "data_visualization"
    assert desk.slack.files == {}


async def test_a_slack_that_does_not_know_its_own_chart_gets_the_post_without(desk):
    desk.fail("chat.postMessage", error="invalid_blocks")
    assert isinstance(await desk.notifier(charts="native").send(make_notice(), None), Sent)
    assert desk.block_types() == ["header", "rich_text", "section", "rich_text", "context"]


async def test_an_owner_is_called_once_and_by_no_edit(desk):
    notifier = desk.notifier(mentions={"payments": "S0PAY"})
    sent = await notifier.send(make_notice(chart=None), None)
    assert desk.channel.messages[0]["text"].startswith("<!subteam^S0PAY> ")
    await notifier.send(make_notice(seq=1, action="edit", reason="update", chart=None), sent.ref)
    assert "S0PAY" not in str(desk.channel.messages[0]["blocks"])
    assert "S0PAY" not in desk.channel.messages[0]["text"]


async def test_a_picture_waits_when_slack_is_busy(desk):
    desk.fail("chat.update", status=429, retry_after=1)
    notifier = desk.notifier()
    await notifier.send(make_notice(), None)
    await notifier.close()
    assert "image" in desk.block_types()


async def test_a_post_that_is_gone_is_posted_anew_with_a_ref_of_its_own(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    desk.channel.messages.clear()
    edit = make_notice(seq=1, action="edit", chart=None)
    anew = await notifier.send(edit, sent.ref)
    assert anew.ref["ts"] == desk.channel.messages[0]["ts"] != sent.ref["ts"]
    assert desk.channel.messages[0]["metadata"]["event_payload"]["seq"] == 1


async def test_an_edit_that_may_have_been_lost_is_simply_repeated(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    edit = make_notice(seq=1, action="edit", chart=None)
    desk.fail("chat.update", lost=True)
    assert isinstance(await notifier.send(edit, sent.ref), Retry)
    assert await notifier.send(edit, sent.ref) == sent
    assert len(desk.channel.messages) == 1


@pytest.mark.parametrize(
    "fault", [{"dropped": True}, {"lost": True}, {"status": 500}, {"garbage": True}]
)
async def test_a_post_is_never_repeated_by_itself(desk, fault):
    desk.fail("chat.postMessage", **fault)
    assert isinstance(await desk.notifier().send(make_notice(), None), Unknown)
    assert len(desk.called("chat.postMessage")) == 1


async def test_a_post_whose_reply_was_lost_is_found_also_by_another_process(desk):
    desk.fail("chat.postMessage", lost=True)
    assert isinstance(await desk.notifier().send(make_notice(), None), Unknown)
    found = await desk.notifier().find(make_notice())
    assert found == Sent({"channel": desk.channel.id, "ts": desk.channel.messages[0]["ts"]})


async def test_a_post_that_got_no_answer_never_arrives_later(desk):
    port = int(desk.url.rpartition(":")[2])
    chance = random.Random(1)  # noqa: S311 - no secret
    with Wires({"slack": port}, chance, kept=1.0) as wires:
        base_url = f"http://127.0.0.1:{wires.ports['slack']}/api/"
        notifier = desk.notifier(base_url=base_url, timeout_seconds=3)
        wires.turn("slack", "silent")
        assert isinstance(await notifier.send(make_notice(), None), Unknown)
        wires.turn("slack", "whole")
        assert isinstance(await notifier.find(make_notice()), Retry)
        assert isinstance(await notifier.send(make_notice(), None), Sent)
    assert len(desk.channel.messages) == 1


async def test_a_post_that_never_arrived_is_not_found_and_may_be_sent_again(desk):
    desk.fail("chat.postMessage", dropped=True)
    notifier = desk.notifier()
    await notifier.send(make_notice(), None)
    assert isinstance(await notifier.find(make_notice()), Retry)


async def test_another_notice_of_the_same_incident_is_not_mistaken_for_it(desk):
    notifier = desk.notifier()
    await notifier.send(make_notice(chart=None), None)
    assert isinstance(await notifier.find(make_notice(seq=1)), Retry)


async def test_a_line_of_the_thread_whose_reply_was_lost_is_found_beneath_its_post(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    line = make_notice(seq=2, action="thread", reason="resolved", incident=make_over())
    assert isinstance(await notifier.find(line, sent.ref), Retry)
    desk.fail("chat.postMessage", lost=True)
    assert isinstance(await notifier.send(line, sent.ref), Unknown)
    found = await notifier.find(line, sent.ref)
    assert found.ref["ts"] == desk.channel.messages[1]["ts"]


async def test_a_post_is_found_behind_many_others(desk):
    notifier = desk.notifier()
    await notifier.send(make_notice(chart=None), None)
    for n in range(450):
        desk.channel.messages.append(
            {"type": "message", "ts": f"{4_000_000_000 + n}.000000", "text": "x", "blocks": []}
        )
    assert isinstance(await notifier.find(make_notice()), Sent)
    assert len(desk.called("conversations.history")) == 3


async def test_a_channel_that_cannot_be_looked_into_needs_a_person(desk):
    desk.channel.has_app = False
    outcome = await desk.notifier().find(make_notice())
    assert isinstance(outcome, Refused)
    assert "invite the app" in outcome.reason


async def test_when_slack_cannot_be_asked_nothing_is_known(desk):
    for fault in ({"status": 503}, {"status": 429, "retry_after": 1}, {"dropped": True}):
        desk.fail("users.conversations", **fault)
        assert isinstance(await desk.notifier().find(make_notice()), Unknown)


async def test_slack_says_how_long_to_wait(desk):
    desk.fail("chat.postMessage", status=429, retry_after=7)
    outcome = await desk.notifier().send(make_notice(), None)
    assert outcome == Retry("Slack asks to slow down", timedelta(seconds=7))


async def test_a_second_message_within_a_second_is_asked_to_wait(desk):
    desk.slack.rate_limit = True
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    line = make_notice(seq=1, action="thread", reason="growth")
    outcome = await notifier.send(line, sent.ref)
    assert outcome == Retry("Slack asks to slow down", timedelta(seconds=1))
    await asyncio.sleep(1)
    assert isinstance(await notifier.send(line, sent.ref), Sent)


async def test_refused_blocks_become_plain_text(desk):
    desk.fail("chat.postMessage", error="invalid_blocks")
    assert isinstance(await desk.notifier().send(make_notice(chart=None), None), Sent)
    message = desk.channel.messages[0]
    assert message["blocks"] == []
    assert "+$1,240/day" in message["text"]


async def test_an_edit_to_plain_text_takes_the_blocks_away(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    desk.fail("chat.update", error="msg_blocks_too_long")
    edit = make_notice(seq=1, action="edit", incident=make_over(), chart=None)
    assert isinstance(await notifier.send(edit, sent.ref), Sent)
    assert desk.channel.messages[0]["blocks"] == []
    assert desk.channel.messages[0]["text"].startswith("✅")


@pytest.mark.parametrize(
    ("severity", "reason", "is_shown"),
    [("high", "severity_up", True), ("high", "resolved", False), ("medium", "growth", False)],
)
async def test_only_what_is_severe_is_shown_in_the_channel_too(desk, severity, reason, is_shown):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    incident = make_incident(severity=severity, run_rate_per_day=Decimal(5000))
    line = make_notice(seq=2, action="thread", reason=reason, incident=incident)
    await notifier.send(line, sent.ref)
    assert ("subtype" in desk.channel.messages[1]) is is_shown
    assert desk.channel.messages[1]["text"].startswith(incident.title) is is_shown


async def test_slack_is_told_not_to_read_anything_into_text(desk):
    notifier = desk.notifier()
    sent = await notifier.send(make_notice(chart=None), None)
    await notifier.send(make_notice(seq=1, action="edit", chart=None), sent.ref)
    (posted,), (edited,) = desk.called("chat.postMessage"), desk.called("chat.update")
    assert (posted["unfurl_links"], posted["unfurl_media"], posted["mrkdwn"]) == (False,) * 3
    assert {args["parse"] for args in (posted, edited)} == {"none"}
    assert not any(args["link_names"] for args in (posted, edited))


async def test_a_channel_may_be_named_by_its_id(desk):
    notice = make_notice(destination=f"slack:{desk.channel.id}", chart=None)
    notifier = desk.notifier()
    assert await notifier.find(notice) == Retry("it is not in the channel")
    assert isinstance(await notifier.send(notice, None), Sent)
    assert isinstance(await desk.notifier().find(notice), Sent)


async def test_the_button_is_there_when_there_is_a_page_to_open(desk):
    await desk.notifier(public_url="https://cost.example.com").send(make_notice(chart=None), None)
    assert "actions" in desk.block_types()


async def test_every_method_that_is_called_has_its_scope_in_the_manifest(desk):
    notifier = desk.notifier()
    desk.fail("chat.postMessage", lost=True)
    await notifier.send(make_notice(), None)
    found = await notifier.find(make_notice())
    await notifier.send(make_notice(seq=1, action="edit"), found.ref)
    await notifier.find(make_notice(seq=2, action="thread"), found.ref)
    await notifier.send(make_notice(seq=3), None)
    await notifier.close()
    manifest = Path(__file__).parents[2] / "deploy/slack-manifest.yaml"
    scopes = set(
        re.findall(r"^      - ([a-z]+:\S+)", manifest.read_text(encoding="utf-8"), re.MULTILINE)
    )
    called = {name for name, _ in desk.slack.calls}
    assert called == set(SCOPES)
    assert {SCOPES[name] for name in called} <= scopes


async def test_slack_sdk_logs_no_exception_that_quotes_the_token(desk, caplog):
    caplog.set_level(logging.DEBUG)
    client = make_client(Secret("xoxb-do-not\r\ntell"), f"{desk.url}/api/", 1)
    assert isinstance((await ask(client.auth_test)).trouble, Unknown)
    assert "do-not" not in caplog.text


def test_a_token_that_is_no_header_is_refused_before_it_can_be_quoted():
    with pytest.raises(ValueError, match="token is empty or has characters") as caught:
        SlackSettings(token=Secret("xoxb-1\r\nX: y"))
    assert "xoxb" not in str(caught.value)
