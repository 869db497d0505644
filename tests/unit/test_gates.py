"""Gates: a destination that fails is left alone, and tried now and then."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.core.gates import FAILURES, PROBES_EVERY, SPACING, WITHIN, Gate
from service.core.ports import Refused, Retry, Sent, Unknown

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DOWN, UP = Retry("cannot connect"), Sent({})


def shut_gate(at=NOW):
    gate = Gate()
    for _ in range(FAILURES):
        gate.note(DOWN, at)
    return gate


def test_a_destination_that_works_is_never_held():
    gate = Gate()
    for second in range(20):
        at = NOW + timedelta(seconds=second)
        assert gate.passes_at(at) == at
        gate.note(UP, at)
    assert not gate.is_shut


def test_it_shuts_at_failures_in_a_row_and_not_before():
    gate = Gate()
    for outcome in [*[DOWN] * (FAILURES - 1), UP, *[Unknown("no answer")] * (FAILURES - 1)]:
        gate.note(outcome, NOW)
        assert not gate.is_shut
    gate.note(DOWN, NOW)
    assert gate.is_shut
    assert (gate.failing_since, gate.reason) == (NOW, "cannot connect")


def test_failures_that_are_far_apart_do_not_shut_it():
    gate = Gate()
    for hour in range(20):
        gate.note(DOWN, NOW + timedelta(hours=hour))
    assert not gate.is_shut


def test_one_probe_goes_through_and_everyone_else_waits_for_it():
    gate = shut_gate()
    at = NOW + PROBES_EVERY
    assert gate.passes_at(NOW) == at
    assert gate.passes_at(at) == at
    assert gate.passes_at(at) > at


def test_a_probe_that_gets_through_opens_it():
    gate = shut_gate()
    at = NOW + PROBES_EVERY
    gate.passes_at(at)
    gate.note(UP, at)
    assert not gate.is_shut
    assert gate.passes_at(at) == at


def test_an_answer_that_refuses_one_notice_is_an_answer():
    gate = shut_gate()
    gate.note(Refused("no such channel"), NOW)
    assert not gate.is_shut


def test_a_probe_that_fails_shuts_it_for_another_while():
    gate = shut_gate()
    at = NOW + PROBES_EVERY
    gate.passes_at(at)
    gate.note(DOWN, at)
    assert gate.is_shut
    assert gate.passes_at(at, jumps=True) == at + PROBES_EVERY
    assert gate.failing_since == NOW


def test_a_probe_that_never_comes_back_does_not_shut_it_for_ever():
    gate = shut_gate()
    at = NOW + PROBES_EVERY
    assert gate.passes_at(at) == at
    assert gate.passes_at(at + PROBES_EVERY) == at + PROBES_EVERY


def test_who_is_asked_to_wait_makes_all_wait_and_is_no_failure():
    gate = Gate()
    for _ in range(2 * FAILURES):
        gate.note(Retry("slow down", after=timedelta(seconds=7)), NOW)
    assert not gate.is_shut
    assert gate.passes_at(NOW) == NOW + timedelta(seconds=7)
    assert gate.passes_at(NOW + timedelta(seconds=7)) == NOW + timedelta(seconds=7)


def test_those_that_wait_get_turns_and_a_first_post_comes_first():
    gate = Gate()
    gate.note(Retry("slow down", after=timedelta(seconds=1)), NOW)
    opens_at = NOW + timedelta(seconds=1)
    assert [gate.passes_at(NOW) for _ in range(3)] == [opens_at + n * SPACING for n in range(3)]
    first = [gate.passes_at(NOW, jumps=True) for _ in range(2)]
    assert first == [opens_at, opens_at + SPACING]


def test_who_asked_to_slow_down_gets_one_a_second_for_a_minute():
    gate = Gate()
    gate.note(Retry("slow down", after=timedelta(seconds=1)), NOW)
    at, passed = NOW + timedelta(seconds=1), 0
    for _ in range(300):  # five a second
        if gate.passes_at(at) == at:
            gate.note(UP, at)
            passed += 1
        at += timedelta(seconds=0.2)
    assert passed == 60
    assert gate.passes_at(at) == at
    assert gate.passes_at(at) == at


@given(
    st.lists(
        st.tuples(
            st.integers(0, 120),
            st.sampled_from(
                [UP, DOWN, Unknown("x"), Refused("x"), Retry("x", timedelta(seconds=3))]
            ),
        )
    )
)
def test_whatever_happened_someone_is_let_through_in_time(history):
    gate, at = Gate(), NOW
    for seconds, outcome in history:
        at += timedelta(seconds=seconds)
        if gate.passes_at(at) == at:
            gate.note(outcome, at)
    assert gate.passes_at(at + PROBES_EVERY) == at + PROBES_EVERY
    assert WITHIN > PROBES_EVERY
