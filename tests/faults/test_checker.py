"""The checker itself: what is lost, doubled, late or wrong does not pass it."""

from tests.faults.checker import Told, told_in
from tests.faults.rounds import ALLOWED_SECONDS, Outcome, Spec


def post(number, at, **more):
    return {"ts": f"{at:.6f}", "blocks": [{"text": f"Service {number} · acct"}], **more}


def test_what_is_lost_doubled_or_wrong_is_named():
    messages = [post(1, 101), post(2, 103), post(2, 109), post(3, 104), post(1, 105, thread_ts="1")]
    assert told_in(messages, {1: 100, 2: 100, 4: 100}) == Told([4], [2], [3], [1, 3, 9, 104])


def test_a_round_with_any_of_it_has_a_flaw():
    whole = Outcome(Spec("x", {}), 1, 0, 0, Told([], [], [], [1.0]), 5, 5, True, True, 9.0)
    assert whole.flaws == {}
    late = Told([], [], [], [ALLOWED_SECONDS + 1])
    for change in (
        {"told": Told([1], [], [], [])}, {"told": Told([], [1], [], [])}, {"told": late},
        {"told": Told([], [], [1], [])}, {"messages": 6}, {"messages": 4}, {"as_found": False},
        {"as_kept": False}, {"ended": ["worker-1: x"]},
    ):  # fmt: skip
        assert len(whole._replace(**change).flaws) == 1
    assert whole._replace(ended=["x"], spec=Spec("x", {}, may_exit=True)).flaws == {}
