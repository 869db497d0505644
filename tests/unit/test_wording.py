"""The words of a notice: money first, nothing invented, one line for what came with a row."""

from datetime import timedelta
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from service.core.cost_words import HEADLINE_LIMIT, headline
from service.core.incidents import Incident
from service.core.phrases import clean, duration, money, units
from service.core.talks import Reason
from service.core.wording import footer, plain_text, text_of, thread_line, words
from tests.factories import STARTS_AT, make_driver, make_incident, make_notice

HOSTILE = "<!channel> `x` \u202egnp.exe\r\nBcc: x\x1b[2J\x00\u2028 end"
AMOUNTS = st.decimals(
    min_value=Decimal("-1e15"), max_value=Decimal("1e15"), allow_nan=False, allow_infinity=False
)


def make_over(**overrides):
    over = {
        "state": "resolved",
        "ends_at": STARTS_AT + timedelta(hours=78),
        "impact": Decimal(4120),
        "run_rate_per_day": Decimal(0),
        "status": "confirmed",
    }
    return make_incident(**(over | overrides))


def make_withdrawn():
    return make_over(status="retracted", impact=Decimal(0))


def make_idle(**overrides):
    driver = make_driver(
        kind="idle_gpu",
        resource="gpu-host-3",
        impact=Decimal(192),
        run_rate_per_day=Decimal(768),
        share=1.0,
        reason="8 GPUs on gpu-host-3 idle for 6 h.",
    )
    idle = {
        "kind": "idle_gpu",
        "title": "gpu-host-3",
        "impact": Decimal(192),
        "run_rate_per_day": Decimal(768),
        "odd_until": STARTS_AT + timedelta(hours=6),
        "drivers": [driver],
    }
    return make_incident(**(idle | overrides))


def test_a_headline_says_how_much_what_and_where():
    assert headline(make_incident()) == "🔴 +$1,240/day · Amazon EC2 · prod-payments (us-east-1)"


def test_the_lead_says_what_it_cost_so_far_and_what_it_will():
    assert words(make_incident()).lead == (
        "So far $2,310 over expected in 44 h, the last 24 h at $1,240/day"
        " · if it continues about $37,200/month."
    )


def test_a_drop_is_told_as_less():
    drop = make_incident(kind="drop", impact=Decimal(-900), run_rate_per_day=Decimal(-400))
    assert headline(drop).startswith("🔴 -$400/day · ")
    assert words(drop).lead == (
        "So far $900 under expected in 44 h, the last 24 h at $400/day"
        " · if it continues about $12,000/month less."
    )


def test_some_hours_are_told_by_the_hour_and_not_projected():
    young = make_incident(odd_until=STARTS_AT + timedelta(hours=6), impact=Decimal(186))
    young = replace(young, run_rate_per_day=Decimal(744))
    assert headline(young).startswith("🔴 +$31/h · ")
    assert words(young).lead == "So far $186 over expected in 6 h, on average $31/h."
    assert words(young).drivers[0].rate == "+$44.59/h"
    assert thread_line(young, "growth") == (
        "+$31/h on average: it grew. So far $186 over expected in 6 h."
    )


def test_a_length_is_that_of_the_data_however_late_it_came():
    late = make_incident(odd_until=STARTS_AT + timedelta(hours=1), impact=Decimal(31))
    assert words(late).lead.startswith("So far $31 over expected in 1 h")


def test_what_is_settled_in_part_says_up_to_when():
    part = make_incident(settled_until=STARTS_AT + timedelta(hours=3))
    assert words(part).status == (
        "Settled up to 9 Mar 2026 21:00 UTC; the provider may still change what came after."
    )


def test_thousands_of_times_normal_is_no_figure_to_show():
    huge = make_incident(actual=Decimal(10) ** 9, expected=Decimal("0.5"))
    assert words(huge).fields[0].value == "$1,000,000,000 (over 1,000x normal)"


def test_one_driver_explains_nothing_more_than_the_headline():
    assert words(make_incident(drivers=[make_driver(share=1.0)])).drivers_title == "What changed"


