"""One partition of the input: its messages in, in order, and what they change out. Touches nothing.

What comes out depends on the messages alone, so that whoever owns the partition says the same.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from service.adapters.kafka_findings import Record, told
from service.adapters.kafka_letters import Letter
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import ORDER_HEADER, SOURCE_HEADER, TICK_HEADER
from service.adapters.kafka_topics import SAMPLES
from service.adapters.sources import events, gpu_samples
from service.adapters.sources.base import Flaw, Row
from service.core.chain import BEGINNING
from service.core.drivers import Member
from service.core.events import EARLIEST, Arrival, CostEvent
from service.core.gpu_hosts import GpuHost, as_news
from service.core.intents import Order
from service.core.partitions import partition_key, partition_of
from service.core.spend import Spent
from service.core.state import Chunk, Saved, StateError, Streams
from service.pipeline import Pipeline

UNNAMED: Final = {False: "events", True: "gpu_samples"}
# How old may be what is known of a source in which nothing is odd.
SAYS_EVERY: Final = timedelta(minutes=5)
# A chart weighs more than all else that is said of a finding.
CHARTS_EVERY: Final = timedelta(hours=3)


class Stray(NamedTuple):
    """A good line that belongs to another partition of its topic."""

    topic: str
    partition: int
    source: str
    line: bytes


class Output(NamedTuple):
    """What one message changed; a record when there is anything to say."""

    record: Record | None
    letters: list[Letter]
    strays: list[Stray]


class TooManyBadError(Exception):
    """So much in a row is bad that the sender, or this program, must be wrong."""


class Place(NamedTuple):
    """One partition of a topic that has `partitions`."""

    topic: str
    number: int
    partitions: int


class Partition:
    """Runs the messages of one partition through a pipeline of its own.

    `told_until` is the offset up to which it has been told: up to there nothing comes out again.
    At `bad_lines_in_a_row` it gives up, but for messages up to `skip_bad_until` or told already.
    """

    def __init__(
        self,
        place: Place,
        pipeline: Pipeline,
        told_until: int,
        bad_lines_in_a_row: int,
        skip_bad_until: int = BEGINNING,
    ) -> None:
        self.topic, self.number, self._partitions = place
        self._most_bad = bad_lines_in_a_row
        self._pipeline = pipeline
        self._end = told_until
        self._forgiven = max(told_until, skip_bad_until)
        self._now: datetime | None = None
        self._bad_in_a_row = 0
        self._said_at = EARLIEST
        self._charted: dict[str, datetime] = {}
        self.next_offset = 0

    @property
    def name(self) -> str:
        """Name it among all."""
        return f"{self.topic}/{self.number}"

    @property
    def now(self) -> datetime | None:
        """Return the time that this partition has reached, None before the first message."""
        return self._now

    def take(self, message: Message) -> Output:
        """Take in the next message; TooManyBadError when it is bad after many that were."""
        self.next_offset = message.offset + 1
        # A broker's clock may step back; time in a partition does not.
        self._now = now = max(message.at, self._now or message.at)
        letters: list[Letter] = []
        strays: list[Stray] = []
        members, spent, gpus = self._find(message, now, letters, strays)
        if not (members or spent or gpus or letters or strays or now - self._said_at >= SAYS_EVERY):
            return Output(None, [], [])
        self._said_at = now
        due = self._due_charts(members, now)
        if message.offset <= self._end:
            return Output(None, [], [])
        charts = {finding_id: self._pipeline.chart(finding_id) for finding_id in due}
        record = Record(
            topic=self.topic,
            partition=self.number,
            previous=self._end,
            offset=message.offset,
            now=now,
            told=told(members, {name: chart for name, chart in charts.items() if chart}),
            sources=[copy(status) for status in self._pipeline.statuses.values()],
            spent=spent,
            gpus=gpus,
        )
        self._end = message.offset
        return Output(record, letters, strays)

    def save(self, streams: Streams) -> Iterator[Chunk]:
        """Yield what changed since the last save, as of `next_offset`."""
        yield from self._pipeline.save(streams)
        rest = _Rest(
            partitions=self._partitions,
            next_offset=self.next_offset,
            now=self._now,
            bad_in_a_row=self._bad_in_a_row,
            said_at=self._said_at,
            charted=self._charted,
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
        flaws = self._pipeline.restore(saved)
        self.next_offset, self._now = rest.next_offset, rest.now
        self._bad_in_a_row, self._said_at = rest.bad_in_a_row, rest.said_at
        self._charted = rest.charted
        return flaws

    def _find(
        self, message: Message, now: datetime, letters: list[Letter], strays: list[Stray]
    ) -> tuple[list[Member], list[Spent], dict[str, GpuHost | None]]:
        """Do what a message asks; return the findings that changed, what was spent, and hosts."""
        if ORDER_HEADER in message.headers:
            return self._pipeline.obey(_ORDER(message.value), now), [], {}
        batch = [] if TICK_HEADER in message.headers else self._read(message, letters, strays)
        found = self._pipeline.find(batch, now, message.offset + 1)
        letters += [self._too_late(message, arrival) for arrival in found.too_late]
        gpus = {host: as_news(one) for host, one in found.gpus.items()}
        return found.members, found.spent, gpus

    def _due_charts(self, members: Sequence[Member], now: datetime) -> list[str]:
        """Name the findings whose chart is to be said now, and note that it was."""
        due = [
            member.finding.finding_id
            for member in members
            if now - self._charted.get(member.finding.finding_id, EARLIEST) >= CHARTS_EVERY
        ]
        if due:
            kept = {name: at for name, at in self._charted.items() if now - at < CHARTS_EVERY}
            self._charted = kept | dict.fromkeys(due, now)
        return due

    def _read(self, message: Message, letters: list[Letter], strays: list[Stray]) -> list[Arrival]:
        seen: Counter[str] = Counter()
        is_gpu = self.topic == SAMPLES
        source = message.headers.get(SOURCE_HEADER, b"").decode("utf-8", "replace")
        source = source or UNNAMED[is_gpu]
        batch = []
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
        rejected = len(letters)
        if rejected:
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


_ORDER: Final = msgspec.json.Decoder(Order).decode
