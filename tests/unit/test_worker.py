"""A worker's own order: what it does with a partition, it does one at a time."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from service.adapters.kafka_log import Message
from service.adapters.kafka_topics import EVENTS
from service.config import KafkaSettings, Settings
from service.core.ports import LogUnavailableError
from service.entrypoints import worker
from service.entrypoints.partition import Output, Stray

AT = datetime(2026, 6, 1, tzinfo=UTC)
PLACE = (EVENTS, 0)


class Seen:
    """Stands for a partition, its shelf and a publisher, and notes what is done with them."""

    next_offset = 0

    def __init__(self):
        self.done = []
        self.publishes, self.goes_on = threading.Event(), threading.Event()

    def take(self, message):
        self.done.append(f"took {message.offset}")
        return Output(None, [], [Stray(*PLACE, "aws", b"{}\n")], [], [])

    def send(self, *_, **__):
        pass

    def flush(self):
        self.publishes.set()
        assert self.goes_on.wait(30)
        self.done.append("said")

    def save(self, _):
        self.done.append("kept")

    def close(self):
        pass


def log_of(moves):
    """Return a log of one message; with `moves` the partitions move while it waits for its turn."""

    class Log:
        def __init__(self, *_):
            self.turn = 0

        def behind(self):
            return 0

        async def batches(self, stop):
            lock = moves and moves._moving
            if lock:
                await lock.acquire()
                asyncio.get_running_loop().call_later(0.05, self._move, lock)
            yield (*PLACE, [Message(0, AT, {}, b"")])

        def _move(self, lock):
            self.turn += 1
            lock.release()

    return Log


def a_worker(seen):
    made = worker.Worker(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9")))
    made._partitions[PLACE] = made._shelves[PLACE] = seen
    made._save_at[PLACE] = 0.0
    return made


async def test_a_partition_is_not_kept_before_all_that_it_says_is_published(monkeypatch):
    seen = Seen()
    made = a_worker(seen)
    monkeypatch.setattr(worker, "GroupLog", log_of(None))
    working = asyncio.create_task(made._work(seen))
    await asyncio.to_thread(seen.publishes.wait, 30)
    keeping = asyncio.create_task(made._keep(*PLACE))
    await asyncio.sleep(0.05)
    seen.goes_on.set()
    await asyncio.gather(working, keeping)
    assert seen.done[:3] == ["took 0", "said", "kept"]


async def test_what_waited_while_partitions_moved_is_not_taken(monkeypatch):
    seen = Seen()
    made = a_worker(seen)
    monkeypatch.setattr(worker, "GroupLog", log_of(made))
    await made._work(seen)
    assert "took 0" not in seen.done


async def test_what_was_told_is_asked_after_what_is_kept_was_read(monkeypatch):
    """Whoever had the partition before may have said and kept more in between."""
    seen = Seen()
    made = worker.Worker(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9")))

    def make_ready(at, _):
        seen.done.append("read")
        made._partitions[at] = seen

    def ends(_):
        seen.done.append("asked")
        return {PLACE: 7}

    seen.note_told = lambda until: seen.done.append(f"told until {until}")
    monkeypatch.setattr(made, "_make_ready", make_ready)
    monkeypatch.setattr(worker, "ends", ends)
    monkeypatch.setattr(worker, "ends_of", lambda _, places: dict.fromkeys(places, 8))
    await made._starts([PLACE], {PLACE[0]: "log"})
    assert seen.done == ["read", "asked", "told until 7"]


async def test_topics_that_were_made_anew_beside_what_was_told_of_the_old_are_refused(monkeypatch):
    made = worker.Worker(Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9")))
    monkeypatch.setattr(made, "_make_ready", lambda *_: None)
    monkeypatch.setattr(worker, "ends", lambda _: {PLACE: 7})
    monkeypatch.setattr(worker, "ends_of", lambda _, places: dict.fromkeys(places, 7))
    with pytest.raises(
        LogUnavailableError, match=r"ends at 7, and cost\.findings tells of it up to 7"
    ):
        await made._starts([PLACE], dict.fromkeys([EVENTS], "a"))
