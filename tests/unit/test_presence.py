"""A series without a row spent nothing only if its source is complete."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.presence import COMPLETE, LOOKED_FOR_DAYS, Presence


@pytest.fixture
def presence():
    presence = Presence(24)
    for row in range(10):
        presence.put(row, "aws")
    presence.put(10, "azure")
    presence.close(1000, np.arange(11))
    return presence


def close(presence, step, *rows):
    return presence.close(step, np.array(rows, dtype=np.int64)).tolist()


def test_one_missing_of_many_is_missing(presence):
    assert close(presence, 1001, *range(9), 10) == [9]


def test_when_many_are_missing_the_source_is_late_and_nobody_is_gone(presence):
    assert close(presence, 1001, 0, 1, 2, 10) == []


def test_each_source_is_judged_by_itself(presence):
    assert close(presence, 1001, *range(10)) == []
    assert close(presence, 1002, *range(9)) == [9]


def test_who_was_never_there_is_not_missing(presence):
    presence.put(11, "aws")
    assert close(presence, 1001, *range(10), 10) == []


def test_who_is_gone_for_long_is_no_longer_looked_for(presence):
    for step in range(1001, 1000 + 24 * LOOKED_FOR_DAYS + 1):
        assert close(presence, step, *range(9), 10) == [9]
    assert close(presence, 1001 + 24 * LOOKED_FOR_DAYS, *range(9), 10) == []


def test_a_row_that_was_given_again_is_of_its_new_source_and_was_never_there(presence):
    presence.drop(np.array([9]))
    presence.put(9, "azure")
    assert close(presence, 1001, *range(9), 10) == []
    assert close(presence, 1002, *range(9), 9, 10) == []
    assert close(presence, 1003, *range(9), 10) == []


@given(
    sources=st.lists(st.sampled_from(["aws", "azure"]), min_size=1, max_size=12),
    closed=st.lists(
        st.tuples(st.integers(1000, 1300), st.sets(st.integers(0, 14), min_size=1)), max_size=12
    ),
)
def test_what_is_counted_on_the_way_is_what_counting_all_rows_gives(sources, closed):
    presence, seen = Presence(24), {}
    for row, source in enumerate(sources):
        presence.put(row, source)
    for step, some in closed:
        if len(sources) < 15:
            presence.put(len(sources), "aws")
            sources = [*sources, "aws"]
        there = {row for row in some if row < len(sources)} or {0}
        recent = {row for row, at in seen.items() if at >= step - 24}
        expected = []
        for source in set(sources):
            told = {row for row in recent if sources[row] == source}
            if told and len(told & there) >= COMPLETE * len(told):
                expected += [
                    row
                    for row, at in seen.items()
                    if sources[row] == source
                    and row not in there
                    and step - 24 * LOOKED_FOR_DAYS <= at < step
                ]
        assert close(presence, step, *sorted(there)) == sorted(expected)
        seen |= {row: max(step, seen.get(row, 0)) for row in there}
