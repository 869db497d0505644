import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.core.budget_figures import BudgetStatus, Figures
from service.core.budgets import Budget
from service.core.gpu_pools import gpus_of
from service.core.health import Health
from service.core.moves import Move, Moves, Parts
from service.core.slices import Amounts, Cell, Sliced, SpendTotal, lines_of, starts_of
from service.web import budgets, explore, gpus
from service.web.explore import View
from service.web.layout import Frame
from tests.factories import NOW as HOST_NOW
from tests.factories import make_gpu_host

NOW = datetime(2026, 8, 11, 17, tzinfo=UTC)
DAY = timedelta(days=1)
ONE = Decimal(1)
NASTY = "</td><script>alert(1)</script>\u202e"


def a_frame(path="/spend", query=None, now=NOW):
    return Frame(path, query or {}, Health("ok", ()), now, "1", "ana", None, True)


def text(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


@pytest.mark.parametrize(
    ("query", "since", "until", "before"),
    [
        ({}, "2026-07-29T00", "2026-08-11T17", "2026-07-15T07"),
        ({"days": "1"}, "2026-08-10T17", "2026-08-11T17", "2026-08-09T17"),
        ({"days": "7"}, "2026-08-05T00", "2026-08-11T17", "2026-07-29T07"),
        ({"since": "2026-08-01", "until": "2026-08-03"}, "2026-08-01T00", "2026-08-04T00",
         "2026-07-29T00"),
        ({"since": "2026-08-01", "until": "2026-08-03", "before": "2026-07-01"}, "2026-08-01T00",
         "2026-08-04T00", "2026-07-01T00"),
        ({"until": "2026-08-03"}, "2026-07-21T00", "2026-08-04T00", "2026-07-07T00"),
    ],
)  # fmt: skip
def test_an_address_says_which_windows_to_compare(query, since, until, before):
    view = View.of(query, NOW)
    shown = [f"{at:%Y-%m-%dT%H}" for at in (view.since, view.until, view.before)]
    assert shown == [since, until, before]


@pytest.mark.parametrize(
    "query",
    [
        {"days": "-3"}, {"days": "9999"}, {"since": "2026-13-40"}, {"since": "2099-01-01"},
        {"since": "1970-01-01"}, {"until": "9999-12-31"}, {"before": "2026-08-11"},
        {"by": "password"}, {"by": "tag:"}, {"by": 'tag:a"b'}, {"nonsense": "x"},
        {"since": "0001-01-01", "until": "0001-01-02"}, {"before": "0001-01-01"},
        {"since": "2026-08-09", "until": "2026-08-01"}, {"currency": "x" * 900},
    ],
)  # fmt: skip
def test_what_an_address_gets_wrong_is_as_though_it_were_not_there(query):
    view = View.of(query, NOW)
    assert view.before < view.since < view.until <= NOW + 2 * DAY
    assert view.until - view.since <= explore.LONGEST
    assert view.since - view.before >= view.until - view.since
    assert view.by == "service_name"


def test_a_view_filters_by_what_it_names_and_cuts_by_the_hour_where_it_is_short():
    view = View.of({"by": "tag:Env", "owner": "ml", "days": "1"}, NOW)
    cut = view.cut(frozenset({"ml"}))
    assert (cut.by, cut.where, cut.owners) == (
        ("tag:env",), {"owner": frozenset({"ml"})}, frozenset({"ml"}),
    )  # fmt: skip
    assert view.grain == "hour"
    assert View.of({}, NOW).grain == "day"


def a_slice(names, currency="USD"):
    since = NOW - 2 * DAY
    starts = starts_of(since, NOW, "day")
    cells = [
        Cell((name,), currency, at, Amounts(Decimal(10 * (len(names) - place)), ONE, Decimal(0)))
        for place, name in enumerate(names)
        for at in starts[:2]
    ]  # fmt: skip
    lines = lines_of(("service_name",), starts, cells)
    total = SpendTotal(
        billing_currency=currency, cost=sum(line.cost for line in lines),
        provisional=Decimal(1), estimated=Decimal(0), unowned=Decimal(0), untagged=Decimal(0),
        commitment_used=Decimal(0), commitment_unused=Decimal(0), longer=Decimal(0),
    )  # fmt: skip
    return Sliced(
        as_of=NOW, since=since, until=NOW, grain="day", by=["service_name"], starts=starts,
        totals=[total], lines=lines, others=[], lines_left_out=0,
    )  # fmt: skip


def some_moves(*names):
    items = [
        Move(
            labels={"service_name": name}, billing_currency="USD", before=Decimal(100),
            after=Decimal(150), change=Decimal(50),
            parts=Parts(price=Decimal(20), quantity=Decimal(30)),
        )
        for name in names
    ]  # fmt: skip
    return Moves(
        as_of=NOW, before=NOW - 4 * DAY, since=NOW - 2 * DAY, until=NOW, by=["service_name"],
        totals=items[:1], items=items, moves_left_out=0,
    )  # fmt: skip


def a_page(sliced, moves, query=None):
    frame = a_frame(query=query)
    return explore.spend_page(frame, View.of(frame.query, NOW), sliced, moves)


def test_the_page_says_what_was_spent_by_what_and_who_moved_it():
    html = a_page(a_slice(["EC2", "S3"]), some_moves("EC2"))
    said = text(html)
    assert "$60" in said
    assert "EC2 $40 67 % +$50 +50 %" in said
    assert "EC2 $100 $150 +$50 +50 % +$20 +$30" in said
    assert 'href="/spend?service_name=EC2&amp;by=resource_id"' in html
    inside = a_page(a_slice(["EC2"]), some_moves("EC2"), {"service_name": "EC2", "by": "sku_id"})
    assert 'aria-label="Without service_name EC2"' in inside


def test_beyond_the_largest_all_is_one_stack():
    names = [f"service-{n}" for n in range(explore.STACKED + 3)]
    html = a_page(a_slice(names), some_moves())
    columns = re.findall(r'data-role="stack">([^<]+)<', html)
    assert columns == [*names[: explore.STACKED], "The rest"]
    (first, *_) = re.findall(r"<tr data-at=.*?</tr>", html)
    assert 'data-v="60"' in first  # 30 + 20 + 10
    assert "data-provisional" in first


def test_no_name_becomes_markup_and_nothing_spent_is_said():
    plain, nasty = (a_page(a_slice([name]), some_moves(name)) for name in ("x", NASTY))
    tags = re.compile(r"</?\w+")
    assert tags.findall(plain) == tags.findall(nasty)
    nothing = a_slice([])
    nothing.totals = []
    assert "Nothing was spent here" in text(a_page(nothing, some_moves()))


def a_budget(as_of, **values):
    figures = {
        "name": "b", "what": "ml", "amount": Decimal(3000), "currency": "USD", "severity": "low",
        "period_start": datetime(2026, 8, 1, tzinfo=UTC),
        "period_end": datetime(2026, 8, 31, tzinfo=UTC), "as_of": as_of, "spent": Decimal(1100),
        "forecast": Decimal(3300), "forecast_low": Decimal(3000), "forecast_high": Decimal(3600),
    }  # fmt: skip
    terms = Budget(name="b", amount=Decimal(3000), owner="ml", tag="Env=prod")
    return BudgetStatus(
        budget=terms, owner="ml", state="at_risk", figures=Figures(**(figures | values))
    )


def burnt(status):
    cut = budgets.cut_of(status)
    starts = starts_of(cut.since, cut.until, "day")
    cells = [Cell((), "USD", at, Amounts(Decimal(100), Decimal(0), Decimal(0))) for at in starts]
    sliced = a_slice([])
    sliced.starts, sliced.lines = starts, lines_of((), starts, cells)
    return budgets.burn_points(status, sliced)


def test_a_budget_burns_down_day_by_day_and_then_as_is_expected():
    points = burnt(a_budget(NOW))
    known = [point for point in points if point.spent is not None]
    assert [point.spent for point in known[:3]] == [0, 100, 200]
    assert (known[-1].at, known[-1].spent) == (NOW, 1100)
    last = points[-1]
    assert (last.at.day, last.even, last.forecast, last.low, last.high) == (
        31,
        3000,
        3300,
        3000,
        3600,
    )
    assert known[-1].forecast == 1100
    assert all(point.forecast is None for point in points if point.at < NOW)
    assert [point.at for point in points] == sorted({point.at for point in points})


def test_a_budget_without_a_forecast_or_whose_period_is_over_has_nothing_ahead():
    young = burnt(a_budget(NOW, forecast=None, forecast_low=None, forecast_high=None))
    over = burnt(a_budget(datetime(2026, 9, 2, tzinfo=UTC)))
    for points in (young, over):
        assert all(point.forecast is None for point in points)
    assert over[-1].spent == 3000


def test_what_counts_to_a_budget_is_asked_for_and_nothing_else():
    cut = budgets.cut_of(a_budget(NOW))
    assert cut.where == {
        "charge_category": {"Usage", "Purchase", "Adjustment"},
        "billing_currency": {"USD"},
        "owner": {"ml"},
        "tag:env": {"prod"},
    }
    assert (cut.since.day, cut.until) == (1, NOW)


def test_gpus_are_shown_by_pool_and_hour_and_their_waste_by_what_it_costs():
    told = gpus_of([make_gpu_host(), make_gpu_host(host="other", idle=[])], HOST_NOW, 100)
    html = gpus.gpus_page(a_frame("/gpus", now=HOST_NOW), told, {"f1": "incident-1"})
    said = text(html)
    assert "$4.10/h idle" in said
    assert html.count('title="') - html.count('title="Signed in') == len(told.starts)
    assert len(re.findall(r'<td class="h3"', html)) == 5
    assert len(re.findall(r'<td class="hx"', html)) == len(told.starts) - 5
    assert 'href="/incidents/incident-1"' in html
    assert "50 % idle" in said
    spans = [int(one) for one in re.findall(r'colspan="(\d+)"', html)]
    assert sum(spans) == len(told.starts)
    empty = gpus_of([], HOST_NOW, 100)
    assert "No GPU is known" in text(gpus.gpus_page(a_frame("/gpus", now=HOST_NOW), empty, {}))
