"""The inbox: an intent is answered once it was followed, or never followed at all."""

import threading

import pytest

from service.core.intents import Feedback
from service.entrypoints.inbox import Inbox
from tests.factories import NOW

INTENT = Feedback(
    at=NOW, incident_id="i", verdict="expected", who="ana", via="cli", why="load test"
)


def asked(inbox, answers):
    def ask():
        answers.append(inbox.ask(INTENT, 5))

    thread = threading.Thread(target=ask)
    thread.start()
    while not inbox.has_any:
        pass
    return thread


@pytest.mark.parametrize("refusal", [None, "there is no such incident"])
def test_the_answer_goes_to_who_asked(refusal):
    inbox, answers, followed = Inbox(), [], []
    thread = asked(inbox, answers)
    inbox.drain(lambda intent: followed.append(intent) or refusal)
    thread.join()
    assert (answers, followed) == ([refusal], [INTENT])


def test_what_nobody_came_to_in_time_is_not_followed_later():
    inbox, followed = Inbox(), []
    with pytest.raises(TimeoutError):
        inbox.ask(INTENT, 0.01)
    inbox.drain(followed.append)
    assert followed == []
    assert not inbox.has_any


def test_a_fault_while_it_is_followed_ends_both_sides():
    inbox, seen = Inbox(), []

    def ask():
        try:
            inbox.ask(INTENT, 5)
        except OSError as error:
            seen.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not inbox.has_any:
        pass

    def fails(_intent):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        inbox.drain(fails)
    thread.join()
    assert seen == ["disk full"]
