import threading

import pytest

from service.entrypoints.api import kept
from service.entrypoints.api.kept import Kept


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_an_answer_is_kept_as_long_as_it_was_worth():
    clock = Clock()
    answers, found = Kept(clock), []

    def find(seconds):
        clock.now += seconds
        found.append(clock.now)
        return len(found)

    assert answers.get("a", lambda: find(10), 10) == 1
    clock.now += 10 * kept.WORTH - 1
    assert answers.get("a", lambda: find(10), 10) == 1
    assert answers.get("b", lambda: find(0), 10) == 2
    clock.now += kept.LEAST_SECONDS
    assert answers.get("a", lambda: find(0), 10) == 3
    assert answers.get("b", lambda: find(0), 10) == 4


def test_what_goes_wrong_is_asked_again():
    answers = Kept()
    with pytest.raises(OSError, match="gone"):
        answers.get("a", lambda: (_ for _ in ()).throw(OSError("gone")), 10)
    assert answers.get("a", lambda: 1, 10) == 1


def test_of_many_who_ask_at_once_one_finds_out():
    answers, found, ready = Kept(), [], threading.Barrier(8)

    def ask():
        ready.wait(10)
        answers.get("a", lambda: found.append(1), 10)

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(10)
    assert found == [1]


def test_only_so_many_answers_are_kept():
    answers = Kept()
    for number in range(kept.MOST + 1):
        answers.get(number, lambda number=number: number, 10)
    assert answers.get(0, lambda: "again", 10) == "again"
    assert answers.get(kept.MOST, lambda: "again", 10) == kept.MOST


def test_what_takes_longer_is_there_for_who_asks_again():
    answers, go_on = Kept(), threading.Event()
    with pytest.raises(TimeoutError):
        answers.get("a", lambda: go_on.wait(10), 0)
    go_on.set()
    assert answers.get("a", lambda: "other", 10) is True
