"""What partitions are told of machines, and storage that outlived its own in another partition."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from service.adapters.kafka_findings import chained
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import MACHINES_HEADER, TICK_HEADER, line_of
from service.adapters.kafka_rollups import decode, encode
from service.adapters.kafka_topics import EVENTS
from service.bootstrap import build_adder, build_pipeline
from service.config import KafkaSettings, Settings
from service.core.chain import BEGINNING
from service.core.events import Arrival
from service.core.machines import (
    NOBODY,
    PIECE,
    RUNS,
    SAID_AGAIN_DAYS,
    Apart,
    Ask,
    Register,
    Sight,
    Word,
    key_of,
)
from service.core.noted import Noted
from service.core.partitions import partition_key, partition_of
from service.core.state import Streams
from service.entrypoints.partition import Partition, Place
from service.entrypoints.rollup_log import RollupLog
from tests.arriving import Disk
from tests.factories import make_day

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
DAYS = 24
PARTITIONS = 3
# Rows are forgotten before the end, and what they said of machines is not.
SETTINGS = Settings(kafka=KafkaSettings(partitions=PARTITIONS), remember_days=9)


def rows(day):
    """Yield a day of six machines and their volumes: some are gone, one comes back."""
    for number in range(6):
        if day < 2 + 2 * number or (number == 1 and 15 < day < 19):
            yield make_day(T0, day, f"i-0abc{number}", 40)
        yield make_day(T0, day, f"vol-0abc{number}", 2, tags={"vm": f"i-0abc{number}"})


def times():
    """The rows of a day come half an hour after noon of the next; time passes at whole hours."""
    for day in range(DAYS):
        noon = T0 + (day + 1.5) * DAY
        yield noon, []
        yield noon + MINUTE, []
        yield noon + 30 * MINUTE, list(rows(day))
        yield noon + HOUR, []
        yield noon + HOUR + MINUTE, []


def alone(restarts=()):
    pipeline, found = build_pipeline(SETTINGS, {}, tells_history=True), {}
    for offset, (now, some) in enumerate(times(), 1):
        batch = [Arrival(now, "aws", event) for event in some]
        for member in pipeline.find(batch, now, offset).members:
            found[member.finding.finding_id] = member.finding
        if offset in restarts:
            old, pipeline = pipeline, build_pipeline(SETTINGS, {}, tells_history=True)
            assert pipeline.restore(saved(old)) == []
    return orphaned(found)


def saved(one):
    disk = Disk()
    disk.write(one.save(Streams()))
    return disk.saved()


def orphaned(found):
    return {name: one for name, one in found.items() if one.kind == "orphaned_storage"}


def partition(number):
    pipeline = build_pipeline(SETTINGS, {}, tells_history=True, is_part=True)
    return Partition(Place(EVENTS, number, PARTITIONS), pipeline, BEGINNING, 100, sums_every=MINUTE)


def rollup_log():
    return RollupLog(build_adder(SETTINGS), PARTITIONS, BEGINNING)


class Crew:
    """Partitions and the log of sums, with all that is written between them."""

    def __init__(self):
        self.partitions = [partition(number) for number in range(PARTITIONS)]
        self.sums = rollup_log()
        self.logs = [[] for _ in range(PARTITIONS)]
        self.reports, self.words, self.records = [[] for _ in range(PARTITIONS)], [], []

    def run(self, restarts=()):
        for count, (now, some) in enumerate(times(), 1):
            for number in range(PARTITIONS):
                mine = [e for e in some if partition_of(partition_key(e), PARTITIONS) == number]
                value, headers = b"".join(map(line_of, mine)), {"source": b"aws"}
                self.put_in(number, now, value, headers if mine else {TICK_HEADER: b"1"})
            if count in restarts:
                self.restart()
        return self

    def put_in(self, number, now, value, headers):
        log = self.logs[number]
        log.append(Message(len(log), now, headers, value))
        out = self.partitions[number].take(log[-1])
        self.records += [] if out.record is None else [out.record]
        for report in out.reports:
            for written in encode(report):
                self.reports[number].append((report.passed, written))
                self.sums.take(Message(self.sums.next_offset, now, {}, written))
                self.hand_out(now)

    def hand_out(self, now):
        for to, word in self.sums.words:
            self.words.append((to, word))
            self.put_in(to, now, msgspec.json.encode(word), {MACHINES_HEADER: b"1"})

    def restart(self):
        fresh = Crew()
        for old, new in zip(
            [self.sums, *self.partitions], [fresh.sums, *fresh.partitions], strict=True
        ):
            assert new.restore(saved(old)) == []
            if isinstance(new, Partition):
                new.note_told(max((r.offset for r in self.of(new.number)), default=BEGINNING))
        self.sums, self.partitions = fresh.sums, fresh.partitions

    def looks(self):
        return [look for some in self.reports for _, one in some for look in decode(one).looks]

    def of(self, number):
        return [record for record in self.records if record.partition == number]

    def found(self):
        return orphaned({t.finding.finding_id: t.finding for r in self.records for t in r.told})


@pytest.fixture(scope="module")
def crew():
    return Crew().run()


@pytest.fixture(scope="module")
def wanted():
    found = alone()
    assert len(found) == 6
    assert [one.ending for one in found.values()].count("mended") == 1
    return found


def test_a_machine_that_the_ledger_forgot_is_known_while_its_storage_is_there(wanted):
    assert alone(restarts=range(1, 5 * DAYS, 7)) == wanted
    assert sum(one.ended_at is None for one in wanted.values()) == 5


def test_partitions_tell_storage_of_machines_elsewhere_as_one_process_does(crew, wanted):
    assert crew.found() == wanted


def test_partitions_that_are_restored_say_the_same(crew):
    again = Crew().run(restarts=(9, 41, 62, 80, 101))
    assert again.records == crew.records
    assert again.words == crew.words
    assert again.looks() == crew.looks()


def test_what_a_partition_says_of_storage_is_a_function_of_its_log(crew):
    for number, log in enumerate(crew.logs):
        mine = partition(number)
        outs = [mine.take(message) for message in log]
        assert [out.record for out in outs if out.record is not None] == crew.of(number)
    assert list(chained(crew.records)) == crew.records


def test_words_do_not_hang_on_how_reports_lie_between_each_other(crew):
    chance = random.Random(3)  # noqa: S311 - chance that can be had again
    left, words, log = [list(some) for some in crew.reports], [], rollup_log()
    while any(left):
        some = chance.choice([one for one in left if one])
        _, written = some[0]
        if chance.random() < 0.8:  # else it is said again
            some.pop(0)
        log.take(Message(log.next_offset, T0, {}, written))
        words += log.words
    assert words == crew.words


def test_what_was_told_before_is_not_told_again(crew):
    log, last = rollup_log(), sum(map(len, crew.reports))
    log.note_told(last)
    in_order = sorted((one for some in crew.reports for one in some), key=lambda one: one[0])
    for offset, (_, written) in enumerate(in_order):
        log.take(Message(offset, T0, {}, written))
        assert log.words == []


def test_of_storage_with_a_name_that_was_not_answered_nothing_is_said():
    part = build_pipeline(SETTINGS, {}, tells_history=True, is_part=True)
    now = T0 + 3 * DAY
    volume = make_day(T0, 2, "vol-0abc", 2, tags={"vm": "i-0abc"}, resource_name="web")
    for at, batch in ((now, [Arrival(now, "aws", volume)]), (now + HOUR, [])):
        part.find(batch, at, 1)
    names = [key_of(volume.sub_account_id, name) for name in ("i-0abc", "web")]
    assert part.look().asks == sorted(Ask(key, asks=True) for key in names)
    gone = Sight(names[0], hours(now - 10 * DAY))

    def heard(*sights):
        found = part.hear(Word(at=now + HOUR, machines=list(sights)), now + HOUR)
        return [member.finding.ending for member in found]

    assert heard(gone) == []
    assert heard(gone, Sight(names[1], NOBODY)) == [""]
    assert heard(Sight(names[1], RUNS)) == ["mended"]


def hours(at):
    return int(at.timestamp()) // 3600


def test_a_part_says_when_a_machine_begins_is_gone_is_back_and_is_named_anew():
    apart, gone = Apart(), hours(T0)
    one = {7: gone}
    assert apart.news(one, (), T0) == ([Sight(7, RUNS)], [])
    assert apart.news(one, (), T0 + HOUR) == ([], [])
    assert apart.news(one, (), T0 + 7 * DAY + HOUR)[0] == [Sight(7, gone)]
    assert apart.news({7: gone + 200}, (), T0 + 8 * DAY)[0] == [Sight(7, RUNS)]
    assert apart.news({9: gone + 200}, (), T0 + 8 * DAY)[0] == [Sight(7, NOBODY), Sight(9, RUNS)]


def test_a_part_says_all_again_bit_by_bit():
    apart, machines, asks = Apart(), dict.fromkeys(range(100), hours(T0 + 40 * DAY)), range(50)
    said = apart.news(machines, asks, T0)
    for day in range(1, 1 + SAID_AGAIN_DAYS):
        some = apart.news(machines, asks, T0 + day * DAY)
        assert 0 < len(some[0]) <= 8
        assert apart.news(machines, asks, T0 + day * DAY + HOUR) == ([], [])
        said = tuple(a + b for a, b in zip(said, some, strict=True))
    assert [len(set(of)) for of in said] == [100, 50]
    assert [len(of) for of in said] == [200, 100]


def test_a_part_is_told_of_what_it_asks_and_forgets_what_it_asks_no_more():
    register = Register()
    register.put("0", [Sight(1, RUNS), Sight(2, 5), Sight(3, 6)], [])
    register.put("1", [Sight(2, 9)], [Ask(2, asks=True), Ask(4, asks=True)])
    assert register.words(T0) == [("1", Word(at=T0, machines=[Sight(2, 9), Sight(4, NOBODY)]))]
    assert register.words(T0) == [("1", Word(at=T0))]
    register.put("0", [Sight(2, RUNS), Sight(3, RUNS)], [])
    register.put("1", [], [Ask(4, asks=True)])
    assert register.words(T0)[0][1].machines == [Sight(2, RUNS), Sight(4, NOBODY)]
    register.put("1", [], [Ask(2, asks=False), Ask(4, asks=False)])
    register.put("0", [Sight(2, 5)], [])
    assert register.words(T0) == []


def test_a_word_counts_when_all_of_it_is_there_and_none_that_is_older():
    register, apart = Register(), Apart()
    wanted = [key_of("a", f"vm{number}") for number in range(PIECE + 1)]
    register.put("0", [], apart.news({}, wanted, T0)[1])
    first, last = (word for _, word in register.words(T0))
    assert [len(word.machines) for word in (first, last)] == [PIECE, 1]
    assert [apart.hear(word) for word in (first, last, first, last)] == [False, True, False, True]
    assert apart.known.keys() == set(wanted)
    older = Word(at=T0 - HOUR, machines=[Sight(wanted[0], 5)])
    assert not apart.hear(older)
    assert set(apart.known.values()) == {NOBODY}
    assert apart.news({}, wanted[1:], T0)[1] == [Ask(wanted[0], asks=False)]
    assert wanted[0] not in apart.known


def test_a_register_forgets_machines_of_which_nobody_asks():
    register, before = Register(), T0
    register.put("0", [Sight(1, 5), Sight(2, 5), Sight(3, RUNS)], [Ask(1, asks=True)])
    register.forget(before)
    register.put("1", [], [Ask(number, asks=True) for number in (1, 2, 3)])
    assert register.words(T0)[1][1].machines == [Sight(1, 5), Sight(2, NOBODY), Sight(3, RUNS)]


def test_numbers_are_saved_by_what_changed():
    noted, streams, disk = Noted(), Streams(), Disk()
    for number in range(1000):
        noted.put(number, number)
    disk.write(noted.save(streams, "n"))
    whole = disk.bytes
    assert [noted.put(3, None), noted.put(4, 4), noted.put(5, 6)] == [True, False, True]
    disk.write(noted.save(streams, "n"))
    assert disk.bytes < whole + 50
    disk.write(noted.save(streams, "n"))
    back = Noted()
    back.restore(disk.saved(), "n")
    assert back.values == noted.values
