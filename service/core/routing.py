"""Routing: who hears of an incident, how, and why. The words are Alertmanager's."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple

import msgspec

from service.core.intervals import QuietHours, TimeInterval, covered, next_change, span_of
from service.core.matchers import Matcher, check_label
from service.core.money import ZERO
from service.core.rates import Amounts, check_amounts, lowest
from service.core.severity import Severity
from service.core.subscriptions import Digest, Subscription

# A guard against a storm, and no quota: nobody reads more than that in an hour.
MOST_POSTS_PER_HOUR: Final = 6
_HOLDS_TRIED: Final = 20
Posts = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class NamedIntervals(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Time intervals under a name, by which routes refer to them."""

    name: str
    time_intervals: list[TimeInterval]


class InhibitRule(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """While an incident passes `source_matchers`, others that pass `target_matchers` are not told.

    Only those with the same values of the labels in `equal`; nothing inhibits itself.
    """

    source_matchers: list[str]
    target_matchers: list[str]
    equal: list[str] = []

    def __post_init__(self) -> None:
        """Refuse what is neither a matcher nor a label."""
        for text in (*self.source_matchers, *self.target_matchers):
            Matcher.parse(text)
        for label in self.equal:
            check_label(label)


class Route(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A node of the tree. An incident descends into the first child whose matchers all pass.

    With `continue` it tries the next sibling too. Everything else is inherited, but for the two
    lists of time intervals. Durations are written as 30s, 5m, 4h or 1d.
    """

    receiver: str | None = None
    matchers: list[str] = []
    continue_: bool = msgspec.field(default=False, name="continue")
    min_impact: Amounts | None = None
    min_severity: Severity | None = None
    group_by: list[str] | None = None
    group_wait: str | None = None
    group_interval: str | None = None
    repeat_interval: str | None = None
    mute_time_intervals: list[str] = []
    active_time_intervals: list[str] = []
    quiet_hours: QuietHours | None = None
    escalate_after: dict[Severity, str] | None = None
    escalate_to: str | None = None
    max_posts_per_hour: Posts | None = None
    max_posts_per_week: Posts | None = None
    digest: Digest | None = None
    routes: list["Route"] = []

    def __post_init__(self) -> None:
        """Refuse a floor that is no amount, a time that is no duration, and no such label."""
        check_amounts("min_impact", self.min_impact)
        spans = (self.group_wait, self.group_interval, self.repeat_interval)
        for text in (*spans, *(self.escalate_after or {}).values()):
            if text is not None:
                span_of(text)
        for label in self.group_by or ():
            check_label(label)


class Policy(NamedTuple):
    """How one who hears wants to hear."""

    min_impact: Amounts = ZERO
    min_severity: Severity | None = None
    group_by: tuple[str, ...] = ()
    group_wait: timedelta = timedelta(0)
    group_interval: timedelta = timedelta(0)
    repeat_interval: timedelta | None = None
    mutes: tuple[TimeInterval, ...] = ()
    actives: tuple[TimeInterval, ...] = ()
    quiet_hours: QuietHours | None = None
    escalate_after: Mapping[Severity, timedelta] = {}
    escalate_to: str | None = None
    max_posts_per_hour: int = MOST_POSTS_PER_HOUR
    max_posts_per_week: int | None = None
    digest: Digest | None = None

    def quiet_until(self, severity: Severity, at: datetime) -> datetime | None:
        """Return until when nothing is to be said, or None when something may be said now.

        Quiet hours are not for what is of high severity; mute and active intervals are.
        """
        until = at
        for _ in range(_HOLDS_TRIED):
            if covered(self.mutes, until):
                until = next_change(self.mutes, until)
            elif self.actives and not covered(self.actives, until):
                until = next_change(self.actives, until)
            elif self._is_quiet(severity, until):
                assert self.quiet_hours is not None  # noqa: S101 - for the type checker
                until = next_change(self.quiet_hours.intervals, until)
            else:
                break
        return until if until > at else None

    def _is_quiet(self, severity: Severity, at: datetime) -> bool:
        hours = self.quiet_hours
        return severity != "high" and hours is not None and covered(hours.intervals, at)


class Target(NamedTuple):
    """A receiver that hears, how, and the path through the tree that led there."""

    receiver: str
    why: str
    policy: Policy

    @property
    def min_impact(self) -> Amounts:
        """Return from what impact on it hears."""
        return self.policy.min_impact


class Router:
    """A checked tree of routes; ValueError when a matcher, receiver or interval is not known."""

    def __init__(
        self,
        root: Route,
        receivers: Mapping[str, Sequence[str]],
        intervals: Iterable[NamedIntervals] = (),
        inhibit_rules: Iterable[InhibitRule] = (),
    ) -> None:
        if root.receiver is None or root.matchers:
            message = "the first route needs a receiver and no matchers: it takes what is left"
            raise ValueError(message)
        if root.mute_time_intervals or root.active_time_intervals:
            raise ValueError("the first route cannot be mute: it takes what is left")
        self.root = root
        self._receivers = receivers
        self._intervals = {one.name: tuple(one.time_intervals) for one in intervals}
        self._matchers: dict[int, list[Matcher]] = {}
        self._policies: dict[int, Policy] = {}
        self._rules = [
            (_all(rule.source_matchers), _all(rule.target_matchers), rule.equal)
            for rule in inhibit_rules
        ]
        self._prepare(root, Policy())

    @property
    def receivers(self) -> list[str]:
        """Return the names of all receivers."""
        return sorted(self._receivers)

    @property
    def has_inhibit_rules(self) -> bool:
        """Tell whether one incident may keep another from being told."""
        return bool(self._rules)

    def _prepare(self, route: Route, above: Policy) -> None:
        for receiver in (route.receiver, route.escalate_to):
            if receiver is not None and receiver not in self._receivers:
                message = f"route names receiver {receiver!r}, which is not under [receivers]"
                raise ValueError(message)
        self._matchers[id(route)] = _all(route.matchers)
        policy = self._policy(route, above)
        if policy.escalate_after and policy.escalate_to is None:
            raise ValueError("escalate_after without escalate_to")
        self._policies[id(route)] = policy
        for child in route.routes:
            self._prepare(child, policy)

    def _policy(self, route: Route, above: Policy) -> Policy:
        """Return what a route asks for, the rest as the route above asks for it."""
        plain = (
            "min_impact", "min_severity", "quiet_hours", "escalate_to", "max_posts_per_hour",
            "max_posts_per_week", "digest",
        )  # fmt: skip
        given = {name: getattr(route, name) for name in plain}
        for name in ("group_wait", "group_interval", "repeat_interval"):
            text = getattr(route, name)
            given[name] = None if text is None else span_of(text)
        given["group_by"] = None if route.group_by is None else tuple(route.group_by)
        if route.escalate_after is not None:
            given["escalate_after"] = {s: span_of(t) for s, t in route.escalate_after.items()}
        given = {name: value for name, value in given.items() if value is not None}
        return above._replace(
            **given,
            mutes=self._named(route.mute_time_intervals),
            actives=self._named(route.active_time_intervals),
        )

    def _named(self, names: Sequence[str]) -> tuple[TimeInterval, ...]:
        for name in names:
            if name not in self._intervals:
                message = f"route names time interval {name!r}, which is not under time_intervals"
                raise ValueError(message)
        return tuple(one for name in names for one in self._intervals[name])

    def targets(self, labels: Mapping[str, str]) -> list[Target]:
        """Return every receiver that hears, each once, in the order of the tree.

        Where several routes lead to one, the lowest floor holds.
        """
        first = Target(self.root.receiver or "", "the default route", self._policies[id(self.root)])
        chosen: dict[str, Target] = {}
        for target in self._descend(self.root, labels, first):
            _choose(chosen, target.receiver, target)
        return list(chosen.values())

    def destinations(
        self, labels: Mapping[str, str], subscriptions: Iterable[Subscription] = ()
    ) -> dict[str, Target]:
        """Return every destination that hears, each once, with the target of the lowest floor.

        First those of the routes, then those that teams subscribed.
        """
        chosen: dict[str, Target] = {}
        for target in self.targets(labels):
            for destination in self._receivers[target.receiver]:
                _choose(chosen, destination, target)
        for one in subscriptions:
            if one.wants(labels):
                policy = Policy(
                    min_impact=one.min_impact,
                    min_severity=one.min_severity,
                    quiet_hours=one.quiet_hours,
                    digest=one.digest,
                )
                why = f"{one.team}'s subscription {one.name}"
                _choose(chosen, one.destination, Target("", why, policy))
        return chosen

    def escalates_to(self, policy: Policy) -> Sequence[str]:
        """Return who hears when nobody acknowledges."""
        return () if policy.escalate_to is None else self._receivers[policy.escalate_to]

    def inhibits(self, source: Mapping[str, str], target: Mapping[str, str]) -> bool:
        """Tell whether an incident with some labels keeps one with others from being told.

        As in Alertmanager, two that both pass both sides of a rule do not inhibit one another.
        """
        return any(
            _pass(sources, source)
            and _pass(targets, target)
            and not (_pass(sources, target) and _pass(targets, source))
            and all(source.get(label, "") == target.get(label, "") for label in equal)
            for sources, targets, equal in self._rules
        )

    def _descend(self, route: Route, labels: Mapping[str, str], above: Target) -> list[Target]:
        here = Target(
            route.receiver or above.receiver,
            f"route {', '.join(route.matchers)}" if route.matchers else above.why,
            self._policies[id(route)],
        )
        found: list[Target] = []
        for child in route.routes:
            if _pass(self._matchers[id(child)], labels):
                found += self._descend(child, labels, here)
                if not child.continue_:
                    break
        return found or [here]


def _all(texts: Iterable[str]) -> list[Matcher]:
    return [Matcher.parse(text) for text in texts]


def _pass(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    return all(matcher.matches(labels) for matcher in matchers)


def _choose(chosen: dict[str, Target], name: str, target: Target) -> None:
    known = chosen.get(name)
    if known is None or lowest(target.min_impact) < lowest(known.min_impact):
        chosen[name] = target
