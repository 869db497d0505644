"""Alertmanager's own words for what we hold: the shapes of its API v2, and how ours become them.

Source: api/v2/openapi.yaml of prometheus/alertmanager. What it calls an alert is an incident here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from service.core import money
from service.core.cost_words import headline
from service.core.holds import labels_of
from service.core.incidents import Incident
from service.core.matchers import Matcher, Operator, check_label, parsed, pattern_of
from service.core.routing import Route, Router
from service.core.silences import Silence

# The release whose API this is: its clients compare it with their own.
API_VERSION: Final = "0.25.0"
# What Prometheus's clients look for first; a silence on it is one on the kind.
NAME: Final = "alertname"
STANDS_FOR: Final = timedelta(minutes=5)
LONGEST_VALUE: Final = 400
_MATCHER: Final = re.compile(
    r"\s*([a-zA-Z_:@][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)\s*(.*?)\s*\Z", re.DOTALL
)
_ESCAPES: Final = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
_OPERATORS: Final[Mapping[tuple[bool, bool], Operator]] = {
    (False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~",
}  # fmt: skip


class _Shape(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class Receiver(_Shape):
    """Who hears."""

    name: str


class AlertStatus(_Shape):
    """Whether it is told, and what keeps it from being told."""

    state: Literal["unprocessed", "active", "suppressed"]
    silenced_by: list[str]
    inhibited_by: list[str]


TOLD: Final = AlertStatus(state="active", silenced_by=[], inhibited_by=[])
# It was met as history, and nobody is told.
HISTORY: Final = AlertStatus(state="unprocessed", silenced_by=[], inhibited_by=[])


class Alert(_Shape, omit_defaults=True):
    """One incident that is not over."""

    labels: dict[str, str]
    annotations: dict[str, str]
    receivers: list[Receiver]
    fingerprint: str
    starts_at: datetime
    updated_at: datetime
    ends_at: datetime
    status: AlertStatus
    generator_url: str = msgspec.field(default="", name="generatorURL")


class AlertGroup(_Shape):
    """What one receiver is told together."""

    labels: dict[str, str]
    receiver: Receiver
    alerts: list[Alert]


class MatcherShape(_Shape):
    """One test on one label."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool = True


class SilenceStatus(_Shape):
    """Whether a silence holds now."""

    state: Literal["expired", "active", "pending"]


class GettableSilence(_Shape):
    """A silence that stands. When it was changed last is not kept: `updatedAt` is its start."""

    id: str
    status: SilenceStatus
    updated_at: datetime
    matchers: list[MatcherShape]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str


class PostableSilence(_Shape):
    """A silence to let stand; with an `id`, in place of that one."""

    matchers: list[MatcherShape]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    id: str = ""


class SilenceMade(msgspec.Struct):
    """Which silence it became."""

    silence_id: str = msgspec.field(name="silenceID")


class ClusterStatus(_Shape):
    """Copies do not know one another: they share a store."""

    status: Literal["ready", "settling", "disabled"]
    peers: list[dict[str, str]] = []


class VersionInfo(_Shape):
    """Whose API this is, and which release of ours answers."""

    version: str
    revision: str
    branch: str
    build_user: str
    build_date: str
    go_version: str


class ConfigText(_Shape):
    """The routes, as Alertmanager would read them."""

    original: str


class AlertmanagerStatus(_Shape):
    """What answers here."""

    cluster: ClusterStatus
    version_info: VersionInfo
    config: ConfigText
    uptime: datetime


