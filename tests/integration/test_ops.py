"""Those who run the service hear what is wrong with it: once, from first to last."""

from datetime import UTC, datetime, timedelta

import pytest

from service.config import ConfigError
from service.config_file import load
from service.core.health import Reason
from service.core.ports import Changes, Sent, SourceStatus
from service.core.troubles import LASTS, Rising, Watch, rising
from service.entrypoints.notifier import Sender
from service.entrypoints.ops import Ops
from service.telemetry import Metrics
from tests.factories import make_notice

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Mailbox:
    def __init__(self):
        self.sent = []

    async def send(self, notice, _ref):
        self.sent.append(notice)
        return Sent({"message_id": "1"})


class Rig:
    """Two processes that look at one store, and what ops was sent."""

    def __init__(self, store, parts=()):
        self.store, self.now, self.faults = store, NOW, []
        self.mailbox = Mailbox()
        notifiers = {"email": self.mailbox}
        self.sender = Sender(store, notifiers, Metrics("t"), lambda: self.now)
        self.both = [self.make(parts), self.make(parts)]

    def make(self, parts=()):
        destinations = ["email:ops@example.com"]
        return Ops(self.store, lambda: self.now, destinations, lambda: self.faults, parts)

    async def wait(self, span):
        end = self.now + span
        while self.now < end:
            for one in self.both:
                one.look()
            await self.sender.drain()
            self.now += MINUTE
        return [(n.action, n.incident.title) for n in self.mailbox.sent]

    def save(self, **changes):
        offset = self.store.offset()
        changes = Changes(previous=offset, offset=offset + 1, **changes)
        assert self.store.save(changes) == "saved"


@pytest.fixture
def rig(store):
    return Rig(store)


def source(rejected=0, events=1000, at=NOW):
    return SourceStatus(source="cloud", events=events, rejected=rejected, last_arrived_at=at)


FAULT = "slack:#spend takes no notices since 2026-06-01 12:00 UTC: it is away."


async def test_a_trouble_is_told_once_by_all_who_see_it_and_its_end_in_the_same_conversation(rig):
    rig.faults = [FAULT]
    assert await rig.wait(LASTS) == []
    assert await rig.wait(3 * HOUR) == [("post", FAULT)]
    rig.faults = []
    assert [action for action, _ in await rig.wait(HOUR)] == ["post", "edit", "thread"]
    post, edit, thread = rig.mailbox.sent
    assert {post.incident_id} == {edit.incident_id, thread.incident_id}
    assert post.text.startswith("🟠 Spendwatch · slack:#spend takes no notices")
    assert edit.text.startswith("✅ Works again · slack:#spend takes no notices")
    assert thread.text.startswith("It lasted 3 h")
    assert rig.store.troubles() == []


async def test_what_goes_away_by_itself_or_comes_back_at_once_is_not_told(rig):
    for _ in range(6):
        rig.faults = [FAULT]
        await rig.wait(LASTS - MINUTE)
        rig.faults = []
        await rig.wait(MINUTE)
    assert rig.mailbox.sent == []
    rig.faults = [FAULT]
    await rig.wait(2 * LASTS)
    for _ in range(6):
        rig.faults = []
        await rig.wait(LASTS - MINUTE)
        rig.faults = [FAULT]
        await rig.wait(MINUTE)
    assert len(rig.mailbox.sent) == 1


async def test_a_figure_that_moves_is_no_other_trouble(rig):
    for number in range(20):
        rig.faults = [f"A worker has stopped since 12:00: {number}"]
        await rig.wait(MINUTE)
    assert len(rig.mailbox.sent) == 1


async def test_whoever_looks_anew_tells_nothing_again_and_ends_what_another_told(rig):
    rig.faults = [FAULT]
    await rig.wait(HOUR)
    rig.both = [rig.make()]
    await rig.wait(HOUR)
    rig.faults = []
    assert [action for action, _ in await rig.wait(HOUR)] == ["post", "edit", "thread"]


async def test_a_feed_that_has_stopped_is_told_and_when_it_comes_again(rig):
    rig.save(sources=[source(at=NOW - 49 * HOUR)])
    assert await rig.wait(HOUR) == [("post", "Source cloud: nothing arrived for over 48 h.")]
    rig.save(sources=[source(at=rig.now)])
    assert [action for action, _ in await rig.wait(HOUR)] == ["post", "edit", "thread"]


async def test_deliveries_that_fail_for_good_are_told_while_more_do(rig):
    rig.save(notices=[make_notice(delivery_id="d0", destination="pigeon:loft", at=NOW)])
    await rig.sender.drain()
    assert rig.store.delivery_counts()["dead"] == 1
    assert await rig.wait(HOUR) == []  # it was there before anybody looked
    more = make_notice(delivery_id="d1", incident_id="b", destination="pigeon:loft", at=rig.now)
    rig.save(notices=[more])
    told = await rig.wait(HOUR / 2)
    assert told == [("post", "Deliveries fail for good: 1 more within the hour.")]
    assert [action for action, _ in await rig.wait(2 * HOUR)] == ["post", "edit", "thread"]


async def test_dead_letters_that_rise_are_told_and_a_few_are_not(rig):
    rig.save(sources=[source(rejected=500)])
    await rig.wait(HOUR)
    rig.save(sources=[source(rejected=505, events=2000)])
    assert await rig.wait(HOUR) == []
    rig.save(sources=[source(rejected=545, events=2500)])
    (told,) = await rig.wait(HOUR / 2)
    assert told == ("post", "Source cloud: 40 of its last 540 rows became dead letters.")


async def test_a_router_that_is_not_heard_of_has_stopped(store):
    rig = Rig(store, ("router",))
    for _ in range(20):
        store.beat("router", [], rig.now + 2 * MINUTE)
        await rig.wait(MINUTE)
    assert rig.mailbox.sent == []
    assert await rig.wait(HOUR) == [
        ("post", "The router has stopped: nothing is heard of it since 1 Jun 2026 12:21 UTC.")
    ]
    for _ in range(20):
        store.beat("router", ["A worker has stopped since 12:00: x"], rig.now + 2 * MINUTE)
        await rig.wait(MINUTE)
    assert sorted(n.action for n in rig.mailbox.sent) == ["edit", "post", "post", "thread"]
    assert any("A worker has stopped" in n.text for n in rig.mailbox.sent)


def test_a_count_that_was_there_before_has_not_risen():
    rise = Rising()
    assert rise.note({"dead": 7}, NOW) == {"dead": 0}
    assert rise.note({"dead": 9, "rejected/x": 4}, NOW + MINUTE) == {"dead": 2, "rejected/x": 0}
    assert rise.note({"dead": 9, "rejected/x": 4}, NOW + 2 * HOUR)["dead"] == 0
    assert rising({"dead": 0}) == []


def test_a_watch_begins_with_what_another_has_told():
    assert Watch().look([Reason("a", "a")], [], NOW) == ([], [])


def test_a_receiver_for_ops_that_is_not_there_is_refused_in_one_line(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[ops]\nreceiver = "nobody"\n')
    with pytest.raises(ConfigError, match="ops: receiver 'nobody' is not under"):
        load(path)
