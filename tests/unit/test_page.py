import re
from datetime import timedelta
from decimal import Decimal

import pytest

from service.core.budget_figures import BudgetStatus, Figures
from service.core.budgets import Budget
from service.core.health import Health
from service.core.intents import Feedback, Mark
from service.core.marks import Marked
from service.core.notices import Delivery
from service.core.plans import Plan
from service.core.ports import DestinationStatus, PartitionStatus, SourceStatus
from service.core.silences import Silence
from service.core.subscriptions import Subscription
from service.web import budgets, incident, incidents, mine, overview, status
from service.web.incidents import PER_PAGE, Row, View, find
from service.web.layout import Frame, no_store_page
from service.web.overview import BURNING_SHOWN
from service.web.series import line_of, spark_of
from tests.factories import (
    NOW,
    STARTS_AT,
    make_chart,
    make_driver,
    make_finding,
    make_notice,
)
from tests.factories import make_incident as an_incident

NASTY = "</script><img src=x onerror=alert(1)>\u202egnp\x00"
FINE = Health("ok", ())


def a_frame(path="/", query=None, health=FINE, teams=None, may_edit=True):
    return Frame(path, query or {}, health, NOW, "1.2.3", "ana", teams, may_edit)


def rendered(found=(), sources=(), notices=(), some_budgets=(), health=FINE):
    by_incident = {notice.incident_id: notice for notice in notices}
    by_id = {one.incident_id: one for one in found}
    facts = overview.Facts(
        rows=[Row.of(one) for one in found],
        incident=by_id.get,
        notice=by_incident.get,
        budgets=some_budgets,
        sources=sources,
    )
    return overview.overview_page(a_frame(health=health), facts)


def shown(found=None, deliveries=(), line=None, findings=(), may_edit=True):
    facts = incident.Facts(found or an_incident(), deliveries, findings, line, NOW)
    return incident.incident_page(a_frame("/incidents/x", may_edit=may_edit), facts)


