"""The store's promises, on a real Valkey server."""

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import redis

from service.adapters.embedded_store import EmbeddedStore
from service.adapters.redis_store import RedisStore
from service.core.intents import Put
from service.core.ports import (
    Changes,
    FindingFilter,
    IncidentFilter,
    IntentFilter,
    PartitionStatus,
    Refused,
    Retry,
    Sent,
    SourceStatus,
    StoreUnavailableError,
    Unknown,
)
from service.core.tokens import Token
from tests.factories import make_finding, make_incident, make_notice

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


def changes(previous=0, offset=1, **values):
    return Changes(previous=previous, offset=offset, **values)


def notice(seq, action="post", **values):
    return make_notice(delivery_id=f"d{seq}", seq=seq, action=action, at=NOW, **values)


def states(store):
    return {row.notice.delivery_id: row.state for row in store.deliveries()}


def test_with_a_new_log_what_was_told_stays_and_is_not_told_again(store):
    incident, later = make_incident(), make_incident(incident_id="later")
    assert store.log() is None
    store.follow("old", 0)
    store.save(changes(offset=7, incidents=[incident], notices=[notice(0)]))
    store.follow("new", 0)
    assert (store.log(), store.offset()) == ("new", 0)
    assert store.incident(incident.incident_id) == incident
    told = changes(offset=1, incidents=[later], notices=[notice(0), notice(1, incident_id="later")])
    assert store.save(told) == "saved"
    assert states(store) == {"d0": "ready", "d1": "ready"}
    assert [msgspec.json.decode(one)["incident_id"] for one in store.changed(0)[1]] == [
        one.incident_id for one in store.incidents(IncidentFilter(is_open=True))
    ]
    store.save(changes(previous=1, offset=2, incidents=[incident]))
    assert [msgspec.json.decode(one)["incident_id"] for one in store.changed(1)[1]] == [
        incident.incident_id
    ]


def test_what_is_saved_is_read_back_whole(store):
    finding, incident, said = make_finding(), make_incident(), notice(0)
    status = SourceStatus(source="focus", events=3)
    saved = changes(findings=[finding], incidents=[incident], notices=[said], sources=[status])
    assert store.save(saved) == "saved"
    assert store.finding(finding.finding_id) == finding
    assert store.incident(incident.incident_id) == incident
    assert store.latest_notice(incident.incident_id) == said
    assert store.sources() == [status]
    assert store.offset() == 1


def test_a_batch_is_saved_once_and_never_past_a_gap(store):
    assert store.save(changes(0, 5, incidents=[make_incident(owner="a")])) == "saved"
    assert store.save(changes(0, 5, incidents=[make_incident(owner="b")])) == "stale"
    assert store.save(changes(6, 7, incidents=[make_incident(owner="c")])) == "gap"
    assert [i.owner for i in store.incidents(IncidentFilter())] == ["a"]
    assert store.save(changes(5, 7)) == "saved"


def test_a_notice_saved_twice_is_sent_once(store):
    store.save(changes(0, 1, notices=[notice(0)]))
    first = store.claim(NOW, LEASE)
    assert store.conclude("d0", first.claim, Sent({"ts": "1"}), NOW, NOW)
    store.save(changes(1, 2, notices=[notice(0)]))
    assert store.claim(NOW + timedelta(days=1), LEASE) is None


def test_posts_of_one_batch_are_claimed_in_its_order_and_before_those_of_the_next(store):
    names = ["d9", "d3", "d7", "d1"]
    posts = [make_notice(delivery_id=n, incident=make_incident(incident_id=n), at=NOW)
             for n in names]  # fmt: skip
    later = make_notice(delivery_id="a", incident=make_incident(incident_id="a"),
                        at=NOW + timedelta(seconds=1))  # fmt: skip
    store.save(changes(0, 1, notices=posts))
    store.save(changes(1, 2, notices=[later]))
    claimed = [store.claim(NOW + timedelta(seconds=1), LEASE) for _ in range(5)]
    assert [delivery.notice.delivery_id for delivery in claimed] == [*names, "a"]


def test_a_first_post_that_failed_goes_before_newer_ones_and_before_what_follows_older(store):
    def post(name, seconds):
        incident = make_incident(incident_id=name)
        return make_notice(delivery_id=name, incident=incident, at=NOW + timedelta(seconds=seconds))

    store.save(changes(0, 1, notices=[notice(0), notice(1, "thread")]))
    said = store.claim(NOW, LEASE)
    store.save(changes(1, 2, notices=[post("old", 1)]))
    failed = store.claim(NOW + timedelta(seconds=1), LEASE)
    later = NOW + timedelta(seconds=20)
    store.conclude("old", failed.claim, Retry("busy"), NOW, due=later)
    store.save(changes(2, 3, notices=[post("new", 5)]))
    store.conclude("d0", said.claim, Sent({"ts": "1"}), NOW, NOW)
    claimed = [store.claim(later, LEASE).notice.delivery_id for _ in range(3)]
    assert claimed == ["old", "new", "d1"]


