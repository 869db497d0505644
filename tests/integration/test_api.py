import http.client
import json
import socket
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.history import History
from service.adapters.redis_store import RedisStore
from service.core.allocation import Unallocated
from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.ledger import LedgerRow
from service.core.ports import Changes, PartitionStatus, SourceStatus
from service.entrypoints.api import build_app, serve, views
from service.entrypoints.api.access import Local
from service.entrypoints.api.allocation import Allocated
from service.telemetry import Metrics
from tests.factories import (
    NOW,
    SERIES,
    make_finding,
    make_gap,
    make_incident,
    make_notice,
    make_run_bill,
    make_unit_bill,
)
from tests.store_server import StoreServer

HERE = Local("admin")
STARTED = NOW - timedelta(days=1)
SLASHED = "azure/sub 1/%2Fsubscriptions%2Fa%252Fb/EUR/day"
SOURCES = [
    SourceStatus(source="aws-main", events=10, last_arrived_at=NOW, last_period_end=NOW),
    SourceStatus(source="azure", events=5, last_arrived_at=NOW - timedelta(hours=1)),
]


@pytest.fixture
def history(tmp_path):
    opened = History(tmp_path / "history")
    yield opened
    opened.close()


@pytest.fixture
def metrics():
    return Metrics("1")


def an_app(store, metrics, **more):
    """Build the API as this machine sees it, without a history unless one is given."""
    usual = {"history": None, "started_at": STARTED, "now": lambda: NOW, "local": HERE}
    return build_app(store=store, metrics=metrics, **usual | more)


@pytest.fixture
def api(store, history, metrics):
    """A client of a real server over the real store."""
    app = an_app(store, metrics, history=history)
    with serve(app) as url, httpx.Client(base_url=url) as client:
        yield client


def fill(store, **changes):
    assert store.save(Changes(previous=0, offset=7, **changes)) == "saved"


def rows(key, hours, end=NOW, cost="1.50"):
    return [
        LedgerRow(
            key,
            end - timedelta(hours=hour + 1),
            end - timedelta(hours=hour),
            "Usage",
            Decimal(cost),
            1,
        )
        for hour in range(hours)
    ]


def listed(answer, kind):
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=views.Listing[kind]).items


# -- status ------------------------------------------------------------------------------------


def test_status_is_one_word_with_the_facts_behind_it(api, store):
    fill(
        store,
        sources=SOURCES,
        incidents=[make_incident(), make_incident(incident_id="b", state="resolved")],
        notices=[make_notice()],
    )
    status = msgspec.json.decode(api.get("/v1/status").content, type=views.Status)
    assert (status.state, status.reasons) == ("ok", [])
    assert [source.source for source in status.sources] == ["aws-main", "azure"]
    assert status.sources[1].age_seconds == 3600
    assert (status.offset, status.incidents_firing, status.deliveries["ready"]) == (7, 1, 1)
    assert (status.as_of, status.started_at) == (NOW, STARTED)


def test_status_says_how_complete_a_source_is_and_how_each_worker_and_destination_does(api, store):
    source = SourceStatus(
        source="aws", events=9, last_arrived_at=NOW, last_period_end=NOW - timedelta(hours=2),
        rows_last_hour=9, period_end=NOW, series_arrived=87, series_usual=100,
    )  # fmt: skip
    workers = {
        f"billing.events/{number}": PartitionStatus(
            topic="billing.events", partition=number, offset=7, at=NOW - timedelta(hours=number)
        )
        for number in range(2)
    }
    fill(store, sources=[source], notices=[make_notice()], partitions=workers)
    status = msgspec.json.decode(api.get("/v1/status").content, type=views.Status)
    (told,) = status.sources
    assert (told.completeness, told.lag_seconds, told.rows_last_hour) == (0.87, 7200, 9)
    assert [one.silent for one in status.partitions] == [False, True]
    assert [(one.destination, one.pending) for one in status.destinations] == [("slack:#finops", 1)]


def test_a_fault_degrades_the_service_and_names_itself(api, store):
    late = make_notice(at=NOW - timedelta(minutes=10))
    fill(store, sources=[SourceStatus(source="aws", last_error="cut off")], notices=[late])
    status = api.get("/v1/status").json()
    assert status["state"] == "degraded"
    assert status["reasons"] == [
        "Source aws: cut off",
        "Notices wait to be sent since 11 Mar 2026 13:50 UTC.",
    ]


