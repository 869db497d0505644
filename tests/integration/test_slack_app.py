"""Buttons, commands and the Home tab, pressed in the local Slack and heard over HTTP."""

import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from service.adapters.history import History
from service.config import ApiSettings, Settings
from service.core.bundles import Bundle, incident_of
from service.core.intents import Feedback, Mark, Put
from service.core.marks import Marked
from service.core.members import Member
from service.core.money import ZERO
from service.core.ports import (
    LogUnavailableError,
    SourceStatus,
    StoreUnavailableError,
    WrittenDownError,
)
from service.core.rates import Rates
from service.core.secret import Secret
from service.entrypoints.local_slack_workspace import Fault
from service.entrypoints.machine import Machine, Parts
from service.entrypoints.slack_app import PATH
from service.telemetry import Metrics
from tests.factories import NOW, make_finding, make_incident
from tests.integration.slack_rig import ADA, BOB, EVE, NEW, VIC, slack_rig


@pytest.fixture
def rig(store):
    with slack_rig(store) as rig:
        yield rig


def a_mark(act="acknowledge", **more):
    at = datetime(2026, 3, 11, tzinfo=UTC)
    mark = Mark(at=at, who="Bob", via="slack", why="x", incident_id="i", act=act, **more)
    return Marked(mark=mark, rate=ZERO, severity="high")


@pytest.mark.parametrize("act", ["acknowledge", "expected", "new_level"])
def test_a_press_becomes_an_intent_of_that_person_at_that_moment(rig, act):
    ts = rig.post()
    before = datetime.now(tz=UTC)
    assert rig.press(BOB, ts, act)
    (intent,) = rig.said
    assert (intent.act if act == "acknowledge" else intent.verdict) == act
    assert (intent.who, intent.via, intent.why) == ("Bob", "slack", "by button")
    assert before - timedelta(seconds=1) <= intent.at <= datetime.now(tz=UTC)
    assert intent.incident_id == make_incident().incident_id


@pytest.mark.parametrize(
    ("choice", "span", "growth"),
    [("4h", timedelta(hours=4), None), ("1d", timedelta(days=1), None),
     ("7d", timedelta(days=7), None), ("50%", None, 0.5)],
)  # fmt: skip
def test_a_snooze_ends_at_a_time_or_by_growth(rig, choice, span, growth):
    rig.press(BOB, rig.post(), "snooze", choice)
    (mark,) = rig.said
    assert mark.act == "snooze"
    assert mark.until_growth == growth
    assert mark.until == (None if span is None else mark.at + span)


def test_no_issue_asks_for_a_reason_and_says_it(rig):
    ts = rig.post()
    assert rig.press(BOB, ts, "not_an_issue") == ""
    assert rig.said == []
    assert rig.slack.modals[BOB]["title"]["text"] == "Not an issue"
    assert "no issue" in rig.submit(BOB, "the load test of March")
    (said,) = rig.said
    assert (said.verdict, said.why) == ("not_an_issue", "the load test of March")
    assert BOB not in rig.slack.modals


def test_a_reason_that_is_blank_is_asked_for_again(rig):
    rig.press(BOB, rig.post(), "not_an_issue")
    rig.hands.submit(BOB, {"asked/answer": "  "})
    assert rig.slack.modals[BOB]["errors"] == {"asked": "Say it in a few words."}
    assert rig.said == []


def test_it_is_assigned_to_whom_we_know_else_to_whom_slack_knows(rig):
    ts = rig.post()
    rig.press(BOB, ts, "assign", EVE)
    rig.press(BOB, ts, "assign", NEW)
    assert [(mark.act, mark.to) for mark in rig.said] == [("assign", "Eve"), ("assign", "new")]


def test_what_nobody_owns_is_claimed_for_the_one_team_of_whoever_presses(rig):
    rig.press(BOB, rig.post(owner="unowned", owner_source="no tag"), "claim")
    assert [(mark.act, mark.to) for mark in rig.said] == [("claim", "payments")]


