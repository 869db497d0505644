"""A digest: everything once, the dearest first, and no sum that mixes what cannot be added."""

import re
from datetime import timedelta
from decimal import Decimal
from email import message_from_bytes
from email.headerregistry import Address
from email.policy import default

from service.adapters.digest_mail import SHOWN, Digest, digest_of
from service.adapters.signed_links import read
from service.core.secret import Secret
from tests.factories import NOW, make_incident
from tests.unit.test_wording import make_over

KEY, URL = Secret("k" * 32), "https://spend.example.com"
SINCE = NOW - timedelta(days=1)


def digest(*incidents, recipient="team@example.org", **overrides):
    values = {"sender": Address(addr_spec="cost@example.com"), "at": NOW, "public_url": URL}
    values |= {"recipient": Address(addr_spec=recipient)}
    message = digest_of(Digest(incidents, SINCE, NOW), **(values | overrides))
    return message_from_bytes(bytes(message), policy=default)


def text_of(message):
    return message.get_body(("plain",)).get_content()


def html_of(message):
    return message.get_body(("html",)).get_content()


def numbered(number, **overrides):
    return make_incident(incident_id=f"{number:032x}", **overrides)


def test_what_goes_on_and_what_has_ended_is_told_with_dollars_owner_and_link():
    message = digest(numbered(1), make_over(incident_id="b" * 32))
    for said in (text_of(message), html_of(message)):
        assert "1 going on, $1,240 a day" in said
        assert "1 ended, $4,120 in all" in said
        assert "+$1,240/day · Amazon EC2" in said
        assert "payments" in said
        assert f"{URL}/#incident-{'b' * 32}" in said


def test_the_dearest_comes_first():
    rates = [5, 900, 30, 7000]
    cheap_first = [numbered(n, run_rate_per_day=Decimal(n)) for n in rates]
    found = re.findall(r"\+\$([\d,]+)/day", text_of(digest(*cheap_first)))
    assert found == ["7,000", "900", "30", "5"]


def test_amounts_of_two_currencies_are_not_added_nor_is_less_set_off_against_more():
    incidents = [
        numbered(1, run_rate_per_day=Decimal(100)),
        numbered(2, run_rate_per_day=Decimal(50), billing_currency="EUR"),
        numbered(3, run_rate_per_day=Decimal(-70)),
        numbered(4, run_rate_per_day=None, impact=None),
    ]
    assert "4 going on, 50 EUR and $100 a day" in text_of(digest(*incidents))


def test_what_was_withdrawn_is_not_told():
    assert "0 going on\r\n" in text_of(digest(numbered(1, status="retracted")))


def test_of_very_many_the_rest_is_counted():
    message = digest(*[numbered(n) for n in range(SHOWN + 7)])
    assert "and 7 more" in text_of(message)
    assert len(bytes(message)) < 102_000


def test_a_digest_that_is_sent_again_has_the_same_name_and_another_recipients_has_not():
    assert digest()["Message-ID"] == digest(numbered(1))["Message-ID"]
    assert digest()["Message-ID"] != digest(recipient="b@example.org")["Message-ID"]


def test_it_can_be_unsubscribed_from_with_one_click():
    message = digest(numbered(1), link_key=KEY)
    token = str(message["List-Unsubscribe"]).removesuffix(">").partition("t=")[2]
    act = read(token, [KEY], NOW)
    assert (act.action, act.who) == ("unsubscribe", "team@example.org")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "Unsubscribe" in html_of(message)
    assert "Unsubscribe" in text_of(message)


def test_text_that_came_with_a_row_is_neither_header_nor_html():
    hostile = 'x\r\nBcc: y@evil.example\n<script>alert(1)</script>"><img src=x>'
    message = digest(numbered(1, title=hostile, owner=hostile, region_id=hostile))
    assert message.keys() == digest(numbered(1)).keys()
    tags = set(re.findall(r"<(\w+)", html_of(message)))
    assert tags == set(re.findall(r"<(\w+)", html_of(digest(numbered(1)))))
