"""What must not get through Slack's door, and what may not become markup behind it."""

import http.client
import json
import time
from urllib.parse import urlencode, urlsplit

import httpx
import pytest

from service.core.ports import Changes
from service.core.secret import Secret
from service.entrypoints.local_slack_hands import signature_of
from service.entrypoints.slack_door import LARGEST_BODY, Door
from tests.factories import make_finding, make_incident
from tests.integration.slack_rig import ADA, BOB, EVE, SIGNING_SECRET, slack_rig

NASTY = "<!channel> <@U1> <https://evil.example|bank> *b* `c` &"


@pytest.fixture
def rig(store):
    with slack_rig(store) as rig:
        rig.ts = rig.post()
        yield rig


def a_press(user=BOB, block_id=None, action_id="acknowledge", **action):
    name = f"do:{make_incident().incident_id}:0" if block_id is None else block_id
    stamp = {"action_ts": "1773187200.000100", "type": "button", "value": "acknowledge"}
    payload = {
        "type": "block_actions",
        "user": {"id": user, "team_id": "T0LOCAL"},
        "team": {"id": "T0LOCAL"},
        "channel": {"id": "C00000001"},
        "container": {"type": "message", "channel_id": "C00000001"},
        "trigger_id": "1.2",
        "actions": [{"action_id": action_id, "block_id": name} | stamp | action],
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def send(rig, body, *, secret=SIGNING_SECRET, at=None, **headers):
    timestamp = str(int(time.time()) if at is None else at)
    signed = {
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": signature_of(secret, timestamp, body),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return httpx.post(rig.address, content=body, headers=signed | headers)


def settled(rig, intents):
    """Wait for what is heard, and a little for what should not be."""
    until = time.monotonic() + (5 if intents else 0.5)
    while time.monotonic() < until and len(rig.said) < max(intents, 1):
        time.sleep(0.02)
    return len(rig.said) == intents


def test_what_slack_signed_is_heard(rig):
    assert send(rig, a_press()).status_code == 200
    assert settled(rig, 1)


@pytest.mark.parametrize(
    "how",
    [
        {"secret": "another"},
        {"X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Signature": ""},
        {"X-Slack-Signature": "v1=abc"},
        {"X-Slack-Request-Timestamp": "yesterday"},
        {"X-Slack-Request-Timestamp": "1e9"},
        {"X-Slack-Request-Timestamp": "-1"},
        {"X-Slack-Request-Timestamp": "9" * 400},
        {"X-Slack-Request-Timestamp": ""},
        {"at": "1000000000"},
    ],
)
def test_what_slack_did_not_sign_now_is_refused_unread(rig, how):
    assert send(rig, a_press(), **how).status_code == 401
    assert send(rig, b"payload={not json", **how).status_code == 401
    assert settled(rig, 0)


@pytest.mark.parametrize("age", [-3600, 301, 86_400])
def test_a_stale_request_is_refused_however_well_signed(rig, age):
    assert send(rig, a_press(), at=int(time.time()) - age).status_code == 401
    assert settled(rig, 0)


def test_a_signature_is_of_one_body_alone(rig):
    body = a_press()
    timestamp = str(int(time.time()))
    signature = signature_of(SIGNING_SECRET, timestamp, body)
    forged = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
    assert httpx.post(rig.address, content=a_press(user=ADA), headers=forged).status_code == 401
    assert settled(rig, 0)


def test_a_replayed_request_is_answered_and_has_no_second_effect(rig):
    body, at = a_press(), int(time.time())
    assert [send(rig, body, at=at).status_code for _ in range(3)] == [200, 200, 200]
    assert settled(rig, 1)


def test_a_replay_that_another_process_hears_is_the_same_intent(store, rig):
    at = int(time.time())
    send(rig, a_press(), at=at)
    with slack_rig(store) as other:
        send(other, a_press(), at=at)
        assert settled(rig, 1)
        assert settled(other, 1)
        assert other.said[0].intent_id == rig.said[0].intent_id


def test_a_command_heard_by_two_processes_is_the_same_intent(store, rig):
    form = {
        "command": "/spend", "text": "subscribe", "user_id": BOB, "channel_id": "C00000001",
        "team_id": "T0LOCAL", "response_url": rig.url + "/replies/1",
    }  # fmt: skip
    body, at = urlencode(form).encode(), int(time.time())
    send(rig, body, at=at)
    with slack_rig(store) as other:
        send(other, body, at=at)
        assert settled(rig, 1)
        assert settled(other, 1)
        assert other.said[0].intent_id == rig.said[0].intent_id


def test_the_door_remembers_for_as_long_as_a_signature_is_valid():
    now = [1_000_000.0]
    door = Door(Secret(SIGNING_SECRET), lambda: now[0])
    timestamp = str(int(now[0]) + 299)
    signature = signature_of(SIGNING_SECRET, timestamp, b"x")
    assert door.judge(b"x", timestamp, signature) == "in"
    now[0] += 598
    assert door.judge(b"x", timestamp, signature) == "again"
    now[0] += 2
    assert door.judge(b"x", timestamp, signature) == "refused"


def test_an_oversized_body_is_refused_before_it_is_signed_for(rig):
    assert send(rig, b"x" * LARGEST_BODY).status_code != 413
    assert send(rig, b"x" * (LARGEST_BODY + 1)).status_code == 413


def test_a_body_of_unknown_length_is_refused_once_it_is_too_long(rig):
    def chunks():
        for _ in range(30):
            yield b"x" * 50_000

    assert httpx.post(rig.address, content=chunks()).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload=",
        b"payload={}",
        b"payload=[1]",
        b"payload=null",
        b"payload={",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"payload=" + b"[" * 100_000,
        b"command=/spend",
        b"command=/other&text=x",
        urlencode({"payload": json.dumps({"type": "block_actions"})}).encode(),
        urlencode({"payload": json.dumps({"type": "view_submission", "view": 3})}).encode(),
        urlencode({"payload": json.dumps({"type": "block_actions", "actions": "x"})}).encode(),
    ],
)
def test_signed_nonsense_breaks_nothing(rig, body):
    assert send(rig, body).status_code < 500
    assert settled(rig, 0)
    assert send(rig, a_press()).status_code == 200
    assert settled(rig, 1)