def test_whoever_has_two_teams_is_asked_which_one_claims(rig):
    rig.press(EVE, rig.post(owner="unowned", owner_source="no tag"), "claim")
    rig.submit(EVE, "web")
    assert [(mark.act, mark.to) for mark in rig.said] == [("claim", "web")]


def test_nobody_claims_for_a_team_that_is_not_theirs(rig):
    rig.press(ADA, rig.post(owner="unowned", owner_source="no tag"), "claim")
    rig.slack.modals[EVE] = rig.slack.modals.pop(ADA)
    assert "not a team of yours" in rig.submit(EVE, "payments")
    assert rig.said == []


def test_an_undo_takes_back_what_the_button_spoke_of_and_nothing_newer(rig):
    acknowledged = make_incident(state="acknowledged", marks=[a_mark()])
    ts = rig.post(acknowledged)
    again = [*acknowledged.marks, a_mark("assign", to="Eve")]
    rig.save(incidents=[make_incident(state="acknowledged", marks=again)])
    assert "Something else" in rig.press(BOB, ts, "undo")
    assert rig.said == []
    assert rig.press(BOB, rig.post(acknowledged), "undo") == "Taken back."
    assert [mark.act for mark in rig.said] == ["undo"]


def test_an_undo_of_feedback_is_feedback(rig):
    said = Feedback(at=NOW, who="Bob", via="slack", why="x", incident_id="i", verdict="expected")
    rig.press(BOB, rig.post(state="expected", feedback=[said]), "undo")
    assert [feedback.verdict for feedback in rig.said] == ["undo"]


def bundle(rig, *incidents):
    """Post one message that tells several incidents."""
    rig.save(incidents=incidents)
    of = Bundle(bundle_id="b" * 32, kind="summary", destination="slack:#finops", about="more",
                why="", opened_at=NOW, incident_ids=[])  # fmt: skip
    whole = incident_of(of, incidents, Rates(), NOW)
    return rig.post(whole)


def several(**of_second):
    return (
        make_incident(incident_id="1" * 32, title="Amazon EC2"),
        make_incident(incident_id="2" * 32, title="Amazon S3", **of_second),
        make_incident(incident_id="3" * 32, title="Over", state="resolved", ends_at=NOW),
    )


def test_of_a_post_that_tells_several_a_menu_says_which_one_it_acts_on(rig):
    ts = bundle(rig, *several())
    menus = [
        element
        for block in rig.slack.channel("finops").message(ts)["blocks"]
        for element in block.get("elements", ())
        if element.get("type") == "static_select"
    ]
    assert [menu["placeholder"]["text"] for menu in menus] == [
        "Acknowledge one…",
        "One is expected…",
    ]
    labels = [option["text"]["text"] for option in menus[0]["options"]]
    assert labels == ["+$2,310 Amazon EC2 (111111)", "+$2,310 Amazon S3 (222222)"]
    assert "Acknowledged" in rig.press(BOB, ts, "acknowledge_one", "2" * 32)
    rig.press(BOB, ts, "expected_one", "1" * 32)
    assert [one.incident_id for one in rig.said] == ["2" * 32, "1" * 32]
    assert (rig.said[0].act, rig.said[1].verdict) == ("acknowledge", "expected")


def test_a_menu_of_several_teams_acts_on_ones_own_alone(rig):
    ts = bundle(rig, *several(owner="web"))
    said = rig.press(BOB, ts, "acknowledge_one", "2" * 32)
    assert said.startswith("This belongs to web")
    assert rig.said == []


def test_another_teams_button_does_nothing_and_says_whose_it_is(rig):
    said = rig.press(EVE, rig.post(), "acknowledge")
    assert said == "This belongs to payments, and your teams are: search, web."
    assert rig.said == []


