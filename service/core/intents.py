"""Intents: what people did, as input that arrives at a moment like any event.

So a replay that holds them says the same again, and whoever asks can see who did what, and why.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec

from service.core.events import Aware, content_hash
from service.core.standing import Standing, key_of

Verdict = Literal["expected", "new_level", "not_an_issue", "undo"]
MUTES: Final = ("expected", "not_an_issue")
Act = Literal[
    "acknowledge", "unacknowledge", "snooze", "assign", "comment", "resolve", "claim", "undo"
]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
IncidentId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class _Said(
    msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="x_Intent"
):
    """What `who` did at a moment, `via` what (cli, api, slack), and `why` in their words."""

    at: Aware
    who: Short
    via: Short
    why: Short

    @property
    def intent_id(self) -> str:
        """Name it by its content: the same intent twice is one."""
        return content_hash(msgspec.json.encode(self))


class Feedback(_Said, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="feedback"):
    """What a person says of an incident.

    `expected`: it is as it should be; nothing more is said of it. `new_level`: so it is from now
    on; its series are judged by what they cost since it began. `not_an_issue`: nothing more is said
    of it, and the next one has to be odder. `undo` takes back what was said last and is in effect.
    """

    incident_id: IncidentId
    verdict: Verdict


class Put(_Said, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="put"):
    """Let a thing stand, in place of the one of its kind and name.

    With `if_match` only if that one still is the version named so; `""` if there is none yet.
    """

    thing: Standing
    if_match: str | None = None


class Drop(_Said, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="drop"):
    """Let a thing stand no more; with `if_match` only if it still is the version named so."""

    kind: Short
    name: Short
    if_match: str | None = None


class Mark(_Said, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="mark"):
    """What a person does about an incident, which changes nothing that is found or learnt.

    `acknowledge`: someone sees to it; nobody is reminded. `snooze`: nothing is said `until` a time,
    or until it costs `until_growth` (0.5 is 50 %) more a day; a rise in severity ends it too.
    `assign`: `to` sees to it. `comment`: `why` is the comment. `resolve`: it is over, unless
    something new is found. `claim`: `to` owns what costs here. `undo` takes back the last of these
    that is in effect, but for comments.
    """

    incident_id: IncidentId
    act: Act
    until: Aware | None = None
    until_growth: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    to: Short | None = None

    def __post_init__(self) -> None:
        """Refuse a snooze without an end, and what is for nobody."""
        ends = [one is not None for one in (self.until, self.until_growth)]
        if self.act == "snooze" and ends.count(True) != 1:
            raise ValueError("a snooze needs either until or until_growth")
        if self.act != "snooze" and any(ends):
            raise ValueError("until and until_growth are for a snooze")
        if (self.to is not None) != (self.act in ("assign", "claim")):
            raise ValueError("to is for assign and claim, which need it")
        if self.until is not None and self.until <= self.at:
            raise ValueError("until is over already")


Intent = Feedback | Put | Drop | Mark


class Order(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What feedback asks of the detectors: about which findings, and which intent it takes back."""

    feedback: Feedback
    finding_ids: list[str]
    undoes: str | None


def named(intent: Intent) -> str:
    """Name what an intent is, and what it is about."""
    if isinstance(intent, Feedback):
        return f"{intent.verdict} of {intent.incident_id}"
    if isinstance(intent, Mark):
        return f"{intent.act} of {intent.incident_id}"
    if isinstance(intent, Put):
        return f"{'/'.join(key_of(intent.thing))} put"
    return f"{intent.kind}/{intent.name} dropped"


def in_effect(said: Iterable[Feedback]) -> list[Feedback]:
    """Return what was said and not taken back, in order.

    >>> from datetime import UTC, datetime
    >>> def said(*verdicts):
    ...     at = datetime(2026, 1, 1, tzinfo=UTC)
    ...     return [Feedback(at=at, incident_id="i", verdict=v, who="w", via="cli", why="y")
    ...             for v in verdicts]
    >>> [f.verdict for f in in_effect(said("expected", "new_level", "undo"))]
    ['expected']
    """
    left: list[Feedback] = []
    for feedback in said:
        if feedback.verdict != "undo":
            left.append(feedback)
        elif left:
            left.pop()
    return left


def mutes(said: Iterable[Feedback]) -> bool:
    """Tell whether no more is to be said of an incident."""
    return any(feedback.verdict in MUTES for feedback in in_effect(said))
