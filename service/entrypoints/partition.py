"""One partition of the input: its messages in, in order, and what they change out. Touches nothing.

What comes out depends on the messages alone, so that whoever owns the partition says the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

import msgspec

from service.adapters.kafka_findings import Record, told
from service.adapters.kafka_letters import Letter
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import (
    BUDGET_HEADER,
    MACHINES_HEADER,
    ORDER_HEADER,
    SOURCE_HEADER,
    TICK_HEADER,
)
from service.adapters.kafka_rollups import Report
from service.adapters.kafka_topics import SAMPLES
from service.adapters.sources import events, gpu_samples
from service.adapters.sources.base import Flaw, Row
from service.core.chain import BEGINNING
from service.core.events import EARLIEST, Arrival, CostEvent
from service.core.gpu_hosts import as_news
from service.core.intents import Drop, Order, Put
from service.core.ledger import LedgerRow
from service.core.machines import Word
from service.core.partitions import partition_key, partition_of
from service.core.state import Chunk, Saved, StateError, Streams
from service.entrypoints.charted import Charted
from service.pipeline import Found, Pipeline

_NO_ROWS: Final = frozenset({ORDER_HEADER, BUDGET_HEADER, MACHINES_HEADER, TICK_HEADER})
UNNAMED: Final = {False: "events", True: "gpu_samples"}
# How old may be what is known of a source in which nothing is odd.
SAYS_EVERY: Final = timedelta(minutes=5)
# So many changed sums are said before their time.
MOST_PARTIALS: Final = 20_000
NOTHING: Final = Found([], [], [], [], {})


class Stray(NamedTuple):
    """A good line that belongs to another partition of its topic."""

    topic: str
    partition: int
    source: str
    line: bytes


class Output(NamedTuple):
    """What one step changed; a record when there is anything to say.

    `rows` are for the history: the same step has the same, told before or not.
    """

    record: Record | None
    letters: list[Letter]
    strays: list[Stray]
    reports: list[Report]
    rows: list[LedgerRow]

    @property
    def is_any(self) -> bool:
        """Tell whether there is anything to say."""
        return bool(self.record or self.letters or self.strays or self.reports)


class TooManyBadError(Exception):
    """So much in a row is bad that the sender, or this program, must be wrong."""


class Place(NamedTuple):
    """One partition of a topic that has `partitions`."""

    topic: str
    number: int
    partitions: int


def steps(batch: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield what `Partition.take` takes at a time: rows together, whatever is none alone."""
    for is_rows, some in groupby(batch, lambda message: _NO_ROWS.isdisjoint(message.headers)):
        if is_rows:
            yield list(some)
        else:
            yield from ([one] for one in some)


