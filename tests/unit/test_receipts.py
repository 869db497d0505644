"""Receipts: how deliveries begin in a store that has lost them."""

from datetime import timedelta

from service.core.ports import Begun, Refused, Sent
from service.core.receipts import ENDS_WITHIN, TOO_OLD, Receipts, receipt_of
from tests.factories import NOW, make_notice

REF = {"channel": "C1", "ts": "1.2"}


def notice(seq=0, **values):
    values = {"destination": "slack:#spend", "at": NOW} | values
    return make_notice(delivery_id=f"d{seq}", seq=seq, **values)


def begin(one, *receipts):
    return Receipts(receipts, NOW).begin(one)


def test_what_has_a_receipt_ends_again_as_it_ended():
    sent = receipt_of(notice(0), Sent(REF), NOW)
    dead = receipt_of(notice(1), Refused("no such channel"), NOW)
    assert begin(notice(0), sent, dead) == Begun("sent", None, REF, None)
    assert begin(notice(1), sent, dead) == Begun("dead", None, None, "no such channel")


def test_the_later_of_two_receipts_holds():
    first = receipt_of(notice(0), Refused("gave up"), NOW)
    assert begin(notice(0), first, receipt_of(notice(0), Sent(REF), NOW)).state == "sent"


def test_what_has_none_may_have_been_sent():
    assert begin(notice(0)) == Begun("unknown", NOW)


def test_what_came_before_a_receipt_in_its_conversation_was_superseded():
    later = receipt_of(notice(2), Sent(REF), NOW)
    assert begin(notice(1), later) == Begun("superseded")
    assert begin(notice(3), later).state == "unknown"
    assert begin(notice(1, destination="email:a@b.example"), later).state == "unknown"


def test_what_would_have_ended_long_ago_is_not_sent_now():
    old = notice(0, at=NOW - ENDS_WITHIN - timedelta(seconds=1))
    assert begin(old) == Begun("dead", None, None, TOO_OLD)
