"""The terminal: the notice as in Slack, and never a control sequence that came with a row."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as Terminal

from service.adapters.notifiers.console import CHART_WIDTH, WIDTH, shown
from tests.factories import make_chart, make_driver, make_incident, make_notice
from tests.unit.test_wording import make_over, make_withdrawn


def drawn(notice, width=120):
    out = io.StringIO()
    Terminal(file=out, width=width, force_terminal=True, color_system=None).print(shown(notice))
    return out.getvalue()


def test_a_post_shows_money_owner_cause_and_chart():
    text = drawn(make_notice())
    for part in ("+$1,240/day", "payments (tag team=payments)", "i-0abc1234def567890", "actual"):
        assert part in text


@pytest.mark.parametrize("incident", [make_over(), make_withdrawn()])
def test_an_edit_shows_the_state_that_it_brings(incident):
    text = drawn(make_notice(action="edit", reason="update", incident=incident))
    assert "edited" in text
    assert "✅" in text or "⚪" in text


def test_a_line_of_a_thread_names_its_incident():
    text = drawn(make_notice(action="thread", reason="growth"))
    assert "Amazon EC2 · prod-payments: +$1,240/day over the last 24 h" in text


def test_the_chart_shows_odd_hours_higher_and_gaps_empty():
    text = drawn(make_notice())
    row = next(line for line in text.splitlines() if "actual" in line)
    bars = row.partition("actual   ")[2][:CHART_WIDTH]
    assert "█" in bars
    assert " " in bars.rstrip(" │")


def test_a_long_chart_is_made_narrower():
    hours = 3000
    flat = [1.0] * hours
    chart = make_chart(
        starts=[make_chart().starts[0]] * hours,
        actual=flat, expected=flat, low=flat, high=flat, odd=[False] * hours,
    )  # fmt: skip
    assert max(map(len, drawn(make_notice(chart=chart)).splitlines())) <= WIDTH


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_on_a_narrow_terminal_each_row_of_the_chart_is_one_line(width):
    lines = drawn(make_notice(), width).splitlines()
    assert max(map(len, lines)) <= width
    (actual,) = (at for at, line in enumerate(lines) if "actual  " in line)
    assert "expected " in lines[actual + 1]
    assert lines[actual].count("█") + lines[actual].count("▁") > 0


@given(st.text(max_size=200))
def test_no_text_that_came_with_a_row_controls_the_terminal(text):
    incident = make_incident(
        title=text,
        owner=text,
        region_id=text,
        confidence=text,
        drivers=[make_driver(resource=text, reason=text)],
    )
    notice = make_notice(incident=incident, why_here=text, destination=f"console:{text}")
    assert drawn(notice).replace("\n", "").isprintable()


def test_markup_of_rich_is_text():
    assert "[bold red]x[/]" in drawn(make_notice(incident=make_incident(owner="[bold red]x[/]")))
