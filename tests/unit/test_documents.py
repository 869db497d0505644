import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.sources.base import BrokenFileError
from service.adapters.sources.documents import MAX_DEPTH, _Splitter

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text().filter(lambda key: key != "data"), values, max_size=4)


def split(text, size):
    data = text.encode()
    return list(_Splitter().split(data[at : at + size] for at in range(0, len(data), size)))


@given(st.lists(objects), st.integers(1, 50), st.sampled_from([None, 1]), st.booleans())
def test_records_are_found_wherever_the_pieces_are_cut(records, size, indent, ascii_only):
    def text(value):
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    page = {"object": "page", "data": records, "has_more": False}
    for shape in (text(records), text(page), text([page]), text(page) + "\n", text([records])):
        assert [json.loads(raw) for raw in split(shape, size)] == records
    assert [json.loads(raw) for raw in split(text(page) + text(page), size)] == records * 2


def test_only_the_list_named_data_of_a_page_holds_records():
    record = '{"a":{"data":[{"b":1}]},"c":"data"}'
    assert split(f'{{"other":[{{"x":1}}],"data":[{record}]}}', 7) == [record.encode()]


def test_what_is_no_object_is_handed_over_to_be_refused():
    assert split('[1, {"a":2}, "x"]', 4) == [b"1", b'{"a":2}', b'"x"']


@pytest.mark.parametrize("text", ['{"a":1', '[{"a":1},', '{"a":"}', '{"a":1}]', '{"a":[1}]', "}"])
def test_what_is_cut_or_does_not_match_ends_the_file(text):
    with pytest.raises(BrokenFileError):
        split(text, 3)


def test_depth_has_an_end():
    with pytest.raises(BrokenFileError, match="too deeply"):
        split("[" * (MAX_DEPTH + 1), 64)