def test_a_viewer_changes_nothing(rig):
    assert "change nothing" in rig.press(VIC, rig.post(), "acknowledge")
    assert "change nothing" in rig.command(VIC, "subscribe payments")
    assert rig.said == []


def test_a_stranger_is_told_how_to_become_known(rig):
    said = rig.press(NEW, rig.post(), "acknowledge")
    assert f"/spend link <@{NEW}> YOUR-TEAM" in said
    assert f"[slack_users.{NEW}]" in said
    assert rig.said == []


def test_a_linked_user_may_act_at_once(rig):
    rig.command(ADA, f'link <@{NEW}|new> payments as="Neo"')
    (put,) = rig.said
    assert put.thing == Member(name=NEW, person="Neo", teams=["payments"])
    rig.save(things={("member", NEW): put.thing})
    rig.press(NEW, rig.post(), "acknowledge")
    assert rig.said[-1].who == "Neo"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"link <@{BOB}|bob> search", "the config says who that is"),
        ("link payments", "name one user"),
        (f"link <@{NEW}|new>", "whose spend"),
        (f"link <@{NEW}|new> payments role=god", "role"),
    ],
)
def test_a_link_that_cannot_be_says_why(rig, text, why):
    assert why in rig.command(ADA, text)
    assert rig.said == []


def test_only_an_admin_links(rig):
    assert "Only an admin" in rig.command(BOB, f"link <@{NEW}|new> payments")
    assert rig.said == []


def test_why_the_pipeline_refuses_is_said(rig):
    rig.refused = "there is nothing to take back"
    assert rig.press(BOB, rig.post(), "acknowledge") == (
        "Nothing has changed: there is nothing to take back."
    )


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (TimeoutError, "nothing has changed"),
        (LogUnavailableError, "nothing has changed"),
        (WrittenDownError, "written down"),
    ],
)
def test_a_busy_pipeline_is_said(rig, raised, said):
    rig.refused = raised
    assert said in rig.press(BOB, rig.post(), "acknowledge")


def test_slack_is_answered_at_once_however_long_the_pipeline_takes(rig):
    ts, message = rig.post(), rig.slack.channels["finops"].messages[0]
    rig.then = lambda _intent: time.sleep(3.5)
    where = {"channel": "finops", "ts": ts, "action_id": "acknowledge"}
    where["block_id"] = next(b["block_id"] for b in message["blocks"] if b["type"] == "actions")
    began = time.monotonic()
    rig.hands.press(BOB, where)
    assert time.monotonic() - began < 3
    until(lambda: rig.slack.whispers)
    assert rig.slack.whispers[0]["text"].startswith("Acknowledged")


def test_a_process_that_only_reads_says_so(store):
    with slack_rig(store, follow=None) as rig:
        assert "only reads" in rig.press(BOB, rig.post(), "acknowledge")


def test_a_modal_that_slack_will_not_open_is_said(rig):
    rig.slack.faults.append(Fault("views.open", error="fatal_error"))
    assert "Slack did not take that: fatal_error" in rig.press(BOB, rig.post(), "not_an_issue")


def test_a_store_that_is_away_is_said(store):
    class Away:
        def __getattr__(self, name):
            if name == "incident":
                raise StoreUnavailableError
            return getattr(store, name)

    with slack_rig(Away()) as rig:
        assert "cannot read what it knows" in rig.press(BOB, rig.post(), "acknowledge")
    assert rig.said == []


def test_home_shows_my_incidents_with_buttons_that_work(rig):
    rig.save(incidents=[make_incident(), make_incident(incident_id="other", owner="search")])
    rig.hands.open_home(BOB)
    view = until(lambda: rig.slack.homes.get(BOB))
    rows = [block for block in view["blocks"] if block["type"] == "actions"]
    assert {row["block_id"].split(":")[1] for row in rows} == {make_incident().incident_id}
    rig.hands.press(BOB, {"block_id": rows[0]["block_id"], "action_id": "acknowledge/0"})
    until(lambda: rig.said)
    assert [mark.act for mark in rig.said] == ["acknowledge"]
    until(lambda: rig.slack.homes[BOB]["blocks"][0]["text"]["text"].startswith("Acknowledged"))