def test_slacks_first_question_is_answered(rig):
    answer = httpx.post(rig.address, content=b"{}")
    assert answer.status_code == 401
    body = json.dumps({"type": "url_verification", "challenge": "c-1"}).encode()
    answer = send(rig, body, **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {"challenge": "c-1"})


@pytest.mark.parametrize(
    "action",
    [
        {"block_id": "do:nobody:0"},
        {"block_id": "do:../../x:0"},
        {"block_id": "do:" + "a" * 5000 + ":0"},
        {"block_id": ""},
        {"block_id": 7},
        {"action_id": "drop_table"},
        {"action_id": ["acknowledge"]},
        {"action_ts": "now"},
        {"action_ts": "99999999999999"},
        {"action_id": "snooze", "value": "forever"},
        {"action_id": "undo", "value": "mark:of-somebody-else"},
        {"action_id": "assign", "value": ""},
        {"action_id": "claim"},
    ],
)
def test_a_value_that_was_tampered_with_changes_nothing(rig, action):
    assert send(rig, a_press(**action)).status_code < 500
    assert settled(rig, 0)


def test_another_teams_incident_cannot_be_reached_by_naming_it(rig):
    rig.save(incidents=[make_incident(incident_id="theirs", owner="search")])
    send(rig, a_press(user=BOB, block_id="do:theirs:0"))
    assert settled(rig, 0)
    send(rig, a_press(user=EVE, block_id="do:theirs:0"))
    assert settled(rig, 1)


def test_an_answer_goes_to_slack_alone(rig, store):
    with slack_rig(store) as stranger:
        form = {
            "command": "/spend", "text": "status", "user_id": BOB, "channel_id": "C00000001",
            "team_id": "T0LOCAL", "response_url": stranger.url + "/replies/1",
        }  # fmt: skip
        asked = []
        stranger.hands.take_reply = lambda *said: asked.append(said)
        send(rig, urlencode(form).encode())
        time.sleep(0.5)
        assert asked == []


def test_text_from_rows_and_people_never_becomes_markup(rig):
    rig.save(
        incidents=[make_incident(incident_id="n", title=NASTY, owner=NASTY)],
        findings=[make_finding(owner=NASTY, resource_id=NASTY, owner_source=NASTY)],
    )
    said = [
        rig.command(ADA, "status"),
        rig.command(ADA, "who bank"),
        rig.command(ADA, "<!channel>"),
        rig.command(ADA, f"subscribe min={NASTY}"),
        rig.command(ADA, "link <@U0NEW|x> <!channel> as=<!channel>"),
    ]
    for text in said:
        assert "<!" not in text, text
        assert "<https" not in text, text


@pytest.mark.parametrize("why", ["x\r\nBcc: v@example.com", "a\x00b\x1b[2J", "<!here>", "x" * 900])
def test_a_reason_is_one_line_of_plain_text(rig, why):
    rig.press(BOB, rig.ts, "not_an_issue")
    rig.submit(BOB, why)
    said = rig.said[0].why
    assert len(said) <= 200
    assert not set(said) & set("\r\n\x00\x1b")


def test_headers_are_read_and_never_sent_back(rig):
    parts = urlsplit(rig.address)
    link = http.client.HTTPConnection(parts.netloc)
    link.putrequest("POST", parts.path)
    link.putheader("X-Slack-Signature", b"v0=\xff\xfe")
    link.putheader("X-Slack-Request-Timestamp", b"1\xc2\xb2")
    link.putheader("X-Slack-Retry-Reason", "http_timeout")
    link.putheader("Content-Length", "2")
    link.endheaders(b"{}")
    answer = link.getresponse()
    assert answer.status == 401
    assert "http_timeout" not in str(answer.getheaders())
    link.close()


def test_only_a_post_is_heard(rig):
    assert httpx.get(rig.address).status_code == 405


def test_the_store_is_not_asked_for_what_is_not_signed(store):
    class Deaf:
        def __getattr__(self, name):
            raise AssertionError(name)

    store.save(Changes(previous=0, offset=1, incidents=[make_incident()]))
    with slack_rig(Deaf()) as rig:
        assert send(rig, a_press(), secret="another").status_code == 401
