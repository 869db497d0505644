"""What waits, what is summed up and what is said again: time alone releases it, nothing is lost."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.intents import Drop, Mark, Put
from service.core.intervals import QuietHours
from service.core.plans import Plan
from service.core.rates import Rates
from service.core.routing import InhibitRule, NamedIntervals, Route
from service.core.silences import Silence
from service.core.subscriptions import Subscription
from tests.office import HOUR, T0, Office, odd

SAID = {"who": "ana", "via": "slack", "why": "so"}
DAY = 24 * HOUR


def routes(**values):
    return msgspec.convert({"receiver": "everyone"} | values, Route, strict=False)


def office(**values):
    return Office(routes(**values))


def one(number, rate=240, **values):
    """A finding that is an incident of its own."""
    return odd(rate, finding_id=f"f{number}", resource_id=f"i-{number}",
               service_name=f"service {number:02}", **values)  # fmt: skip


def over(number, at, **values):
    return one(number, ended_at=at, **values)


def put(here, thing, at=T0):
    return here.do(Put(thing=thing, at=at, **SAID))


def silence(**values):
    values = {"name": "s", "matchers": ["owner=unowned"], "starts_at": T0, "ends_at": T0 + 9 * HOUR,
              "author": "ana", "comment": "a migration"} | values  # fmt: skip
    return Silence(**values)


def test_a_first_post_waits_for_group_wait_and_comes_without_news():
    here = office(group_wait="5m")
    assert here.tell(T0 + HOUR, one(1)) == []
    assert here.tell(T0 + HOUR + timedelta(minutes=4)) == []
    assert here.tell(T0 + 2 * HOUR) == [("slack:#spend", "post", "first")]
    assert here.notices[0].at == T0 + HOUR + timedelta(minutes=5)


def test_what_was_over_before_its_wait_ended_is_in_the_digest():
    here = office(group_wait="5m")
    here.tell(T0 + HOUR, one(1))
    here.tell(T0 + HOUR + timedelta(minutes=1), over(1, T0 + HOUR))
    assert here.tell(T0 + DAY) == [("slack:#spend", "digest", "digest")]
    assert here.notices[0].at == T0 + 8 * HOUR
    assert "service 01" in here.notices[0].text


def test_with_group_by_one_message_tells_all_that_have_the_labels_in_common():
    here = office(group_by=["owner"])
    assert here.tell(T0 + HOUR, one(1), one(2)) == [("slack:#spend", "post", "first")]
    assert "2 incidents with owner=unowned" in here.notices[0].text
    said = here.tell(T0 + 5 * HOUR, one(3, rate=900), one(4, rate=1, owner="ml"))
    assert ("slack:#spend", "thread", "new_driver") in said
    assert len(here.posts()) == 2
    assert "service 03" in next(n for n in here.notices if n.action == "edit").text


def test_news_waits_for_group_interval_but_a_rise_in_severity_does_not():
    here = office(group_interval="6h")
    here.tell(T0 + HOUR, one(1))
    assert here.tell(T0 + 5 * HOUR, one(1, rate=600)) == []
    assert here.tell(T0 + 7 * HOUR) == [
        ("slack:#spend", "edit", "growth"), ("slack:#spend", "thread", "growth"),
    ]  # fmt: skip
    assert here.tell(T0 + 8 * HOUR, one(1, rate=4000))[0] == ("slack:#spend", "edit", "severity_up")


def test_what_nobody_acknowledges_is_said_three_times_and_what_somebody_does_never_again():
    here = office(repeat_interval="4h")
    here.tell(T0 + HOUR, one(1))
    here.tell(T0 + 9 * DAY)
    reminders = [n for n in here.notices if n.reason == "reminder"]
    assert [n.at - T0 for n in reminders] == [5 * HOUR, 9 * HOUR, 13 * HOUR]
    assert reminders[0].text.startswith("Nobody has acknowledged this yet: ")
    here = office(repeat_interval="4h")
    here.tell(T0 + HOUR, one(1))
    name = here.incident.incident_id
    here.do(Mark(act="acknowledge", incident_id=name, at=T0 + 6 * HOUR, **SAID))
    here.tell(T0 + 9 * DAY)
    assert [n.at - T0 for n in here.notices if n.reason == "reminder"] == [5 * HOUR]


def test_who_has_not_acknowledged_in_time_is_passed_over_by_severity():
    here = Office(
        routes(escalate_to="boss", escalate_after={"high": "1h"}),
        {"everyone": ["slack:#spend"], "boss": ["email:boss@example.com"]},
    )
    here.tell(T0 + HOUR, one(1, rate=240), one(2, rate=4000))
    said = here.tell(T0 + 9 * DAY)
    assert said == [
        ("slack:#spend", "thread", "escalated"), ("email:boss@example.com", "post", "escalated"),
    ]  # fmt: skip
    post = here.notices[-1]
    assert (post.at, post.incident.service_name) == (T0 + 2 * HOUR, "service 02")
    assert "nobody acknowledged it at slack:#spend" in post.why_here


def test_quiet_hours_hold_all_but_what_is_of_high_severity():
    here = office(quiet_hours={"start": "20:00", "end": "07:00", "location": "Europe/Berlin"})
    said = here.tell(T0 + 20 * HOUR, one(1), one(2, rate=5000))
    assert said == [("slack:#spend", "post", "first")]
    assert here.notices[0].incident.service_name == "service 02"
    assert here.tell(T0 + 30 * HOUR) == [("slack:#spend", "post", "first")]
    assert here.notices[-1].at == datetime(2026, 6, 2, 5, tzinfo=UTC)


def test_a_mute_time_holds_everything_and_what_grew_meanwhile_is_said_after_it():
    night = {
        "name": "night",
        "time_intervals": [{"times": [{"start_time": "04:00", "end_time": "09:00"}]}],
    }
    tree = routes(routes=[{"mute_time_intervals": ["night"]}])
    here = Office(tree, intervals=[msgspec.convert(night, NamedIntervals)])
    here.tell(T0 + HOUR, one(1))
    assert here.tell(T0 + 5 * HOUR, one(1, rate=9000), one(2, rate=9000)) == []
    said = here.tell(T0 + 10 * HOUR)
    assert sorted(said) == [
        ("slack:#spend", "edit", "severity_up"),
        ("slack:#spend", "post", "first"),
        ("slack:#spend", "thread", "severity_up"),
    ]
    assert {n.at for n in here.notices[1:]} == {T0 + 9 * HOUR}


def test_an_active_time_is_when_it_is_told():
    office_hours = {"name": "office", "time_intervals": [{"weekdays": ["monday:friday"],
                    "times": [{"start_time": "09:00", "end_time": "17:00"}]}]}  # fmt: skip
    here = Office(
        routes(routes=[{"active_time_intervals": ["office"]}]),
        intervals=[msgspec.convert(office_hours, NamedIntervals)],
    )
    friday_evening = T0 + 4 * DAY + 18 * HOUR
    here.tell(friday_evening, one(1))
    here.tell(friday_evening + 9 * DAY)
    assert [n.at for n in here.posts()] == [T0 + 7 * DAY + 9 * HOUR]


def test_a_silence_holds_what_it_matches_and_says_so_until_it_ends():
    here = office()
    assert put(here, silence()) is None
    assert here.tell(T0 + HOUR, one(1)) == []
    assert here.incident.quiet.startswith(
        "silenced until 1 Jun 2026 09:00 UTC by ana (a migration)"
    )
    assert here.tell(T0 + 10 * HOUR) == [("slack:#spend", "post", "first")]
    assert (here.notices[-1].at, here.incident.quiet) == (T0 + 9 * HOUR, "")


def test_what_is_silenced_after_it_was_told_is_edited_and_no_more():
    here = office(repeat_interval="1h")
    here.tell(T0 + HOUR, one(1))
    put(here, silence(starts_at=T0 + HOUR, ends_at=T0 + 9 * HOUR), T0 + HOUR)
    assert here.tell(T0 + 8 * HOUR, one(1, rate=9000)) == [("slack:#spend", "edit", "update")]
    assert here.tell(T0 + 9 * HOUR) == [("slack:#spend", "thread", "reminder")]


def test_a_silence_that_is_dropped_ends_at_once():
    here = office()
    put(here, silence())
    here.tell(T0 + HOUR, one(1))
    here.do(Drop(kind="silence", name="s", at=T0 + 2 * HOUR, **SAID))
    assert here.said == [("slack:#spend", "post", "first")]


def test_a_team_hears_what_it_subscribed_to_and_nothing_of_others():
    here = office()
    asked = {"name": "ours", "team": "ml", "destination": "slack:#ml", "min_severity": "medium"}
    put(here, Subscription(min_impact=Decimal(20), **asked))
    here.tell(T0 + HOUR, one(1, owner="ml"), one(2, owner="web"), one(3, rate=48, owner="ml"))
    (post,) = here.posts("slack:#ml")
    assert (post.incident.service_name, post.why_here) == ("service 01", "ml's subscription ours")


def test_a_digest_tells_in_one_message_what_is_below_the_severity_asked_for():
    here = office(digest="daily", min_severity="high")
    here.tell(T0 + HOUR, one(1), one(2, rate=50), one(3, rate=9000))
    assert [n.incident.service_name for n in here.posts()] == ["service 03"]
    here.tell(T0 + DAY)
    digest = here.posts()[-1]
    assert (digest.action, digest.at) == ("digest", T0 + 8 * HOUR)
    assert "service 01" in digest.text
    assert "service 02" in digest.text
    here.tell(T0 + DAY + HOUR, one(1, rate=5000))
    assert here.posts()[-1].incident.service_name == "service 01"
    here.tell(T0 + 9 * DAY)
    assert [n.action for n in here.posts()] == ["post", "digest", "post"]


def test_a_weekly_digest_comes_on_monday_by_the_clock_of_the_quiet_hours():
    here = office(digest="weekly", quiet_hours={"weekdays": ["sunday"], "location": "Asia/Tokyo"})
    here.tell(T0 + DAY, one(1))
    here.tell(T0 + 9 * DAY)
    assert [n.at for n in here.posts()] == [datetime(2026, 6, 7, 23, tzinfo=UTC)]


def test_beyond_the_posts_of_an_hour_one_message_sums_up_the_rest_and_most_money_goes_first():
    here = office(max_posts_per_hour=2)
    said = here.tell(T0 + HOUR, *[one(n, rate=240 + n) for n in range(6)])
    assert said == [
        ("slack:#spend", "post", "first"), ("slack:#spend", "post", "first"),
        ("slack:#spend", "post", "summary"),
    ]  # fmt: skip
    names = [n.incident.service_name for n in here.notices]
    assert names == ["service 05", "service 04", None]
    summary = here.notices[-1].text
    assert "4 incidents beyond the 2 posts an hour" in summary
    assert all(f"service 0{n}" in summary for n in range(4))
    here.tell(T0 + HOUR + timedelta(minutes=20), one(7))
    assert [n.action for n in here.notices[3:]] == ["edit"]
    assert "service 07" in here.notices[-1].text
    here.tell(T0 + 3 * HOUR, one(8))
    assert here.posts()[-1].incident.service_name == "service 08"


def test_what_is_done_about_one_of_several_shows_in_the_post_that_tells_them():
    here = office(max_posts_per_hour=1)
    here.tell(T0 + HOUR, one(1, rate=900), one(2), one(3))
    second = next(i.incident_id for i in here.incidents.values() if i.service_name == "service 02")
    here.do(Mark(act="acknowledge", incident_id=second, at=T0 + HOUR, **SAID))
    assert here.said == [("slack:#spend", "edit", "update")]
    assert "acknowledged, going on for" in here.notices[-1].text


def test_what_a_summary_cannot_list_is_in_the_digest():
    here = office(max_posts_per_hour=1)
    here.tell(T0 + HOUR, *[one(n, rate=240 + n) for n in range(60)])
    here.tell(T0 + DAY)
    told = " ".join(n.text for n in here.posts())
    assert [n.action for n in here.posts()] == ["post", "post", "digest", "digest"]
    assert all(f"service {n:02}" in told for n in range(60))


def test_a_week_has_its_posts_too():
    here = office(max_posts_per_week=3)
    for day in range(10):
        here.tell(T0 + day * DAY, one(day, detected_at=T0 + day * DAY))
    assert [(n.reason, (n.at - T0).days) for n in here.posts()] == [
        ("first", 0), ("first", 1), ("first", 2), ("summary", 3), ("first", 8), ("first", 9),
    ]  # fmt: skip


def test_one_incident_keeps_another_from_being_told_while_it_fires():
    rule = InhibitRule(
        source_matchers=["severity=high"], target_matchers=["severity=medium"],
        equal=["sub_account_id"],
    )  # fmt: skip
    here = Office(routes(), inhibit_rules=[rule])
    other = {"sub_account_id": "b", "series": "aws/b/i-3/USD/hour"}
    here.tell(T0 + HOUR, one(1, rate=9000), one(2), one(3, **other))
    assert [n.incident.service_name for n in here.posts()] == ["service 01", "service 03"]
    here.tell(T0 + 2 * HOUR, over(1, T0 + HOUR, rate=9000))
    assert here.posts()[-1].incident.service_name == "service 02"


def plan(**values):
    values = {"name": "launch", "team": "ml", "amount": Decimal(100), "billing_currency": "USD",
              "starts_at": T0, "until": T0 + 2 * DAY, "comment": "the launch"} | values  # fmt: skip
    return Plan(**values)


def test_within_a_plan_nothing_is_said_and_beyond_it_everything_in_one_message():
    here = office()
    put(here, plan())
    assert here.tell(T0 + HOUR, one(1, owner="ml"), one(2, owner="ml")) == []
    assert here.tell(T0 + HOUR, one(3, owner="web")) == [("slack:#spend", "post", "first")]
    said = here.tell(T0 + 5 * HOUR, one(1, owner="ml", rate=800))
    assert said == [("slack:#spend", "post", "planned")]
    text = here.notices[-1].text
    assert "2 incidents beyond plan launch" in text
    assert "service 01" in text
    assert "service 02" in text
    here.tell(T0 + 9 * DAY, over(1, T0 + DAY, owner="ml", rate=800))
    assert len(here.posts()) == 2


def test_what_goes_on_after_a_plan_is_told_then():
    here = office()
    put(here, plan())
    here.tell(T0 + HOUR, one(1, owner="ml"))
    assert "planned by ml until 3 Jun 2026 00:00 UTC (the launch)" in here.incident.quiet
    here.tell(T0 + 5 * DAY)
    assert [(n.at, n.reason) for n in here.posts()] == [(T0 + 2 * DAY, "first")]


def test_a_plan_that_came_to_nothing_is_noted_when_it_is_over():
    here = office()
    put(here, plan())
    here.tell(T0 + 5 * DAY)
    (note,) = here.posts()
    assert (note.at, note.reason) == (T0 + 2 * DAY, "planned")
    assert "plan launch of ml: none of $100 was spent" in note.text


def test_a_plan_or_silence_that_is_over_already_is_refused():
    here = office()
    for thing in (plan(), silence()):
        assert "is over already" in put(here, thing, T0 + 9 * DAY)


def test_other_currencies_are_compared_by_the_rate_of_the_day_and_never_added_without():
    worth = {"EUR": {date(2026, 1, 1): Decimal(2)}, "GBP": {date(2027, 1, 1): Decimal(9)}}
    here = Office(routes(min_impact="50", max_posts_per_hour=1), rates=Rates("USD", worth))
    euro = {"billing_currency": "EUR"}
    here.tell(T0 + HOUR, one(1), one(2, **euro), one(3, rate=500, billing_currency="JPY"))
    assert [n.incident.service_name for n in here.posts()] == ["service 03", None]
    summary = here.posts()[-1].incident
    assert (summary.title[:12], summary.impact) == ("one incident", Decimal(30))
    here.tell(T0 + HOUR, one(4, rate=480), one(5, rate=400, billing_currency="GBP"))
    summary = here.notices[-1].incident
    assert (summary.impact, summary.billing_currency) == (Decimal(30), "EUR")
    assert "without what is in GBP, USD" in summary.title


@pytest.mark.parametrize(
    "thing",
    [
        silence(matchers=["owner=a", 'severity=~"high|medium"']),
        plan(matchers=["service_name=EKS"]),
        Subscription(
            name="x", team="*", destination="email:a@example.com", digest="weekly",
            min_impact={"USD": Decimal(3)}, quiet_hours=QuietHours(start="20:00", end="06:00"),
        ),
    ],
)  # fmt: skip
def test_a_thing_is_read_back_as_what_it_was_and_refused_when_it_is_wrong(thing):
    intent = Put(thing=thing, at=T0, **SAID)
    assert msgspec.json.decode(msgspec.json.encode(intent), type=Put) == intent
    plain = msgspec.to_builtins(intent) | {}
    plain["thing"]["matchers"] = ["colour=red"]
    with pytest.raises(msgspec.ValidationError, match="not a label"):
        msgspec.convert(plain, Put, strict=False)


def story():
    """Days in which everything waits for something."""
    for hour in range(0, 5 * 24, 5):
        at, number = T0 + hour * HOUR, hour % 13
        values = {
            "rate": 30 * (1 + (hour * 7) % 29 // 2),
            "owner": ["ml", "web", "unowned"][hour % 3],
        }
        found = [one(number, **values)]
        yield at, [*found, over(number, at, **values)] if hour % 4 == 1 else found


def live(ticks=(), restarts=()):
    tree = routes(
        group_wait="20m", repeat_interval="6h", max_posts_per_hour=1, max_posts_per_week=5,
        quiet_hours={"start": "20:00", "end": "07:00"}, digest="daily", min_severity="medium",
        escalate_to="boss", escalate_after={"high": "3h", "medium": "9h"},
        routes=[{"matchers": ["owner=web"], "group_by": ["owner"], "group_interval": "3h"}],
    )  # fmt: skip
    here = Office(tree, {"everyone": ["slack:#spend"], "boss": ["slack:#boss"]})
    put(here, silence(matchers=["service_name=service 05"], ends_at=T0 + 50 * HOUR))
    put(here, plan(amount=Decimal(40)))
    steps = [*story(), *((T0 + tick * HOUR / 7, []) for tick in ticks)]
    for place, (at, found) in enumerate(sorted(steps, key=lambda step: step[0])):
        if place in restarts:
            here.restart()
        here.tell(at, *found)
        if found and (at - T0) % (20 * HOUR) == timedelta(0):
            told = sorted({n.incident_id for n in here.notices} & here.incidents.keys())
            for name in [name for name in told if here.incidents[name].state == "firing"][:1]:
                here.do(Mark(act="snooze", incident_id=name, at=at, until=at + 4 * HOUR, **SAID))
    here.tell(T0 + 12 * DAY)
    return here


def said(here):
    return [(n.delivery_id, n.destination, n.action, n.at, n.text) for n in here.notices]


def test_the_story_has_all_there_is():
    here = live()
    assert {n.reason for n in here.notices} >= {
        "first", "summary", "digest", "reminder", "escalated", "planned", "resolved", "snooze_over",
    }  # fmt: skip
    names = [n.delivery_id for n in here.notices]
    assert len(names) == len(set(names))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 5 * 24 * 8), max_size=12), st.sets(st.integers(0, 30), max_size=3))
def test_neither_ticks_nor_restarts_change_what_is_said(ticks, restarts):
    assert said(live(ticks, restarts)) == said(live())