def test_an_end_states_the_total_and_how_long_it_took():
    assert headline(make_over()).startswith("✅ Ended: $4,120 in 3 d 6 h · ")
    assert words(make_over()).lead == "Total $4,120 over expected in 3 d 6 h; back to normal."
    ended = [field for field in words(make_over()).fields if field.label == "Ended"]
    assert [(f.value, f.at) for f in ended] == [("13 Mar 2026 00:00 UTC", make_over().ends_at)]


def test_what_was_withdrawn_shows_no_figure_and_no_cause():
    said = words(make_withdrawn())
    assert said.headline.startswith("⚪ Withdrawn · ")
    assert said.status == "Withdrawn: the provider restated these figures."
    assert said.drivers == ()
    assert {field.label for field in said.fields} == {"Began", "Ended", "Owner", "Account"}
    assert "$" not in text_of(make_withdrawn(), "edit", "retracted")


def test_figures_come_with_their_range_and_how_many_times_normal_they_are():
    said = dict(field[:2] for field in words(make_incident()).fields)
    assert said["Actual"] == "$2,860 (about 5x normal)"
    assert said["Expected"] == "$550 ($480 to $640)"
    assert said["Began"] == "9 Mar 2026 18:00 UTC"
    assert said["Owner"] == "payments (tag team=payments)"


def test_a_small_difference_is_a_percentage():
    said = dict(field[:2] for field in words(make_incident(actual=Decimal(660))).fields)
    assert said["Actual"] == "$660 (+20 % against normal)"


def test_a_provisional_incident_says_that_it_may_change():
    assert words(make_incident()).status == (
        "Provisional: the provider may still change these figures."
    )


@pytest.mark.parametrize("state", ["acknowledged", "snoozed", "expected"])
def test_what_people_did_is_seen_in_headline_and_status(state):
    incident = make_incident(state=state, status="confirmed")
    assert headline(incident)[0] != "🔴"
    assert words(incident).status.endswith(
        {"acknowledged": "Acknowledged.", "snoozed": "Snoozed.", "expected": "Marked as expected."}[
            state
        ]
    )


def test_idle_gpus_read_as_waste_by_the_hour():
    assert headline(make_idle()) == "🔴 $768/day for idle GPUs · gpu-host-3 (us-east-1)"
    assert words(make_idle()).lead == ("$32/h wasted · so far $192 in 6 h.")
    assert "Expected" not in {field.label for field in words(make_idle()).fields}


@pytest.mark.parametrize(
    ("saves", "said"),
    [(Decimal(0), "stopping saves nothing."), (Decimal(480), "stopping saves $20/h.")],
)
def test_what_stopping_idle_gpus_saves_is_said_beside_what_they_cost(saves, said):
    assert words(make_idle(avoidable_per_day=saves)).lead.endswith(said)


def test_idle_gpus_whose_samples_end_are_not_back_at_work():
    over = {"state": "resolved", "ends_at": STARTS_AT + timedelta(hours=9)}
    silent = make_idle(**over, ending="silent")
    assert headline(silent).startswith("⚪ Ended: $192 for idle GPUs in 9 h · ")
    assert "nobody knows whether it idles on" in words(silent).lead
    assert words(make_idle(**over, ending="worked")).lead.endswith("; at work again.")


def test_idle_gpus_without_a_price_are_told_without_money():
    free = make_idle(
        impact=None,
        run_rate_per_day=None,
        drivers=[make_driver(impact=None, run_rate_per_day=None, share=0.0)],
    )
    assert headline(free).startswith("🔴 Cost unknown for idle GPUs · ")
    assert words(free).lead == "So far 6 h; no price is known, so no cost is shown."
    assert words(free).drivers[0].rate == ""


def test_a_purchase_is_told_once_and_not_by_the_day():
    bought = make_incident(
        kind="purchase", impact=Decimal(5000), billing_currency="EUR", confidence=""
    )
    assert headline(bought).startswith("🔴 5,000 EUR once · ")
    assert words(bought).lead == "5,000 EUR was spent once."
    assert "Confidence" not in {field.label for field in words(bought).fields}


def test_a_kind_that_is_not_known_yet_is_told_like_any_other():
    assert headline(make_incident(kind="commitment_gap")) == headline(make_incident())


