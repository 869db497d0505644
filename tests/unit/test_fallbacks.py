"""Fallbacks: who hears instead, and under which name."""

from datetime import timedelta

import pytest

from service.core.fallbacks import is_severe, posts_instead
from service.core.notices import delivery_id_of
from tests.factories import NOW, make_incident, make_notice


def test_what_could_not_be_told_is_told_as_it_is_now_and_says_why_here():
    grown = make_incident(title="Grown since")
    stuck = make_notice(action="thread", reason="growth", seq=3)
    (post,) = posts_instead(stuck, grown, ["email:oncall@example.com"], NOW + timedelta(minutes=14))
    assert (post.action, post.seq, post.reason) == ("post", 0, "first")
    assert "Grown since" in post.text
    assert post.why_here == "the fallback for slack:#finops, which did not take it for 14 min"
    assert post.incident is grown


def test_it_has_the_name_that_a_first_post_there_would_have():
    (post,) = posts_instead(make_notice(), make_incident(), ["console:"], NOW)
    assert post.delivery_id == delivery_id_of(post.incident_id, "console:", 0)


@pytest.mark.parametrize(
    ("overrides", "severe"),
    [({}, True), ({"severity": "medium"}, False), ({"state": "resolved"}, False),
     ({"state": "expected"}, False)],
)  # fmt: skip
def test_only_what_is_high_and_goes_on_is_worth_it(overrides, severe):
    assert is_severe(make_incident(**overrides)) is severe


def test_an_incident_that_nobody_remembers_is_not():
    assert not is_severe(None)