def text(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def a_source(**values):
    return SourceStatus(**({"source": "aws", "events": 1, "last_arrived_at": NOW} | values))


def a_budget(**values):
    figures = {
        "name": "search",
        "what": "search",
        "amount": Decimal(1000),
        "currency": "USD",
        "severity": "medium",
        "period_start": NOW - timedelta(days=10),
        "period_end": NOW + timedelta(days=20),
        "as_of": NOW,
        "spent": Decimal(400),
        "forecast": Decimal(1100),
        "forecast_low": Decimal(1000),
        "forecast_high": Decimal(5000),
    }
    return BudgetStatus(
        budget=Budget(name="search", amount=Decimal(1000), owner="search"),
        owner="search",
        state="at_risk",
        figures=Figures(**(figures | values)),
    )


def test_what_burns_most_comes_first_whatever_the_order_it_came_in():
    rates = ["14.2", "1240", "-300", "312.44"]
    found = [
        an_incident(incident_id=f"i{n}", run_rate_per_day=Decimal(rate))
        for n, rate in enumerate(rates)
    ]
    unknown = an_incident(incident_id="i9", run_rate_per_day=None)
    html = rendered([*found, unknown])
    assert re.findall(r'id="incident-(i\d)"', html) == ["i1", "i3", "i0", "i9", "i2"]


def test_the_total_is_of_what_is_above_normal_by_currency():
    html = rendered(
        [
            an_incident(incident_id="a", run_rate_per_day=Decimal("1000.25")),
            an_incident(incident_id="b", run_rate_per_day=Decimal("500.25")),
            an_incident(incident_id="c", run_rate_per_day=Decimal(-900)),
            an_incident(incident_id="d", run_rate_per_day=Decimal(20), billing_currency="EUR"),
        ]
    )
    assert "<title>(4) +$1,500/day, +20 EUR/day · Spendwatch</title>" in html
    assert "4 incidents are firing" in text(html)


def test_a_row_says_whose_how_much_since_when_and_why():
    found = an_incident()
    html = rendered([found], notices=[make_notice(incident=found)])
    for words in (
        "Amazon EC2 · prod-payments (us-east-1)",
        "High",
        "Owner payments",
        "since 9 Mar 2026 18:00 UTC",
        "+$1,240/day",
        "$2,310 so far",
        "It costs $52.10 an hour",
    ):
        assert words in text(html)
    assert f'href="/incidents/{found.incident_id}"' in html
    assert html.count('class="spark"') == 1
    assert '<time datetime="2026-03-09T18:00:00Z">' in html


@pytest.mark.parametrize("kind", ["spike", "idle_gpu", "purchase", "gone"])
@pytest.mark.parametrize("state", ["firing", "acknowledged", "snoozed", "expected", "resolved"])
@pytest.mark.parametrize("status_", ["provisional", "confirmed", "retracted"])
def test_every_kind_state_and_status_has_its_place(kind, state, status_):
    found = an_incident(kind=kind, state=state, status=status_, impact=None)
    listed = incidents.incidents_page(a_frame("/incidents", {"state": "all"}), [Row.of(found)])
    for html in (rendered([found]), shown(found), listed):
        assert found.incident_id in html
        assert "None" not in text(html)


def test_nothing_that_came_with_a_row_becomes_markup():
    def pages(word):
        found = an_incident(
            title=word,
            owner=word,
            owner_source=word,
            region_id=word,
            sub_account_id=word,
            confidence=word,
            billing_currency=word,
            drivers=[make_driver(resource=word, reason=word)],
            marks=[a_mark("comment", why=word, who=word)],
        )
        over = an_incident(incident_id="over", title=word, owner=word, state="resolved")
        source = a_source(source=word, last_error=word)
        notice = make_notice(incident=found, text=word, destination=f"slack:{word}")
        frame, rows = a_frame("/incidents", {"q": word}), [Row.of(found)]
        finding = make_finding(reason=word)
        stands = mine.Facts(
            [Subscription(name="a", team=word, destination=word)],
            [a_silence(comment=word, author=word)],
            [a_plan(team=word, comment=word)],
            [word],
            [word],
        )
        facts = status.Facts(
            [source], {"sent": 1}, [a_delivery(notice)], [DestinationStatus(destination=word)], [],
            [], [], NOW, 1,
        )  # fmt: skip
        set_here = [Budget(name="set-here", amount=Decimal(1), service=word, tag=f"{word}={word}")]
        return [
            rendered(
                [found, over],
                [source],
                [notice],
                [a_budget(what=word)],
                Health("degraded", (word,)),
            ),
            incidents.incidents_page(frame, rows),
            shown(found, [a_delivery(notice)], findings=[finding]),
            budgets.budgets_page(a_frame("/budgets"), [a_budget(what=word)], set_here, [word]),
            mine.mine_page(a_frame("/mine"), stands),
            status.status_page(a_frame("/status"), facts),
        ]

    tags = re.compile(r"</?\w+")
    for html, plain in zip(pages(NASTY), pages("x"), strict=True):
        assert tags.findall(html) == tags.findall(plain)
        # What a form sends back has to be the very name.
        seen = re.sub(r'value="[^"]*"', "", html)
        assert not {"\u202e", "\x00"} & set(seen)


def test_no_script_or_style_is_inline_and_nothing_comes_from_elsewhere():
    found = an_incident()
    line = line_of(make_chart(), NOW)
    html = rendered([found], [a_source()], [make_notice(incident=found)], [a_budget()])
    for page in (html, shown(found, line=line)):
        assert all(src.startswith("/static/") for src in re.findall(r"<script src=\"(.*?)\"", page))
        assert "<script>" not in page
        assert not re.search(r"\son\w+=|style=|<style|javascript:", page)
        assert not re.search(r"(src|href)=\"(?!/|#)", page)


def test_a_long_list_is_cut_and_says_so():
    html = rendered([an_incident(incident_id=f"i{n}") for n in range(BURNING_SHOWN + 7)])
    assert html.count('id="incident-') == BURNING_SHOWN
    assert f"All {BURNING_SHOWN + 7} that fire" in text(html)


def test_an_empty_service_says_what_to_do():
    said = text(rendered())
    assert "No spend has arrived yet" in said
    assert "spendwatch run --config" in said
    assert "spendwatch demo" in said


def test_a_quiet_service_says_that_it_watches():
    said = text(rendered(sources=[a_source()]))
    assert "Nothing is burning" in said
    assert "1 source is watched" in said
    assert "spendwatch demo" not in said


@pytest.mark.parametrize(
    ("values", "word", "age"),
    [
        ({"last_arrived_at": NOW - timedelta(minutes=4)}, "fresh", "4 min ago"),
        ({"last_arrived_at": NOW - timedelta(hours=60)}, "stale", "60 h ago"),
        ({"last_error": "cut off"}, "error", "0 min ago"),
        ({"last_arrived_at": None}, "waiting", "never"),
    ],
)
def test_a_source_says_how_fresh_it_is_in_a_word(values, word, age):
    line = status.source_line(a_source(**values), NOW)
    assert (line.word, line.age) == (word, age)


def test_without_a_store_the_page_says_so_and_not_that_all_is_well():
    said = text(no_store_page(NOW))
    assert "The store does not answer" in said
    assert "Nothing is burning" not in said


def test_what_is_said_on_another_row_is_not_counted_twice():
    told = an_incident(run_rate_per_day=Decimal(61))
    same = an_incident(incident_id="same", run_rate_per_day=Decimal(33), is_inhibited=True)
    page = rendered([told, same])
    assert "+$61/day" in page
    assert "+$94/day" not in page
    assert 'id="incident-same"' not in page


def a_row(number, **values):
    made = an_incident(incident_id=f"i{number}", run_rate_per_day=Decimal(number))
    return Row.of(made)._replace(**values)


def test_a_list_is_filtered_sorted_and_cut_into_pages():
    rows = [a_row(n, owner="ml" if n % 2 else "web") for n in range(3 * PER_PAGE)]
    first = find(rows, View.of({"owner": "ml"}))
    last = find(rows, View.of({"owner": "ml", "page": "2"}))
    assert (first.total, first.pages, len(last.rows)) == (75, 2, 25)
    rates = [row.rate for row in (*first.rows, *last.rows)]
    assert rates == sorted(rates, reverse=True)
    assert {row.owner for row in first.rows} == {"ml"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["i1", "i0"]),
        ({"state": "all"}, ["i2", "i1", "i0"]),
        ({"state": "resolved"}, ["i2"]),
        ({"severity": "low"}, ["i0"]),
        ({"q": "CloudFRONT"}, ["i1"]),
        ({"q": "nothing of the kind"}, []),
        ({"page": "99"}, ["i1", "i0"]),
        ({"state": "<b>", "sort": "x", "page": "-1", "severity": "?"}, ["i1", "i0"]),
    ],
)
def test_a_view_takes_what_it_names_and_ignores_what_it_does_not_know(query, names):
    rows = [
        a_row(0, severity="low"),
        a_row(1, title="Amazon CloudFront", state="acknowledged"),
        a_row(2, state="resolved"),
    ]
    assert [row.incident_id for row in find(rows, View.of(query)).rows] == names


