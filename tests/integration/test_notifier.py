"""The notifier's loop: claimed, sent, concluded; an ambiguous send is looked for, not repeated."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from service.adapters.notifiers.slack import Slack, SlackSettings
from service.core.gates import FAILURES
from service.core.ports import (
    Changes,
    DeliveryFilter,
    Refused,
    Retry,
    Sent,
    StoreUnavailableError,
    Unknown,
)
from service.core.rates import Rates
from service.core.secret import Secret
from service.entrypoints import notifier
from service.entrypoints.local_slack import build_app, serve
from service.entrypoints.local_slack_workspace import Fault
from service.entrypoints.notifier import (
    LEASE,
    LOOKS_AFTER,
    MOST_ATTEMPTS,
    Sender,
    wait_before_retry,
)
from service.telemetry import Metrics
from tests.factories import make_incident, make_notice

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def server():
    app = build_app(channels=["spend"], rate_limit=False, processing_seconds=0.0)
    with serve(app) as url:
        yield url, app.state.slack


@pytest.fixture
def workspace(server):
    server[1].channel("spend").messages.clear()
    server[1].faults.clear()
    return server[1]


@pytest.fixture
async def sender(store, server, clock):
    settings = SlackSettings(
        token=Secret("xoxb-1"), base_url=f"{server[0]}/api/", timeout_seconds=2
    )
    slack = Slack(settings)
    yield Sender(store, {"slack": slack}, Metrics("test"), clock)
    await slack.close()


def save(store, *notices):
    offset = store.offset()
    changes = Changes(previous=offset, offset=offset + 1, notices=notices)
    assert store.save(changes) == "saved"


def notice(seq=0, action="post", **values):
    values = {"destination": "slack:#spend", "at": NOW, "chart": None} | values
    return make_notice(delivery_id=f"d{seq}", seq=seq, action=action, **values)


def posts(workspace):
    return [m for m in workspace.channel("spend").messages if m.get("thread_ts") is None]


async def test_a_conversation_is_a_post_its_edits_and_its_thread(sender, store, workspace):
    save(store, notice(0), notice(1, "edit"), notice(2, "thread"))
    await sender.drain()
    assert store.delivery_counts()["sent"] == 3
    assert len(posts(workspace)) == 1
    assert len(workspace.channel("spend").messages) == 2


async def test_a_post_whose_reply_was_lost_is_found_and_not_repeated(
    sender, store, workspace, clock
):
    workspace.faults.append(Fault("chat.postMessage", lost=True))
    save(store, notice(0))
    await sender.drain()
    assert store.delivery_counts()["unknown"] == 1
    clock.now += timedelta(minutes=1)
    await sender.drain()
    assert store.delivery_counts()["sent"] == 1
    assert len(posts(workspace)) == 1


async def test_a_reply_in_a_thread_whose_answer_was_lost_is_found_too(
    sender, store, workspace, clock
):
    save(store, notice(0))
    await sender.drain()
    workspace.faults.append(Fault("chat.postMessage", lost=True))
    save(store, notice(1, "thread"))
    await sender.drain()
    clock.now += timedelta(minutes=1)
    await sender.drain()
    assert store.delivery_counts()["sent"] == 2
    assert len(workspace.channel("spend").messages) == 2


async def test_a_sender_that_died_after_its_claim_leaves_the_notice_to_the_next(
    sender, store, workspace, clock
):
    save(store, notice(0))
    assert store.claim(NOW, LEASE) is not None
    await sender.drain()
    assert posts(workspace) == []
    clock.now += LEASE
    await sender.drain()
    assert len(posts(workspace)) == 1


async def test_who_has_the_store_alone_takes_back_what_died_with_a_claim(
    sender, store, workspace, clock
):
    save(store, notice(0), notice(1, incident_id="another"))
    held = store.claim(NOW, LEASE)
    assert store.release(NOW, NOW + LOOKS_AFTER) == 1
    await sender.drain()
    assert len(posts(workspace)) == 1
    clock.now += LOOKS_AFTER
    await sender.drain()
    assert len(posts(workspace)) == 2
    assert store.release(clock.now, clock.now) == 0
    late = store.conclude(held.notice.delivery_id, held.claim, Refused("x"), NOW, NOW)
    assert late is False


async def test_rate_limits_are_obeyed(sender, store, workspace, clock):
    workspace.faults.append(Fault("chat.postMessage", status=429, retry_after=7))
    save(store, notice(0))
    await sender.drain()
    assert store.next_due() == NOW + timedelta(seconds=7)
    clock.now += timedelta(seconds=7)
    await sender.drain()
    assert len(posts(workspace)) == 1


async def test_a_channel_that_is_not_there_is_dead_with_words_for_a_person(sender, store):
    save(store, notice(0, destination="slack:#nowhere"))
    await sender.drain()
    (delivery,) = store.deliveries(DeliveryFilter(state="dead"))
    assert "channel" in delivery.error


async def test_a_kind_nobody_configured_is_dead_and_says_so(sender, store):
    save(store, notice(0, destination="pigeon:loft"))
    await sender.drain()
    assert (
        store.deliveries(DeliveryFilter(state="dead"))[0].error
        == "no notifier of kind 'pigeon' is configured"
    )


async def test_a_fault_in_one_notifier_stops_no_other(store, clock):
    class Broken:
        async def send(self, _notice, _ref):
            raise ZeroDivisionError

        async def find(self, _notice, _ref=None):
            return Retry("not there")

    class Works(Broken):
        async def send(self, _notice, _ref):
            return Sent({})

    sender = Sender(store, {"bad": Broken(), "good": Works()}, Metrics("test"), clock)
    save(store, notice(0, destination="bad:x"), notice(1, destination="good:x"))
    await sender.drain()
    counts = store.delivery_counts()
    assert (counts["unknown"], counts["sent"]) == (1, 1)


async def test_what_never_gets_through_is_given_up_in_the_end(store, clock):
    class Away:
        async def send(self, _notice, _ref):
            return Retry("away")

    sender = Sender(store, {"x": Away()}, Metrics("test"), clock)
    save(store, notice(0, destination="x:y"))
    for _ in range(MOST_ATTEMPTS):
        await sender.send_next()
        clock.now += timedelta(minutes=5)
    assert (
        store.deliveries(DeliveryFilter(state="dead"))[0].error
        == f"gave up after {MOST_ATTEMPTS} attempts: away"
    )


def test_waits_double_up_to_five_minutes_and_leave_what_is_unknown_time_to_arrive():
    waits = [wait_before_retry(n, Retry("x")).total_seconds() for n in (1, 2, 3, 10, 100)]
    assert waits == [1, 2, 4, 300, 300]
    assert wait_before_retry(1, Unknown("x")) == timedelta(seconds=15)
    assert wait_before_retry(1, Retry("x", after=timedelta(hours=1))) == timedelta(hours=1)
    assert wait_before_retry(1, Refused("x")) == timedelta(seconds=1)


async def test_a_sender_that_is_told_to_stop_does_not_wait_for_a_slow_destination(
    sender, store, workspace, clock
):
    workspace.faults.append(Fault("chat.postMessage", slow_seconds=1.9))
    save(store, notice(0))
    stop = asyncio.Event()
    running = asyncio.create_task(sender.run(stop))
    await asyncio.sleep(0.4)
    assert store.delivery_counts()["sending"] == 1
    stop.set()
    async with asyncio.timeout(1.7):
        await running
    clock.now += LEASE + timedelta(seconds=1)
    await sender.drain()
    assert store.delivery_counts()["sent"] == 1
    assert len(posts(workspace)) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"notice": "{}"},
        {"notice": "\xff"},
        {"attempts": "many"},
        {"state": ""},
        None,
    ],
)
async def test_a_row_that_no_one_can_read_is_dead_counted_and_stops_nothing(
    sender, store, workspace, row
):
    save(store, notice(0), notice(1, incident_id="another"))
    key = "spendwatch:delivery:d0"
    if row is None:
        store._redis.delete(key)
    elif row.get("state") == "":
        store._redis.hdel(key, "state")
    else:
        store._redis.hset(key, mapping=row)
    await sender.drain()
    counts = store.delivery_counts()
    assert (counts["dead"], counts["sent"], counts["ready"]) == (1, 1, 0)
    assert len(posts(workspace)) == 1
    assert [d.notice.delivery_id for d in store.deliveries()] == ["d1"]
    assert 'outcome="unreadable"} 1.0' in sender._metrics.render().decode()


class Recorder:
    """A destination that notes what it is sent, and answers with `outcome`."""

    def __init__(self, outcome=None):
        self.outcome = outcome or Sent({})
        self.sent = []

    async def send(self, notice, _ref):
        self.sent.append(notice)
        return self.outcome

    async def find(self, _notice, _ref=None):
        return Retry("not there")


DOWN = Retry("cannot reach it")


def many(destination, number, *, first=0, **values):
    return [
        notice(n, destination=destination, incident_id=f"i{n}", **values)
        for n in range(first, first + number)
    ]


async def for_a_while(sender, clock, span, step=timedelta(seconds=1)):
    end = clock.now + span
    while clock.now < end:
        await sender.drain()
        clock.now += step
    await sender.drain()


async def test_a_destination_that_fails_is_left_alone_and_the_others_go_on(store, clock):
    bad, good = Recorder(DOWN), Recorder()
    sender = Sender(store, {"bad": bad, "good": good}, Metrics("test"), clock)
    save(store, *many("bad:x", 20), *many("good:x", 20, first=20))
    await sender.drain()
    assert len(good.sent) == 20
    assert len(bad.sent) == FAILURES
    await for_a_while(sender, clock, timedelta(minutes=2))
    assert len(bad.sent) <= FAILURES + 4
    assert 'spendwatch_circuit_open{notifier="bad"} 1.0' in sender._metrics.render().decode()
    assert sender.faults() == [
        "bad:x takes no notices since 2026-06-01 12:00 UTC: cannot reach it."
    ]


async def test_what_was_held_back_arrives_when_the_destination_is_back(store, clock):
    bad = Recorder(DOWN)
    sender = Sender(store, {"bad": bad}, Metrics("test"), clock)
    save(store, *many("bad:x", 20))
    await for_a_while(sender, clock, timedelta(minutes=2))
    bad.outcome, bad.sent = Sent({}), []
    await for_a_while(sender, clock, timedelta(minutes=6))
    assert sorted(n.incident_id for n in bad.sent) == sorted(f"i{n}" for n in range(20))
    assert store.delivery_counts()["sent"] == 20
    assert sender.faults() == []
    assert 'spendwatch_circuit_open{notifier="bad"} 0.0' in sender._metrics.render().decode()


async def test_what_may_have_been_sent_is_still_looked_for_after_it_was_held_back(
    sender, store, workspace, clock
):
    workspace.faults.append(Fault("chat.postMessage", lost=True))
    save(store, notice(0))
    await sender.drain()
    for _ in range(FAILURES):
        sender._gates["slack:#spend"].note(DOWN, clock.now)
    clock.now += timedelta(seconds=20)
    await sender.drain()
    assert store.delivery_counts()["unknown"] == 1
    clock.now += timedelta(minutes=2)
    await sender.drain()
    assert store.delivery_counts()["sent"] == 1
    assert len(posts(workspace)) == 1


async def test_a_channel_that_asks_for_time_gets_it_from_all(sender, store, workspace, clock):
    workspace.faults.append(Fault("chat.postMessage", status=429, retry_after=30))
    save(store, *many("slack:#spend", 10))
    await sender.drain()
    assert posts(workspace) == []
    assert store.next_due() == NOW + timedelta(seconds=30)
    await for_a_while(sender, clock, timedelta(seconds=45))
    assert len(posts(workspace)) == 10


SEVERE = make_incident(severity="high")
FALLBACKS = {"slack": ["email:oncall@example.com"]}


def save_incident(store, incident, *notices):
    offset = store.offset()
    changes = Changes(
        previous=offset, offset=offset + 1, incidents=[incident], notices=list(notices)
    )
    assert store.save(changes) == "saved"


def make_sender(store, clock, slack, mail, fallbacks=FALLBACKS):
    notifiers = {"slack": slack, "email": mail}
    return Sender(store, notifiers, Metrics("test"), clock, fallbacks)


class Slow(Recorder):
    """A destination that takes as long as it is let."""

    def __init__(self):
        super().__init__()
        self.began, self.goes_on = asyncio.Event(), asyncio.Event()

    async def send(self, notice, ref):
        self.began.set()
        await self.goes_on.wait()
        return await super().send(notice, ref)


async def test_what_takes_longer_than_a_lease_is_not_sent_by_another_too(store, clock, monkeypatch):
    save(store, notice(0))
    slow, other = Slow(), Recorder()
    monkeypatch.setattr(notifier, "RENEWS_EVERY_SECONDS", 0.02)
    sending = make_sender(store, clock, slow, slow)
    task = asyncio.create_task(sending.send_next())
    await slow.began.wait()
    for _ in range(3):
        until = store.next_due()
        clock.now += LEASE - timedelta(seconds=1)
        while store.next_due() == until:  # noqa: ASYNC110 - the store tells when it is asked
            await asyncio.sleep(0.01)
    assert not await make_sender(store, clock, other, other).send_next()
    slow.goes_on.set()
    assert await task
    assert store.delivery_counts()["sent"] == 1
    assert other.sent == []


class SlowToFind(Slow):
    """A destination that takes as long as it is let to look for what it may have been sent."""

    async def find(self, _notice, _ref=None):
        self.began.set()
        await self.goes_on.wait()
        return Retry("not there")


async def test_what_another_has_sent_while_it_was_looked_for_is_not_sent_again(store, clock):
    save(store, notice(0))
    lost, other = Recorder(Unknown("no answer")), Recorder()
    assert await make_sender(store, clock, lost, lost).send_next()
    clock.now += LEASE
    looks = SlowToFind()
    task = asyncio.create_task(make_sender(store, clock, looks, looks).send_next())
    await looks.began.wait()
    clock.now += LEASE  # it was cut off from the store, and could not hold on to its claim
    assert await make_sender(store, clock, other, other).send_next()
    looks.goes_on.set()
    assert await task
    assert len(other.sent) == 1
    assert looks.sent == []
    assert store.delivery_counts()["sent"] == 1


async def test_what_a_sender_is_at_is_not_sent_by_itself_too_when_a_clock_is_put_forward(
    store, clock
):
    save(store, notice(0))
    slow = Slow()
    sending = make_sender(store, clock, slow, slow)
    task = asyncio.create_task(sending.send_next())
    await slow.began.wait()
    clock.now += timedelta(hours=1)
    assert await sending.send_next()  # claimed anew, and known to be under way
    assert not await sending.send_next()
    slow.goes_on.set()
    assert await task
    assert len(slow.sent) == 1
    assert store.delivery_counts()["sent"] == 1


async def test_a_severe_incident_that_slack_does_not_take_is_mailed_within_15_minutes_once(
    store, clock
):
    slack, mail = Recorder(DOWN), Recorder()
    sender = make_sender(store, clock, slack, mail)
    save_incident(store, SEVERE, notice(0), notice(1, "edit"), notice(2, "thread"))
    await for_a_while(sender, clock, timedelta(minutes=13, seconds=50), timedelta(seconds=5))
    assert mail.sent == []
    await for_a_while(sender, clock, timedelta(minutes=1), timedelta(seconds=5))
    (told,) = mail.sent
    assert told.destination == "email:oncall@example.com"
    assert told.why_here.startswith("the fallback for slack:#spend, which did not take it for 14")
    await for_a_while(sender, clock, timedelta(hours=1), timedelta(seconds=30))
    slack.outcome = Sent({"channel": "C1", "ts": "1.0"})
    await for_a_while(sender, clock, timedelta(minutes=10), timedelta(seconds=5))
    assert len(mail.sent) == 1
    assert store.delivery_counts()["ready"] == 0


async def test_a_severe_incident_that_slack_refuses_is_mailed_at_once(store, clock):
    mail = Recorder()
    sender = make_sender(store, clock, Recorder(Refused("token_revoked")), mail)
    save_incident(store, SEVERE, notice(0))
    await sender.drain()
    assert len(mail.sent) == 1


async def test_two_senders_and_a_death_in_between_do_not_mail_it_twice(store, clock):
    mail = Recorder()
    save_incident(store, SEVERE, notice(0))
    clock.now += timedelta(hours=1)
    dying = make_sender(Dying(store), clock, Recorder(DOWN), mail)
    with pytest.raises(StoreUnavailableError):
        await dying.send_next()
    assert store.delivery_counts()["ready"] == 1  # the mail is in the outbox, the post is claimed
    clock.now += LEASE
    other = make_sender(store, clock, Recorder(DOWN), mail)
    await for_a_while(other, clock, timedelta(minutes=5), timedelta(seconds=5))
    assert len(mail.sent) == 1


class Dying:
    """A store whose client dies right before a send is concluded."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def conclude(self, *_args):
        raise StoreUnavailableError("killed here")