def test_of_one_conversation_only_the_oldest_unsent_is_due(store):
    store.save(changes(0, 1, notices=[notice(0), notice(1, "thread"), notice(2, "thread")]))
    first = store.claim(NOW, LEASE)
    assert first.notice.seq == 0
    assert store.claim(NOW, LEASE) is None
    store.conclude("d0", first.claim, Sent({"ts": "1"}), NOW, NOW)
    second = store.claim(NOW, LEASE)
    assert (second.notice.seq, second.parent) == (1, {"ts": "1"})


def test_of_several_edits_only_the_newest_is_sent(store):
    said = [notice(0), notice(1, "edit"), notice(2, "edit"), notice(3, "thread"), notice(4, "edit")]
    store.save(changes(0, 1, notices=said))
    sent = []
    while (claimed := store.claim(NOW, LEASE)) is not None:
        sent.append(claimed.notice.seq)
        store.conclude(claimed.notice.delivery_id, claimed.claim, Sent({}), NOW, NOW)
    assert sent == [0, 3, 4]
    assert states(store)["d1"] == states(store)["d2"] == "superseded"


def test_a_claim_that_ran_out_comes_back_as_unknown_and_the_late_verdict_is_refused(store):
    store.save(changes(0, 1, notices=[notice(0)]))
    first = store.claim(NOW, LEASE)
    again = store.claim(NOW + LEASE, LEASE)
    assert (first.state, again.state, again.attempts) == ("sending", "unknown", 2)
    assert not store.conclude("d0", first.claim, Sent({}), NOW, NOW)
    assert store.conclude("d0", again.claim, Sent({}), NOW, NOW)


def test_a_claim_that_is_renewed_is_nobody_elses(store):
    store.save(changes(0, 1, notices=[notice(0)]))
    first = store.claim(NOW, LEASE)
    assert store.renew("d0", first.claim, NOW + 2 * LEASE)
    assert store.claim(NOW + LEASE, LEASE) is None
    again = store.claim(NOW + 2 * LEASE, LEASE)
    assert again.state == "unknown"
    assert not store.renew("d0", first.claim, NOW + 9 * LEASE)
    assert store.conclude("d0", again.claim, Unknown("timed out"), NOW, NOW)
    assert not store.renew("d0", again.claim, NOW + 9 * LEASE)
    assert store.next_due() == NOW


@pytest.mark.parametrize(
    ("outcome", "state", "again"),
    [
        (Sent({"ts": "1"}), "sent", None),
        (Refused("no such channel"), "dead", None),
        (Retry("rate limited"), "ready", "sending"),
        (Unknown("timed out"), "unknown", "unknown"),
    ],
)
def test_each_outcome_leaves_a_delivery_where_it_belongs(store, outcome, state, again):
    store.save(changes(0, 1, notices=[notice(0)]))
    claimed = store.claim(NOW, LEASE)
    later = NOW + timedelta(minutes=1)
    assert store.conclude("d0", claimed.claim, outcome, NOW, later)
    assert store.delivery_counts()[state] == 1
    assert store.claim(NOW, LEASE) is None
    retaken = store.claim(later, LEASE)
    assert (retaken.state if retaken else None) == again


def test_lists_filter_and_put_the_newest_first(store):
    findings = [
        make_finding(finding_id=str(n), detected_at=NOW + timedelta(hours=n), owner=f"team-{n % 2}")
        for n in range(5)
    ]
    incidents = [
        make_incident(incident_id=str(n), updated_at=NOW + timedelta(hours=n), state=state)
        for n, state in enumerate(["firing", "resolved", "firing"])
    ]
    store.save(changes(findings=findings, incidents=incidents))
    listed = store.findings(FindingFilter(owners=frozenset({"team-0"}), limit=2))
    assert [f.finding_id for f in listed] == ["4", "2"]
    assert [i.incident_id for i in store.incidents(IncidentFilter(state="firing"))] == ["2", "0"]
    assert [i.incident_id for i in store.incidents(IncidentFilter())] == ["2", "1", "0"]


def test_a_server_that_is_away_is_one_clear_error(tmp_path):
    store = RedisStore.connect(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.offset()
    store.close()


def test_a_full_server_refuses_a_batch_whole(store, store_admin):
    store.save(changes(0, 1, incidents=[make_incident(owner="a")]))
    store_admin.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailableError):
            store.save(changes(1, 2, incidents=[make_incident(owner="b")], notices=[notice(0)]))
    finally:
        store_admin.config_set("maxmemory", "0")
    assert store.offset() == 1
    assert store.incident(make_incident().incident_id).owner == "a"
    assert store.deliveries() == []


def test_a_folder_has_one_holder(tmp_path):
    with (
        EmbeddedStore(tmp_path / "s"),
        pytest.raises(StoreUnavailableError, match="in use"),
        EmbeddedStore(tmp_path / "s"),
    ):
        pass


@pytest.mark.parametrize("name", ["s", "long" * 40])
def test_a_killed_run_leaves_its_data_to_the_next(tmp_path, name):
    orphan = kill_a_run(tmp_path / name)
    os.kill(orphan, 0)
    with EmbeddedStore(tmp_path / name) as server:
        store = RedisStore.connect(server.url)
        assert store.offset() == 7
        store.close()
        assert not is_alive(orphan)


