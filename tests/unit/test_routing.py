"""Routes have Alertmanager's words and meaning."""

from decimal import Decimal

import msgspec
import pytest

from service.core.routing import Matcher, Route, Router

RECEIVERS = {
    "all": ["slack:#spend"],
    "ml": ["slack:#ml", "email:ml@example.com"],
    "night": ["slack:#spend", "email:night@example.com"],
}
TREE = {
    "receiver": "all",
    "min_impact": "10",
    "routes": [
        {"matchers": ['owner="ml"'], "receiver": "ml", "min_impact": "50", "continue": True},
        {"matchers": ['severity=~"high|medium"', 'owner!="ml"'], "receiver": "night"},
    ],
}


def router(tree=TREE) -> Router:
    return Router(msgspec.convert(tree, Route, strict=False), RECEIVERS)


def heard(**labels):
    return [(t.receiver, t.min_impact) for t in router().targets(labels)]


def test_the_first_matching_child_takes_it_and_the_root_takes_the_rest():
    assert heard(owner="web", severity="low") == [("all", 10)]
    assert heard(owner="web", severity="high") == [("night", 10)]


def test_continue_tries_the_next_sibling_too():
    assert heard(owner="ml", severity="high") == [("ml", 50)]
    tree = TREE | {"routes": [TREE["routes"][0], {"receiver": "night"}]}
    targets = router(tree).targets({"owner": "ml"})
    assert [t.receiver for t in targets] == ["ml", "night"]


def test_a_destination_hears_once_and_the_path_says_why():
    found = router().destinations({"owner": "ml"})
    assert list(found) == ["slack:#ml", "email:ml@example.com"]
    assert found["slack:#ml"].why == 'route owner="ml"'
    assert router().destinations({})["slack:#spend"].why == "the default route"


def test_of_two_routes_to_one_destination_the_lower_floor_holds():
    routes = [
        {"matchers": ["owner=a"], "receiver": "all", "min_impact": "500", "continue": True},
        {"receiver": "night", "min_impact": "20", "continue": True},
        {"matchers": ["owner=~a"], "receiver": "all", "min_impact": "90"},
    ]
    found = router(TREE | {"routes": routes}).destinations({"owner": "a"})
    assert {name: (t.min_impact, t.receiver) for name, t in found.items()} == {
        "slack:#spend": (20, "night"),
        "email:night@example.com": (20, "night"),
    }
    targets = router(TREE | {"routes": routes}).targets({"owner": "a"})
    assert [(t.receiver, t.min_impact) for t in targets] == [("all", 90), ("night", 20)]


@pytest.mark.parametrize(
    ("text", "labels", "passes"),
    [
        ('owner="a"', {"owner": "a"}, True),
        ("owner=a", {"owner": "b"}, False),
        ('owner!="a"', {}, True),
        ('owner=~"a|b"', {"owner": "b"}, True),
        ('owner=~"a"', {"owner": "ab"}, False),
        ('owner!~"a.*"', {"owner": "ab"}, False),
        ('owner=""', {}, True),
    ],
)
def test_matchers_match_the_whole_value(text, labels, passes):
    assert Matcher.parse(text).matches(labels) is passes


@pytest.mark.parametrize(
    ("tree", "word"),
    [
        ({"receiver": None}, "needs a receiver"),
        ({"receiver": "all", "matchers": ["owner=a"]}, "no matchers"),
        ({"receiver": "nobody"}, "nobody"),
        ({"receiver": "all", "routes": [{"matchers": ["colour=red"]}]}, "not a label"),
        ({"receiver": "all", "routes": [{"matchers": ["owner=~("]}]}, "regular expression"),
        ({"receiver": "all", "routes": [{"matchers": ["owner"]}]}, "not a matcher"),
    ],
)
def test_a_wrong_tree_is_refused_with_the_reason(tree, word):
    with pytest.raises(ValueError, match=word):
        router(tree)


def test_a_floor_is_inherited():
    tree = {"receiver": "all", "min_impact": "7", "routes": [{"matchers": ["owner=a"]}]}
    assert router(tree).targets({"owner": "a"})[0].min_impact == Decimal(7)
