"""The local Slack behaves as Slack does: tests that rely on it rely on this."""

import json
import re

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from service.adapters.notifiers.slack import Slack, SlackSettings
from service.core.secret import Secret
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.local_slack_page import mrkdwn, page
from service.entrypoints.local_slack_workspace import Fault
from tests.factories import make_incident, make_notice


@pytest.fixture
def app():
    return build_app(rate_limit=False, processing_seconds=0, channels=("finops", "payments"))


@pytest.fixture
def slack(app):
    return app.state.slack


@pytest.fixture
def url(app):
    with serve(app) as address:
        yield address


@pytest.fixture
def client(url):
    return WebClient("xoxb-1", base_url=f"{url}/api/", retry_handlers=[])


def error_of(call, **words):
    with pytest.raises(SlackApiError) as caught:
        call(**words)
    return caught.value.response["error"]


def test_it_knows_who_asks(client, slack):
    assert client.auth_test()["ok"]
    slack.tokens = {"xoxb-2"}
    assert error_of(client.auth_test) == "invalid_auth"


def test_a_call_without_a_token_is_refused(url):
    answer = httpx.post(f"{url}/api/auth.test").json()
    assert answer == {"ok": False, "error": "not_authed"}


def test_a_method_that_it_does_not_know_is_refused(client):
    assert error_of(client.api_call, api_method="admin.users.list") == "unknown_method"


def test_a_channel_must_exist_be_open_and_have_the_app(client, slack):
    post = client.chat_postMessage
    assert error_of(post, channel="#nowhere", text="x") == "channel_not_found"
    slack.channels["finops"].is_archived = True
    assert error_of(post, channel="#finops", text="x") == "is_archived"
    slack.channels["payments"].has_app = False
    assert error_of(post, channel="payments", text="x") == "not_in_channel"


def test_history_is_newest_first_without_replies_and_shows_metadata_when_asked(client):
    metadata = {"event_type": "e", "event_payload": {"id": 1}}
    first = client.chat_postMessage(channel="#finops", text="one", metadata=metadata)
    where = {"channel": first["channel"]}
    client.chat_postMessage(**where, text="beneath", thread_ts=first["ts"])
    client.chat_postMessage(**where, text="two")
    texts = [m["text"] for m in client.conversations_history(**where)["messages"]]
    assert texts == ["two", "one"]
    hidden = client.conversations_history(**where, latest=first["ts"], inclusive=True, limit=1)
    assert "metadata" not in hidden["messages"][0]
    shown = client.conversations_history(**where, include_all_metadata=True)["messages"]
    assert shown[1]["metadata"] == metadata
    replies = client.conversations_replies(**where, ts=first["ts"])["messages"]
    assert [m["text"] for m in replies] == ["one", "beneath"]


def test_history_comes_in_pages(client):
    for n in range(5):
        client.chat_postMessage(channel="#finops", text=str(n))
    pages = client.conversations_history(channel="C00000001", limit=2)
    assert [[m["text"] for m in page["messages"]] for page in pages] == [
        ["4", "3"], ["2", "1"], ["0"],
    ]  # fmt: skip


def test_an_update_without_blocks_keeps_them_and_marks_the_message_as_edited(client, slack):
    block = {"type": "divider"}
    post = client.chat_postMessage(channel="#finops", text="x", blocks=[block])
    client.chat_update(channel=post["channel"], ts=post["ts"], text="y")
    message = slack.channels["finops"].messages[0]
    assert (message["text"], message["blocks"]) == ("y", [block])
    assert "edited" in message
    assert error_of(
        client.chat_update, channel=post["channel"], ts="1.000000", text="z"
    ) == "message_not_found"  # fmt: skip


def test_blocks_over_a_limit_are_refused(client):
    header = {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}
    text = {"type": "mrkdwn", "text": "x" * 2900}
    long = [{"type": "section", "text": text} for _ in range(5)]
    post = {"channel": "#finops", "text": "x"}
    assert error_of(client.chat_postMessage, **post, blocks=[header]) == "invalid_blocks"
    assert error_of(client.chat_postMessage, **post, blocks=long) == "msg_blocks_too_long"
    nothing = {"api_method": "chat.postMessage", "json": {"channel": "#finops", "text": ""}}
    assert error_of(client.api_call, **nothing) == "no_text"


def test_a_file_is_shown_only_once_it_was_processed(client, slack):
    slack._processing_seconds = 3600
    sent = client.files_upload_v2(content=b"\x89PNG", filename="a.png", title="A")
    file_id = sent["files"][0]["id"]
    image = {"type": "image", "slack_file": {"id": file_id}, "alt_text": "a"}
    post = {"channel": "#finops", "text": "x", "blocks": [image]}
    assert client.files_info(file=file_id)["file"]["mimetype"] == ""
    assert error_of(client.chat_postMessage, **post) == "invalid_blocks"
    slack.files[file_id].ready_at = 0.0
    assert client.files_info(file=file_id)["file"]["mimetype"] == "image/png"
    assert client.chat_postMessage(**post)["ok"]


