"""The e-mail notifier against a real mail server: TLS is not optional, nothing is mailed twice."""

import pytest

from service.adapters.notifiers.email import Email, EmailSettings
from service.core.ports import Refused, Retry, Sent, Unknown
from service.core.secret import Secret
from tests.factories import make_notice
from tests.mail_server import Authority, Mailbox, serve_mail
from tests.unit.test_wording import make_over


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def make_notifier(port, authority, **overrides):
    values = {
        "host": "127.0.0.1",
        "port": port,
        "sender": "cost@example.com",
        "ca_file": str(authority.file),
        "timeout_seconds": 2,
    }
    return Email(EmailSettings(**(values | overrides)))


def notice(**overrides):
    return make_notice(destination="email:team@example.org", **overrides)


async def test_a_mail_goes_over_starttls_after_a_log_in(mailbox, authority):
    context = authority.server_context()
    async with serve_mail(mailbox, starttls=context, password="p") as port:
        notifier = make_notifier(port, authority, username="u", password=Secret("p"))
        outcome = await notifier.send(notice(), None)
    assert outcome == Sent({"message_id": f"<{notice().delivery_id}@example.com>", "mailed": "yes"})
    assert mailbox.peers == [(True, "cost@example.com", ["team@example.org"])]
    assert mailbox.mails[0]["To"] == "team@example.org"


async def test_a_mail_goes_over_tls_from_the_first_byte(mailbox, authority):
    async with serve_mail(mailbox, tls=authority.server_context()) as port:
        assert isinstance(
            await make_notifier(port, authority, tls="tls").send(notice(), None), Sent
        )
    assert mailbox.peers[0][0] is True


async def test_the_chart_arrives_in_the_mail(mailbox, authority):
    async with serve_mail(mailbox, starttls=authority.server_context()) as port:
        await make_notifier(port, authority).send(notice(), None)
    picture = [part for part in mailbox.mails[0].walk() if part.get_content_type() == "image/png"]
    assert picture[0].get_content().startswith(b"\x89PNG")


async def test_a_server_without_tls_gets_nothing(mailbox, authority):
    async with serve_mail(mailbox) as port:
        outcome = await make_notifier(port, authority).send(notice(chart=None), None)
    assert isinstance(outcome, Refused)
    assert mailbox.mails == []


async def test_a_server_that_cannot_prove_its_name_gets_nothing(mailbox, authority, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    async with serve_mail(mailbox, starttls=stranger.server_context()) as port:
        outcome = await make_notifier(port, authority).send(notice(chart=None), None)
    assert isinstance(outcome, Retry)
    assert mailbox.mails == []


async def test_only_one_who_asks_for_it_sends_in_the_clear(mailbox, authority):
    async with serve_mail(mailbox) as port:
        notifier = make_notifier(port, authority, tls="none")
        assert isinstance(await notifier.send(notice(chart=None), None), Sent)
    assert mailbox.peers[0][0] is False


def test_a_password_never_goes_in_the_clear(authority):
    with pytest.raises(ValueError, match="not sent in the clear"):
        make_notifier(25, authority, tls="none", username="u", password=Secret("p"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sender": "Cost <cost@example.com>"}, "not a mail address"),
        ({"username": "u"}, "go together"),
    ],
)
def test_settings_that_could_only_fail_later_are_refused(authority, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_notifier(25, authority, **wrong)


async def test_an_edit_is_not_mailed_and_the_outcome_says_so(mailbox, authority):
    async with serve_mail(mailbox, starttls=authority.server_context()) as port:
        notifier = make_notifier(port, authority)
        sent = await notifier.send(notice(chart=None), None)
        edit = await notifier.send(notice(seq=1, action="edit", chart=None), sent.ref)
    assert edit.ref["mailed"] == "no"
    assert len(mailbox.mails) == 1


async def test_the_end_is_told_in_the_same_conversation(mailbox, authority):
    async with serve_mail(mailbox, starttls=authority.server_context()) as port:
        notifier = make_notifier(port, authority)
        sent = await notifier.send(notice(chart=None), None)
        line = notice(seq=2, action="thread", reason="resolved", incident=make_over(), chart=None)
        assert isinstance(await notifier.send(line, sent.ref), Sent)
    first, last = mailbox.mails
    assert first["References"] == last["References"]
    assert first["Subject"] == last["Subject"]
    assert "Total $4,120" in last.get_body(("plain",)).get_content()


async def test_a_mail_whose_fate_is_unknown_is_sent_again_under_the_same_name(mailbox, authority):
    async with serve_mail(mailbox, starttls=authority.server_context()) as port:
        notifier = make_notifier(port, authority)
        mailbox.drops_after_data = True
        assert isinstance(await notifier.send(notice(chart=None), None), Unknown)
        mailbox.drops_after_data = False
        assert isinstance(await notifier.find(notice(chart=None)), Retry)
        assert isinstance(await notifier.send(notice(chart=None), None), Sent)
    first, again = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"]