def test_a_store_that_is_filled_again_is_rebuilding(store, metrics):
    app = an_app(store, metrics, rebuilding=lambda: True)
    with serve(app) as url:
        assert httpx.get(f"{url}/v1/status").json()["state"] == "rebuilding"


def test_without_a_store_every_answer_is_a_clear_503_and_recovery_needs_no_restart(
    tmp_path, metrics
):
    server = EmbeddedStore(tmp_path)
    with server:
        store = RedisStore.connect(server.url)
        fill(store, incidents=[make_incident()])
        app = an_app(store, metrics)
    with serve(app) as url, httpx.Client(base_url=url) as client:
        for path in (
            "/v1/incidents",
            f"/v1/incidents/{make_incident().incident_id}",
            "/v1/incidents/x/chart.png",
            "/v1/findings",
            "/v1/findings/x",
            "/v1/deliveries",
            f"/v1/series/{SERIES}",
            "/v1/status",
            "/readyz",
        ):
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["detail"] == "The store does not answer."
        assert client.get("/v1/status").json()["state"] == "unavailable"
        page = client.get("/")
        assert page.status_code == 503
        assert "The store does not answer" in page.text
        assert client.get("/livez").status_code == 200
        assert "spendwatch_store_up 0.0" in client.get("/metrics").text
        with EmbeddedStore(tmp_path):
            assert client.get("/readyz").status_code == 200
            assert client.get("/v1/incidents").json()["items"]
            assert "spendwatch_store_up 1.0" in client.get("/metrics").text
    store.close()


READ = [
    "/v1/incidents",
    "/v1/incidents?sort=impact&limit=1",
    "/v1/findings",
    "/v1/deliveries",
    "/v1/audit",
    "/v1/silences",
    "/v1/tokens",
    f"/v1/incidents/{make_incident().incident_id}",
    "/api/v2/alerts",
    "/api/v2/alerts/groups",
    "/api/v2/silences",
    "/api/v2/status",
    "/readyz",
]


def test_two_copies_say_the_same_and_nothing_wrong_while_their_store_comes_and_goes(tmp_path):
    """Every answer is right or a clear 503; the second copy sees what was written meanwhile."""
    server = StoreServer(tmp_path / "store").start()
    store = RedisStore.connect(server.url)
    try:
        first, second = make_incident(), make_incident(incident_id="later", owner="web")
        fill(store, incidents=[first], findings=[make_finding()], notices=[make_notice()])
        stores = [RedisStore.connect(server.url) for _ in range(2)]
        apps = [an_app(one, Metrics("1")) for one in stores]
        with serve(apps[0]) as one, serve(apps[1]) as other, httpx.Client(timeout=30) as http:

            def said():
                """Return what both copies answer, which is the same, but for the moment."""
                bodies = []
                for path in READ:
                    answers = [http.get(url + path) for url in (one, other)]
                    assert [answer.status_code for answer in answers] == [200, 200], path
                    assert answers[0].content == answers[1].content, path
                    bodies.append(answers[0].text)
                return bodies

            before = said()
            for _ in range(2):
                server.kill()
                for path in READ:
                    for url in (one, other):
                        answer = http.get(url + path)
                        assert answer.status_code == 503, path
                        assert int(answer.headers["retry-after"]) > 0
                        assert "The store does not answer." in answer.text
                    assert http.get(f"{url}/livez").status_code == 200
                server.start()
                assert said() == before
            changes = Changes(previous=7, offset=8, incidents=[second])
            assert store.save(changes) == "saved"
            after = said()
            assert "later" in after[0]
            assert "later" in after[READ.index("/api/v2/alerts")]
            server.wipe()
            for url in (one, other):
                assert http.get(f"{url}/v1/incidents").json()["items"] == []
                assert http.get(f"{url}/api/v2/alerts").json() == []
            fill(store, incidents=[first])  # filled again, up to an offset of before
            assert first.incident_id in said()[READ.index("/api/v2/alerts")]
        for one in stores:
            one.close()
    finally:
        store.close()
        server.kill()


# -- incidents, findings, deliveries -----------------------------------------------------------


