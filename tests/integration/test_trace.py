"""Why was it told, and why not: traced from what a real desk decided and a real store keeps."""

from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from service.core.intents import Feedback, Mark, Put
from service.core.plans import Plan
from service.core.ports import Changes, Refused, Retry, Sent
from service.core.rates import Rates
from service.core.routing import InhibitRule, Route, Router
from service.core.silences import Silence
from service.core.tokens import Token
from service.entrypoints.admin_token import new_token
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.app import build_app
from service.entrypoints.api.spend_table import Hearing
from service.telemetry import Metrics
from tests.office import RECEIVERS, T0, Office, odd

AT = T0 + timedelta(hours=3)
MINE = new_token()


class Traced:
    """An office whose store one can ask why."""

    def __init__(self, store, route=None, **more):
        self.office = Office(route or Route(receiver="everyone"), RECEIVERS, **more)
        self.hearing = Hearing(Router(*self.office.wired[:2], **more), Rates())
        self.store = store

    def tell(self, *members, at=AT):
        self.office.tell(at, *members)
        self.keep()

    def do(self, intent):
        assert self.office.do(intent) is None
        self.keep()

    def keep(self):
        assert self.store.save(self.office.changes) == "saved"

    def send(self, outcome, at=AT):
        delivery = self.store.claim(at, timedelta(seconds=9))
        assert self.store.conclude(delivery.notice.delivery_id, delivery.claim, outcome, at, at)

    async def ask(self, finding_id="f1", at=AT, token=None, code=200):
        app = build_app(
            store=self.store, history=None, metrics=Metrics("0"), started_at=AT,
            now=lambda: at, local=Local("admin"), hearing=self.hearing,
        )  # fmt: skip
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 5))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as http:
            answer = await http.get(f"/v1/findings/{finding_id}/trace")
        assert answer.status_code == code, answer.text
        return answer.json()


def steps(trace, stage):
    return [(one["text"], one["recorded"]) for one in trace["steps"] if one["stage"] == stage]


async def test_what_was_sent_names_its_route_and_its_outcome(store):
    traced = Traced(store)
    traced.tell(odd())
    waits = await traced.ask()
    assert waits["told"] is False
    assert waits["summary"] == "On its way: it waits to be sent to slack:#spend."
    traced.send(Retry("rate limited"))
    (text, recorded) = steps(await traced.ask(), "delivery")[0]
    assert text.endswith("; the last try: rate limited.")
    assert recorded
    traced.send(Sent({"ts": "1"}))
    sent = await traced.ask()
    assert (sent["told"], sent["summary"]) == (True, "Told: slack:#spend got it.")
    assert steps(sent, "route") == [("slack:#spend hears of it by the default route.", True)]
    assert steps(sent, "delivery") == [("The post (first) was sent.", True)]
    assert steps(sent, "owner")[0] == ("It is unowned's: no owner tag.", True)


async def test_what_a_destination_refuses_is_said_with_its_words(store):
    traced = Traced(store)
    traced.tell(odd())
    traced.send(Refused("channel_not_found"))
    trace = await traced.ask()
    assert trace["summary"] == "Not told: the delivery to slack:#spend failed."
    assert "channel_not_found" in steps(trace, "delivery")[0][0]


async def test_a_floor_says_both_amounts_and_that_it_is_worked_out(store):
    traced = Traced(store, Route(receiver="everyone", min_impact=Decimal(500)))
    traced.tell(odd())
    trace = await traced.ask()
    assert steps(trace, "route") == [
        (
            (
                "slack:#spend, by the default route, was not told: it has cost $30, and this hears "
                "from 500 on."
            ),
            False,
        )
    ]
    assert trace["summary"].startswith("Not told. slack:#spend, by the default route")


async def test_a_silence_says_whose_it_is(store):
    traced = Traced(store)
    silence = Silence(
        name="s", matchers=['kind="shift"'], starts_at=T0, ends_at=AT + timedelta(days=1),
        author="ada", comment="migration",
    )  # fmt: skip
    traced.do(Put(at=T0, who="ada", via="api", why="migration", thing=silence))
    traced.tell(odd())
    trace = await traced.ask()
    (text, recorded) = steps(trace, "hold")[0]
    assert recorded
    assert text.startswith("Held when it was last looked at: silenced until 2 Jun 2026 03:00 UTC")
    assert "by ada (migration)" in text