def alert_of(incident: Incident, receivers: Sequence[str], public: str) -> Alert:
    """Return an incident as an alert that is told; it is known by the incident's id.

    Empty labels are none. When it ends is told with the answer.
    """
    labels = {name: value for name, value in labels_of(incident).items() if value}
    rate, impact = incident.run_rate_per_day, incident.impact
    annotations = {
        "summary": headline(incident),
        "title": incident.title,
        "state": incident.state,
        "billing_currency": incident.billing_currency,
        "impact": "" if impact is None else money.text(impact),
        "run_rate_per_day": "" if rate is None else money.text(rate),
        "assignee": incident.assignee or "",
        "quiet": incident.quiet,
    }
    return Alert(
        labels=labels | {NAME: incident.kind},
        annotations={name: value for name, value in annotations.items() if value},
        receivers=[Receiver(name=name) for name in receivers],
        fingerprint=incident.incident_id,
        starts_at=incident.starts_at,
        updated_at=incident.updated_at,
        ends_at=incident.updated_at,
        status=TOLD,
        generator_url=f"{public}/incidents/{incident.incident_id}" if public else "",
    )


def said_of(incident: Incident) -> list[str]:
    """Name the snooze, or what else people said, that keeps an incident from being told."""
    if incident.state == "snoozed":
        return [one.mark.intent_id for one in incident.marks[-1:]]
    return [one.intent_id for one in incident.feedback[-1:]] if incident.state == "expected" else []


def matcher_in(text: str) -> Matcher:
    """Read a matcher as Alertmanager's clients write it; a bare value is that of `alertname`.

    Any label may be asked for; one that is not there is empty. ValueError says what is wrong.

    >>> matcher_in('owner=~"team-(a|b)"'), matcher_in("shift").label
    (Matcher(label='owner', operator='=~', value='team-(a|b)'), 'alertname')
    """
    found = _MATCHER.match(text)
    label, operator, value = found.groups() if found else (NAME, "=", text.strip())
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r'\\[n"\\]', lambda part: _ESCAPES[part[0]], value[1:-1])
    return _checked(Matcher(label, operator, value))  # type: ignore[arg-type]  # as the pattern says


def passes(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Tell whether labels pass all matchers."""
    return all(matcher.matches(labels) for matcher in matchers)


def matchers_of(shapes: Iterable[MatcherShape]) -> list[str]:
    """Write matchers as silences hold them, each once; ValueError for a label that we lack."""
    found: dict[str, None] = {}
    for shape in shapes:
        label = "kind" if shape.name == NAME else shape.name
        check_label(label)
        operator = _OPERATORS[shape.is_regex, shape.is_equal]
        _checked(Matcher(label, operator, shape.value))
        found[f'{label}{operator}"{shape.value}"'] = None
    return list(found)


def silence_shape(silence: Silence, now: datetime) -> GettableSilence:
    """Return a silence as Alertmanager shows it."""
    state: Literal["expired", "active", "pending"] = "active"
    if now >= silence.ends_at:
        state = "expired"
    elif now < silence.starts_at:
        state = "pending"
    return GettableSilence(
        id=silence.name,
        status=SilenceStatus(state=state),
        updated_at=silence.starts_at,
        matchers=[_shape_of(parsed(text)) for text in silence.matchers],
        starts_at=silence.starts_at,
        ends_at=silence.ends_at,
        created_by=silence.author,
        comment=silence.comment,
    )


def routes_text(router: Router) -> str:
    """Write routes as the config of an Alertmanager with the same tree."""
    receivers = [{"name": name} for name in router.receivers]
    return msgspec.yaml.encode({"route": _route(router.root), "receivers": receivers}).decode()


def _route(route: Route) -> dict[str, object]:
    plain = {
        "receiver": route.receiver, "matchers": list(route.matchers),
        "group_by": list(route.group_by or ()), "continue": route.continue_,
        "routes": [_route(child) for child in route.routes],
    }  # fmt: skip
    return {name: value for name, value in plain.items() if value}


def _shape_of(matcher: Matcher) -> MatcherShape:
    return MatcherShape(
        name=matcher.label,
        value=matcher.value,
        is_regex=matcher.operator in ("=~", "!~"),
        is_equal=matcher.operator in ("=", "=~"),
    )


def _checked(matcher: Matcher) -> Matcher:
    if len(matcher.value) > LONGEST_VALUE:
        message = f"{matcher.label}: a value holds at most {LONGEST_VALUE} characters"
        raise ValueError(message)
    if matcher.operator in ("=~", "!~"):
        pattern_of(matcher.value)
    return matcher
