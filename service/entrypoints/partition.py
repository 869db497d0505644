"""One partition of the input: its messages in, in order, and what they change out. Touches nothing.

What comes out depends on the messages alone, so that whoever owns the partition says the same.
"""

from collections import Counter
from copy import copy
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from service.adapters.kafka_findings import Record, told
from service.adapters.kafka_letters import Letter
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import SOURCE_HEADER, TICK_HEADER
from service.adapters.kafka_topics import SAMPLES
from service.adapters.sources import events, gpu_samples
from service.adapters.sources.base import Flaw, Row
from service.core.chain import BEGINNING
from service.core.events import Arrival, CostEvent
from service.core.partitions import partition_key, partition_of
from service.pipeline import Pipeline

UNNAMED: Final = {False: "events", True: "gpu_samples"}


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
        self.next_offset = 0

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
        batch = [] if TICK_HEADER in message.headers else self._read(message, letters, strays)
        outcome = self._pipeline.step(batch, now, message.offset + 1)
        letters += [self._too_late(message, arrival) for arrival in outcome.too_late]
        if message.offset <= self._end or not (outcome.members or letters or strays):
            return Output(None, [], [])
        record = Record(
            topic=self.topic,
            partition=self.number,
            previous=self._end,
            offset=message.offset,
            now=now,
            told=told(outcome.members),
            sources=[copy(status) for status in self._pipeline.statuses.values()],
        )
        self._end = message.offset
        return Output(record, letters, strays)

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
