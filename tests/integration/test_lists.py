"""Lists, a page at a time, over a real store: what is asked for, all of it, and each of it once."""

from datetime import timedelta
from decimal import Decimal

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters import redis_pages
from service.core.intents import Drop, Feedback, Mark, Put
from service.core.pages import place_of
from service.core.ports import (
    Changes,
    DeliveryFilter,
    FindingFilter,
    IncidentFilter,
    IntentFilter,
)
from service.core.tokens import Token
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local, digest
from service.telemetry import Metrics
from tests.factories import NOW, SERIES, make_finding, make_incident, make_notice

HOUR = timedelta(hours=1)
SAME_STORE = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


def an_incident(number, **values):
    owner, state = f"team-{number % 3}", ("firing", "resolved", "snoozed")[number % 3]
    usual = {
        "incident_id": f"i{number:04}", "owner": owner, "state": state,
        "severity": ("low", "medium", "high")[number // 3 % 3],
        "opened_at": NOW + number // 4 * HOUR, "updated_at": NOW + number * 7 % 50 * HOUR,
        "starts_at": NOW + number * HOUR, "region_id": ("eu", None)[number % 2],
        "ends_at": NOW + number * HOUR + 2 * HOUR if state == "resolved" else None,
        "impact": None if number % 5 == 0 else Decimal(number % 7 * 10),
    }  # fmt: skip
    return make_incident(**(usual | values))


MANY = [an_incident(number) for number in range(1300)]


@pytest.fixture
def filled(store):
    for at in range(0, len(MANY), 500):
        store.save(Changes(previous=at, offset=at + 500, incidents=MANY[at : at + 500]))
    return store


def paged(read, where, order):
    """Return all that pages hold."""
    found = []
    while page := read(where):
        found += page
        where = msgspec.structs.replace(where, after=place_of(page[-1], order))
    return found


ASKED = st.fixed_dictionaries(
    {
        "owners": st.none() | st.frozensets(st.sampled_from(["team-0", "team-1", "nobody"])),
        "state": st.sampled_from([None, "firing", "resolved"]),
        "severity": st.sampled_from([None, "high"]),
        "region": st.sampled_from([None, "eu"]),
        "min_impact": st.sampled_from([None, 0, 50]),
        "since": st.sampled_from([None, NOW + 100 * HOUR, NOW + 1200 * HOUR]),
        "until": st.sampled_from([None, NOW + 30 * HOUR, NOW + 900 * HOUR]),
        "is_open": st.booleans(),
        "begins": st.sampled_from([None, "i00", "i1", "i0042", "j"]),
        "order": st.sampled_from(["changed", "opened", "impact"]),
        "limit": st.sampled_from([70, 100, 2000]),
    }
)


def passes(one, where):
    least = where.min_impact
    return (
        (where.owners is None or one.owner in where.owners)
        and where.state in (None, one.state)
        and where.severity in (None, one.severity)
        and where.region in (None, one.region_id)
        and (least is None or (one.impact is not None and one.impact >= least))
        and (where.since is None or one.ends_at is None or one.ends_at >= where.since)
        and (where.until is None or one.starts_at < where.until)
        and one.incident_id.startswith(where.begins or "")
        and not (where.is_open and where.state is None and one.state == "resolved")
    )


@SAME_STORE
@given(asked=ASKED)
def test_pages_hold_what_passes_once_and_in_order(filled, asked):
    where = IncidentFilter(**asked)
    wanted = [one for one in MANY if passes(one, where)]
    wanted.sort(key=lambda one: place_of(one, where.order), reverse=True)
    assert paged(filled.incidents, where, where.order) == wanted


@SAME_STORE
@given(data=st.data())
def test_what_does_not_change_is_shown_once_whatever_else_does(store, store_admin, data):
    store_admin.flushall()
    made = {one.incident_id: one for one in map(an_incident, range(40))}
    store.save(Changes(previous=0, offset=1, incidents=list(made.values())))
    order = data.draw(st.sampled_from(["changed", "impact"]))
    where = IncidentFilter(limit=6, order=order)
    found, moved, offset = [], set(), 1
    while page := store.incidents(where):
        found += [one.incident_id for one in page]
        where = msgspec.structs.replace(where, after=place_of(page[-1], order))
        name = data.draw(st.sampled_from(sorted(made)))
        later = {"updated_at": NOW + data.draw(st.integers(0, 60)) * HOUR}
        later["impact"] = Decimal(data.draw(st.integers(-5, 70)))
        changed = msgspec.structs.replace(made[name], **later)
        new = an_incident(100 + offset)
        store.save(Changes(previous=offset, offset=offset + 1, incidents=[changed, new]))
        offset += 1
        moved.add(name)
    stayed = [name for name in found if name in made and name not in moved]
    assert sorted(stayed) == sorted(set(made) - moved)


def test_a_long_list_is_read_in_several_calls(filled, monkeypatch):
    monkeypatch.setattr(redis_pages, "MOST", 300)
    found = filled.incidents(IncidentFilter(order="opened", limit=1250))
    wanted = sorted(MANY, key=lambda one: place_of(one, "opened"), reverse=True)
    assert found == wanted[:1250]
    assert len(filled.changed(0)[1]) == sum(one.state != "resolved" for one in MANY)


def test_in_the_order_of_opening_changes_move_nothing(filled):
    where, seen = IncidentFilter(limit=100, order="opened"), []
    offset = 1500
    while page := filled.incidents(where):
        seen += [one.incident_id for one in page]
        where = msgspec.structs.replace(where, after=place_of(page[-1], "opened"))
        changed = [msgspec.structs.replace(one, updated_at=NOW + 99 * HOUR) for one in page]
        filled.save(Changes(previous=offset, offset=offset + 1, incidents=changed))
        offset += 1
    assert sorted(seen) == [one.incident_id for one in MANY]


def test_an_incident_that_changes_hands_is_the_new_owners_alone(store):
    store.save(Changes(previous=0, offset=1, incidents=[an_incident(0)]))
    now = an_incident(0, owner="web", state="resolved")
    store.save(Changes(previous=1, offset=2, incidents=[now]))
    assert store.incidents(IncidentFilter(owners=frozenset({"team-0"}))) == []
    assert store.incidents(IncidentFilter(state="firing")) == []
    assert store.incidents(IncidentFilter(owners=frozenset({"web"}))) == [now]
    assert sum(store.glance().firing.values()) == 0


def test_what_fires_is_counted_by_severity_and_owner(filled):
    def counted(owners):
        mine = [one for one in MANY if owners is None or one.owner in owners]
        return {
            severity: sum(one.state == "firing" and one.severity == severity for one in mine)
            for severity in ("low", "medium", "high")
        }

    for owners in (None, {"team-0"}, {"team-0", "team-2"}, set()):
        asked = None if owners is None else frozenset(owners)
        assert filled.glance(asked).firing == counted(owners)


def test_findings_of_a_series_are_found_without_reading_the_others(store):
    mine = make_finding(finding_id="mine", series=SERIES + "x" * 5000)
    others = [make_finding(finding_id=f"f{n}", impact=Decimal(n)) for n in range(30)]
    store.save(Changes(previous=0, offset=1, findings=[*others, mine]))
    assert store.findings(FindingFilter(series=mine.series)) == [mine]
    dearest = store.findings(FindingFilter(order="impact", limit=2))
    assert [one.finding_id for one in dearest] == ["mine", "f29"]
    assert store.findings(FindingFilter(kind="drop")) == []


def test_deliveries_are_found_by_their_incident_and_by_how_far_they_got(store):
    notices = [
        make_notice(delivery_id=f"d{n}", at=NOW + n * HOUR, incident=an_incident(n))
        for n in range(5)
    ]
    store.save(Changes(previous=0, offset=1, notices=notices))
    store.claim(NOW + 9 * HOUR, HOUR)

    def names(**asked):
        found = store.deliveries(DeliveryFilter(**asked))
        return [one.notice.delivery_id for one in found]

    assert names() == ["d4", "d3", "d2", "d1", "d0"]
    assert names(state="ready") == ["d4", "d3", "d2", "d1"]
    assert names(state="sending") == ["d0"]
    assert names(incident_id="i0003") == ["d3"]
    assert names(owners=frozenset({"team-0"}), state="ready") == ["d3"]
    assert names(since=NOW + 3 * HOUR) == ["d4", "d3"]


# -- over the API ------------------------------------------------------------------------------


SECRETS = {"ml": "a" * 40, "web": "b" * 40, "chief": "c" * 40}
TOKENS = [
    Token(name=name, sha256=digest(secret), teams=["*" if name == "chief" else name],
          role="admin" if name == "chief" else "viewer")
    for name, secret in SECRETS.items()
]  # fmt: skip


@pytest.fixture
def api(store):
    app = build_app(
        store=store, history=None, metrics=Metrics("1"), started_at=NOW, now=lambda: NOW,
        local=Local("admin"),
    )  # fmt: skip
    with serve(app) as url, httpx.Client(base_url=url) as client:
        yield client


def followed(api, path, **more):
    """Return the items of all pages, by the links."""
    found = []
    while path is not None:
        answer = api.get(path, **more)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["next"] == answer.links.get("next", {}).get("url")
        found += body["items"]
        path = body["next"]
    return found


def test_links_lead_through_a_list_and_keep_what_was_asked(api, store):
    made = [an_incident(number) for number in range(250)]
    store.save(Changes(previous=0, offset=1, incidents=made))
    path = "/v1/incidents?sort=impact&owner=team-1&limit=10&min_impact=0"
    found = followed(api, path)
    wanted = {one.incident_id for one in made if one.owner == "team-1" and one.impact is not None}
    assert {one["incident_id"] for one in found} == wanted
    assert len(found) == len(wanted)
    impacts = [Decimal(one["impact"]) for one in found]
    assert impacts == sorted(impacts, reverse=True)
    assert len(followed(api, "/v1/incidents")) == 250


def test_a_cursor_of_another_list_or_of_nobody_is_refused(api, store):
    store.save(Changes(previous=0, offset=1, incidents=[an_incident(n) for n in range(3)]))
    more = api.get("/v1/incidents?limit=1").json()["next"]
    for path in (
        more + "&sort=impact", "/v1/incidents?cursor=x", "/v1/incidents?cursor=%F0%9F%92%B8",
        "/v1/incidents?cursor=k6NhYmPLf_gAAAAAAAChaQ", "/v1/tokens?cursor=AAAA",
    ):  # fmt: skip
        answer = api.get(path)
        assert (answer.status_code, "cursor" in answer.json()["detail"]) == (422, True), path


def test_things_come_in_pages_by_name(api, store):
    tokens = {("token", f"t{n:03}"): msgspec.structs.replace(TOKENS[0], name=f"t{n:03}")
              for n in range(203)}  # fmt: skip
    store.save(Changes(previous=0, offset=1, things=tokens))
    found = followed(api, "/v1/tokens")
    assert [one["name"] for one in found] == [name for _, name in sorted(tokens)]


def test_the_audit_says_who_did_what_and_shows_each_what_they_may_see(api, store):
    mine = an_incident(0, owner="ml")
    usual = {"via": "api", "why": "load test"}
    intents = [
        Mark(at=NOW, who="ana", incident_id=mine.incident_id, act="acknowledge", **usual),
        Feedback(
            at=NOW + HOUR, who="bo", incident_id=mine.incident_id, verdict="expected", **usual
        ),
        Put(at=NOW + 2 * HOUR, who="root", thing=TOKENS[0], **usual),
        Drop(at=NOW + 3 * HOUR, who="root", kind="silence", name="old", **usual),
    ]
    things = {("token", one.name): one for one in TOKENS}
    store.save(Changes(previous=0, offset=1, incidents=[mine], intents=intents, things=things))

    def told(who=None, **asked):
        headers = {} if who is None else {"Authorization": f"Bearer {SECRETS[who]}"}
        found = followed(api, f"/v1/audit?{httpx.QueryParams(asked | {'limit': 1})}",
                         headers=headers)  # fmt: skip
        return [(one["who"], one["what"]) for one in found]

    everything = [("root", "drop"), ("root", "put"), ("bo", "expected"), ("ana", "acknowledge")]
    assert told() == told("chief") == everything
    assert told("ml") == everything[2:]
    assert told("web") == []
    assert [one["what"] for one in followed(api, "/v1/audit?who=ana")] == ["acknowledge"]
    about = followed(api, f"/v1/audit?about={mine.incident_id}&what=expected")
    assert [(one["who"], one["via"], one["why"]) for one in about] == [("bo", "api", "load test")]
    since = (NOW + 2 * HOUR).isoformat().replace("+", "%2B")
    assert len(followed(api, f"/v1/audit?since={since}")) == 2
    assert TOKENS[0].sha256 not in api.get("/v1/audit").text
    assert store.intents(IntentFilter(for_admins=False))[0] == intents[3]


def test_an_incident_is_found_by_each_finding_that_it_holds_however_old_it_is(filled):
    held = make_incident(incident_id="old", finding_ids=["f1", "f2"], updated_at=NOW - 999 * HOUR)
    filled.save(Changes(previous=1500, offset=1501, incidents=[held]))
    assert (filled.incident_of("f2"), filled.incident_of("f3")) == (held, None)
    left = msgspec.structs.replace(held, finding_ids=["f1"])
    filled.save(Changes(previous=1501, offset=1502, incidents=[left]))
    assert filled.incident_of("f2") is None