def test_a_fault_happens_as_often_as_asked(client, slack):
    slack.faults.append(Fault("chat.postMessage", error="fatal_error", times=2))
    for _ in range(2):
        assert error_of(client.chat_postMessage, channel="#finops", text="x") == "fatal_error"
    assert client.chat_postMessage(channel="#finops", text="x")["ok"]


def test_a_lost_reply_is_a_broken_connection_and_the_message_is_there(client, slack):
    slack.faults.append(Fault("chat.postMessage", lost=True))
    with pytest.raises(ConnectionError):
        client.chat_postMessage(channel="#finops", text="x")
    assert len(slack.channels["finops"].messages) == 1


def test_a_dropped_call_is_a_broken_connection_and_the_message_is_not_there(client, slack):
    slack.faults.append(Fault("chat.postMessage", dropped=True))
    with pytest.raises(ConnectionError):
        client.chat_postMessage(channel="#finops", text="x")
    assert slack.channels["finops"].messages == []


async def test_the_page_shows_the_channel_with_edits_threads_and_pictures(url):
    notifier = Slack(SlackSettings(token=Secret("xoxb-1"), base_url=f"{url}/api/"))
    sent = await notifier.send(make_notice(), None)
    await notifier.send(make_notice(seq=1, action="thread", reason="growth"), sent.ref)
    await notifier.close()
    async with httpx.AsyncClient(base_url=url) as reader:
        shown = (await reader.get("/")).text
        for part in ("+$1,240/day", "(edited ", "1 reply", "it grew"):
            assert part in shown
        picture = await reader.get(shown.partition('<img src="')[2].partition('"')[0])
        assert picture.headers["content-type"] == "image/png"
        assert "No message yet." in (await reader.get("/?channel=payments")).text


def test_the_page_shows_a_mention_that_was_not_escaped(slack, client):
    client.chat_postMessage(channel="#finops", text="x", blocks=[section("<!channel> *a* `b`")])
    assert '<span class="mention">!channel</span> <b>a</b> <code>b</code>' in page(slack)


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def test_the_page_runs_nothing_that_a_message_holds(slack, client):
    text = "<script>alert(1)</script>"
    client.chat_postMessage(channel="#finops", text=text, blocks=[section(f"`{text}`")])
    client.chat_postMessage(channel="#finops", text=text)
    assert page(slack).count("<script") == 1


def test_markup_is_read_as_slack_reads_it():
    assert mrkdwn("&lt;b&gt;") == "&lt;b&gt;"
    assert mrkdwn("<!date^0^{date}|never>") == "Jan 1, 1970 00:00"
    assert mrkdwn("a\nb") == "a<br>b"


async def test_a_hostile_incident_shows_as_it_was_written(url, slack):
    notifier = Slack(SlackSettings(token=Secret("xoxb-1"), base_url=f"{url}/api/"))
    hostile = "<!channel> <script>"
    incident = make_incident(title=hostile, owner=hostile, sub_account_id=hostile)
    await notifier.send(make_notice(incident=incident, chart=None), None)
    assert "mention" not in page(slack).partition("<body>")[2]
    assert "&lt;!channel&gt; &lt;script&gt;" in page(slack)


METHODS = ("chat.postMessage", "chat.update", "conversations.history", "conversations.replies",
           "files.getUploadURLExternal", "files.completeUploadExternal", "files.info")  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(["#finops", "1", "<!date^99999999999999999999^{date}|x>", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "text", "slack_file", "id", "elements"]), inner),
    max_leaves=6,
)  # fmt: skip
ARGUMENTS = st.dictionaries(
    st.sampled_from(["channel", "text", "blocks", "ts", "thread_ts", "oldest", "cursor", "limit",
                     "metadata", "files", "file", "filename", "latest"]), ODD)  # fmt: skip


@pytest.fixture(scope="module")
def shared():
    with (
        serve(build_app(rate_limit=False, processing_seconds=0)) as address,
        httpx.Client(base_url=address) as caller,
    ):
        yield caller


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(METHODS),
    ARGUMENTS.map(lambda odd: json.dumps({"channel": "finops"} | odd))
    | ODD.map(json.dumps)
    | st.text(),
)
def test_no_body_makes_it_fail(shared, method, body):
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        answer = shared.post(
            f"/api/{method}", content=body.encode("utf-8", "replace"),
            headers={"Authorization": "Bearer x", "Content-Type": kind},
        )  # fmt: skip
        assert answer.status_code == 200
        assert answer.json()["ok"] in (True, False)
    assert shared.get("/").status_code == 200


def test_an_upload_that_no_one_asked_for_is_not_taken(url):
    assert httpx.post(f"{url}/api/upload/F1", content=b"x").status_code == 404


def test_only_this_machine_s_own_names_are_answered(url):
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(url, headers={"Host": "localhost"}).status_code == 200


def test_the_page_runs_its_own_script_and_style_and_nothing_else(url):
    answer = httpx.get(url)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    names = re.findall(r'"(/static/[^"]+)"', answer.text)
    assert len(names) == 2
    assert all(httpx.get(f"{url}{name}").status_code == 200 for name in names)
    assert "<style" not in answer.text