def test_at_most_three_drivers_are_told_with_the_share_they_explain():
    drivers = [make_driver(resource=f"i-{n}", share=0.2) for n in range(5)]
    said = words(make_incident(drivers=drivers))
    assert [driver.resource for driver in said.drivers] == ["i-0", "i-1", "i-2"]
    assert said.drivers_title == "What changed (explains 60 %)"


@pytest.mark.parametrize("reason", get_args(Reason))
def test_every_reason_for_a_thread_is_one_line_of_its_own(reason):
    line = text_of(make_incident(), "thread", reason)
    assert "\n" not in line
    assert line == thread_line(make_incident(), reason)
    assert reason in {"first", "update"} or line not in {
        thread_line(make_incident(), other) for other in get_args(Reason) if other != reason
    }


@pytest.mark.parametrize("reason", ["growth", "severity_up", "new_driver", "reopened", "confirmed"])
def test_a_line_in_a_thread_begins_with_the_newest_figure(reason):
    assert thread_line(make_incident(), reason).startswith("+$1,240/day")


def test_a_post_is_whole_in_plain_text():
    text = plain_text(make_notice())
    for part in ("+$1,240/day", "payments", "i-0abc1234def567890", "Provisional", "5f2c9f0a61d8"):
        assert part in text
    assert text.splitlines()[-1] == " · ".join(footer(make_notice()))


def test_nothing_is_called_an_anomaly_score():
    assert "score" not in plain_text(make_notice()).lower()


def test_text_that_came_with_a_row_stays_on_one_visible_line():
    incident = make_incident(
        title=HOSTILE,
        region_id=HOSTILE,
        owner=HOSTILE,
        owner_source=HOSTILE,
        sub_account_id=HOSTILE,
        billing_currency=HOSTILE,
        confidence=HOSTILE,
        drivers=[make_driver(resource=HOSTILE, reason=HOSTILE)],
    )
    harmless = len(text_of(make_incident(drivers=[make_driver()]), "post", "first").splitlines())
    text = text_of(incident, "post", "first")
    assert len(text.splitlines()) == harmless
    assert not set(text) & set("\r\x00\x1b\u202e\u2028")


@given(
    title=st.text(max_size=400),
    region=st.text(max_size=80),
    currency=st.text(max_size=20),
    impact=st.none() | AMOUNTS,
    rate=st.none() | AMOUNTS,
    kind=st.sampled_from(["spike", "idle_gpu", "purchase", "gone"]),
    state=st.sampled_from(["firing", "resolved", "snoozed"]),
)
def test_a_headline_fits_whatever_it_is_about(title, region, currency, impact, rate, kind, state):
    incident = make_incident(
        title=title,
        region_id=region,
        billing_currency=currency,
        impact=impact,
        run_rate_per_day=rate,
        kind=kind,
        state=state,
    )
    assert isinstance(incident, Incident)
    line = headline(incident)
    assert units(line) <= HEADLINE_LIMIT
    assert line.isprintable()
    text_of(incident, "post", "first").encode()


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_cleaning_twice_is_cleaning_once(text, limit):
    once = clean(text, limit)
    assert clean(once, limit) == once
    assert units(once) <= limit


@given(AMOUNTS)
def test_money_is_rounded_to_half_a_cent_or_half_a_percent(amount):
    text = money(amount, "XXX").replace(",", "")
    if text.startswith("under "):
        assert 0 < abs(amount) < Decimal("0.0001")
    else:
        assert abs(Decimal(text) - amount) <= max(abs(amount) / 200, Decimal("0.005"))
        assert (Decimal(text) == 0) == (amount == 0)


def test_a_length_of_time_never_runs_backwards():
    assert duration(timedelta(minutes=-5)) == "0 min"


def test_first_spend_is_told_without_an_expectation_and_stops():
    incident = make_incident(kind="new_spend", impact=Decimal(323), state="resolved")
    said = words(incident)
    assert said.lead == "Total $323 in 44 h; it has stopped."
    assert not {"Actual", "Expected"} & {field.label for field in said.fields}