class Partition:
    """Runs the messages of one partition through a pipeline of its own.

    What was taken in as one step must be one again, or less is found of what came between.
    `told_until` is the offset up to which it has been told: up to there nothing comes out again,
    but for reports, which may. Of a pipeline that is part of several, what it adds to sums is
    reported `sums_every` so long, at moments that all partitions share.
    At `bad_lines_in_a_row` it gives up, but for messages up to `skip_bad_until` or told already.
    """

    def __init__(
        self,
        place: Place,
        pipeline: Pipeline,
        told_until: int,
        bad_lines_in_a_row: int,
        skip_bad_until: int = BEGINNING,
        sums_every: timedelta | None = None,
    ) -> None:
        self._every = sums_every
        self._reported = BEGINNING
        self.topic, self.number, self._partitions = place
        self._most_bad = bad_lines_in_a_row
        self._pipeline = pipeline
        self._end = told_until
        self._forgiven = max(told_until, skip_bad_until)
        self._now: datetime | None = None
        self._bad_in_a_row = 0
        self._said_at = EARLIEST
        self._charted = Charted()
        self.next_offset = 0

    @property
    def name(self) -> str:
        """Name it among all."""
        return f"{self.topic}/{self.number}"

    @property
    def now(self) -> datetime | None:
        """Return the time that this partition has reached, None before the first message."""
        return self._now

    def note_told(self, until: int) -> None:
        """Note up to which offset it has been told, as `told_until`."""
        self._end, self._forgiven = max(self._end, until), max(self._forgiven, until)

    def is_quiet(self, now: datetime, tick: timedelta) -> bool:
        """Tell whether time has to be let pass here by a message without rows.

        Who adds sums up waits for every partition, for one that never had a message too.
        """
        if self._every is None:
            return self._now is not None and self._now < now - tick
        return self._now is None or self._now < _floor(now, self._every)

    def take(self, *step: Message) -> Output:
        """Take in what comes next; TooManyBadError when it is bad after many that were."""
        last = step[-1].offset
        self.next_offset = last + 1
        # A broker's clock may step back; time in a partition does not.
        before, came = self._now, max(message.at for message in step)
        self._now = now = came if before is None else max(came, before)
        letters: list[Letter] = []
        strays: list[Stray] = []
        reports = self._pass(before, now, last)
        found = self._find(step, now, letters, strays)
        members, spent, rows = found.members, found.spent, found.ledger_rows
        gpus = {host: as_news(one) for host, one in found.gpus.items()}
        reports = reports or self._overflow(now, last)
        is_due = bool(self._pipeline.statuses) and now - self._said_at >= SAYS_EVERY
        if not (members or spent or gpus or letters or strays or is_due):
            return Output(None, [], [], reports, rows)
        self._said_at = now
        due = self._charted.due([member.finding.finding_id for member in members], now)
        if last <= self._end:
            return Output(None, [], [], reports, rows)
        self._pipeline.describe(now)
        charts = {finding_id: self._pipeline.chart(finding_id) for finding_id in due}
        record = Record(
            topic=self.topic,
            partition=self.number,
            previous=self._end,
            offset=last,
            now=now,
            told=told(members, {name: chart for name, chart in charts.items() if chart}),
            sources=[copy(status) for status in self._pipeline.statuses.values()],
            spent=spent,
            gpus=gpus,
        )
        self._end = last
        return Output(record, letters, strays, reports, rows)

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save, as of `next_offset`."""
        yield from self._pipeline.save(streams)
        rest = _Rest(
            partitions=self._partitions,
            next_offset=self.next_offset,
            now=self._now,
            bad_in_a_row=self._bad_in_a_row,
            said_at=self._said_at,
            charted=self._charted.when,
            reported=None if self._every is None else self._reported,
        )
        yield from streams.values("partition", [("", rest)])

    def restore(self, saved: Saved) -> list[str]:
        """Take over what was saved, before the first message; return what could not be used.

        StateError when nothing can: the partition is then spoilt.
        """
        try:
            (rest,) = saved.values("partition", _Rest).values()
        except (ValueError, msgspec.MsgspecError) as error:
            raise StateError(f"saved state does not fit: {error}") from error
        if rest.partitions != self._partitions:
            raise StateError(f"its topic had {rest.partitions} partitions, not {self._partitions}")
        if (rest.reported is None) != (self._every is None):
            raise StateError("it is of a worker that said nothing of sums, or did")
        self._reported = BEGINNING if rest.reported is None else rest.reported
        flaws = self._pipeline.restore(saved)
        self.next_offset, self._now = rest.next_offset, rest.now
        self._bad_in_a_row, self._said_at = rest.bad_in_a_row, rest.said_at
        self._charted = Charted(rest.charted)
        return flaws

    def _find(
        self, step: Sequence[Message], now: datetime, letters: list[Letter], strays: list[Stray]
    ) -> Found:
        """Do what a step asks."""
        first = step[0]
        if ORDER_HEADER in first.headers:
            return NOTHING._replace(members=self._pipeline.obey(_ORDER(first.value), now))
        if BUDGET_HEADER in first.headers:
            return NOTHING._replace(spent=self._pipeline.follow_budget(_BUDGET(first.value), now))
        if MACHINES_HEADER in first.headers:
            return NOTHING._replace(members=self._pipeline.hear(_WORD(first.value), now))
        read = [(message, self._read(message, letters, strays)) for message in step]
        batch = [arrival for _, some in read for arrival in some]
        found = self._pipeline.find(batch, now, self.next_offset)
        if found.too_late:
            came_in = {id(arrival): message for message, some in read for arrival in some}
            letters += [self._too_late(came_in[id(one)], one) for one in found.too_late]
        return found

    def _pass(self, before: datetime | None, now: datetime, offset: int) -> list[Report]:
        """Report what came before a moment at which all partitions do, if it is one."""
        if self._every is None:
            return []
        passed = _floor(now, self._every)
        if before is not None and passed <= _floor(before, self._every):
            return []
        mark = passed if before is None else _floor(before, self._every) + self._every
        return [self._report(mark, passed, now, offset)]

    def _overflow(self, now: datetime, offset: int) -> list[Report]:
        """Report before it is time what would be too much at once."""
        if self._every is None or self._pipeline.due_partials < MOST_PARTIALS:
            return []
        passed = _floor(now, self._every)
        return [self._report(passed + self._every, passed, now, offset)]

    def _report(self, mark: datetime, passed: datetime, now: datetime, offset: int) -> Report:
        previous, self._reported = self._reported, offset
        return Report(
            topic=self.topic,
            partition=self.number,
            previous=previous,
            offset=offset,
            mark=mark,
            passed=passed,
            contacts=dict(self._pipeline.contacts),
            cells=self._pipeline.partials(now),
            levels=self._pipeline.asked_levels(),
            looks=list(look.pieces()) if (look := self._pipeline.look()) else [],
        )

    def _read(self, message: Message, letters: list[Letter], strays: list[Stray]) -> list[Arrival]:
        if TICK_HEADER in message.headers:
            return []
        seen: Counter[str] = Counter()
        is_gpu = self.topic == SAMPLES
        source = message.headers.get(SOURCE_HEADER, b"").decode("utf-8", "replace")
        source = source or UNNAMED[is_gpu]
        batch, good = [], len(letters)
        for number, line in enumerate(message.value.splitlines(), 1):
            row = gpu_samples.parse(number, line) if is_gpu else events.parse(number, line, seen)
            if isinstance(row, Flaw):
                letters.append(self._letter(message, number, source, row.reason, line))
                self._count_bad(letters[-1])
            elif row is not None:
                self._bad_in_a_row = 0
                arrival = self._arrival(message, source, line, row, strays)
                if arrival is not None:
                    batch.append(arrival)
        if rejected := len(letters) - good:
            self._pipeline.note_rejected(source, rejected, letters[-1].reason)
        return batch

    def _arrival(
        self, message: Message, source: str, line: bytes, row: Row, strays: list[Stray]
    ) -> Arrival | None:
        event = row.event
        home = partition_of(partition_key(event), self._partitions)
        if home != self.number:
            strays.append(Stray(self.topic, home, source, line + b"\n"))
            return None
        return Arrival(event.x_arrived_at or message.at, source, event)

    def _count_bad(self, letter: Letter) -> None:
        self._bad_in_a_row += 1
        if self._bad_in_a_row < self._most_bad:
            return
        self._bad_in_a_row = 0
        if letter.offset > self._forgiven:
            raise TooManyBadError(
                f"{self.topic}/{self.number}: {self._most_bad} bad lines in a row, the last, "
                f"{letter.name}: {letter.reason}. To set them aside as dead letters and go on: "
                f"spendwatch worker --skip-bad-until {self.topic}/{self.number}/{letter.offset}"
            )

    def _too_late(self, message: Message, arrival: Arrival) -> Letter:
        event = arrival.event
        assert isinstance(event, CostEvent)  # noqa: S101 - samples are never too late for the ledger
        reason = f"its period {event.charge_period_start:%Y-%m-%d} is older than remember_days"
        return self._letter(message, 0, arrival.source, reason, msgspec.json.encode(event))

    def _letter(self, message: Message, line: int, source: str, reason: str, raw: bytes) -> Letter:
        return Letter(
            topic=self.topic,
            partition=self.number,
            offset=message.offset,
            line=line,
            source=source,
            reason=reason,
            raw=raw,
        )


class _Rest(msgspec.Struct, kw_only=True):
    """What is saved of a partition beside its pipeline."""

    partitions: int
    next_offset: int
    now: datetime | None
    bad_in_a_row: int
    said_at: datetime
    charted: dict[str, datetime]
    reported: int | None = None


def _floor(at: datetime, every: timedelta) -> datetime:
    return at - (at - EARLIEST) % every


_ORDER: Final = msgspec.json.Decoder(Order).decode
_WORD: Final = msgspec.json.Decoder(Word).decode
_BUDGET: Final[Callable[[bytes], Put | Drop]] = msgspec.json.Decoder(Put | Drop).decode