def test_two_servers_never_have_one_folder(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 40)
    orphan = kill_a_run(folder)
    place = Path((folder / "socket").read_text()).parent
    (folder / "socket").unlink()  # nothing says any more where the orphan listens
    monkeypatch.setattr("service.adapters.embedded_store.ENDS_WITHIN_SECONDS", 0.2)
    with pytest.raises(StoreUnavailableError, match="still has"), EmbeddedStore(folder):
        pass
    os.kill(orphan, signal.SIGKILL)
    shutil.rmtree(place)
    monkeypatch.undo()
    with EmbeddedStore(folder):
        pass


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Who has ended and is waited for by nobody is a zombie.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def kill_a_run(folder):
    """Kill a process that holds a folder's store; return the server's pid."""
    program = f"""
import os, signal
from pathlib import Path
from service.adapters.embedded_store import EmbeddedStore
from service.adapters.redis_store import RedisStore
from service.core.ports import Changes
server = EmbeddedStore(Path({str(folder)!r})).__enter__()
RedisStore.connect(server.url).save(Changes(previous=0, offset=7))
print(server._server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert run.returncode == -signal.SIGKILL
    return int(run.stdout)


def test_a_folder_may_be_named_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with EmbeddedStore(Path("var") / "store") as server:
        store = RedisStore.connect(server.url)
        store.ping()
        store.close()


def test_standing_things_and_what_people_did_are_kept(store):
    said = {"at": NOW, "who": "ana", "via": "cli", "why": "first set-up"}
    ana = Token(name="ana", sha256="0" * 64, teams=["ml"], role="viewer")
    bo = msgspec.structs.replace(ana, name="bo")
    puts = [
        Put(thing=one, **said | {"at": NOW + timedelta(hours=n)}) for n, one in [(0, bo), (1, ana)]
    ]
    both = {("token", "bo"): bo, ("token", "ana"): ana}
    assert store.save(changes(0, 1, things=both, intents=puts)) == "saved"
    assert store.things("token") == [ana, bo]
    assert store.things("budget") == []
    assert store.save(changes(1, 2, things={("token", "ana"): None})) == "saved"
    assert store.thing("token", "ana") is None
    assert store.thing("token", "bo") == bo
    assert store.intents() == puts[::-1]
    assert store.intents(IntentFilter(limit=1)) == puts[1:]


def test_a_destination_says_what_it_took_and_since_when_it_fails(store):
    said = [
        make_notice(delivery_id=f"{place}{n}", destination=place, at=NOW, incident=incident)
        for place in ("slack:#a", "slack:#b")
        for n, incident in enumerate([make_incident(), make_incident(incident_id="other")])
    ]
    store.save(changes(notices=said))

    def how(name):
        return next(one for one in store.destinations() if one.destination == name)

    assert [(one.destination, one.pending) for one in store.destinations()] == [
        ("slack:#a", 2), ("slack:#b", 2),
    ]  # fmt: skip
    later, outcomes = NOW + timedelta(minutes=1), {"slack:#a": Sent({}), "slack:#b": Retry("away")}
    for _ in said:
        row = store.claim(NOW, LEASE)
        outcome = outcomes[row.notice.destination]
        store.conclude(row.notice.delivery_id, row.claim, outcome, NOW, later)
    took, fails = how("slack:#a"), how("slack:#b")
    assert (took.sent, took.pending, took.last_sent_at, took.failing_since) == (2, 0, NOW, None)
    assert (fails.sent, fails.pending, fails.failing_since) == (0, 2, NOW)
    assert fails.last_error == "away"
    for outcome in (Unknown("cut off"), Refused("gone")):
        row = store.claim(later, LEASE)
        store.conclude(row.notice.delivery_id, row.claim, outcome, later, later + LEASE * 9)
    fails = how("slack:#b")
    assert (fails.dead, fails.unknown, fails.failing_since) == (1, 1, NOW)
    row = store.claim(later + LEASE * 10, LEASE)
    store.conclude(row.notice.delivery_id, row.claim, Sent({}), later, later)
    assert (how("slack:#b").failing_since, how("slack:#b").last_error) == (None, None)


def test_a_post_that_is_sent_while_they_are_listed_does_not_wait(store, store_server):
    store.save(changes(notices=[notice(1), notice(2, incident_id="other")]))

    class Overtaken(redis.Redis):
        """Another notifier sends a post between what is asked of it first and what next."""

        def hmget(self, *args):
            found = super().hmget(*args)
            row = store.claim(NOW, LEASE)
            if row is not None:
                store.conclude(row.notice.delivery_id, row.claim, Sent({}), NOW, NOW)
            return found

    with Overtaken.from_url(store_server.url) as client:
        waiting = RedisStore(client).waiting(notice(1).destination)
    assert waiting == []
    assert states(store) == {"d1": "sent", "d2": "sent"}


def test_partitions_say_how_far_they_are(store):
    one = PartitionStatus(topic="billing.events", partition=3, offset=7, at=NOW)
    store.save(changes(partitions={"billing.events/3": one}))
    assert store.glance().partitions == [one]