def test_incidents_are_listed_last_changed_first_and_filtered(api, store):
    incidents = [
        make_incident(
            incident_id=f"i{n}",
            owner=owner,
            state=state,
            updated_at=NOW + timedelta(minutes=n),
        )
        for n, (owner, state) in enumerate(
            [("web", "firing"), ("ml", "firing"), ("web", "resolved"), ("web", "firing")]
        )
    ]
    fill(store, incidents=incidents)

    def ids(**query):
        return [i.incident_id for i in listed(api.get("/v1/incidents", params=query), Incident)]

    assert ids() == ["i3", "i2", "i1", "i0"]
    assert ids(state="firing") == ["i3", "i1", "i0"]
    assert ids(owner="web", state="firing") == ["i3", "i0"]
    assert ids(limit=2) == ["i3", "i2"]
    assert ids(owner="nobody") == []


def test_an_incident_comes_back_as_it_was_saved(api, store):
    incident = make_incident(impact=Decimal("1E-11"), run_rate_per_day=Decimal("1E+3"))
    fill(store, incidents=[incident])
    answer = api.get(f"/v1/incidents/{incident.incident_id}")
    assert msgspec.json.decode(answer.content, type=Incident) == incident
    body = answer.json()
    assert body["impact"] == "0.00000000001"
    assert body["run_rate_per_day"] == "1000"
    assert body["starts_at"] == "2026-03-09T18:00:00Z"


def test_a_chart_is_drawn_once_and_not_sent_again_unchanged(api, store):
    notice = make_notice()
    fill(store, incidents=[notice.incident], notices=[notice])
    path = f"/v1/incidents/{notice.incident_id}/chart.png"
    first, second = api.get(path), api.get(path, params={"v": "1"})
    assert first.headers["content-type"] == "image/png"
    assert first.content.startswith(b"\x89PNG")
    assert second.content == first.content
    etag = first.headers["etag"]
    assert api.get(path, headers={"If-None-Match": etag}).status_code == 304
    later = make_notice(seq=1, action="edit")
    assert store.save(Changes(previous=7, offset=8, notices=[later])) == "saved"
    assert api.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_an_incident_that_was_told_to_no_one_has_no_chart(api, store):
    fill(store, incidents=[make_incident()])
    answer = api.get(f"/v1/incidents/{make_incident().incident_id}/chart.png")
    assert answer.status_code == 404


def test_findings_are_filtered_by_each_field(api, store):
    findings = [
        make_finding(finding_id="f0"),
        make_finding(finding_id="f1", kind="spike", owner="ml"),
        make_finding(finding_id="f2", status="retracted", series=SLASHED),
    ]
    fill(store, findings=findings)

    def ids(**query):
        found = listed(api.get("/v1/findings", params=query), Finding)
        return sorted(finding.finding_id for finding in found)

    assert ids() == ["f0", "f1", "f2"]
    assert ids(kind="spike") == ["f1"]
    assert ids(owner="payments") == ["f0", "f2"]
    assert ids(status="retracted") == ["f2"]
    assert ids(series=SLASHED) == ["f2"]
    assert len(ids(limit=1)) == 1
    one = api.get("/v1/findings/f1")
    assert msgspec.json.decode(one.content, type=Finding) == findings[1]


def test_deliveries_tell_how_far_they_got_without_the_senders_papers(api, store):
    notice = make_notice()
    fill(store, incidents=[notice.incident], notices=[notice])
    assert store.claim(NOW, timedelta(minutes=1)) is not None
    (delivery,) = listed(api.get("/v1/deliveries"), views.DeliveryView)
    assert (delivery.state, delivery.destination) == ("sending", "slack:#finops")
    assert delivery.text == notice.text
    assert listed(api.get("/v1/deliveries?state=dead"), views.DeliveryView) == []
    assert "ref" not in api.get("/v1/deliveries").json()["items"][0]


# -- series ------------------------------------------------------------------------------------


def test_a_series_shows_its_last_fourteen_days_and_its_findings(api, store, history):
    history.append(rows(SERIES, 20 * 24))
    fill(store, findings=[make_finding(), make_finding(finding_id="f2", series=SLASHED)])
    series = msgspec.json.decode(api.get(f"/v1/series/{SERIES}").content, type=views.Series)
    assert (series.since, series.until) == (NOW - timedelta(days=14), NOW)
    assert len(series.periods) == 14 * 24
    assert series.periods == sorted(series.periods, key=lambda period: period.charge_period_start)
    assert series.current == series.periods[-1]
    assert {period.cost for period in series.periods} == {Decimal("1.50")}
    assert [finding.finding_id for finding in series.findings] == ["f1"]
    assert (series.source, series.resource) == ("aws-main", "i-0abc1234def567890")