def test_home_tells_a_stranger_how_to_become_known(rig):
    rig.hands.open_home(NEW)
    view = until(lambda: rig.slack.homes.get(NEW))
    assert "I do not know you yet" in view["blocks"][0]["text"]["text"]


def until(what, within=5.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def test_a_team_subscribes_its_channel(rig):
    said = rig.command(BOB, "subscribe min=50 severity=medium quiet=20:00-08:00 zone=Europe/Berlin")
    (put,) = rig.said
    assert isinstance(put, Put)
    thing = put.thing
    channel = rig.slack.channel("finops").id
    assert (thing.team, thing.destination) == ("payments", f"slack:{channel}")
    assert (str(thing.min_impact), thing.min_severity) == ("50", "medium")
    assert (thing.quiet_hours.start, thing.quiet_hours.location) == ("20:00", "Europe/Berlin")
    assert thing.name in said
    rig.save(things={("subscription", thing.name): thing})
    assert thing.name in rig.command(BOB, "list")
    assert thing.name not in rig.command(EVE, "list")
    rig.command(BOB, "unsubscribe")
    assert (rig.said[-1].kind, rig.said[-1].name) == ("subscription", thing.name)


def test_a_channel_that_a_route_tells_is_subscribed_by_the_name_it_has_there(store):
    with slack_rig(store, destinations=["slack:#finops"]) as rig:
        rig.command(BOB, "subscribe")
        channel = rig.slack.channel("finops").id
        rig.command(BOB, f"subscribe <#{channel}|finops>")
        rig.command(BOB, f"subscribe <#{channel}|other>")
        told = [put.thing.destination for put in rig.said]
    assert told == ["slack:#finops", "slack:#finops", f"slack:{channel}"]


def test_a_silence_of_a_team_is_held_to_its_own_spend(rig):
    rig.command(BOB, 'silence service_name="Amazon EC2" for=4h load test, it\'s planned')
    thing = rig.said[0].thing
    assert thing.matchers == ["service_name=Amazon EC2", 'owner="payments"']
    assert (thing.author, thing.comment) == ("Bob", "load test, it's planned")
    assert thing.ends_at - thing.starts_at == timedelta(hours=4)
    rig.command(EVE, "silence kind=spike for=1h noise")
    assert rig.said[1].thing.matchers[-1] == 'owner=~"search|web"'


def test_an_incident_is_silenced_by_how_its_name_begins(rig):
    rig.save(incidents=[make_incident()])
    rig.command(ADA, f"silence {make_incident().incident_id[:8]} for=1d known")
    assert rig.said[0].thing.matchers == [f'incident_id="{make_incident().incident_id}"']
    assert "0 incidents of your teams" in rig.command(
        EVE, f"silence {make_incident().incident_id[:8]} for=1d known"
    )


def test_a_plan_names_an_amount_and_an_end(rig):
    rig.command(BOB, "plan +$4,000 for=3d migration")
    rig.command(ADA, "plan search 2.5k until=2099-01-01 currency=eur reindex")
    first = rig.said[0].thing
    assert (first.team, str(first.amount), first.billing_currency) == ("payments", "4000", "USD")
    assert len(rig.said) == 1  # the second is longer than a year


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("subscribe search", "not a team of yours"),
        ("subscribe payments web", "is too much"),
        ("subscribe severity=awful", "severity"),
        ("subscribe min=lots", "not an amount"),
        ("subscribe colour=red", "there is no colour here"),
        ("subscribe zone=Europe/Berlin", "quiet="),
        ("subscribe quiet=8-9", "time of day"),
        ('subscribe service_name="EC2', "quotation mark"),
        ('silence service_name=~"(" for=4h x', "not a regular expression"),
        ("silence service_name=EC2 x", "say how long"),
        ("silence service_name=EC2 for=4h", "say why"),
        ("silence service_name=EC2 until=2020-01-01 x", "over already"),
        ("silence service_name=EC2 for=4h for=5h x", "given twice"),
        ("plan 4000", "say what for"),
        ("plan 0 for=1d x", "not an amount"),
        ("unsubscribe", "0 subscriptions"),
        ("end nothing", "none of your silences"),
        ("who", "name a resource"),
        ("x" * 3000, "There is no `/spend xxxx"),
    ],
)
def test_a_command_that_cannot_be_followed_says_why_in_one_line(rig, text, why):
    said = rig.command(BOB, text)
    assert why in said
    assert len(said.splitlines()[0]) < 400
    assert rig.said == []


