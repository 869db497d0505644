"""What a mailbox gets: one conversation per incident, the chart inline, no header from a row."""

import re
from email import message_from_bytes
from email.headerregistry import Address
from email.policy import default
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.mail_message import LINKS_LAST, message_of, subject
from service.adapters.signed_links import read
from service.core.secret import Secret
from tests.factories import NOW, make_driver, make_incident, make_notice
from tests.unit.test_wording import make_over

SENDER = Address(addr_spec="cost@example.com")
TEAM = Address(addr_spec="team@example.org")
HOSTILE = 'i\r\nBcc: x@evil.example\n<script>alert(1)</script><img src=x onerror=y> "&\u202e'


def mail(notice=None, **overrides):
    """Return a mail as the one who receives it reads it."""
    values = {"sender": SENDER, "recipient": TEAM, "at": NOW}
    message = message_of(notice or make_notice(), **(values | overrides))
    return message_from_bytes(bytes(message), policy=default)


def hostile_notice(text, **overrides):
    incident = make_incident(
        title=text,
        owner=text,
        owner_source=text,
        sub_account_id=text,
        service_name=text,
        region_id=text,
        drivers=[make_driver(resource=text, reason=text)],
    )
    return make_notice(incident=incident, why_here=text, **overrides)


def test_text_and_html_are_alternatives_and_the_chart_belongs_to_the_html():
    types = [part.get_content_type() for part in mail(picture=b"\x89PNG").walk()]
    assert types == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    picture = list(mail(picture=b"\x89PNG").walk())[-1]
    assert picture["Content-ID"] == "<chart>"
    assert picture.get_content() == b"\x89PNG"


def test_without_a_picture_no_picture_is_shown():
    html = mail().get_body(("html",)).get_content()
    assert "<img" not in html


def test_the_text_is_the_whole_notice():
    text = mail().get_body(("plain",)).get_content()
    for part in ("+$1,240/day", "payments", "i-0abc1234def567890", "Provisional", "5f2c9f0a61d8"):
        assert part in text


def test_a_line_of_the_thread_comes_first_and_the_state_after_it():
    message = mail(make_notice(action="thread", reason="growth", seq=2))
    text = message.get_body(("plain",)).get_content()
    assert text.startswith("+$1,240/day over the last 24 h: it grew.")
    assert "What changed" in text
    assert "it grew" in message.get_body(("html",)).get_content()


def test_the_mails_of_one_incident_are_one_conversation():
    first, later = mail(), mail(make_notice(incident=make_over(), action="thread", seq=3))
    assert first["Subject"] == later["Subject"]
    assert first["References"] == later["References"] == later["In-Reply-To"]
    assert first["Message-ID"] != later["Message-ID"]


def test_another_incident_is_another_conversation():
    other = mail(make_notice(incident=make_incident(incident_id="b" * 32)))
    assert other["References"] != mail()["References"]
    assert other["Subject"] != mail()["Subject"]


def test_a_mail_that_is_sent_again_has_the_same_message_id():
    assert mail()["Message-ID"] == mail()["Message-ID"]
    assert mail()["Message-ID"] == f"<{make_notice().delivery_id}@example.com>"


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        ("idle_gpu", "Idle GPUs: Amazon EC2, payments"),
        ("purchase", "One-time purchase: Amazon EC2"),
        ("gone", "Less spend than usual: Amazon EC2"),
        ("backfill", "Spend of the past: Amazon EC2 · prod-payments ["),
        ("creep", "Unusual spend: Amazon EC2"),
    ],
)
def test_a_subject_says_what_it_is_about(kind, begin):
    assert subject(make_incident(kind=kind)).startswith(begin)


def test_a_subject_names_no_figure_for_figures_change():
    assert subject(make_incident()) == (
        "Unusual spend: Amazon EC2, payments, 123456789012 [5f2c9f0a]"
    )


def test_no_robot_need_answer():
    message = mail()
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"].endswith("<notices.spendwatch.example.com>")


