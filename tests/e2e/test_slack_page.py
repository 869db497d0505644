"""The local Slack's page in a real browser: what a newcomer presses is heard, and shown."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect, sync_playwright

from service.adapters.notifiers.slack import Slack, SlackSettings
from service.core.intents import Feedback
from service.core.marks import Marked
from service.core.money import ZERO
from service.core.secret import Secret
from tests.factories import make_incident, make_notice
from tests.integration.slack_rig import BOB, NEW, SIGNING_SECRET, slack_rig
from tests.needs import need

PATIENCE = 30_000
STATES = {"acknowledge": "acknowledged", "snooze": "snoozed", "expected": "expected"}


@pytest.fixture
def rig(store):
    with slack_rig(store) as rig:
        yield rig


@pytest.fixture
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=need("chromium"), args=["--no-sandbox"]
        )
        yield launched
        launched.close()


@pytest.fixture
def page(rig, browser):
    """The channel with one post, of an incident that follows what is done about it."""
    settings = SlackSettings(
        token=Secret("xoxb-1"),
        signing_secret=Secret(SIGNING_SECRET),
        base_url=f"{rig.url}/api/",
    )
    notifier, told, threads = Slack(settings), [], ThreadPoolExecutor(1)

    def tell(incident, **how):
        rig.save(incidents=[incident])
        notice = make_notice(incident=incident, chart=None, **how)
        sending = notifier.send(notice, told[0].ref if told else None)
        told.append(threads.submit(asyncio.run, sending).result())  # playwright has a loop here

    def follow(intent):
        act = intent.verdict if isinstance(intent, Feedback) else intent.act
        known = store_of(rig)
        feedback, marks = list(known.feedback), list(known.marks)
        if isinstance(intent, Feedback):
            feedback.append(intent)
        else:
            marks.append(Marked(mark=intent, rate=ZERO, severity="high"))
        state = "expected" if act == "not_an_issue" else STATES.get(act, "firing")
        changed = make_incident(state=state, feedback=feedback, marks=marks)
        tell(changed, action="edit", reason="mark", seq=len(told))

    rig.then = follow
    tell(make_incident())
    shown = browser.new_page()
    complaints = []
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.goto(f"{rig.url}/?as={BOB}")
    yield shown
    threads.shutdown()
    assert [text for text in complaints if "favicon" not in text and "404" not in text] == []


def store_of(rig):
    return rig.store.incident(make_incident().incident_id)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def test_a_newcomer_presses_acknowledge_and_sees_the_message_change(rig, page):
    expect(page.locator("h2")).to_contain_text("🔴")
    button(page, "Acknowledge").click()
    expect(page.locator("h2")).to_contain_text("🟡", timeout=PATIENCE)
    expect(page.locator("article").first).to_contain_text("Acknowledged by Bob")
    expect(button(page, "Unacknowledge")).to_be_visible()
    expect(page.locator(".whisper")).to_contain_text("Only visible to you")
    assert [intent.act for intent in rig.said] == ["acknowledge"]


def test_a_modal_asks_why_and_the_reason_is_shown(rig, page):
    button(page, "Not an issue").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(re.compile("Why")).fill("the load test of March", timeout=PATIENCE)
    dialog.get_by_role("button", name="Not an issue").click()
    said = "Marked as no issue by Bob (the load test of March)"
    expect(page.locator("article").first).to_contain_text(said, timeout=PATIENCE)
    expect(dialog).to_have_count(0, timeout=PATIENCE)
    assert [intent.why for intent in rig.said] == ["the load test of March"]


def test_a_menu_snoozes(rig, page):
    page.get_by_label("Snooze").select_option("7d")
    expect(page.locator("h2")).to_contain_text("💤", timeout=PATIENCE)
    assert [intent.act for intent in rig.said] == ["snooze"]


def test_a_command_is_typed_and_answered(rig, page):
    page.get_by_label("Command").fill("/spend help")
    page.keyboard.press("Enter")
    expect(page.locator(".whisper")).to_contain_text("/spend subscribe", timeout=PATIENCE)


def test_a_stranger_is_told_how_to_become_known(rig, page):
    page.goto(f"{rig.url}/?as={NEW}")
    button(page, "Acknowledge").click()
    expect(page.locator(".whisper")).to_contain_text("I do not know you yet", timeout=PATIENCE)
    page.goto(f"{rig.url}/?as={NEW}&home=1")
    expect(page.locator("main")).to_contain_text("I do not know you yet", timeout=PATIENCE)
    assert rig.said == []