def test_a_link_keeps_the_view_and_changes_one_thing_of_it():
    frame = a_frame("/incidents", {"owner": "a b", "page": "3"})
    assert frame.link(sort="impact", page=None) == "/incidents?owner=a+b&sort=impact"
    assert frame.link(page=2) == "/incidents?owner=a+b&page=2"
    assert a_frame("/incidents").link(page=None) == "/incidents"


def a_mark(act, **values):
    said = {"at": NOW, "who": "ana", "via": "page", "why": "seen", "incident_id": "i"}
    mark = Mark(act=act, **(said | values))
    return Marked(mark=mark, rate=Decimal(1), severity="high")


def a_delivery(notice, state="sent", error=None):
    return Delivery(notice=notice, state=state, due=NOW, error=error, updated_at=NOW)


def a_silence(**values):
    said = {"name": "s", "matchers": ['owner="ml"'], "author": "ana", "comment": "quiet"}
    return Silence(**(said | {"starts_at": NOW, "ends_at": NOW + timedelta(1)} | values))


def a_plan(**values):
    said = {"name": "p", "team": "ml", "amount": Decimal(4000), "billing_currency": "USD"}
    times = {"starts_at": NOW - timedelta(2), "until": NOW - timedelta(1), "comment": "load test"}
    return Plan(**(said | times | values))


def test_the_timeline_says_what_was_sent_to_whom_and_what_people_did_newest_first():
    feedback = Feedback(
        at=NOW + timedelta(hours=1), incident_id="i", verdict="expected", who="bob", via="slack",
        why="a load test",
    )  # fmt: skip
    found = an_incident(marks=[a_mark("acknowledge")], feedback=[feedback])
    failed = a_delivery(make_notice(at=STARTS_AT + timedelta(hours=3)), "dead", "no such channel")
    entries = incident.timeline(found, [failed])
    assert [(entry.kind, entry.at) for entry in entries] == [
        ("done", NOW + timedelta(hours=1)),
        ("done", NOW),
        ("told", STARTS_AT + timedelta(hours=3)),
        ("life", STARTS_AT + timedelta(hours=2)),
        ("life", STARTS_AT),
    ]
    assert "Marked as expected by bob (a load test)" in entries[0].what
    assert "Acknowledged by ana (seen)" in entries[1].what
    said = (entries[2].what, entries[2].word, entries[2].error)
    assert said == ("First told: slack:#finops", "failed", "no such channel")


