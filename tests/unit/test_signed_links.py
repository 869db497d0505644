"""Signed links: what a mail lets its reader do, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from service.adapters.signed_links import LONGEST_TOKEN, Act, read, sign, url_of
from service.core.secret import Secret

NOW = datetime(2026, 3, 11, 14, tzinfo=UTC)
KEY, OLD = Secret("k" * 32), Secret("o" * 32)
URL_SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")

acts = st.builds(
    Act,
    incident_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True),
    action=st.sampled_from(["acknowledge", "expected", "not_an_issue", "unsubscribe"]),
    who=st.text(st.characters(codec="utf-8"), min_size=1, max_size=320),
    expires=st.integers(1, 10**9).map(lambda seconds: NOW + timedelta(seconds=seconds)),
)


def make_act(**overrides):
    values = {"incident_id": "5f2c9f0a", "action": "expected", "who": "ana@example.org"}
    return Act(**(values | {"expires": NOW + timedelta(days=30)} | overrides))


@given(acts)
def test_what_is_signed_is_read_again_and_needs_no_quoting_in_a_url(act):
    token = sign(act, KEY)
    assert set(token) <= URL_SAFE
    assert len(token) <= LONGEST_TOKEN
    assert read(token, [KEY], NOW) == act


@given(acts, st.data())
def test_a_link_that_was_changed_anywhere_is_forged(act, data):
    token = sign(act, KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from(sorted(URL_SAFE - {token[at]})))
    changed = read(token[:at] + char + token[at + 1 :], [KEY], NOW)
    # The last character of base64 has bits that stand for nothing.
    assert changed in ("forged", act)
    assert changed == "forged" or at == len(token) - 1


@given(st.text(max_size=200))
def test_no_text_is_a_link_by_chance(text):
    assert read(text, [KEY], NOW) == "forged"


def test_a_link_holds_until_it_expires():
    token = sign(make_act(expires=NOW), KEY)
    assert read(token, [KEY], NOW - timedelta(seconds=1)) == make_act(expires=NOW)
    assert read(token, [KEY], NOW) == "expired"


def test_a_forged_link_does_not_say_whether_it_expired():
    assert read(sign(make_act(expires=NOW), OLD), [KEY], NOW + timedelta(days=1)) == "forged"


def test_a_key_can_be_changed_without_breaking_the_links_in_mails():
    before = sign(make_act(), OLD)
    assert read(before, [KEY, OLD], NOW) == make_act()
    assert read(sign(make_act(), KEY), [KEY, OLD], NOW) == make_act()
    assert read(before, [KEY], NOW) == "forged"
    assert read(before, [], NOW) == "forged"


def test_a_token_made_for_something_else_is_no_link():
    packed = ["i", "expected", "ana@example.org", int(NOW.timestamp()) + 60]
    assert read(str(URLSafeSerializer(KEY.reveal()).dumps(packed)), [KEY], NOW) == "forged"


@pytest.mark.parametrize(
    "wrong",
    [
        {"incident_id": "a/b"}, {"action": "delete"}, {"who": ""}, {"who": "x" * 321},
        {"expires": NOW.replace(year=1)},
    ],
)  # fmt: skip
def test_what_no_link_can_say_is_not_read_even_if_it_is_signed(wrong):
    assert read(sign(make_act(**wrong), KEY), [KEY], NOW) in ("forged", "expired")


def test_a_token_of_any_length_costs_little():
    assert read("x" * 10**7, [KEY], NOW) == "forged"


def test_the_link_is_one_page_of_the_service():
    url = url_of("https://spend.example.com/", make_act(), KEY)
    assert url.startswith("https://spend.example.com/act?t=")
    assert read(url.partition("=")[2], [KEY], NOW) == make_act()