@pytest.mark.parametrize(
    ("incident", "fallbacks"),
    [
        (make_incident(severity="medium"), FALLBACKS),
        (make_incident(state="resolved"), FALLBACKS),
        (SEVERE, {}),
        (SEVERE, {"slack": ["email:oncall@example.com"], "slack:#spend": []}),
        (SEVERE, {"email": ["slack:#spend"]}),
    ],
)
async def test_no_one_else_hears_of_what_is_not_theirs(store, clock, incident, fallbacks):
    mail = Recorder()
    sender = make_sender(store, clock, Recorder(DOWN), mail, fallbacks)
    save_incident(store, incident, notice(0))
    await for_a_while(sender, clock, timedelta(minutes=30), timedelta(seconds=30))
    assert mail.sent == []


async def test_who_hears_of_it_by_a_route_does_not_hear_of_it_again(store, clock):
    mail = Recorder()
    sender = make_sender(store, clock, Recorder(DOWN), mail)
    address = "email:oncall@example.com"
    routed = make_notice(destination=address, at=NOW, chart=None)
    save_incident(store, SEVERE, make_notice(destination="slack:#spend", at=NOW), routed)
    await for_a_while(sender, clock, timedelta(minutes=30), timedelta(seconds=30))
    assert [n.delivery_id for n in mail.sent] == [routed.delivery_id]