@pytest.mark.parametrize("text", ["", "help", "HELP"])
def test_help_lists_every_command(rig, text):
    said = rig.command(BOB, text)
    for word in (
        "subscribe",
        "unsubscribe",
        "list",
        "budget",
        "plan",
        "silence",
        "who",
        "status",
        "test",
    ):
        assert f"/spend {word}" in said


def test_who_says_whose_a_resource_is_and_why(rig):
    mine = make_finding(owner="payments")
    rig.save(findings=[mine, make_finding(finding_id="f9", owner="search", resource_id="i-0abcd")])
    said = rig.command(BOB, "who i-0abc")
    assert said == "`i-0abc1234def567890` belongs to payments (tag team=payments)"


def test_status_tells_of_my_teams_alone(rig):
    rig.save(
        incidents=[make_incident(), make_incident(incident_id="b", owner="search", title="Solr")],
        sources=[SourceStatus(source="aws", events=12, last_arrived_at=NOW)],
    )
    said = rig.command(BOB, "status")
    assert "aws: 12 rows" in said
    assert "incidents, 1 are firing" in said
    assert "Solr" not in said


def test_a_team_sets_its_budget_and_nobody_elses(rig):
    said = rig.command(BOB, 'budget $5,000 service="Amazon EC2" period=quarter')
    thing = rig.said[0].thing
    assert (thing.owner, thing.service, thing.period) == ("payments", "Amazon EC2", "quarter")
    assert (str(thing.amount), thing.currency) == ("5000", "USD")
    assert thing.name in said
    rig.command(BOB, 'budget payments 6k service="Amazon EC2" period=quarter')
    assert rig.said[1].thing.name == thing.name
    assert "not a team of yours" in rig.command(BOB, "budget search 5000")
    assert "not an amount" in rig.command(BOB, "budget payments lots")
    assert rig.command(BOB, "budget") == "There is no budget."
    assert "change nothing" in rig.command(VIC, "budget 5000")
    rig.save(things={("budget", thing.name): thing})
    rig.command(BOB, f"end {thing.name}")
    assert (rig.said[-1].kind, rig.said[-1].name) == ("budget", thing.name)


def test_test_posts_or_says_what_stands_in_the_way(rig):
    assert rig.command(BOB, "test") == "I can post here, and I hear you."
    rig.slack.channels["finops"].has_app = False
    rig.slack.faults.append(Fault("chat.postMessage", error="not_in_channel"))
    rig.slack.channels["finops"].has_app = True
    assert "/invite @Spendwatch" in rig.command(BOB, "test")


@pytest.mark.parametrize(("secret", "code"), [({"signing_secret": Secret("s")}, 401), ({}, 404)])
def test_the_web_process_hears_slack_once_it_knows_the_secret(store, tmp_path, secret, code):
    settings = Settings(
        api=ApiSettings(port=0), notifiers={"slack": {"token": Secret("xoxb-1")} | secret}
    )
    history = History(tmp_path / "history")
    parts = Parts(settings, store, history, Metrics("test"), {})
    with Machine(parts, threading.Event()).serving() as address:
        assert httpx.post(address + PATH, content=b"{}").status_code == code
    history.close()
