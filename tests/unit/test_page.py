import re
from datetime import timedelta
from decimal import Decimal

import pytest

from service.core.health import Health
from service.core.ports import SourceStatus
from service.web.page import CARDS_SHOWN, Home, home_page, no_store_page
from tests.factories import NOW, make_driver, make_incident, make_notice

NASTY = "</script><img src=x onerror=alert(1)>\u202egnp\x00"
FINE = Health("ok", ())


def rendered(firing=(), others=(), sources=(), notices=(), health=FINE):
    by_incident = {notice.incident_id: notice for notice in notices}
    return home_page(
        Home(
            health=health,
            now=NOW,
            firing=firing,
            others=others,
            latest_notice=by_incident.get,
            sources=sources,
            version="1.2.3",
        )
    )


def text(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).strip()


def a_source(**values):
    return SourceStatus(**({"source": "aws", "events": 1, "last_arrived_at": NOW} | values))


def test_what_burns_most_comes_first_whatever_the_order_it_came_in():
    rates = ["14.2", "1240", "-300", "312.44"]
    incidents = [
        make_incident(incident_id=f"i{n}", run_rate_per_day=Decimal(rate))
        for n, rate in enumerate(rates)
    ]
    unknown = make_incident(incident_id="i9", run_rate_per_day=None)
    html = rendered([unknown, *incidents])
    assert re.findall(r'id="incident-(i\d)"', html) == ["i1", "i3", "i0", "i9", "i2"]


def test_the_total_is_of_what_is_above_normal_by_currency():
    html = rendered(
        [
            make_incident(run_rate_per_day=Decimal("1000.25")),
            make_incident(run_rate_per_day=Decimal("500.25")),
            make_incident(run_rate_per_day=Decimal(-900)),
            make_incident(run_rate_per_day=Decimal(20), billing_currency="EUR"),
        ]
    )
    assert "<title>(4) +$1,500/day, +20 EUR/day · Spendwatch</title>" in html
    assert "4 incidents are firing" in text(html)


def test_a_card_says_whose_how_much_since_when_and_why():
    incident = make_incident()
    html = rendered([incident], notices=[make_notice(incident=incident)])
    said = text(html)
    for words in (
        "Firing · high severity",
        "Provisional",
        "+$1,240/day",
        "Amazon EC2 · prod-payments (us-east-1)",
        "So far $2,310 over expected in 44 h",
        "Owner payments tag team=payments",
        "Since 9 Mar 2026 18:00 UTC 44 h ago",
        "$2,860 (about 5x normal)",
        "i-0abc1234def567890",
    ):
        assert words in said
    assert '<time datetime="2026-03-09T18:00:00Z">' in html
    assert f'src="/v1/incidents/{incident.incident_id}/chart.png?v=' in html
    assert 'alt="Cost per hour of Amazon EC2 · prod-payments (us-east-1)' in html


def test_an_incident_without_a_chart_has_no_broken_picture():
    incident = make_incident()
    assert "chart.png" not in rendered([incident])
    assert "chart.png" not in rendered(
        [incident], notices=[make_notice(incident=incident, chart=None)]
    )


@pytest.mark.parametrize("kind", ["spike", "idle_gpu", "purchase", "gone"])
@pytest.mark.parametrize("state", ["firing", "acknowledged", "snoozed", "expected", "resolved"])
@pytest.mark.parametrize("status", ["provisional", "confirmed", "retracted"])
def test_every_kind_state_and_status_has_its_place(kind, state, status):
    incident = make_incident(kind=kind, state=state, status=status, impact=None)
    html = rendered(*([[incident], []] if state == "firing" else [[], [incident]]))
    assert incident.incident_id in html
    assert "None" not in text(html)


def test_nothing_that_came_with_a_row_becomes_markup():
    incident = make_incident(
        title=NASTY,
        owner=NASTY,
        owner_source=NASTY,
        region_id=NASTY,
        sub_account_id=NASTY,
        confidence=NASTY,
        billing_currency=NASTY,
        drivers=[make_driver(resource=NASTY, reason=NASTY)],
    )
    resolved = make_incident(title=NASTY, owner=NASTY, state="resolved")
    html = rendered(
        [incident],
        [resolved],
        [a_source(source=NASTY, last_error=NASTY)],
        [make_notice(incident=incident)],
        Health("degraded", (NASTY,)),
    )
    plain = rendered(
        [make_incident(drivers=[make_driver()])],
        [make_incident(state="resolved")],
        [a_source(last_error="x")],
        [make_notice()],
        Health("degraded", ("x",)),
    )
    tags = re.compile(r"</?\w+")
    assert tags.findall(html) == tags.findall(plain)
    assert "\u202e" not in html
    assert "\x00" not in html


def test_no_script_or_style_is_inline_and_nothing_comes_from_elsewhere():
    incident = make_incident()
    html = rendered([incident], [], [a_source()], [make_notice(incident=incident)])
    assert re.findall(r"<script[^>]*>", html) == ['<script src="/static/refresh.js" defer>']
    assert not re.search(r"\son\w+=|style=|<style|javascript:", html)
    assert not re.search(r"(src|href)=\"(?!/|#)", html)


def test_a_long_list_is_cut_and_says_so():
    html = rendered([make_incident(incident_id=f"i{n}") for n in range(CARDS_SHOWN + 7)])
    assert html.count("<article") == CARDS_SHOWN
    assert "7 more fire at a lower cost per day" in text(html)


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
        ({"last_arrived_at": NOW - timedelta(minutes=4)}, "Fresh", "4 min ago"),
        ({"last_arrived_at": NOW - timedelta(hours=60)}, "Stale", "60 h ago"),
        ({"last_error": "cut off"}, "Error", "0 min ago"),
        ({"last_arrived_at": None}, "Waiting", "never"),
    ],
)
def test_a_source_says_how_fresh_it_is_in_a_word(values, word, age):
    said = text(rendered(sources=[a_source(**values)]))
    assert f"aws {word} {age}" in said


def test_without_a_store_the_page_says_so_and_not_that_all_is_well():
    said = text(no_store_page(NOW))
    assert "The store does not answer" in said
    assert "Nothing is burning" not in said


def test_what_is_said_on_another_card_is_not_counted_twice():
    told = make_incident(run_rate_per_day=Decimal(61))
    same = make_incident(incident_id="same", run_rate_per_day=Decimal(33), is_inhibited=True)
    page = rendered(firing=[told, same])
    assert "+$61/day" in page
    assert "+$94/day" not in page
    assert 'id="incident-same"' not in page