@pytest.fixture
async def outage(store, server, workspace, clock):
    """An hour in which Slack answers nothing, beginning now, with ten incidents in it."""
    address = f"{server[0]}/api/"
    slack = Slack(SlackSettings(token=Secret("xoxb-1"), base_url=address, timeout_seconds=2))
    mail = Recorder()
    sender = Sender(
        store, {"slack": slack, "email": mail}, Metrics("test"), clock, FALLBACKS, rates=Rates()
    )
    methods = ("chat.postMessage", "conversations.history", "users.conversations", "chat.update")
    workspace.faults += [Fault(method, status=503, times=10**6) for method in methods]
    end = NOW + timedelta(hours=1)
    for number in range(10):
        high = number in (2, 7)
        incident = make_incident(
            incident_id=f"{number:032}", title=f"service {number}",
            severity="high" if high else "medium", state="resolved" if number == 7 else "firing",
            ends_at=clock.now if number == 7 else None,
        )  # fmt: skip
        said = {"incident": incident, "at": clock.now, "chart": None, "destination": "slack:#spend"}
        save_incident(
            store, incident, make_notice(seq=0, **said), make_notice(seq=1, action="edit", **said)
        )
        await for_a_while(sender, clock, timedelta(minutes=3), timedelta(seconds=15))
    await for_a_while(sender, clock, end - clock.now, timedelta(seconds=15))
    assert posts(workspace) == []
    workspace.faults.clear()
    yield sender, mail
    await slack.close()


