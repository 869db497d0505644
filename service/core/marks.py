"""Marks: what people do about an incident, and what state that leaves it in."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

import msgspec

from service.core.intents import Mark
from service.core.severity import Severity, at_least

Stand = Literal["firing", "acknowledged", "snoozed", "resolved"]
_STANDS: Final[dict[str, Stand]] = {
    "acknowledge": "acknowledged",
    "unacknowledge": "firing",
    "snooze": "snoozed",
    "resolve": "resolved",
}


class Marked(msgspec.Struct, kw_only=True):
    """A mark, and how things stood then. `over_at` is when a snooze or a resolve ended."""

    mark: Mark
    rate: Decimal
    severity: Severity
    over_at: datetime | None = None


def in_effect(marked: Sequence[Marked]) -> list[Marked]:
    """Return what was done and not taken back, without comments."""
    left: list[Marked] = []
    for one in marked:
        if one.mark.act == "undo":
            left = left[:-1]
        elif one.mark.act != "comment":
            left.append(one)
    return left


def standing(marked: Sequence[Marked]) -> Marked | None:
    """Return the mark that says in which state an incident is; None when nobody said."""
    found = [one for one in in_effect(marked) if one.mark.act in _STANDS]
    return found[-1] if found else None


def state_of(marked: Sequence[Marked]) -> Stand:
    """Return the state that people left an incident in, if it is not over by itself."""
    last = standing(marked)
    return "firing" if last is None or last.over_at is not None else _STANDS[last.mark.act]


def assignee_of(marked: Sequence[Marked]) -> str | None:
    """Return who sees to an incident: to whom it was given last, else who acknowledged it."""
    done = in_effect(marked)
    given = [one.mark.to for one in done if one.mark.act == "assign"]
    taken = [one.mark.who for one in done if one.mark.act == "acknowledge"]
    return given[-1] if given else taken[-1] if taken else None


def comments_of(marked: Sequence[Marked]) -> list[Mark]:
    """Return what people wrote."""
    return [one.mark for one in marked if one.mark.act == "comment"]


def woken(
    marked: list[Marked], rate: Decimal, severity: Severity, newest: datetime, now: datetime
) -> list[Marked]:
    """End what no longer holds: a snooze whose end has come, a resolve after a newer finding."""
    last = standing(marked)
    if last is None or last.over_at is not None:
        return marked
    mark = last.mark
    is_over = mark.act == "resolve" and newest > mark.at
    if mark.act == "snooze":
        due = mark.until is not None and now >= mark.until
        grown = mark.until_growth is not None and _grew(last.rate, rate, mark.until_growth)
        is_over = due or grown or not at_least(last.severity, severity)
    if not is_over:
        return marked
    ended = msgspec.structs.replace(last, over_at=now)
    return [ended if one is last else one for one in marked]


def snoozed_until(marked: Sequence[Marked]) -> datetime | None:
    """Return when a snooze ends by itself."""
    last = standing(marked)
    return last.mark.until if last is not None and last.over_at is None else None


def _grew(before: Decimal, now: Decimal, share: float) -> bool:
    return abs(now) > 0 and float(abs(now)) >= (1 + share) * float(abs(before))
