"""The pages in a real browser, over a real pipeline, store and history: walked and pressed."""

import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from playwright.sync_api import expect, sync_playwright

from service.adapters.redis_store import RedisStore
from service.core.claims import Claim
from service.core.ports import Changes, IncidentFilter
from service.entrypoints.api.access import Local
from service.entrypoints.api.app import build_app
from service.entrypoints.api.pages import routes
from service.entrypoints.api.serve import serve
from service.telemetry import Metrics
from tests import estate
from tests.estate import put
from tests.factories import make_incident
from tests.needs import need
from tests.store_server import StoreServer

AXE = Path(__file__).parents[1] / "data" / "axe-core" / "axe.min.js"
PATIENCE = 30_000
USUAL = 5_000
PATHS = [
    "/",
    "/spend",
    "/gpus",
    "/incidents?state=all",
    "/incidents/{id}",
    "/budgets",
    "/mine",
    "/status",
]
DRAWN = ["/", "/spend", "/incidents/{id}", "/budgets"]
OPENED = {"/incidents/{id}": ["Snooze"], "/mine": ["New silence"], "/budgets": ["New budget"]}
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with estate.served(tmp_path_factory.mktemp("estate")) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=need("chromium"), args=["--no-sandbox"]
        )
        expect.set_options(timeout=PATIENCE)
        yield launched
        expect.set_options(timeout=USUAL)
        launched.close()


@pytest.fixture
def visit(browser, served):
    """Sign in with a token, as the link of a terminal does; what a page complains of fails."""
    contexts, complaints = [], []

    def visit(token=estate.ADMIN, path="/", **how):
        context = browser.new_context(**{"viewport": SIZES["desktop"], **how})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{served.url}/sign-in?to={quote(path)}#token={token}")
        page.wait_for_url(served.url + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    # What a test asks for on purpose is refused on purpose.
    assert [text for text in complaints if "responded with a status of 4" not in text] == []


def incident_of(served, resource):
    found = served.estate.store.incidents(IncidentFilter())
    return next(one for one in found if resource in one.title)


def fresh(served, resource):
    return served.estate.store.incident(incident_of(served, resource).incident_id)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def serious(page, *rules):
    """Return what hinders people, by all rules or some; the page has axe-core already."""
    asked = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = page.evaluate("asked => axe.run(document, asked)", asked)
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def check_every_look(page, name):
    """Look at a page at every width and by day and night; colours alone change with the latter."""
    shots = os.environ.get("SHOTS")
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)
        for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
            page.emulate_media(color_scheme=scheme)
            assert serious(page, *rules) == [], (name, size, scheme)
            if shots:
                page.screenshot(path=f"{shots}/{name}-{size}-{scheme}.png", full_page=True)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, (name, size)


def test_every_page_can_be_read_by_everyone_at_every_size_by_day_and_night(served, visit):
    # What checks a page puts styles into it, as no page of ours may.
    page = visit(bypass_csp=True, reduced_motion="reduce")
    incident_id = incident_of(served, "i-checkout").incident_id
    for path in PATHS:
        answer = page.goto(served.url + path.format(id=incident_id))
        assert answer.ok, path
        page.evaluate(AXE.read_text("utf-8"))
        expect(page.locator("h1")).to_be_visible()
        if path in DRAWN:
            expect(page.locator("spend-chart canvas")).to_be_visible()
        name = path.strip("/").partition("?")[0].replace("/{id}", "-one") or "overview"
        check_every_look(page, name)
        for opens in OPENED.get(path, ()):
            button(page, opens).click()
            check_every_look(page, f"{name}-{opens.replace(' ', '-')}")
            page.keyboard.press("Escape")


def test_the_overview_says_what_burns_whose_it_is_how_much_and_since_when(served, visit):
    page = visit(timezone_id="America/New_York", locale="en-US")
    expect(page.locator("h1")).to_contain_text("incidents are firing")
    row = page.locator(f"#incident-{incident_of(served, 'i-checkout').incident_id}")
    expect(row).to_contain_text("payments")
    expect(row).to_contain_text("so far")
    time_ = row.locator("time")
    expect(time_).to_have_attribute("title", "2026-08-10 09:00 UTC")
    expect(time_).to_contain_text("05:00")
    row.get_by_role("link").click()
    expect(page.locator("h1")).to_contain_text("i-checkout")


