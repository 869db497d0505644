"""Spend by any dimension over real segments, through the API, as each who may ask."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import httpx
import pytest

from service.adapters.history import History
from service.adapters.unwritten import NO_LABELS
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.claims import Claim
from service.core.events import Arrival
from service.core.ledger import Expected, LedgerRow
from service.core.ports import Changes, SourceStatus
from service.core.tokens import Token
from service.entrypoints.admin_token import new_token
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.app import build_app
from service.telemetry import Metrics
from tests.factories import make_event, make_incident

DAY0 = datetime(2026, 3, 1, tzinfo=UTC)
NOW = DAY0 + timedelta(days=4)
HOUR = timedelta(hours=1)
ADMIN, ML = new_token(), new_token()


def a_row(resource, hour, cost, **more):
    """One hour of one resource; what is not a field of the row is a label."""
    start = DAY0 + hour * HOUR
    own = {name: more.pop(name) for name in list(more) if name in LedgerRow._fields}
    labels = NO_LABELS._replace(
        source="aws", owner="ml", billing_currency="USD", grain="hour", resource_id=resource,
        sub_account_id="1", service_name="EC2", tags='{"team":"ml"}',
    )._replace(**more)  # fmt: skip
    series = f"aws/1/{resource}/{labels.billing_currency}/{labels.grain}"
    row = LedgerRow(series, start, start + HOUR, "Usage", Decimal(cost), 1, labels=labels)
    return row._replace(**own)


ROWS = [
    *(a_row("i-1", hour, "2", quantity=Decimal(2)) for hour in range(48)),
    *(a_row("i-1", hour, "3", quantity=Decimal(2)) for hour in range(48, 96)),
    *(a_row("i-2", hour, "1", owner="web", service_name="RDS", tags="{}") for hour in range(96)),
    a_row("i-3", 90, "5", owner="unowned", tags="{}", service_name="S3", region_id="eu-1"),
    a_row("v-1", 10, "7", billing_currency="EUR", commitment="Unused"),
    a_row("v-1", 10, "9", billing_currency="EUR", commitment="Used", estimated=True),
    a_row("d-1", 0, "24", grain="day", charge_period_end=DAY0 + timedelta(days=1)),
]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    opened = History(tmp_path_factory.mktemp("spend") / "history")
    opened.append(ROWS)
    opened.flush()
    yield opened
    opened.close()


@pytest.fixture
def ask(store, history):
    """Ask as the admin, or as the team ml."""
    tokens = {
        ("token", "ml"): Token(name="ml", sha256=digest(ML), teams=["ml"], role="viewer"),
    }
    claim = Claim(name="c", owner="ml", author="ada", resource_id="i-3")
    sources = [SourceStatus(source="aws")]
    store.save(Changes(previous=0, offset=1, sources=sources, things=tokens))

    async def asked(path, token=ADMIN, claims=(), body=None, **params):
        if claims:
            store.save(Changes(previous=1, offset=2, things={("claim", "c"): claim}))
        app = build_app(
            store=store, history=history, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
            local=Local(None, digest(ADMIN)), settles_after=lambda _: timedelta(days=1),
        )  # fmt: skip
        transport = httpx.ASGITransport(app=app)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as http:
            if body is not None:
                return await http.post(path, params=params, json=body)
            return await http.get(path, params=params)

    return asked


def by_label(found, name):
    return {line["labels"][name]: Decimal(line["cost"]) for line in found["lines"]}


async def test_spend_is_cut_by_day_and_service_and_currencies_stay_apart(ask):
    found = (await ask("/v1/spend", by="service_name")).json()
    assert found["starts"][-4:] == [f"2026-03-0{day}T00:00:00Z" for day in range(1, 5)]
    lines = {
        (one["labels"]["service_name"], one["billing_currency"]): one for one in found["lines"]
    }
    assert {key: one["cost"] for key, one in lines.items()} == {
        ("EC2", "USD"): "264",
        ("EC2", "EUR"): "16",
        ("RDS", "USD"): "96",
        ("S3", "USD"): "5",
    }
    assert lines["EC2", "USD"]["costs"][-5:] == [None, "72", "48", "72", "72"]
    assert lines["RDS", "USD"]["provisional"][-1] is True
    totals = {one["billing_currency"]: one for one in found["totals"]}
    assert totals["USD"]["cost"] == "365"
    assert totals["USD"]["unowned"] == "5"
    assert totals["USD"]["untagged"] == "101"
    assert totals["USD"]["provisional"] == "101"
    eur = {
        name: totals["EUR"][name] for name in ("commitment_used", "commitment_unused", "estimated")
    }
    assert eur == {"commitment_used": "9", "commitment_unused": "7", "estimated": "9"}


async def test_by_the_hour_what_is_longer_is_said_and_in_no_line(ask):
    found = (await ask("/v1/spend", grain="hour", since=DAY0.isoformat())).json()
    usd = next(one for one in found["lines"] if one["billing_currency"] == "USD")
    assert len(found["starts"]) == len(usd["costs"]) == 96
    assert usd["costs"][0] == "3"
    total = next(one for one in found["totals"] if one["billing_currency"] == "USD")
    assert (total["cost"], total["longer"]) == ("365", "24")


@pytest.mark.parametrize(
    ("params", "costs"),
    [
        ({"by": "tag:Team"}, {"ml": 264, "": 101}),
        ({"by": "owner"}, {"ml": 264, "web": 96, "unowned": 5}),
        ({"by": "region_id"}, {"": 360, "eu-1": 5}),
        ({"by": "resource_id", "tag": "team=", "owner": "web"}, {"i-2": 96}),
        ({"by": "service_name", "owner": ["web", "unowned"]}, {"RDS": 96, "S3": 5}),
        ({"by": "charge_category"}, {"Usage": 365}),
        ({"by": "service_name", "region_id": ""}, {"EC2": 264, "RDS": 96}),
        ({"by": "tag:it's"}, {"": 365}),
    ],
)
async def test_any_dimension_and_tag_cuts_and_filters(ask, params, costs):
    found = (await ask("/v1/spend", billing_currency="USD", **params)).json()
    assert by_label(found, found["by"][0]) == costs


async def test_the_largest_lines_are_shown_and_the_others_together(ask):
    found = (await ask("/v1/spend", by="resource_id", billing_currency="USD", limit=1)).json()
    assert by_label(found, "resource_id") == {"i-1": 240}
    assert [one["cost"] for one in found["others"]] == ["125"]
    assert found["lines_left_out"] == 3


async def test_a_team_sees_its_own_spend_and_no_trace_of_others(ask):
    for path, name in (("/v1/spend", "lines"), ("/v1/movers", "items")):
        found = (await ask(path, ML, by="owner")).json()
        assert {line["labels"]["owner"] for line in found[name]} == {"ml"}
    found = (await ask("/v1/spend", ML, owner="web")).json()
    assert (found["lines"], found["totals"]) == ([], [])
    found = (await ask("/v1/spend", ML, claims=True, by="resource_id")).json()
    assert by_label(found, "resource_id")["i-3"] == 5


async def test_movers_tell_price_from_quantity_and_new_from_gone(ask):
    found = (await ask("/v1/movers", since="2026-03-03T00:00:00Z")).json()
    moves = {one["labels"]["resource_id"]: one for one in found["items"]}
    assert moves["i-1"]["parts"]["price"] == moves["i-1"]["change"] == "48"
    assert moves["i-3"]["parts"]["new"] == "5"
    assert (moves["d-1"]["parts"]["gone"], moves["v-1"]["parts"]["gone"]) == ("-24", "-16")
    assert "i-2" not in moves
    usd = next(one for one in found["totals"] if one["billing_currency"] == "USD")
    assert (usd["before"], usd["after"], usd["change"]) == ("168", "197", "29")


async def test_a_budget_is_previewed_from_what_was_spent_and_puts_nothing(ask, store):
    terms = {"amount": "200", "owner": "ml", "thresholds": [50, 100]}
    found = (await ask("/v1/budgets/preview", body=terms)).json()
    (period,) = found["periods"]
    assert (period["spent"], period["period_start"]) == ("264", "2026-03-01T00:00:00Z")
    crossed = [(one["what"], one["day"][:10]) for one in period["crossed"]]
    assert crossed == [("50 %", "2026-03-02"), ("100 %", "2026-03-04")]
    tagged = {"amount": "200", "tag": "Team=ML", "currency": "EUR"}
    (period,) = (await ask("/v1/budgets/preview", body=tagged)).json()["periods"]
    assert period["spent"] == "16"
    assert store.things("budget") == []
    answer = await ask("/v1/budgets/preview", ML, body={"amount": "200"})
    assert answer.status_code == 403
    assert (await ask("/v1/budgets/preview", body={"amount": "no"})).status_code == 422


async def test_a_subscription_is_previewed_by_who_may_put_it(ask, store):
    mine = make_incident(owner="ml", opened_at=NOW - timedelta(days=2))
    other = make_incident(incident_id="o", owner="web", opened_at=NOW - timedelta(days=2))
    assert store.save(Changes(previous=1, offset=2, incidents=[mine, other])) == "saved"
    terms = {"team": "ml", "destination": "slack:#ml"}
    for token in (ML, ADMIN):
        found = (await ask("/v1/subscriptions/preview", token, body=terms)).json()
        assert (found["incidents"], found["posts"]) == (1, 1)
        assert found["text"].startswith("This would have sent 1 notice in the last 30 days")
    everyone = terms | {"team": "*"}
    assert (await ask("/v1/subscriptions/preview", ML, body=everyone)).status_code == 403
    assert (await ask("/v1/subscriptions/preview", body=everyone)).json()["incidents"] == 2


@pytest.mark.parametrize(
    ("kind", "terms", "everyones"),
    [
        ("silence", {"starts_at": NOW.isoformat(), "ends_at": "2027-01-01T00:00:00Z",
                     "matchers": ["owner=ml"]}, {"matchers": ["severity=~.*"]}),
        ("plan", {"starts_at": NOW.isoformat(), "until": "2027-01-01T00:00:00Z", "amount": "1",
                  "billing_currency": "USD", "team": "ml"}, {"team": "web"}),
    ],
)  # fmt: skip
async def test_what_holds_back_is_previewed_by_who_may_put_it(ask, store, kind, terms, everyones):
    mine = make_incident(owner="ml", opened_at=NOW - timedelta(days=2))
    other = make_incident(incident_id="o", owner="web", opened_at=NOW - timedelta(days=2))
    assert store.save(Changes(previous=1, offset=2, incidents=[mine, other])) == "saved"
    path = f"/v1/{kind}s/preview"
    for token, seen in ((ML, 1), (ADMIN, 2)):
        found = (await ask(path, token, body=terms)).json()
        assert (found["held"], found["incidents"]) == (1, seen)
    assert (await ask(path, ML, body=terms | everyones)).status_code == 403
    assert (await ask(path, body=terms | {"matchers": ["colour=red"]})).status_code == 422
    assert store.things(kind) == []


@pytest.mark.parametrize(
    "params",
    [
        {"by": "colour"},
        {"by": ["owner"] * 4},
        {"since": "2024-01-01T00:00:00Z"},
        {"since": "2026-03-09T00:00:00Z"},
        {"tag": "team"},
        {"grain": "week"},
        {"by": 'tag:"'},
    ],
)
async def test_what_cannot_be_asked_is_said(ask, params):
    assert (await ask("/v1/spend", **params)).status_code == 422


async def test_a_series_counts_where_its_newest_row_names_it(tmp_path, store):
    history = History(tmp_path / "moved")
    history.append([a_row("i-1", 0, "2", owner="web", version=1), a_row("i-1", 1, "3", version=2)])
    app = build_app(
        store=store, history=history, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local("admin"),
    )  # fmt: skip
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        found = (await http.get("/v1/spend", params={"by": "owner"})).json()
    assert by_label(found, "owner") == {"ml": 5}
    history.close()


async def test_what_the_pipeline_records_is_what_was_expected_and_named(tmp_path, store):
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
    history = History(tmp_path / "history")
    for hour in range(24 * 21):
        start = DAY0 + hour * HOUR
        event = make_event(
            charge_period_start=start, charge_period_end=start + HOUR, resource_id="i-9",
            effective_cost=Decimal(10) + hour % 3, x_event_id=str(hour), tags={"user:Team": "ml"},
        )  # fmt: skip
        outcome = pipeline.step([Arrival(start + HOUR, "events", event)], start + HOUR, hour + 1)
        history.append(outcome.ledger_rows)
    newest = outcome.ledger_rows[-1]
    assert newest.labels.tags == '{"team":"ml"}'
    assert (newest.labels.owner, newest.scored) == ("ml", True)
    assert isinstance(newest.expected, Expected)
    assert newest.expected.low <= newest.expected.cost <= newest.expected.high
    app = build_app(
        store=store, history=history, metrics=Metrics("0"), started_at=NOW,
        now=lambda: DAY0 + timedelta(days=21), local=Local("admin"),
    )  # fmt: skip
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        found = (await http.get("/v1/spend", params={"since": "2026-03-19T00:00:00Z"})).json()
    (line,) = found["lines"]
    assert [Decimal(one) for one in line["costs"]] == [264, 264, 264]
    for low, usual, high in zip(
        line["expected_low"], line["expected"], line["expected_high"], strict=True
    ):
        assert Decimal(low) <= Decimal(usual) <= Decimal(high)
        assert abs(Decimal(usual) - 264) < 30
    history.close()


async def test_a_window_told_in_another_time_zone_is_the_same_window(ask):
    there = DAY0.astimezone(timezone(timedelta(hours=-7)))
    window = {"until": NOW.isoformat(), "by": "service_name"}
    here = (await ask("/v1/spend", since=DAY0.isoformat(), **window)).json()
    assert (await ask("/v1/spend", since=there.isoformat(), **window)).json() == here


async def test_a_usual_window_by_day_begins_with_a_day(ask):
    until = (NOW - 9 * HOUR).isoformat()
    by_day = (await ask("/v1/spend", until=until)).json()
    assert by_day["since"] == "2026-02-18T00:00:00Z"
    by_hour = (await ask("/v1/spend", until=until, grain="hour")).json()
    assert by_hour["since"] == "2026-02-18T15:00:00Z"
