"""Unused reservations: GPU capacity that is paid for and that no instance runs in.

The bill alone knows: its rows of a capacity reservation say Used or Unused. There are no samples,
as there is no instance.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from detectors.base import step_of
from service.core.gpu_rates import HourCost
from service.core.idle_verdicts import COMMITTED, IdleVerdict, Signs, reason_of
from service.core.money import ZERO, total
from service.core.state import Chunk, Saved, Streams

LEAST_HOURS: Final = 2
CERTAIN: Final = 6.0  # the score of what the bill itself says
REMEMBERED: Final = 1440  # hours
# A bill that says nothing of it for so long, as late as bills may be, says that it is no more.
UNBILLED: Final = timedelta(hours=72)
HOUR: Final = timedelta(hours=1)


class _Reservation(msgspec.Struct):
    hours: dict[int, HourCost | None] = {}  # by step; None when it was used
    verdict: IdleVerdict | None = None
    changed: bool = False

    def is_unbilled(self, at: datetime) -> bool:
        """Tell whether it is told to go on, although no bill speaks of it any more."""
        told = self.verdict
        return told is not None and not told.ended and at - told.until >= UNBILLED

    def unused(self) -> list[HourCost]:
        """Return the unused hours in a row that end with the newest hour known."""
        row = []
        step = max(self.hours)
        while (cost := self.hours.get(step)) is not None:
            row.append(cost)
            step -= 1
        return row[::-1]


class Unused:
    """Verdicts of cause `reserved_unused`, from two unused hours in a row on."""

    def __init__(self) -> None:
        self._known: dict[str, _Reservation] = {}

    def observe_cost(self, cost: HourCost) -> None:
        """Take in what the bill says of one hour of one reservation."""
        status = (cost.capacity_reservation_status or "").casefold()
        if status not in ("used", "unused"):
            return
        known = self._known.setdefault(cost.resource_id, _Reservation())
        known.hours[step_of(cost.hour_start, 1)] = cost if status == "unused" else None
        known.changed = True
        if len(known.hours) > REMEMBERED:
            del known.hours[min(known.hours)]

    def advance(self, now: int) -> list[IdleVerdict]:
        """Return what changed since the last call."""
        at = datetime.fromtimestamp(now, UTC)
        changed = [
            (key, known)
            for key, known in sorted(self._known.items())
            if known.changed or known.is_unbilled(at)
        ]
        verdicts = [verdict for key, known in changed if (verdict := _judged(key, known, at))]
        for _, known in changed:
            known.changed = False
        return verdicts

    def standing(self) -> Iterator[IdleVerdict]:
        """Yield what was told and has not ended, in a fixed order."""
        for _, known in sorted(self._known.items()):
            if known.verdict is not None and not known.verdict.ended:
                yield known.verdict

    def forget(self, before: datetime) -> None:
        """Let go of reservations not billed since a time, and of which nothing is told."""
        edge = step_of(before, 1)
        for key, known in list(self._known.items()):
            is_told = known.verdict is not None and not known.verdict.ended
            if max(known.hours) < edge and not is_told:
                del self._known[key]

    def save(self, streams: Streams, name: str) -> Iterator[Chunk]:
        """Yield what changed since the last save."""
        yield from streams.values(name, self._known.items())

    def restore(self, saved: Saved, name: str) -> None:
        """Take over what was saved."""
        self._known = saved.values(name, _Reservation)


def _judged(key: str, known: _Reservation, at: datetime) -> IdleVerdict | None:
    unused = known.unused()
    told = None if known.verdict is None or known.verdict.ended else known.verdict
    if unused and (told or len(unused) >= LEAST_HOURS):
        verdict = _going_on(key, unused, told, at)
        if at - verdict.until >= UNBILLED:
            verdict = msgspec.structs.replace(verdict, ended=True, ending="unbilled")
    elif told:
        withdrawn = known.hours.get(step_of(told.since, 1)) is None
        verdict = msgspec.structs.replace(
            told,
            updated_at=at,
            ended=True,
            ending="withdrawn" if withdrawn else "used",
            retracted=withdrawn,
        )
    else:
        return None
    known.verdict = msgspec.structs.replace(verdict, reason=reason_of(verdict, Signs()))
    return known.verdict


def _going_on(
    key: str, unused: list[HourCost], told: IdleVerdict | None, at: datetime
) -> IdleVerdict:
    first, last = unused[0], unused[-1]
    reserved = (last.commitment_status or "").casefold() == "used"
    since = told.since if told else first.hour_start
    return IdleVerdict(
        key=key,
        cause="reserved_unused",
        since=since,
        started_at=since,
        until=last.hour_start + HOUR,
        detected_at=told.detected_at if told else at,
        updated_at=at,
        gpus=(),
        gpu_count=0,
        gpus_of_instance=0,
        score=CERTAIN,
        hostname="",
        price_source="as billed",
        wasted_per_hour=last.effective_cost,
        waste=total(cost.effective_cost for cost in unused),
        saves_per_hour=ZERO if reserved else last.effective_cost,
        saves_why=COMMITTED if reserved else "",
        currency=last.currency,
        resource_id=key,
        instance_type=last.instance_type,
        provider=last.provider,
        region_id=last.region_id,
        sub_account_id=last.sub_account_id,
        tags=last.tags,
    )