def test_a_period_is_settled_once_its_source_can_change_it_no_more(store, history, metrics):
    history.append(rows(SERIES, 24))
    settles_after = {"aws-main": timedelta(hours=10)}.__getitem__
    app = an_app(store, metrics, history=history, settles_after=settles_after)
    with serve(app) as url:
        periods = httpx.get(f"{url}/v1/series/{SERIES}").json()["periods"]
    assert [period["settled"] for period in periods] == [True] * 14 + [False] * 10


def test_what_is_estimated_is_marked_until_the_bill_comes(api, history):
    told = sorted(rows(SERIES, 3), key=lambda row: row.charge_period_start)
    history.append([*told[:2], told[2]._replace(estimated=True)])
    history.flush()
    marks = [p["estimated"] for p in api.get(f"/v1/series/{SERIES}").json()["periods"]]
    assert marks == [False, False, True]
    history.append([told[2]._replace(version=told[2].version + 1)])
    assert not any(p["estimated"] for p in api.get(f"/v1/series/{SERIES}").json()["periods"])


def test_a_window_is_as_asked(api, history):
    history.append(rows(SERIES, 48))
    since, until = NOW - timedelta(hours=5), NOW - timedelta(hours=2)
    body = api.get(
        f"/v1/series/{SERIES}",
        params={"since": since.isoformat(), "until": until.isoformat()},
    ).json()
    assert [period["charge_period_start"] for period in body["periods"]] == [
        f"{NOW - timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}" for hour in (5, 4, 3)
    ]


@pytest.mark.parametrize(
    "written", [quote(SLASHED, safe="/"), quote(SLASHED, safe=""), SLASHED.replace(" ", "%20")]
)
def test_a_name_with_slashes_is_found_encoded_or_pasted_as_it_is(api, history, written):
    history.append(rows(SLASHED, 1))
    answer = api.get(f"/v1/series/{written}")
    assert answer.status_code == 200
    assert answer.json()["series"] == SLASHED
    assert answer.json()["resource"] == "/subscriptions/a%2Fb"


def test_a_service_without_history_says_so_and_not_that_nothing_was_spent(store, metrics):
    fill(store, findings=[make_finding()])
    app = an_app(store, metrics)
    with serve(app) as url:
        body = httpx.get(f"{url}/v1/series/{SERIES}").json()
    assert body["periods"] is None
    assert len(body["findings"]) == 1


def test_a_history_that_cannot_be_read_is_a_503(api, history, tmp_path):
    history.append(rows(SERIES, 1))
    history.flush()
    for segment in Path(tmp_path).glob("history/*/*.parquet"):
        segment.write_bytes(b"spoilt")
    answer = api.get(f"/v1/series/{SERIES}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert str(tmp_path) not in answer.text


# -- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nowhere", 404, "Not Found"),
        ("/v1/incidents/none", 404, "There is no such incident."),
        ("/v1/findings/none", 404, "There is no such finding."),
        ("/v1/incidents/a:b", 422, "incident_id"),
        ("/v1/incidents?limit=101", 422, "limit"),
        ("/v1/incidents?limit=1e9", 422, "limit"),
        ("/v1/incidents?state=burning", 422, "state"),
        ("/v1/incidents?colour=red", 422, "colour"),
        (f"/v1/findings?owner={'x' * 513}", 422, "owner"),
        ("/v1/series/a/b", 422, "not the name of a series"),
        (f"/v1/series/{SERIES}", 404, "Nothing is known"),
        (f"/v1/series/{SERIES}?since=2026-01-01", 422, "since"),
        (f"/v1/series/{SERIES}?since=2026-01-01T00:00:00", 422, "since"),
        (f"/v1/series/{SERIES}?since=0001-01-01T00:00:00%2B14:00", 422, "2000 to 2199"),
        (f"/v1/series/{SERIES}?since=2025-01-01T00:00:00Z", 422, "92 days"),
        (f"/v1/series/{SERIES}?since=2030-01-01T00:00:00Z", 422, "before"),
    ],
)
def test_every_error_is_a_problem_that_says_what_was_wrong(api, path, status, said):
    answer = api.get(path)
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"] == http.HTTPStatus(status).phrase
    assert said in problem["detail"]


