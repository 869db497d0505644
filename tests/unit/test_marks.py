"""What people do about an incident: seen in it, said in its thread, and taken back."""

import msgspec
import pytest

from service.core.intents import Intent, Mark
from tests.office import HOUR, T0, Office, odd


@pytest.fixture
def office():
    found = Office()
    found.tell(T0 + 2 * HOUR, odd())
    return found


def mark(office, act, hours=3, **values):
    values = {"who": "ana", "via": "slack", "why": "on it"} | values
    incident_id = office.incident.incident_id
    return Mark(act=act, incident_id=incident_id, at=T0 + hours * HOUR, **values)


def test_an_acknowledgement_is_seen_in_the_post_and_said_in_one_line(office):
    assert office.do(mark(office, "acknowledge")) is None
    assert [(a, r) for _, a, r in office.said] == [("edit", "mark"), ("thread", "mark")]
    edit, line = office.notices[-2:]
    assert line.text == "Acknowledged by ana (on it)."
    assert edit.text.startswith("🟡")
    assert "Acknowledged by ana (on it)." in edit.text
    assert "Seen to by: ana" in edit.text
    assert office.incident.state == "acknowledged"
    assert office.changes.intents == [office.incident.marks[0].mark]


@pytest.mark.parametrize(
    ("act", "values", "state"),
    [
        ("acknowledge", {}, "acknowledged"),
        ("snooze", {"until": T0 + 9 * HOUR}, "snoozed"),
        ("snooze", {"until_growth": 0.5}, "snoozed"),
        ("resolve", {}, "resolved"),
    ],
)
def test_what_is_taken_back_is_as_though_it_had_not_been_done(office, act, values, state):
    office.do(mark(office, act, **values))
    assert office.incident.state == state
    assert office.do(mark(office, "undo", 4)) is None
    assert (office.incident.state, office.incident.assignee) == ("firing", None)
    assert office.notices[-1].text == "ana took back what was done last (on it)."


def test_a_snooze_says_nothing_until_its_time_and_then_says_that_it_is_over(office):
    office.do(mark(office, "snooze", until=T0 + 9 * HOUR))
    assert [a for _, a, _ in office.tell(T0 + 7 * HOUR, odd(rate=900, hours=6))] == ["edit"]
    assert office.tell(T0 + 20 * HOUR) == [
        ("slack:#spend", "edit", "snooze_over"),
        ("slack:#spend", "thread", "snooze_over"),
    ]
    assert {n.at for n in office.notices[-2:]} == {T0 + 9 * HOUR}
    assert office.incident.state == "firing"


def test_a_snooze_until_it_grows_ends_when_it_has_grown(office):
    office.do(mark(office, "snooze", until_growth=0.5))
    assert "until it costs 50 % more a day" in office.notices[-1].text
    office.tell(T0 + 7 * HOUR, odd(rate=350))
    assert office.incident.state == "snoozed"
    office.tell(T0 + 8 * HOUR, odd(rate=360))
    assert office.incident.state == "firing"
    office.tell(T0 + 9 * HOUR, odd(rate=200))
    assert office.incident.state == "firing"


def test_a_snooze_does_not_outlast_a_rise_in_severity(office):
    office.do(mark(office, "snooze", until=T0 + 90 * HOUR))
    said = office.tell(T0 + 7 * HOUR, odd(rate=4000))
    assert ("slack:#spend", "thread", "severity_up") in said
    assert office.incident.state == "firing"


def test_what_was_resolved_by_hand_comes_back_with_a_newer_finding_in_the_same_thread(office):
    office.do(mark(office, "resolve"))
    first = office.incident.incident_id
    office.tell(T0 + 5 * HOUR, odd(rate=250))
    assert (office.incident.state, office.incident.ends_at) == ("resolved", T0 + 3 * HOUR)
    newer = odd(finding_id="f2", detected_at=T0 + 6 * HOUR, charge_period_start=T0 + 5 * HOUR)
    said = office.tell(T0 + 6 * HOUR, newer)
    assert (office.incident.incident_id, office.incident.state) == (first, "firing")
    assert said[-1] == ("slack:#spend", "thread", "reopened")


def test_who_sees_to_it_is_whom_it_was_given_and_comments_stand_beside(office):
    office.do(mark(office, "acknowledge"))
    office.do(mark(office, "assign", 4, to="bo"))
    office.do(mark(office, "comment", 5, why="a load test *<!here>*", who="bo"))
    assert office.incident.assignee == "bo"
    assert office.notices[-1].text == "bo: a load test *<!here>*"
    assert "bo: a load test" in office.notices[-2].text
    office.do(mark(office, "undo", 6))
    assert (office.incident.assignee, office.incident.state) == ("ana", "acknowledged")


def test_a_claim_gives_the_incident_and_what_comes_later_to_who_claimed_it(office):
    assert office.do(mark(office, "claim", to="ml")) is None
    assert (office.incident.owner, office.incident.owner_source) == ("ml", "claimed by ana")
    assert ("slack:#ml", "post", "first") in office.said
    assert [thing.resource_id for thing in office.changes.things.values()] == ["i-1"]
    other = odd(finding_id="x", charge_period_start=T0 + 99 * HOUR, detected_at=T0 + 99 * HOUR)
    office.tell(T0 + 99 * HOUR, odd(ended_at=T0 + 5 * HOUR))
    office.tell(T0 + 100 * HOUR, other)
    assert {one.owner for one in office.incidents.values()} == {"ml"}
    assert office.changes.findings[0].owner == "ml"


def test_a_claim_that_is_taken_back_stands_no_more(office):
    office.do(mark(office, "claim", to="ml"))
    office.do(mark(office, "undo", 4))
    assert list(office.changes.things.values()) == [None]
    assert office.tell(T0 + 5 * HOUR, odd(rate=500))
    assert office.incident.owner == "unowned"


def test_who_is_named_by_a_tag_cannot_be_robbed_by_a_claim(office):
    office.do(mark(office, "claim", to="ml"))
    tagged = odd(finding_id="t", owner="search", owner_source="tag owner=search")
    office.tell(T0 + 5 * HOUR, tagged)
    assert {i.owner for i in office.incidents.values()} == {"ml", "search"}


@pytest.mark.parametrize(
    ("done", "act", "why"),
    [
        (None, "undo", "nothing to take back"),
        (None, "unacknowledge", "nobody has acknowledged"),
        ("resolve", "acknowledge", "it is over"),
    ],
)
def test_what_makes_no_sense_is_refused(office, done, act, why):
    if done:
        office.do(mark(office, done))
    assert why in office.do(mark(office, act, 4))
    assert office.changes.intents == []


def test_the_same_mark_twice_is_done_once(office):
    office.do(mark(office, "acknowledge"))
    assert office.do(mark(office, "acknowledge")) == "this was done before"
    assert office.said == []


@pytest.mark.parametrize(
    "values",
    [
        {"act": "snooze"},
        {"act": "snooze", "until": T0 + HOUR},
        {"act": "snooze", "until": T0 + 9 * HOUR, "until_growth": 0.5},
        {"act": "assign"},
        {"act": "acknowledge", "to": "bo"},
        {"act": "acknowledge", "until": T0 + 9 * HOUR},
    ],
)
def test_half_a_mark_is_none(office, values):
    plain = {"x_Intent": "mark", "incident_id": "i", "at": T0 + 2 * HOUR} | values
    plain |= {"who": "ana", "via": "cli", "why": "so"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, Intent)
    good = mark(office, "comment")
    assert msgspec.json.decode(msgspec.json.encode(good), type=Intent) == good
