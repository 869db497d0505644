"""The owner chain says who, and which link decided."""

import pytest

from service.core.owners import UNOWNED, Owners

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