@pytest.mark.parametrize(
    "target",
    ["/static/../page.py", "/static/..%2fpage.py", "/static/%2e%2e/page.py", "/static//etc/passwd"],
)
def test_nothing_outside_its_folder_is_served(api, target):
    assert raw_get(api, target).status == 404


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/status", "/metrics", "/static/page.css"])
def test_a_head_is_that_of_the_page_without_its_body(api, path):
    head, page = api.head(path), api.get(path)
    assert (head.status_code, head.content) == (page.status_code, b"")
    assert head.headers["content-type"] == page.headers["content-type"]


def test_what_may_only_be_read_cannot_be_written(api):
    answer = api.post("/v1/incidents", json={})
    assert answer.status_code == 405
    assert answer.json()["status"] == 405
    assert answer.headers["allow"] == "GET"


def test_a_fault_of_the_service_shows_no_stack(metrics):
    class Broken:
        def written(self, where):
            raise RuntimeError("a secret in a frame")

    app = an_app(Broken(), metrics)
    with serve(app) as url:
        answer = httpx.get(f"{url}/v1/findings")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert 'route="/v1/findings",status="500"' in metrics.render().decode()


RUBBISH = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "-1", "0", "100", "1e400", "NaN", "null", "firing", "\x00", "٣", "9" * 400]
    ),
    st.datetimes().map(lambda at: f"{at.isoformat()}Z"),
    st.integers().map(str),
)
NAMES = st.sampled_from(["state", "owner", "limit", "kind", "status", "series", "since", "until"])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.sampled_from(
        ["/v1/incidents", "/v1/findings", "/v1/deliveries", "/v1/series", "/v1/status", "/static"]
    ),
    parts=st.lists(RUBBISH, max_size=5),
    query=st.lists(st.tuples(NAMES, RUBBISH), max_size=3),
)
def test_no_rubbish_makes_it_fail(api, base, parts, query):
    path = "/".join([base, *(quote(part, safe="", errors="replace") for part in parts)])
    pairs = "&".join(f"{name}={quote(value, errors='replace')}" for name, value in query)
    answer = raw_get(api, f"{path}?{pairs}")
    assert answer.status < 500, (path, pairs)
    if answer.status >= 400:
        assert json.loads(answer.body)["status"] == answer.status


def raw_get(api, target):
    """Ask for a target as it is: httpx would tidy it."""
    at = urlsplit(str(api.base_url))
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer
    finally:
        connection.close()


# -- headers, metrics, document, server --------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1/status", "/nowhere", "/static/page.css", "/metrics"])
def test_every_answer_carries_the_security_headers(api, path):
    headers = api.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_only_known_names_are_answered_where_they_are_given(store, metrics):
    app = an_app(store, metrics, hosts=["127.0.0.1", "[::1]"])
    with serve(app) as url:
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/livez", headers={"Host": "[::1]:80"}).status_code == 200
        for host in ("rebound.example", "127.0.0.1.example:80", ""):
            answer = httpx.get(f"{url}/v1/status", headers={"Host": host})
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/problem+json"


def test_metrics_show_the_store_and_count_requests_by_route_never_by_path(api, store):
    fill(store, sources=SOURCES, incidents=[make_incident()], notices=[make_notice()])
    for number in range(50):
        api.get(f"/v1/incidents/i{number}")
        api.get(f"/made-up/{number}")
    answer = api.get("/metrics")
    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'spendwatch_incidents_open{severity="high"} 1.0' in lines
    assert 'spendwatch_outbox_depth{state="ready"} 1.0' in lines
    assert "spendwatch_saved_offset 7.0" in lines
    assert 'spendwatch_source_last_arrival_timestamp_seconds{source="aws-main"} ' in answer.text
    requests = [line for line in lines if line.startswith("spendwatch_api_requests_total{")]
    assert requests == [
        'spendwatch_api_requests_total{route="/v1/incidents/{incident_id}",status="404"} 50.0',
        'spendwatch_api_requests_total{route="none",status="404"} 50.0',
    ]