def test_a_list_filters_sorts_and_keeps_its_view_in_the_link(served, visit):
    page = visit(path="/incidents")
    rows = page.locator("tbody tr")
    before = rows.count()
    page.get_by_label("Find").press_sequentially("lambda")
    expect(rows).to_have_count(1)
    assert before > 1
    expect(page).to_have_url(re.compile("q=lambda"))
    expect(page.get_by_label("Find")).to_be_focused()
    again = visit(path="/incidents?q=lambda&state=open")
    expect(again.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Find").fill("")
    page.get_by_label("Owner").select_option("payments")
    expect(page).to_have_url(re.compile("owner=payments"))
    page.get_by_role("link", name="So far").click()
    expect(page).to_have_url(re.compile("sort=impact"))
    expect(page.get_by_label("Owner")).to_have_value("payments")


def press(page, name, why="checked", **fields):
    button(page, name).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for label, value in fields.items():
        field = dialog.get_by_label(label)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    dialog.get_by_label("Comment" if name == "Comment" else "Why").fill(why)
    dialog.get_by_role("button", name=name, exact=True).click()
    expect(dialog).to_have_count(0)


def test_every_button_of_an_incident_does_what_it_says(served, visit):
    found = incident_of(served, "fn-thumbnails")
    page = visit(path=f"/incidents/{found.incident_id}")
    state, story = page.locator(".head .chips"), page.locator(".timeline").first

    button(page, "Acknowledge").click()
    expect(state).to_contain_text("Acknowledged")
    expect(story).to_contain_text("Acknowledged by admin (seen)")
    button(page, "Unacknowledge").click()
    expect(state).to_contain_text("Firing")
    press(page, "Snooze", Until="7d")
    expect(state).to_contain_text("Snoozed")
    until = fresh(served, "fn-thumbnails").marks[-1].mark.until
    assert abs(until - estate.NOW - timedelta(days=7)) < timedelta(minutes=5)
    button(page, "Undo").click()
    expect(state).to_contain_text("Firing")
    press(page, "Snooze", Until="+50%")
    assert fresh(served, "fn-thumbnails").marks[-1].mark.until_growth == 0.5
    press(page, "Assign", To="grace")
    expect(page.locator("dl")).to_contain_text("grace")
    press(page, "Comment", why="<b>the new layer</b>")
    expect(story).to_contain_text("admin: <b>the new layer</b>")
    press(page, "Expected", why="launch week")
    expect(state).to_contain_text("Expected")
    button(page, "Take back what was said").click()
    expect(state).not_to_contain_text("Expected")
    press(page, "Not an issue", why="load test")
    expect(story).to_contain_text("Marked as no issue by admin (load test)")
    button(page, "Take back what was said").click()
    expect(state).to_contain_text("Snoozed")
    press(page, "Resolve", why="rolled back")
    expect(state).to_contain_text("Resolved")
    expect(page.locator("#said")).to_have_text("Resolved.")
    button(page, "Undo").click()
    expect(state).to_contain_text("Snoozed")
    press(page, "New level", why="so it is now")
    expect(story).to_contain_text("Taken for the new level by admin (so it is now)")
    vias = {one.mark.via for one in fresh(served, "fn-thumbnails").marks}
    assert vias == {"page"}


def test_what_nobody_owns_is_claimed_and_a_refusal_is_said_where_it_was_asked(served, visit):
    found = incident_of(served, "vol-old")
    page = visit(path=f"/incidents/{found.incident_id}")
    expect(page.locator(".timeline").first).to_contain_text("channel_not_found")
    press(page, "Claim", Team="storage")
    expect(page.locator("dl")).to_contain_text("storage")
    button(page, "Assign").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("To").fill("x" * 200)
    dialog.get_by_label("Why").fill("why")
    page.route("**/marks", lambda route: route.continue_(post_data="{}"))
    dialog.get_by_role("button", name="Assign", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("Field required")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.unroute("**/marks")


def test_a_team_sees_and_changes_what_is_its_own_and_a_reader_changes_nothing(served, visit):
    page = visit(estate.PAYMENTS)
    expect(page.locator("main")).to_contain_text("i-checkout")
    expect(page.locator("main")).not_to_contain_text("fn-thumbnails")
    theirs = incident_of(served, "vol-old").incident_id
    for path in (f"/incidents/{theirs}", "/incidents/nothing"):
        assert page.goto(served.url + path).status == 404
        expect(page.locator("h1")).to_have_text("Not here")
    ours = incident_of(served, "i-checkout").incident_id
    page.goto(f"{served.url}/incidents/{ours}")
    expect(button(page, "Acknowledge")).to_be_visible()
    reader = visit(estate.READER, f"/incidents/{ours}")
    expect(reader.locator(".acts")).to_have_count(0)
    reader.goto(served.url + "/mine")
    expect(button(reader, "New silence")).to_have_count(0)
    button(reader, "Sign out").click()
    expect(reader).to_have_url(served.url + "/sign-in")
    reader.goto(served.url + "/budgets")
    expect(reader).to_have_url(served.url + "/sign-in?to=/budgets")


def test_subscriptions_silences_and_plans_are_made_and_removed(served, visit):
    page = visit(estate.PAYMENTS, "/mine", timezone_id="Asia/Tokyo")
    button(page, "New subscription").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("to-us")
    dialog.get_by_label("To", exact=True).fill("slack:#payments")
    dialog.get_by_label("From this cost on").fill("50")
    dialog.get_by_label("The rest in a digest").select_option("daily")
    dialog.get_by_label("Quiet from").fill("22:00")
    dialog.get_by_label("to", exact=True).fill("07:00")
    dialog.get_by_label("Only what passes").fill('service_name="Amazon EC2"\nkind!=drop')
    button(dialog, "Save").click()
    expect(page.locator("#subscription-to-us")).to_contain_text("slack:#payments")
    made = served.estate.store.thing("subscription", "to-us")
    assert made.quiet_hours.location == "Asia/Tokyo"
    assert (made.matchers, made.digest) == (['service_name="Amazon EC2"', "kind!=drop"], "daily")

    button(page, "New silence").click()
    dialog.get_by_label("Name").fill("move")
    dialog.get_by_label("For").select_option("7d")
    dialog.get_by_label("Why").fill("we move house")
    button(dialog, "Save").click()
    row = page.locator("#silence-move")
    expect(row).to_contain_text("On")
    assert served.estate.store.thing("silence", "move").matchers == ['owner="payments"']

    button(page, "New plan").click()
    dialog.get_by_label("Name").fill("launch")
    dialog.get_by_label("Up to").fill("4000")
    dialog.get_by_label("From").fill("2026-08-12T09:00")
    dialog.get_by_label("Until").fill("2026-08-11T09:00")
    dialog.get_by_label("What for").fill("launch")
    button(dialog, "Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("until is not after starts_at")
    dialog.get_by_label("Until").fill("2026-08-14T09:00")
    button(dialog, "Save").click()
    expect(page.locator("#plan-launch")).to_contain_text("To come")
    plan = served.estate.store.thing("plan", "launch")
    assert plan.starts_at.isoformat() == "2026-08-12T00:00:00+00:00"

    for kind, name in (("subscription", "to-us"), ("silence", "move"), ("plan", "launch")):
        button(page, f"Remove {kind} {name}").click()
        button(dialog, "Remove it").click()
        expect(page.locator(f"#{kind}-{name}")).to_have_count(0)
        assert served.estate.store.thing(kind, name) is None


def test_what_a_form_would_have_done_is_said_before_it_is_saved(served, visit):
    page = visit(estate.PAYMENTS, "/mine")
    dialog = page.get_by_role("dialog")
    said = dialog.locator(".preview")
    for kind, fields, words in (
        ("subscription", {"To": "slack:#payments"}, "This would have sent 2 notices"),
        ("silence", {}, "This would have silenced 2 of 2 incidents"),
        ("plan", {"Up to": "1", "From": "2026-08-12T09:00", "Until": "2026-08-14T09:00"},
         "This would have taken in 2 of 2 incidents"),
    ):  # fmt: skip
        button(page, f"New {kind}").click()
        for label, value in fields.items():
            dialog.get_by_label(label, exact=True).fill(value)
        dialog.get_by_label("Only what passes").fill("kind!=nothing")
        expect(said).to_contain_text(words)
        dialog.get_by_label("Only what passes").fill("colour=red")
        expect(said).to_contain_text("'colour' is not a label")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert served.estate.store.things(kind) == []


def test_budgets_are_made_changed_and_removed(served, visit):
    page = visit(path="/budgets")
    expect(page.locator("#budget-payments")).to_contain_text("Set in the config")
    button(page, "New budget").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("web")
    dialog.get_by_label("Of what team").select_option("web")
    dialog.get_by_label("Amount").fill("1500")
    dialog.get_by_label("Tell at so many").fill("60, 90.5")
    dialog.get_by_label("Tell at once").uncheck()
    expect(dialog.locator(".preview")).to_contain_text("would have sent 3 notices in 2 periods")
    button(dialog, "Save").click()
    card = page.locator("#budget-web")
    expect(card).to_contain_text("of $1,500")
    made = served.estate.store.thing("budget", "web")
    assert (made.thresholds, made.forecast_thresholds, made.burn_rate) == ([60, 90.5], [100], False)
    expect(card.locator("spend-chart canvas")).to_be_visible()

    button(page, "Change budget web").click()
    expect(dialog.get_by_label("Name")).to_have_value("web")
    expect(dialog.get_by_label("Tell at so many")).to_have_value("60, 90.5")
    expect(dialog.get_by_label("Tell at once")).not_to_be_checked()
    expect(dialog.locator(".preview")).not_to_be_empty()
    put(served.estate, msgspec.structs.replace(made, amount=Decimal(1700)))
    dialog.get_by_label("Amount").fill("2500")
    button(dialog, "Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("changed meanwhile")
    page.keyboard.press("Escape")
    button(page, "Change budget web").click()
    expect(dialog.get_by_label("Amount")).to_have_value("1700")
    dialog.get_by_label("Amount").fill("2500")
    button(dialog, "Save").click()
    expect(card).to_contain_text("of $2,500")
    changed = served.estate.store.thing("budget", "web")
    assert changed == msgspec.structs.replace(made, amount=Decimal(2500))
    button(page, "New budget").click()
    expect(dialog.get_by_label("Name")).to_have_value("")
    expect(dialog.get_by_label("Tell at so many")).to_have_value("50, 80, 100")
    page.keyboard.press("Escape")

    reader = visit(estate.PAYMENTS, "/budgets")
    expect(reader.locator("#budget-payments")).to_be_visible()
    expect(reader.locator("#budget-web")).to_have_count(0)
    button(page, "Remove budget web").click()
    button(dialog, "Remove it").click()
    expect(card).to_have_count(0)
    assert served.estate.store.thing("budget", "web") is None


def test_a_team_reads_what_was_done_about_its_own(served, visit):
    for name, owner in (("ours", "payments"), ("theirs", "web")):
        put(served.estate, Claim(name=name, owner=owner, author="ana", resource_id=f"i-{name}"))
    for token, known in ((estate.PAYMENTS, False), (estate.ADMIN, True)):
        page = visit(token, "/status")
        feed = page.locator("section:has(#done)")
        expect(feed).to_contain_text("claim/ours")
        assert ("claim/theirs" in feed.inner_text()) == known
        assert ("token/ana" in feed.inner_text()) == known


def test_a_page_says_that_it_is_not_kept_up_to_date_and_goes_on_by_itself(browser, tmp_path):
    server = StoreServer(tmp_path / "store").start()
    store = RedisStore.connect(server.url)
    metrics, now = Metrics("1"), lambda: estate.NOW
    app = build_app(
        store=store, history=None, metrics=metrics, started_at=now(), now=now, local=Local("viewer")
    )
    try:
        with serve(app) as url:
            page = browser.new_page()
            page.goto(url)
            expect(page.locator("h1")).to_have_text("No spend has arrived yet")
            server.kill()
            stale = page.locator("#stale")
            expect(stale).to_contain_text("Spendwatch cannot read its store.")
            server.start()
            incident = make_incident(owner="web")
            assert store.save(Changes(previous=0, offset=1, incidents=[incident])) == "saved"
            expect(stale).to_be_empty()
            expect(page.locator("h1")).to_have_text("1 incident is firing")
        expect(stale).to_contain_text("Spendwatch does not answer.")
        page.close()
    finally:
        store.close()
        server.kill()


def test_what_changes_is_shown_at_once_and_what_is_open_stays_open(served, visit):
    found = incident_of(served, "i-checkout")
    page = visit(path=f"/incidents/{found.incident_id}")
    page.get_by_text("As a table").click()
    expect(page.locator("spend-chart table")).to_be_visible()
    other = visit(path=f"/incidents/{found.incident_id}")
    press(other, "Comment", why="seen from elsewhere")
    expect(page.locator(".timeline").first).to_contain_text("seen from elsewhere")
    expect(page.locator("spend-chart table")).to_be_visible()
    expect(page.locator("spend-chart canvas")).to_be_visible()


def test_a_button_that_is_pressed_next_is_the_one_that_was_read(served, visit):
    path = f"/incidents/{incident_of(served, 'i-checkout').incident_id}"
    page, other = visit(path=path), visit(path=path)
    state = page.locator(".head .chips")
    button(page, "Acknowledge").focus()
    button(other, "Acknowledge").click()
    expect(state).to_contain_text("Acknowledged")
    expect(button(page, "Acknowledge")).to_have_count(0)
    expect(button(page, "Unacknowledge")).to_be_visible()
    page.keyboard.press("Enter")
    button(page, "Comment").focus()
    button(other, "Unacknowledge").click()
    expect(state).to_contain_text("Firing")
    assert [one.mark.act for one in fresh(served, "i-checkout").marks][-2:] == [
        "acknowledge",
        "unacknowledge",
    ]


def test_what_has_the_focus_is_kept_up_to_date_too(served, visit):
    page = visit(path="/incidents?state=all")
    found = incident_of(served, "i-checkout")
    link = page.locator(f'main a[href="/incidents/{found.incident_id}"]')
    link.evaluate("link => { link.focus(); link.firstChild.nodeValue = 'of before'; }")
    page.evaluate("htmx.trigger('#main', 'live')")
    expect(link).to_contain_text("i-checkout")
    expect(link).to_be_focused()


def test_what_is_being_written_is_not_lost_when_the_page_changes_beneath_it(served, visit):
    page = visit(path=f"/incidents/{incident_of(served, 'i-checkout').incident_id}")
    button(page, "Assign").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("To").fill("grace")
    dialog.get_by_label("Why").fill("she knows it")
    with page.expect_response(lambda answer: "/incidents/" in answer.url):
        page.evaluate("htmx.trigger('#main', 'live')")
    expect(page.locator("#main.htmx-request")).to_have_count(0)
    expect(dialog.get_by_label("To")).to_have_value("grace")
    button(dialog, "Assign").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("dl")).to_contain_text("grace")


def test_what_takes_long_to_add_up_comes_by_itself(served, visit, monkeypatch):
    monkeypatch.setattr(routes, "PATIENCE", 0)
    page = visit(path="/spend?by=resource_id&days=30")
    expect(page.locator("#lines")).to_contain_text("By resource id")
    expect(page.locator("spend-chart canvas")).to_be_visible()
    page.get_by_role("link", name="i-gpu").first.click()
    expect(page.get_by_role("link", name="Without resource_id i-gpu")).to_be_visible()
    page.goto(served.url + "/budgets")
    expect(page.locator("spend-chart canvas")).to_be_visible()
    page.goto(served.url + "/")
    expect(page.locator("spend-chart canvas")).to_be_visible()


def test_a_link_in_a_message_leads_who_has_signed_in_to_its_page(served, visit):
    page = visit()
    path = f"/incidents/{incident_of(served, 'i-checkout').incident_id}"
    message = f'<a href="{served.url}{path}">Open</a>'
    there = "http://elsewhere.example/"
    page.route(there, lambda route: route.fulfill(body=message, content_type="text/html"))
    page.goto(there)
    page.get_by_role("link").click()
    expect(page).to_have_url(served.url + path)
    expect(page.locator("h1")).to_contain_text("i-checkout")


def test_all_of_it_works_by_keyboard(served, visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.goto(f"{served.url}/incidents/{incident_of(served, 'i-checkout').incident_id}")
    button(page, "Comment").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    expect(page.locator(".timeline").first).to_contain_text("admin: typed")
    expect(page.get_by_role("dialog")).to_have_count(0)
