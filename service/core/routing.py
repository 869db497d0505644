"""Routing: who hears of an incident, and why. The words are Alertmanager's."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from service.core import money

LABELS: Final = ("owner", "sub_account_id", "service_name", "region_id", "kind", "severity")
Operator = Literal["=", "!=", "=~", "!~"]
_MATCHER: Final = re.compile(r"\s*([a-z_]+)\s*(=~|!~|!=|=)\s*\"?(.*?)\"?\s*\Z", re.DOTALL)


class Matcher(NamedTuple):
    """One test on one label; `=~` and `!~` match the whole value."""

    label: str
    operator: Operator
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether the labels pass; a label that is not there is empty."""
        value = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (value == self.value) == (self.operator == "=")
        return (re.fullmatch(self.value, value) is not None) == (self.operator == "=~")

    @classmethod
    def parse(cls, text: str) -> "Matcher":
        """Read `label="value"`; ValueError says what is wrong.

        >>> Matcher.parse('owner=~"team-(a|b)"')
        Matcher(label='owner', operator='=~', value='team-(a|b)')
        """
        found = _MATCHER.match(text)
        if found is None:
            message = f'{text!r} is not a matcher like owner="payments"'
            raise ValueError(message)
        label, operator, value = found.groups()
        if label not in LABELS:
            message = f"{label!r} is not a label; there are {', '.join(LABELS)}"
            raise ValueError(message)
        if operator in ("=~", "!~"):
            try:
                re.compile(value)
            except re.error as error:
                message = f"{value!r} is not a regular expression: {error}"
                raise ValueError(message) from None
        return cls(label, operator, value)  # type: ignore[arg-type]  # the pattern allows no other


class Route(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A node of the tree. An incident descends into the first child whose matchers all pass.

    With `continue` it tries the next sibling too. `receiver` and `min_impact` are inherited.
    """

    receiver: str | None = None
    matchers: list[str] = []
    continue_: bool = msgspec.field(default=False, name="continue")
    min_impact: Decimal | None = None
    routes: list["Route"] = []

    def __post_init__(self) -> None:
        """Refuse a floor that is no amount of money."""
        if self.min_impact is not None:
            money.check("min_impact", self.min_impact)


class Target(NamedTuple):
    """A receiver that hears, from what impact on, and the path through the tree that led there."""

    receiver: str
    min_impact: Decimal
    why: str


class Router:
    """A checked tree of routes; ValueError when a matcher or a receiver is not known."""

    def __init__(self, root: Route, receivers: Mapping[str, Sequence[str]]) -> None:
        if root.receiver is None or root.matchers:
            message = "the first route needs a receiver and no matchers: it takes what is left"
            raise ValueError(message)
        self._root = root
        self._receivers = receivers
        self._matchers: dict[int, list[Matcher]] = {}
        self._prepare(root)

    def _prepare(self, route: Route) -> None:
        if route.receiver is not None and route.receiver not in self._receivers:
            message = f"route names receiver {route.receiver!r}, which is not under [receivers]"
            raise ValueError(message)
        self._matchers[id(route)] = [Matcher.parse(text) for text in route.matchers]
        for child in route.routes:
            self._prepare(child)

    def targets(self, labels: Mapping[str, str]) -> list[Target]:
        """Return every receiver that hears, each once, in the order of the tree.

        Where several routes lead to one, the lowest floor holds.
        """
        first = Target(self._root.receiver or "", Decimal(0), "the default route")
        chosen: dict[str, Target] = {}
        for target in self._descend(self._root, labels, first):
            _choose(chosen, target.receiver, target)
        return list(chosen.values())

    def destinations(self, labels: Mapping[str, str]) -> dict[str, Target]:
        """Return every destination that hears, each once, with the target of the lowest floor."""
        chosen: dict[str, Target] = {}
        for target in self.targets(labels):
            for destination in self._receivers[target.receiver]:
                _choose(chosen, destination, target)
        return chosen

    def _descend(self, route: Route, labels: Mapping[str, str], above: Target) -> list[Target]:
        here = Target(
            route.receiver or above.receiver,
            above.min_impact if route.min_impact is None else route.min_impact,
            f"route {', '.join(route.matchers)}" if route.matchers else above.why,
        )
        found: list[Target] = []
        for child in route.routes:
            if all(matcher.matches(labels) for matcher in self._matchers[id(child)]):
                found += self._descend(child, labels, here)
                if not child.continue_:
                    break
        return found or [here]


def _choose(chosen: dict[str, Target], name: str, target: Target) -> None:
    known = chosen.get(name)
    if known is None or target.min_impact < known.min_impact:
        chosen[name] = target