@pytest.mark.parametrize("action", ["post", "thread"])
def test_text_that_came_with_a_row_is_no_header(action):
    clean, hostile = mail(), mail(hostile_notice(HOSTILE, action=action))
    assert hostile.keys() == clean.keys()
    assert str(hostile["To"]) == "team@example.org"
    assert hostile["Bcc"] is None


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, sorted(name for name, _ in attrs)))


def tags_of(message):
    parser = Tags()
    parser.feed(message.get_body(("html",)).get_content())
    return parser.seen


def test_text_that_came_with_a_row_is_no_html():
    harmless = mail(hostile_notice("x"), public_url="https://x.example")
    hostile = mail(hostile_notice(HOSTILE), public_url="https://x.example")
    assert tags_of(hostile) == tags_of(harmless)


def test_nothing_is_loaded_from_elsewhere():
    html = mail(picture=b"x", public_url="https://cost.example.com").get_body(("html",))
    assert re.findall(r'src="([^"]+)"', html.get_content()) == ["cid:chart"]


@given(st.text(max_size=300))
def test_any_text_makes_a_mail_that_old_servers_can_carry(text):
    content = bytes(
        message_of(hostile_notice(text), sender=SENDER, recipient=TEAM, at=NOW, picture=None)
    )
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
    assert len(content) < 102_000


URL, KEY = "https://cost.example.com", Secret("k" * 32)


def acts_of(message):
    """Return what the links of a mail's HTML say, by their labels."""
    html = message.get_body(("html",)).get_content()
    links = re.findall(r'<a href="([^"]+)"[^>]*>([^<]+)</a>', html)
    tokens = {label: url.partition("/act?t=")[2] for url, label in links}
    return {label: read(token, [KEY], NOW) for label, token in tokens.items() if token}


def test_its_reader_can_act_from_the_mail_for_a_month():
    acts = acts_of(mail(public_url=URL, link_key=KEY))
    assert {label: act.action for label, act in acts.items()} == {
        "Acknowledge": "acknowledge",
        "Expected": "expected",
        "Not an issue": "not_an_issue",
        "Unsubscribe": "unsubscribe",
    }
    assert {act.who for act in acts.values()} == {"team@example.org"}
    assert {act.incident_id for act in acts.values()} == {make_incident().incident_id}
    assert {act.expires for act in acts.values()} == {NOW + LINKS_LAST}


def test_the_text_has_every_link_that_the_html_has():
    message = mail(public_url=URL, link_key=KEY)
    text = message.get_body(("plain",)).get_content()
    for url in re.findall(r'<a href="([^"]+)"', message.get_body(("html",)).get_content()):
        assert url in text


def test_what_is_over_can_only_be_unsubscribed_from():
    over = make_notice(incident=make_over(), action="thread", seq=3)
    assert list(acts_of(mail(over, public_url=URL, link_key=KEY))) == ["Unsubscribe"]


def test_without_a_key_no_link_acts_and_without_a_page_there_is_none():
    assert acts_of(mail(public_url=URL)) == {}
    assert mail(public_url=URL)["List-Unsubscribe"] is None
    assert "<a " not in mail(link_key=KEY).get_body(("html",)).get_content()


def test_a_mail_program_can_unsubscribe_with_one_click():
    message = mail(public_url=URL, link_key=KEY)
    header = str(message["List-Unsubscribe"])
    assert header.startswith(f"<{URL}/act?t=")
    token = header.removesuffix(">").partition("t=")[2]
    assert read(token, [KEY], NOW).action == "unsubscribe"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_one_click_is_offered_over_https_alone():
    message = mail(public_url="http://cost.example.com", link_key=KEY)
    assert message["List-Unsubscribe"] is not None
    assert message["List-Unsubscribe-Post"] is None


def test_the_link_to_unsubscribe_is_on_the_wire_as_it_is():
    message = message_of(
        make_notice(), sender=SENDER, recipient=TEAM, at=NOW, public_url=URL, link_key=KEY
    )
    lines = [line for line in bytes(message).split(b"\r\n") if line.startswith(b"List-Unsub")]
    assert lines[0] == f"List-Unsubscribe: {message['List-Unsubscribe']}".encode()
    assert b"=?" not in lines[0]