def test_experiments_are_told_with_their_runs_the_dearest_first(store, metrics):
    bills = [make_run_bill("a", "s", 3), make_run_bill("b", "t", 20), make_run_bill("c", "t", 30)]
    app = an_app(store, metrics, started_at=NOW, runs=lambda: bills)
    with serve(app) as url:
        told = httpx.get(f"{url}/v1/experiments").json()
    assert [(one["experiment"], one["runs"], one["cost"]) for one in told["experiments"]] == [
        ("t", 2, "50"), ("s", 1, "3"),
    ]  # fmt: skip
    assert [run["run_id"] for run in told["runs"]] == ["c", "b", "a"]


def test_what_units_cost_and_what_tags_do_not_tell_apart_is_told(store, metrics):
    known = Allocated(Unallocated([make_gap("ml", 7)], []), [make_unit_bill("ml")])
    app = an_app(store, metrics, allocated=lambda: known)
    with serve(app) as url:
        policies = httpx.get(f"{url}/v1/tag-policy").json()
        [unit] = httpx.get(f"{url}/v1/unit-costs").json()["items"]
    assert [(gap["missing"], gap["owner"], gap["cost"]) for gap in policies["gaps"]] == [
        ("no team", "ml", "7")
    ]
    assert (unit["name"], unit["days"][0]["unit_cost"]) == ("inference", "0.3")


def test_the_document_describes_every_route_and_every_shape(api):
    document = api.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert sorted(document["paths"]) == sorted(
        [
            "/",
            "/api/v2/alerts",
            "/api/v2/alerts/groups",
            "/api/v2/receivers",
            "/api/v2/silence/{silence_id}",
            "/api/v2/silences",
            "/api/v2/status",
            "/act",
            "/budgets",
            "/gpus",
            "/incidents",
            "/incidents/{incident_id}",
            "/live",
            "/livez",
            "/metrics",
            "/mine",
            "/parts/burn/{name}",
            "/parts/days",
            "/readyz",
            "/sign-in",
            "/sign-out",
            "/spend",
            "/status",
            "/v1/audit",
            "/v1/annotations",
            "/v1/budgets",
            "/v1/budgets/preview",
            "/v1/budgets/{name}",
            "/v1/claims",
            "/v1/claims/{name}",
            "/v1/deliveries",
            "/v1/events",
            "/v1/experiments",
            "/v1/findings",
            "/v1/findings/{finding_id}",
            "/v1/findings/{finding_id}/trace",
            "/v1/gpus",
            "/v1/incidents",
            "/v1/incidents/{incident_id}",
            "/v1/incidents/{incident_id}/chart.png",
            "/v1/incidents/{incident_id}/feedback",
            "/v1/incidents/{incident_id}/marks",
            "/v1/members",
            "/v1/members/{name}",
            "/v1/movers",
            "/v1/optouts",
            "/v1/optouts/{name}",
            "/v1/plans",
            "/v1/plans/preview",
            "/v1/plans/{name}",
            "/v1/series/{key}",
            "/v1/silences",
            "/v1/silences/preview",
            "/v1/silences/{name}",
            "/v1/spend",
            "/v1/status",
            "/v1/subscriptions",
            "/v1/subscriptions/preview",
            "/v1/subscriptions/{name}",
            "/v1/tag-policy",
            "/v1/tokens",
            "/v1/tokens/{name}",
            "/v1/unit-costs",
        ]
    )
    shapes = document["components"]["schemas"]
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(shapes)
    assert {"Incident", "Finding", "Status", "Problem", "Series"} <= named
    assert "HTTPValidationError" not in text
    asked = document["paths"]["/v1/tokens/{name}"]["put"]["requestBody"]["content"]
    assert asked == {"application/json": {"schema": {"$ref": "#/components/schemas/Token"}}}
    for path in document["paths"].values():
        assert all(operation["description"] for operation in path.values())


def test_the_server_stops_when_its_block_ends_and_frees_its_port(store, metrics):
    app = an_app(store, metrics)
    with serve(app) as url:
        port = urlsplit(url).port
        with pytest.raises(OSError, match="in use"), serve(app, port=port):
            pass
        assert httpx.get(f"{url}/livez").text == "ok\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    with serve(app, port=port) as again:
        assert httpx.get(f"{again}/livez").status_code == 200
