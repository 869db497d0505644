"""Numbers are given again, lowest first, and what is saved of them is what they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.core.slots import Rows, Slots
from service.core.state import Streams, keep_all
from tests.arriving import Disk

steps = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60)


def follow(slots, came_and_went):
    for key, comes in came_and_went:
        if comes:
            slots.give(key)
        elif key in slots:
            slots.free(key)


def same(one, other):
    assert (len(one), {*one}) == (len(other), {*other})
    assert {key: one[key] for key in one} == {key: other[key] for key in other}
    assert one.give("new") == other.give("new")


@given(steps)
def test_each_key_has_a_number_of_its_own_and_no_number_is_above_the_most_at_once(came_and_went):
    slots, most = Slots(), 0
    for one in came_and_went:
        follow(slots, [one])
        most = max(most, len({*slots}))
    numbers = [slots[key] for key in slots]
    assert len({*numbers}) == len(numbers)
    assert len(slots) == most
    assert [slots.key(number) for number in numbers] == [*slots]


@given(steps, steps, st.booleans())
def test_what_was_saved_in_parts_comes_back_with_its_free_numbers(before, after, is_saved_between):
    slots, disk, streams = Slots(), Disk(), Streams()
    follow(slots, before)
    if is_saved_between:
        disk.write(slots.save(streams, "slots"))
    follow(slots, after)
    disk.write(slots.save(streams, "slots"))
    again = Slots()
    to = again.restore(disk.saved(), "slots", str, lambda _: True)
    assert np.array_equal(to, np.arange(len(slots)))
    same(again, slots)


@given(steps, st.sets(st.sampled_from("abcdefgh")))
def test_of_a_part_each_old_number_is_told_its_new_one(came_and_went, wanted):
    slots, disk, part = Slots(), Disk(), Slots()
    follow(slots, came_and_went)
    disk.write(slots.save(Streams(), "slots"))
    to = part.restore(disk.saved(), "slots", str, lambda key: key in wanted)
    assert {*part} == {*slots} & wanted
    for key in slots:
        assert to[slots[key]] == (part[key] if key in wanted else -1)


@given(steps, steps, st.booleans(), st.sets(st.sampled_from("abcdefgh")))
def test_who_is_numbered_beside_others_comes_back_by_their_numbers(before, after, is_cut, own):
    beside, rows, disk, streams = Slots(), Rows("beside"), Disk(), Streams()

    def both(came_and_went):
        for key, comes in came_and_went:
            every = [rows] if key in own else [rows, beside]
            for slots in every:
                follow(slots, [(key, comes)])

    both(before)
    if is_cut:
        disk.write([*beside.save(streams, "beside"), *rows.save(streams, "rows")])
    both(after)
    disk.write([*beside.save(streams, "beside"), *rows.save(streams, "rows")])
    first, again = Slots(), Rows("beside")
    saved = disk.saved()
    first.restore(saved, "beside", str, keep_all)
    again.restore(saved, "rows", str, keep_all)
    same(first, beside)
    same(again, rows)