async def test_after_an_hour_without_slack_there_is_one_digest_and_what_is_severe_is_posted(
    outage, store, workspace, clock
):
    sender, mail = outage
    assert [n.incident.title for n in mail.sent] == ["service 2"]
    assert mail.sent[0].at - NOW < timedelta(minutes=6 + 15)
    await for_a_while(sender, clock, timedelta(minutes=6), timedelta(seconds=1))
    texts = [m["text"] for m in posts(workspace)]
    (digest,) = [text for text in texts if "that could not be told here since 1 Jun 2026" in text]
    single = [text for text in texts if text != digest]
    assert len(single) == 2  # the one that was tried all the time, and the severe one
    assert "service 0" in single[0]
    assert "service 2" in single[1]
    shown = str(posts(workspace)[texts.index(digest)]["blocks"])
    assert all(f"service {n}" in shown for n in (1, 3, 4, 5, 6, 7, 8, 9))
    counts = store.delivery_counts()
    assert (counts["ready"], counts["unknown"], counts["dead"]) == (0, 0, 0)


async def test_how_long_a_notice_waited_is_counted(store, clock):
    sender = Sender(store, {"x": Recorder()}, Metrics("test"), clock, rates=Rates())
    save(store, notice(0, destination="x:y", at=NOW - timedelta(seconds=90)))
    await sender.drain()
    shown = sender._metrics.render().decode()
    assert 'spendwatch_notice_delay_seconds_sum{notifier="x"} 90.0' in shown


async def test_what_follows_goes_beneath_the_digest_and_leaves_it_as_it_is(
    outage, store, workspace, clock
):
    sender, _mail = outage
    await for_a_while(sender, clock, timedelta(minutes=6), timedelta(seconds=1))
    digest = next(m for m in posts(workspace) if "could not be told" in m["text"])
    before = len(posts(workspace))
    incident = make_incident(incident_id=f"{5:032}", title="service 5")
    said = {"incident": incident, "at": clock.now, "chart": None, "destination": "slack:#spend"}
    save_incident(
        store, incident, make_notice(seq=2, action="edit", **said),
        make_notice(seq=3, action="thread", reason="growth", **said),
    )  # fmt: skip
    await for_a_while(sender, clock, timedelta(seconds=5))
    (reply,) = [m for m in workspace.channel("spend").messages if m.get("thread_ts") == digest["ts"]
                and m["ts"] != digest["ts"]]  # fmt: skip
    assert "it grew" in reply["text"]
    assert len(posts(workspace)) == before
    assert "edited" not in digest
