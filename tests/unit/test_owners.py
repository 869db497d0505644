"""The owner chain says who, and which link decided."""

import pytest

from service.core.owners import INFERRED, UNOWNED, Owner, Owners, infer

OWNERS = Owners(["owner", "team"], {"000123": "platform"})


@pytest.mark.parametrize(
    ("tags", "account", "name", "source"),
    [
        ({"owner": "search"}, "000123", "search", "tag owner=search"),
        ({" Team ": " data  eng "}, "000123", "data eng", "tag Team=data eng"),
        ({"user:Owner": "ml"}, None, "ml", "tag user:Owner=ml"),
        ({"team": "b", "owner": "a"}, None, "a", "tag owner=a"),
        ({"owner": "  ", "team": "b"}, None, "b", "tag team=b"),
        ({"owner": 4711}, "000123", "4711", "tag owner=4711"),
        ({"owner": 4711.0}, "000123", "4711", "tag owner=4711"),
        ({"owner": True}, "000123", "platform", "owner of sub-account 000123"),
        (None, "000123", "platform", "owner of sub-account 000123"),
        ({}, "999", UNOWNED, "no owner tag, and the sub-account has no owner"),
    ],
)
def test_the_first_link_that_knows_decides(tags, account, name, source):
    assert OWNERS.of(tags, account) == (name, source)


def siblings(**counts):
    return [Owner(name, "") for name, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("beside", "name", "said"),
    [
        (siblings(search=4, ml=1), "search", "4 of 5 owned resources in account 7, 80 % sure"),
        (
            siblings(search=3, unowned=3),
            "search",
            "3 of 3 owned resources in account 7, 100 % sure",
        ),
        (siblings(search=3, ml=1), None, ""),
        (siblings(search=2), None, ""),
        (siblings(search=3, unowned=4), None, ""),
        ([], None, ""),
    ],
)
def test_an_owner_is_inferred_only_where_the_resources_beside_agree(beside, name, said):
    found = infer(beside, "account 7")
    assert found == (None if name is None else Owner(name, f"{INFERRED} {said}"))