def test_there_are_buttons_for_what_would_not_be_refused_and_none_for_who_only_reads():
    firing, over = shown(), shown(an_incident(state="resolved"))
    assert ">Acknowledge</button>" in firing
    assert ">Unacknowledge</button>" not in firing
    assert ">Claim</button>" not in firing
    assert ">Claim</button>" in shown(an_incident(owner="unowned"))
    assert ">Unacknowledge</button>" in shown(an_incident(state="acknowledged"))
    assert ">Resolve</button>" not in over
    assert ">Comment</button>" in over
    assert ">Undo</button>" in shown(an_incident(marks=[a_mark("acknowledge")]))
    assert "<form" not in shown(may_edit=False).partition("<main")[2]


def test_the_chart_has_a_table_with_what_is_odd_and_what_may_still_change():
    chart = make_chart()
    settled = chart.starts[100]
    html = shown(line=line_of(chart, settled))
    assert html.count("<tr data-at=") == len(chart.starts)
    assert len(re.findall(r"<tr [^>]*data-odd", html)) == sum(chart.odd)
    assert len(re.findall(r"<tr [^>]*data-provisional", html)) == 20
    assert 'data-v=""' in html


def test_a_small_picture_has_gaps_where_nothing_is_known():
    chart = make_chart()
    spark = spark_of(chart)
    assert spark.line.count("M") == 2
    assert spark.odd.startswith("M")
    none = make_chart(actual=[None] * 120, high=[None] * 120, low=[None] * 120)
    assert spark_of(none).line == ""


def test_a_bar_shows_what_is_spent_what_comes_and_never_more_than_its_width():
    drawn = budgets.gauge(a_budget())
    assert (drawn.spent, drawn.low, drawn.high) == (192, 480, 600)
    assert drawn.elapsed == 160
    assert (drawn.percent, drawn.worst) == (40, 1.1)
    young = budgets.gauge(a_budget(forecast=None, forecast_low=None, forecast_high=None))
    assert (young.low, young.high, young.ahead) == (None, None, "")


def test_what_a_team_set_up_says_whether_it_is_on():
    facts = mine.Facts([], [a_silence()], [a_plan()], ["ml"], [])
    said = text(mine.mine_page(a_frame("/mine", teams=frozenset({"ml"})), facts))
    assert "ml's subscriptions, silences and plans" in said.replace("&#39;", "'")
    assert "s On owner=" in said.replace("&#34;", "").replace("owner= ", "owner=")
    assert "p Over ml $4,000" in said
    assert "New silence" in said
    reader = mine.mine_page(a_frame("/mine", may_edit=False), facts)
    assert "data-send" not in reader


def test_the_status_says_how_destinations_and_partitions_do():
    facts = status.Facts(
        [a_source(series_arrived=87, series_usual=100)], {"sent": 1}, [],
        [
            DestinationStatus(destination="slack:#a", sent=3, last_sent_at=NOW),
            DestinationStatus(
                destination="slack:#b", sent=3, dead=1, failing_since=NOW, last_error="gone"
            ),
            DestinationStatus(destination="slack:#c", pending=2),
        ],
        [
            PartitionStatus(topic="billing.events", partition=n, offset=7, at=at)
            for n, at in enumerate([NOW, NOW - timedelta(days=1)])
        ],
        [], [], NOW, 1,
    )  # fmt: skip
    said = text(status.status_page(a_frame("/status"), facts))
    assert "aws Fresh 0 min ago unknown 87 %" in said
    assert "slack:#a Fine 11 Mar 2026 14:00 UTC 3 0 0 0" in said
    assert "slack:#b Failing since 11 Mar 2026 14:00 UTC : gone" in said
    assert re.search("slack:#c Waiting . 0 2 0 0", said)
    assert "billing.events 0 Works" in said
    assert "billing.events 1 Silent" in said
