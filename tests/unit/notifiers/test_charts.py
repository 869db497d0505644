"""The picture: the same chart gives the same bytes, and nothing drawn is ever an exception."""

import struct
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.charts import picture_of, png
from tests.factories import STARTS_AT, make_chart, make_incident, make_notice

PNG = b"\x89PNG\r\n\x1a\n"


def size_of(content):
    assert content.startswith(PNG)
    return struct.unpack(">II", content[16:24])


def test_a_picture_is_large_enough_for_slack_and_small_enough_to_send():
    content = png(make_chart(), title="i-0abc1234def567890")
    assert size_of(content) == (1280, 560)
    assert len(content) < 200_000


def test_the_same_chart_gives_the_same_bytes():
    assert png(make_chart(), title="x") == png(make_chart(), title="x")


def test_the_picture_does_not_say_what_drew_it():
    assert b"Software" not in png(make_chart(), title="x")


def test_a_gap_is_a_gap():
    values = make_chart().actual
    filled = [15.0 if value is None else value for value in values]
    assert png(make_chart(), title="x") != png(make_chart(actual=filled), title="x")


def test_odd_hours_are_marked():
    assert png(make_chart(), title="x") != png(make_chart(odd=[False] * 120), title="x")


def test_what_is_not_expected_is_not_in_the_legend():
    gaps = [None] * 120
    bare = make_chart(expected=gaps, low=gaps, high=gaps)
    notice = make_notice(chart=bare, incident=make_incident(kind="idle_gpu", drivers=[]))
    assert png(bare, title="", odd="Idle") == picture_of(notice) != png(bare, title="")


def test_a_title_is_never_read_as_a_formula_nor_missed_by_the_font():
    titles = (r"$\frac{1}{0}$", "$x", "数 🔴 \u202e", "")
    assert all(png(make_chart(), title=title).startswith(PNG) for title in titles)


def test_a_chart_of_nothing_is_an_empty_picture():
    nothing = make_chart(starts=[], actual=[], expected=[], low=[], high=[], odd=[])
    assert png(nothing, title="x").startswith(PNG)


def test_a_notice_without_a_chart_has_no_picture():
    assert picture_of(make_notice(chart=None)) is None
    assert picture_of(make_notice()) is not None


def test_a_chart_that_cannot_be_drawn_costs_the_picture_and_not_the_notice():
    broken = make_chart(low=[1.0, 2.0])
    assert picture_of(make_notice(chart=broken)) is None


VALUES = st.none() | st.floats(min_value=-1e9, max_value=1e12, allow_nan=False)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, st.booleans()), max_size=60))
def test_any_figures_can_be_drawn(rows):
    actual, expected, low, high, odd = zip(*rows, strict=True) if rows else ([], [], [], [], [])
    chart = make_chart(
        step_hours=24,
        starts=[STARTS_AT + timedelta(days=day) for day in range(len(rows))],
        actual=list(actual),
        expected=list(expected),
        low=list(low),
        high=list(high),
        odd=list(odd),
    )
    assert png(chart, title="x").startswith(PNG)
