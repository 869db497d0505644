"""What many series have in common, and what they do not."""

from decimal import Decimal

from service.core.events import SeriesKey
from service.core.owners import Owners
from service.core.places import common_place, movers_of, sum_reason
from tests.factories import make_event

OWNERS = Owners(["team"], {"a": "platform"})


def rows(*tags, **values):
    return [make_event(tags=tag, sub_account_id="a", **values) for tag in tags]


def test_who_owns_all_of_them_owns_their_sum():
    found = common_place(rows({"team": "x"}, {"team": "x"}), OWNERS, "name", is_group=True)
    assert (found.owner.name, found.sub_account_id) == ("x", "a")
    assert (found.resource_id, found.resource_name) == (None, "name")


def test_what_several_own_is_the_owners_of_their_one_account():
    found = common_place(rows({"team": "x"}, None), OWNERS, "name", is_group=True)
    assert found.owner == ("platform", "owner of sub-account a; its 2 resources have 2 owners")


def test_what_several_own_in_several_accounts_or_in_one_without_an_owner_is_nobodys():
    others = [make_event(tags={"team": "y"}, sub_account_id="b")]
    for some in ([*rows({"team": "x"}), *others], [*others, *[make_event(sub_account_id="b")]]):
        found = common_place(some, OWNERS, "name", is_group=True)
        assert found.owner == ("unowned", "its 2 resources have 2 owners")


def test_only_what_all_share_is_named():
    some = [*rows(None, region_id="r1"), *rows(None, region_id="r2")]
    found = common_place(some, OWNERS, "name", is_group=True)
    assert (found.region_id, found.service_name, found.owner.name) == (
        None, "Amazon EC2", "platform",
    )  # fmt: skip


def test_one_series_is_its_own_place_but_for_a_group():
    one = rows({"team": "x"})
    assert common_place(one, OWNERS, "name", is_group=False).resource_id == "i-1"
    assert common_place(one, OWNERS, "name", is_group=True).resource_id is None


KEYS = [SeriesKey("s", "a", f"i-{n}", "USD", "hour") for n in range(5)]


def test_a_sum_names_the_members_that_moved_its_way_and_most():
    costs = {(KEYS[n], 200): Decimal(n) for n in range(5)} | {(KEYS[0], 32): Decimal(9)}
    movers = movers_of(KEYS, lambda *key: costs.get(key), 200, 168)
    said = sum_reason("5 resources", "It rose.", movers, [], Decimal(4))
    assert said == (
        "5 resources, beyond what is told of them one by one: It rose. "
        "Most against the week before: i-4 +$4, i-3 +$3, i-2 +$2."
    )


def test_of_other_owners_resources_a_sum_says_what_they_add_and_no_name():
    mine = [(Decimal(3), KEYS[0])]
    others = [(Decimal(5), KEYS[1]), (Decimal(-1), KEYS[2]), (Decimal(0), KEYS[3])]
    said = sum_reason("4 resources", "It rose.", mine, others, Decimal(4))
    assert said.endswith("week before: i-0 +$3, 2 resources of other owners +$4.")
    assert "other owners" not in sum_reason("4 resources", "It fell.", mine, others, Decimal(-4))
    assert sum_reason("4", "It rose.", [], others[:1], Decimal(4)).endswith(
        "Most against the week before: one resource of other owners +$5."
    )
