"""The log of sums: what partitions report in, what is odd over all of them out. Touches nothing.

A moment is judged once every partition has passed it, in the order of time and not of the log.
What comes out depends on the reports alone, however those of partitions lie between each other.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from service.adapters.kafka_findings import Chains, Place, Record, told
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import ORDER_HEADER
from service.adapters.kafka_rollups import Report, decode
from service.adapters.kafka_topics import ROLLUPS
from service.adder import Adder
from service.core.drivers import Member
from service.core.intents import Order
from service.core.looks import Look
from service.core.machines import Word
from service.core.partials import CellPart, LevelPart
from service.core.state import Chunk, Saved, StateError, Streams
from service.core.unit_costs import UnitBill
from service.core.untagged import Unallocated
from service.entrypoints.charted import Charted


class _Waiting(msgspec.Struct, array_like=True):
    """What partitions said of the time up to a moment that not all have passed."""

    contacts: dict[str, datetime]
    said: list[tuple[int, CellPart]]
    levels: list[tuple[int, LevelPart]]
    looks: list[tuple[int, Look]] = []


class RollupLog:
    """Runs the reports of the partitions of one topic through an adder.

    `told_until` is the offset of the log up to which it was told. After each message `words` are
    what partitions are to be told of machines, before what was found is.
    """

    def __init__(self, adder: Adder, partitions: int, told_until: int) -> None:
        self._adder = adder
        self._partitions = partitions
        self._end = told_until
        self._chains: Chains[Report] = Chains()
        self._passed: dict[int, datetime] = {}
        self._waiting: dict[datetime, _Waiting] = {}
        self._now: datetime | None = None
        self._charted = Charted()
        self.words: list[tuple[int, Word]] = []
        self.next_offset = 0

    @property
    def name(self) -> str:
        """Name the log."""
        return ROLLUPS

    @property
    def now(self) -> datetime | None:
        """Return up to when all partitions have been judged, None before the first moment."""
        return self._now

    @property
    def looked_at(self) -> datetime | None:
        """Return the moment up to which all looked at allocation, None before the first."""
        return self._adder.looked_at

    def allocated(self) -> tuple[Unallocated, list[UnitBill]]:
        """Return what of spend could not be allocated then, and what units cost."""
        return self._adder.allocated()

    @property
    def waits_for(self) -> int:
        """Return how many partitions have never said anything: until then nothing is judged."""
        return self._partitions - len(self._passed)

    def note_told(self, until: int) -> None:
        """Note up to which offset it was told, as `told_until`."""
        self._end = max(self._end, until)

    def take(self, message: Message) -> Record | None:
        """Take in the next message; ValueError for one that is no report."""
        self.next_offset = message.offset + 1
        if ORDER_HEADER in message.headers:
            order = _ORDER(message.value)
            members = [] if self._now is None else self._adder.obey(order, self._now)
        else:
            members = self._take(decode(message.value))
        words = self._adder.words()
        is_told = message.offset <= self._end
        self.words = [] if is_told else [(int(part), word) for part, word in words]
        if self._now is None:
            return None
        over = self._adder.end_of_past(self._now)
        if not members and over is None:
            return None
        due = self._charted.due([m.finding.finding_id for m in members], self._now)
        if is_told:
            return None
        charts = {finding_id: self._adder.chart(finding_id) for finding_id in due}
        previous, self._end = self._end, message.offset
        return Record(
            topic=ROLLUPS,
            partition=0,
            previous=previous,
            offset=message.offset,
            now=self._now,
            told=told(members, {name: chart for name, chart in charts.items() if chart}),
            sources=[],
            ends_backfill=over,
        )

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save, as of `next_offset`."""
        yield from self._adder.save(streams)
        rest = _Rest(
            partitions=self._partitions,
            next_offset=self.next_offset,
            now=self._now,
            ends=list(self._chains.ends.items()),
            parts=self._chains.waiting,
            passed=list(self._passed.items()),
            waiting=list(self._waiting.items()),
            charted=self._charted.when,
        )
        yield from streams.values("rollup_log", [("", rest)])

    def restore(self, saved: Saved) -> list[str]:
        """Take over what was saved, before the first message; return what could not be used.

        StateError when nothing can: this one is then spoilt.
        """
        try:
            (rest,) = saved.values("rollup_log", _Rest).values()
        except (ValueError, msgspec.MsgspecError) as error:
            raise StateError(f"saved state does not fit: {error}") from error
        if rest.partitions != self._partitions:
            raise StateError(f"the input had {rest.partitions} partitions, not {self._partitions}")
        flaws = self._adder.restore(saved)
        self.next_offset, self._now = rest.next_offset, rest.now
        self._chains = Chains(dict(rest.ends), rest.parts)
        self._passed, self._waiting = dict(rest.passed), dict(rest.waiting)
        self._charted = Charted(rest.charted)
        return flaws

    def _take(self, report: Report) -> list[Member]:
        place = report.topic, report.partition
        # What begins in the middle, since the rest is too old to be kept, begins there.
        self._chains.ends.setdefault(place, report.previous)
        for one in self._chains.take(report):
            waiting = self._waiting.setdefault(one.mark, _Waiting({}, [], []))
            waiting.contacts |= one.contacts
            waiting.said += [(one.partition, cell) for cell in one.cells]
            waiting.levels += [(one.partition, level) for level in one.levels]
            waiting.looks += [(one.partition, look) for look in one.looks]
            self._waiting.setdefault(one.passed, _Waiting({}, [], []))
            self._passed[one.partition] = one.passed
        if self.waits_for:
            return []
        return self._judge(min(self._passed.values()))

    def _judge(self, until: datetime) -> list[Member]:
        """Judge every moment that all partitions have passed."""
        found: dict[str, Member] = {}
        for mark in sorted(mark for mark in self._waiting if mark <= until):
            waiting = self._waiting.pop(mark)
            self._now = max(mark, self._now or mark)
            self._adder.meet(waiting.contacts)
            levels = sorted(waiting.levels, key=lambda one: one[0])
            self._adder.take_levels([level for _, level in levels], self._now)
            said = sorted(waiting.said, key=lambda one: one[0])
            cells = [(str(part), cell) for part, cell in said]
            looks = [(str(part), look) for part, look in waiting.looks]
            for member in self._adder.find(cells, self._now, looks):
                name = member.finding.finding_id
                before = found[name].dirty if name in found else ()
                found[name] = member._replace(dirty={*before, *member.dirty})
        return list(found.values())


class _Rest(msgspec.Struct, kw_only=True):
    """What is saved of the log beside the adder."""

    partitions: int
    next_offset: int
    now: datetime | None
    ends: list[tuple[Place, int]]
    parts: list[Report]
    passed: list[tuple[int, datetime]]
    waiting: list[tuple[datetime, _Waiting]]
    charted: dict[str, datetime]


_ORDER: Final = msgspec.json.Decoder(Order).decode
