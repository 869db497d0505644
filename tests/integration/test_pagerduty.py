"""PagerDuty against a server that behaves as it does: one alert per incident, whatever is lost."""

from datetime import timedelta

import pytest

from service.adapters.notifiers.pagerduty import PagerDuty, PagerDutyService, PagerDutySettings
from service.core.ports import Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from tests.factories import make_incident, make_notice
from tests.unit.test_wording import make_over
from tests.web_server import PagerDutyServer, serve_web

INCIDENT = make_incident().incident_id


@pytest.fixture
async def server():
    server = PagerDutyServer()
    async with serve_web(server) as server.url:
        yield server


@pytest.fixture
def notifier(server):
    return make_notifier(server)


def make_notifier(server, key=PagerDutyServer.KEY, **overrides):
    values = {"base_url": server.url, "timeout_seconds": 3} | overrides
    return PagerDuty(
        PagerDutySettings(to={"oncall": PagerDutyService(routing_key=Secret(key))}, **values)
    )


def notice(action="post", reason="first", seq=0, **overrides):
    values = {"destination": "pagerduty:oncall", "action": action, "reason": reason, "seq": seq}
    return make_notice(**(values | overrides))


async def test_an_incident_is_one_alert_from_its_first_post_to_its_end(server, notifier):
    sent = await notifier.send(notice(), None)
    assert sent == Sent({"dedup_key": INCIDENT, "told": "trigger"})
    assert server.alerts == {INCIDENT: "triggered"}
    await notifier.send(notice("thread", "growth", 2), sent.ref)
    assert server.alerts == {INCIDENT: "triggered"}
    over = await notifier.send(notice("thread", "resolved", 4, incident=make_over()), sent.ref)
    assert over.ref["told"] == "resolve"
    assert server.alerts == {INCIDENT: "resolved"}


async def test_what_it_says_is_what_every_other_destination_says(server):
    await make_notifier(server, public_url="https://spend.example.com/").send(notice(), None)
    (event,) = server.triggers
    payload = event["payload"]
    assert payload["summary"].startswith("🔴 +$1,240/day · Amazon EC2")
    assert (payload["severity"], payload["class"], payload["group"]) == (
        "critical", "shift", "payments",
    )  # fmt: skip
    assert payload["custom_details"]["Actual"].startswith("$2,860")
    link = f"https://spend.example.com/incidents/{INCIDENT}"
    assert event["links"] == [{"href": link, "text": "Open in Spendwatch"}]


@pytest.mark.parametrize(
    ("severity", "said"), [("high", "critical"), ("medium", "warning"), ("low", "info")]
)
async def test_severities_are_pagerdutys(server, notifier, severity, said):
    await notifier.send(notice(incident=make_incident(severity=severity)), None)
    assert server.triggers[0]["payload"]["severity"] == said


@pytest.mark.parametrize(
    ("action", "reason", "incident", "told"),
    [
        ("edit", "update", make_incident(), "no"),
        ("edit", "growth", make_incident(), "no"),
        ("thread", "growth", make_incident(), "trigger"),
        ("thread", "reopened", make_incident(), "trigger"),
        ("edit", "update", make_over(), "resolve"),
        ("edit", "resolved", make_over(), "no"),
        ("thread", "resolved", make_over(), "resolve"),
        ("thread", "retracted", make_incident(status="retracted"), "resolve"),
        ("thread", "feedback", make_incident(state="expected"), "resolve"),
        ("thread", "feedback", make_incident(state="acknowledged"), "acknowledge"),
        ("edit", "update", make_incident(state="snoozed"), "acknowledge"),
        ("post", "backfill", make_incident(), "no"),
    ],
)
async def test_each_transition_is_told_once_and_only_if_it_matters(
    server, notifier, action, reason, incident, told
):
    await notifier.send(notice(), None)
    outcome = await notifier.send(notice(action, reason, 1, incident=incident), None)
    assert outcome.ref["told"] == told
    assert len(server.received) == 1 + (told != "no")


async def test_an_event_whose_answer_was_lost_is_sent_again_and_is_the_same_alert(server, notifier):
    server.lost = True
    assert isinstance(await notifier.send(notice(), None), Unknown)
    server.lost = False
    assert isinstance(await notifier.find(notice()), Retry)
    assert isinstance(await notifier.send(notice(), None), Sent)
    assert server.alerts == {INCIDENT: "triggered"}
    assert len(server.triggers) == 2


async def test_it_waits_as_long_as_pagerduty_asks(server, notifier):
    server.status, server.headers = 429, {"Retry-After": "37"}
    outcome = await notifier.send(notice(), None)
    assert outcome == Retry("it asks to slow down", timedelta(seconds=37))


async def test_a_refusal_says_why_and_not_the_key(server):
    outcome = await make_notifier(server, key="not-to-be-told").send(notice(), None)
    assert outcome == Refused("PagerDuty refused the event: Invalid routing key <secret>")


async def test_half_a_refusal_is_a_refusal(server, notifier):
    server.status, server.hangs, server.answer = 400, True, b'{"errors": ["cut'
    outcome = await notifier.send(notice(), None)
    assert outcome == Refused("PagerDuty refused the event: no reason")
