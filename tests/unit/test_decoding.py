"""Types that are asked for by several threads at once, each for the first time."""

import sys
import threading

import msgspec
import pytest

from service import decoding

THREADS = 4


def a_type(number):
    """Return a type that nobody has decoded, of some that it holds."""
    fields = [(f"f{place}", int | str | None) for place in range(10)]
    inner = msgspec.defstruct(f"Inner{number}", fields)
    return msgspec.defstruct(f"Outer{number}", [("one", inner), ("many", dict[str, list[inner]])])


VALUE = {"one": {f"f{place}": place for place in range(10)}, "many": {}}
ASKED = {
    "json": lambda kind: decoding.from_json(msgspec.json.encode(VALUE), kind),
    "msgpack": lambda kind: decoding.from_msgpack(msgspec.msgpack.encode(VALUE), kind),
    "convert": lambda kind: decoding.convert(VALUE, kind),
}


@pytest.fixture
def in_turns():
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_threads_that_ask_for_a_type_at_once_all_get_it(ask, in_turns):
    # Asked of msgspec itself, a few types end the process by a segmentation fault.
    for number in range(150):
        kind, begin, found = a_type(number), threading.Barrier(THREADS), []

        def go(kind=kind, begin=begin, found=found):
            begin.wait()
            found.append(ask(kind))

        threads = [threading.Thread(target=go) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [msgspec.to_builtins(one) for one in found] == [VALUE] * THREADS


def test_json_and_convert_may_ask_for_the_same_type_at_once(in_turns):
    for number in range(150):
        kind, begin, found = a_type(number), threading.Barrier(len(ASKED)), []

        def go(ask, kind=kind, begin=begin, found=found):
            begin.wait()
            found.append(ask(kind))

        threads = [threading.Thread(target=go, args=(ask,)) for ask in ASKED.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == len(ASKED)


def test_what_does_not_fit_is_said_by_msgspec():
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`"):
        decoding.from_json(b'"a"', int)
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`"):
        decoding.convert("1", int)
    assert decoding.convert("1", int, strict=False) == 1
