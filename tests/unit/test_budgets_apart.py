"""Budgets that people set, with partitions apart from the desk: as on one machine."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from service.adapters.kafka_findings import Followed, Ordered, Tick
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import BUDGET_HEADER, TICK_HEADER, line_of
from service.bootstrap import build_desk_parts, build_pipeline
from service.config import DetectionSettings, Settings
from service.core.budgets import Budget
from service.core.chain import BEGINNING
from service.core.events import Arrival
from service.core.intents import Drop, Put
from service.core.partitions import partition_key, partition_of
from service.core.state import Streams
from service.entrypoints.desk_log import REMINDS_AFTER, DeskLog
from service.entrypoints.partition import Partition, Place
from tests.arriving import Disk
from tests.factories import make_event

NOW = datetime(2026, 6, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARTITIONS = 2
SETTINGS = Settings(detection=DetectionSettings(group_by=[], new_spend_from={}))


def events(cost=2):
    for hour in range(24 * 3):
        start = NOW - HOUR * (24 * 3 - hour)
        for number in range(6):
            yield make_event(
                charge_period_start=start, charge_period_end=start + HOUR,
                resource_id=f"i-{number}", x_event_id=f"{number}-{hour}",
                tags={"team": "ml" if number < 4 else "web"}, service_name=f"S{number % 2}",
                billed_cost=Decimal(cost), effective_cost=Decimal(cost),
            )  # fmt: skip


class Apart:
    """Partitions and a desk, with the messages between them."""

    def __init__(self):
        parts = build_desk_parts(SETTINGS)
        self.desk = DeskLog(parts, SETTINGS.detection.detectors, timedelta(days=62), PARTITIONS)
        self.partitions = [self._partition(number) for number in range(PARTITIONS)]
        self.offsets = [0] * PARTITIONS
        self.now, self.next = NOW, 0
        self.budgets, self.refused = {}, {}

    def _partition(self, number):
        pipeline = build_pipeline(SETTINGS, {}, tells_history=True, is_part=True)
        place = Place("billing.events", number, PARTITIONS)
        return Partition(place, pipeline, BEGINNING, 100)

    def put_in(self, number, value, headers=None):
        message = Message(self.offsets[number], self.now, headers or {}, value)
        self.offsets[number] += 1
        record = self.partitions[number].take(message).record
        if record is not None:
            self.log(record)

    def log(self, entry):
        changes = self.desk.take(self.next, self.now, entry)
        self.next += 1
        if changes is not None:
            self.budgets |= changes.budgets
            self.refused |= changes.refused

    def say(self, intent):
        self.log(Followed(place=self.desk.next_intent, intent=intent))

    def hand_out(self):
        """Do what a router does with orders."""
        for handed in self.desk.orders:
            for _, number in handed.places:
                value = msgspec.json.encode(handed.budget)
                self.put_in(number, value, {BUDGET_HEADER: b"1"})
            self.log(Ordered(intent_id=handed.intent_id))

    def tick(self, minutes=5):
        self.now += timedelta(minutes=minutes)
        for number in range(PARTITIONS):
            self.put_in(number, b"", {TICK_HEADER: b"1"})
        self.log(Tick())

    def restart(self):
        for number, old in enumerate(self.partitions):
            disk = Disk()
            disk.write(old.save(Streams()))
            self.partitions[number] = self._partition(number)
            assert self.partitions[number].restore(disk.saved()) == []


def budget(**values):
    return Budget(**{"name": "ml", "owner": "ml", "amount": Decimal(1000)} | values)


def put(at=NOW, **values):
    return Put(at=at, who="ana", via="api", why="y", thing=budget(**values))


def with_events():
    apart = Apart()
    for event in events():
        place = partition_of(partition_key(event), PARTITIONS)
        apart.put_in(place, line_of(event), {"source": b"aws"})
    apart.tick()
    return apart


def alone(*intents):
    pipeline = build_pipeline(SETTINGS, {}, tells_history=True)
    pipeline.step([Arrival(NOW, "aws", event) for event in events()], NOW, 1)
    found = {}
    for offset, (intent, at) in enumerate(intents, 2):
        if intent is not None:
            found |= pipeline.intent(intent, at, offset).changes.budgets
        else:
            found |= pipeline.step([], at, offset).changes.budgets
    return found


def figures(found):
    return {
        name: None if one is None else (one.state, one.figures.spent, one.figures.amount,
                                        [c.what for c in one.figures.crossed])
        for name, one in found.items()
    }  # fmt: skip


def test_a_budget_is_handed_to_all_partitions_and_judged_as_on_one_machine():
    apart = with_events()
    apart.say(put(apart.now))
    apart.hand_out()
    apart.tick()
    wanted = alone((put(), NOW), (None, NOW + 2 * HOUR))
    assert figures(wanted)["ml"][1] == 2 * 4 * 24 * 3
    assert figures(apart.budgets) == figures(wanted)
    assert apart.desk.orders == []


@pytest.mark.parametrize("restarts", [False, True])
def test_it_goes_on_counting_after_a_restart_of_its_partitions(restarts):
    apart = with_events()
    apart.say(put(apart.now))
    apart.hand_out()
    if restarts:
        apart.restart()
    for event in list(events(3))[-6:]:
        place = partition_of(partition_key(event), PARTITIONS)
        fresh = msgspec.structs.replace(event, x_revision=1)
        apart.put_in(place, line_of(fresh), {"source": b"aws"})
    apart.tick(10)
    assert figures(apart.budgets)["ml"][1] == 2 * 4 * 24 * 3 + 4


def test_what_a_part_says_of_what_counted_before_is_left_out():
    apart = with_events()
    apart.say(put(apart.now))
    apart.hand_out()
    apart.say(put(apart.now + HOUR, owner="web"))
    for event in list(events(3))[-6:]:  # comes before the partitions hear of it
        place = partition_of(partition_key(event), PARTITIONS)
        fresh = msgspec.structs.replace(event, x_revision=1)
        apart.put_in(place, line_of(fresh), {"source": b"aws"})
    apart.tick(10)
    apart.hand_out()
    apart.tick()
    assert figures(apart.budgets)["ml"][1] == 2 * 2 * 24 * 3 + 2


def test_other_periods_of_the_same_spending_are_told_whole():
    apart = with_events()
    for period in ("month", "quarter"):
        apart.say(put(apart.now, period=period))
        apart.hand_out()
        apart.tick()
        assert figures(apart.budgets)["ml"][1] == 2 * 4 * 24 * 3


def test_one_that_is_dropped_counts_no_more():
    apart = with_events()
    apart.say(put(apart.now))
    apart.hand_out()
    apart.say(Drop(at=apart.now, who="ana", via="api", why="y", kind="budget", name="ml"))
    apart.hand_out()
    apart.tick()
    assert apart.budgets == {"ml": None}


def test_what_stands_for_weeks_is_said_again_since_the_input_is_not_kept_for_ever():
    apart = with_events()
    apart.say(put(apart.now))
    apart.hand_out()
    apart.now += REMINDS_AFTER + timedelta(days=2)
    apart.log(Tick())
    (handed,) = apart.desk.orders
    assert handed.budget.thing == budget()
    apart.hand_out()
    apart.now += timedelta(days=2)
    apart.log(Tick())
    assert apart.desk.orders == []