async def test_a_plan_says_whose_it_is(store):
    traced = Traced(store)
    plan = Plan(
        name="p", team="ml", starts_at=T0, until=AT + timedelta(days=2), amount=Decimal(9999),
        billing_currency="USD", comment="training",
    )  # fmt: skip
    traced.do(Put(at=T0, who="bob", via="api", why="training", thing=plan))
    traced.tell(odd(owner="ml"))
    assert "planned by ml" in steps(await traced.ask(), "hold")[0][0]


async def test_what_another_incident_says_already_is_inhibited_by_it(store):
    rule = InhibitRule(source_matchers=["kind=drop"], target_matchers=["kind=shift"])
    traced = Traced(store, inhibit_rules=[rule])
    traced.tell(odd(finding_id="f0", kind="drop", detector="drop", series="aws/acc/i-0/USD/hour"))
    traced.tell(odd(), at=AT + timedelta(minutes=5))
    (text, recorded) = steps(await traced.ask(), "hold")[0]
    assert recorded
    assert "inhibited by incident" in text


async def test_what_is_told_with_others_says_in_what(store):
    route = Route(receiver="everyone", group_by=["owner"])
    traced = Traced(store, route)
    traced.tell(
        odd(), odd(finding_id="f2", series="aws/b/i-2/USD/hour", sub_account_id="b"),
    )  # fmt: skip
    traced.send(Sent({"ts": "1"}))
    for name in ("f1", "f2"):
        trace = await traced.ask(name)
        assert trace["told"]
        assert "a group that tells it with 1 more" in steps(trace, "delivery")[0][0]


async def test_what_people_said_of_it_is_in_order(store):
    traced = Traced(store)
    traced.tell(odd())
    at = AT + timedelta(minutes=1)
    said = Feedback(
        at=at, incident_id=traced.office.incident.incident_id, verdict="expected", who="ada",
        via="slack", why="load test",
    )  # fmt: skip
    traced.do(said)
    assert steps(await traced.ask(), "people") == [("ada said expected by slack: load test.", True)]


async def test_a_finding_of_no_incident_and_of_another_team(store):
    traced = Traced(store)
    traced.tell(odd())
    alone = odd(finding_id="f9").finding
    token = Token(name="ml", sha256=digest(MINE), teams=["ml"], role="viewer")
    more = Changes(
        previous=traced.office.offset, offset=99, findings=[alone], things={("token", "ml"): token}
    )
    assert store.save(more) == "saved"
    trace = await traced.ask("f9")
    assert trace["incident_id"] is None
    assert trace["summary"] == "Not told. It is part of no incident: the store knows of none."
    await traced.ask("f1", token=MINE, code=404)
    await traced.ask("f404", code=404)


@pytest.mark.parametrize(
    ("route", "why"),
    [
        (Route(receiver="everyone", digest="daily"), "it is left to the daily digest"),
        (Route(receiver="everyone", min_severity="high"), "this hears from high on"),
        (Route(receiver="everyone", group_wait="2h"), "the route waits"),
    ],
)
async def test_a_route_that_says_nothing_yet_says_why(store, route, why):
    traced = Traced(store, route)
    traced.tell(odd())
    assert why in steps(await traced.ask(), "route")[0][0]


async def test_what_was_told_at_one_moment_is_in_the_order_of_its_conversation(store):
    traced = Traced(store)
    traced.tell(odd())
    for number in range(6):
        mark = Mark(
            at=AT + timedelta(seconds=number), incident_id=traced.office.incident.incident_id,
            act="comment", who="ada", via="cli", why=str(number),
        )  # fmt: skip
        assert traced.office.desk.refusal(mark) is None
        traced.office.desk.follow(mark)
        traced.tell(at=AT)
    said = (await traced.ask())["steps"]
    told = [one["text"].split()[1] for one in said if one["stage"] == "delivery"]
    assert told[0] == "post"
    assert said[[one["stage"] for one in said].index("route")]["text"].startswith("slack:#spend")


async def test_edits_that_ended_alike_are_said_once(store):
    traced = Traced(store)
    for hour in range(4):
        at = AT + timedelta(hours=hour)
        traced.tell(odd(rate=240, hours=3 + 2 * hour), at=at)
        traced.send(Sent({"ts": "1"}), at=at + timedelta(minutes=2))
    said = steps(await traced.ask(at=AT + timedelta(hours=5)), "delivery")
    assert [text for text, _ in said] == [
        "The post (first) was sent at 1 Jun 2026 03:02 UTC.",
        "The edit (update) was sent at 1 Jun 2026 06:02 UTC, as were 2 edits before it.",
    ]
