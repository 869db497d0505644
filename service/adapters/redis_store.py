"""The store: current state in Redis or Valkey, changed by scripts that check before they write.

Losing it loses no money and no notice: it can be rebuilt from the log, and every id in it is a pure
function of content.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as RedisRetry

from service.adapters import redis_glance
from service.adapters.redis_glance import STATES, maybe_time, time_of
from service.adapters.redis_pages import Pages
from service.core import pages
from service.core.budget_figures import BudgetStatus
from service.core.bundles import BUNDLES
from service.core.findings import Finding
from service.core.gpu_hosts import GpuHost
from service.core.incidents import Incident
from service.core.intents import Intent
from service.core.missed import DIGEST
from service.core.notices import Delivery, Notice
from service.core.ports import (
    ANY_DELIVERY,
    ANY_INTENT,
    Answer,
    Begin,
    Changes,
    DeliveryFilter,
    DestinationStatus,
    FindingFilter,
    Glance,
    IncidentFilter,
    IntentFilter,
    Outcome,
    Refused,
    Retry,
    Saved,
    Sent,
    SourceStatus,
    StoreUnavailableError,
    UnreadableDeliveryError,
    as_new,
)
from service.core.standing import Standing
from service.decoding import from_json

PREFIX: Final = "spendwatch:"
# What budgets come to, and hosts, lie beside what people set up, under kinds that are none.
BUDGETS: Final = "budget-status"
GPUS: Final = "gpu-host"
READ_AT_ONCE: Final = 500
PARTITIONS: Final = "partition"
_BEAT: Final = msgspec.json.Decoder(tuple[datetime, list[str]])
_UNREADABLE: Final = (msgspec.DecodeError, KeyError, ValueError, OverflowError)
# What is read of a delivery.
_DELIVERY: Final = (
    b"notice", b"state", b"due", b"attempts", b"claim", b"error", b"ref", b"updated",
    b"conversation",
)  # fmt: skip
_LUA: Final = Path(__file__).with_name("lua")
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _guarded(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn what the client raises when the server is away or full into the port's error."""

    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except redis.RedisError as error:
            message = f"the store does not answer: {error}"
            raise StoreUnavailableError(message) from error

    guarded.__name__ = method.__name__
    guarded.__doc__ = method.__doc__
    return guarded


class RedisStore:
    """`Store` on one Redis or Valkey server."""

    def __init__(self, client: "redis.Redis") -> None:
        self._redis: Any = client
        self._save = client.register_script(_with_notes("save.lua"))
        self._claim = client.register_script((_LUA / "claim.lua").read_text("utf-8"))
        self._conclude = client.register_script((_LUA / "conclude.lua").read_text("utf-8"))
        self._tell = client.register_script(_with_notes("tell.lua"))
        page = client.register_script((_LUA / "page.lua").read_text("utf-8"))
        self._pages = Pages(page, PREFIX)
        destinations = (_LUA / "destinations.lua").read_text("utf-8")
        self._waiting_at = client.register_script(destinations)
        self._renew = client.register_script((_LUA / "renew.lua").read_text("utf-8"))
        self._release = client.register_script((_LUA / "release.lua").read_text("utf-8"))
        self._trouble = client.register_script(_with_notes("trouble.lua"))
        self._catch_up = client.register_script(_with_notes("catch_up.lua"))

    @classmethod
    def connect(cls, url: str, **security: Any) -> "RedisStore":
        """Connect to `redis://`, `rediss://` or `unix://`; commands are never repeated unasked.

        `security` is redis-py's: username, password, ssl_ca_certs, ssl_certfile, ssl_keyfile.
        ValueError or TypeError when the URL or one of its options is none. Nothing is sent yet.
        """
        client = redis.Redis.from_url(
            url,
            socket_timeout=10,
            socket_connect_timeout=5,
            retry=RedisRetry(NoBackoff(), 0),
            **security,
        )
        try:
            client.connection_pool.make_connection()
        except redis.RedisError as error:
            raise ValueError(str(error)) from None
        return cls(client)

    @_guarded
    def time(self) -> datetime:
        """Return the server's time."""
        seconds, microseconds = self._redis.time()
        return time_of(seconds + microseconds / 1e6)

    @_guarded
    def ping(self) -> None:
        """Return when the server answers."""
        self._redis.ping()

    @_guarded
    def offset(self) -> int:
        """Return how far into the log the saved state reaches."""
        return int(self._redis.get(PREFIX + "offset") or 0)

    @_guarded
    def log(self) -> str | None:
        """Return the id of the log that what is saved is of; None where nobody said."""
        found = self._redis.get(PREFIX + "log")
        return None if found is None else found.decode()

    @_guarded
    def follow(self, log: str, offset: int) -> None:
        """Go on with a log from an offset; what is there stays."""
        saved = PREFIX + "incidents:saved"
        if offset == 0:
            self._redis.zunionstore(saved, {saved: 0})  # when it was saved is of the log before
        self._redis.mset({PREFIX + "log": log, PREFIX + "offset": offset})

    @_guarded
    def save(self, changes: Changes, begin: Begin = as_new) -> Saved:
        """Save a batch as a whole."""
        now = max((n.at for n in changes.notices), default=None)
        findings, incidents = changes.findings, changes.incidents
        sources, notices = changes.sources, changes.notices
        args: list[Any] = [changes.previous, changes.offset, _score(now)]
        things = _things(changes)
        args += [
            len(findings),
            len(incidents),
            len(sources),
            len(notices),
            len(things),
            len(changes.intents),
            len(changes.refused),
        ]
        told = [
            (incident_id, _score(now) + place * 1e-6, notice.delivery_id)
            for place, notice in enumerate(notices)
            for incident_id in _told_in(notice)
        ]
        held = [(id_, one.incident_id) for one in incidents for id_ in one.finding_ids]
        args += [len(told), len(held)]
        for finding in findings:
            args += [finding.finding_id, _packed(pages.of_finding(finding)), _json(finding)]
        for incident in incidents:
            args += [incident.incident_id, _packed(pages.of_incident(incident)), _json(incident)]
        for status in sources:
            args += [status.source, _json(status)]
        for place, notice in enumerate(notices):
            args += [notice.delivery_id, notice.incident_id, notice.destination]
            args += [notice.seq, notice.action, _json(notice)]
            # In the order of the batch: at one time, the store would go by their names.
            args += [_score(now) + place * 1e-6]
            begun = begin(notice)
            ref = b"" if begun.ref is None else _json(begun.ref)
            args += [begun.state, _score(begun.due or now), begun.error or "", ref]
            args += [_packed(pages.of_notice(notice))]
        for (kind, name), thing in things.items():
            args += [kind, name, b"" if thing is None else _json(thing)]
        owners = {incident.incident_id: incident.owner for incident in incidents}
        for intent in changes.intents:
            facts = pages.of_intent(intent, pages.owner_of(intent, owners))
            args += [intent.intent_id, _packed(facts), _json(intent)]
        for intent_id, reason in changes.refused.items():
            args += [intent_id, reason]
        for row in told:
            args += row
        for pair in held:
            args += pair
        keys = _keys(
            "offset", "findings", "incidents", "sources", "notices", "outbox", "deliveries",
            "delivery:", "conversation:", "things:", "intents", "messages", "refused:", "told:",
            "holds",
        )  # fmt: skip
        return self._save(keys=keys, args=args).decode()  # type: ignore[no-any-return]

    @_guarded
    def glance(self, owners: frozenset[str] | None = None) -> Glance:
        """Return how the store stands."""
        partitions = f"{PREFIX}things:{PARTITIONS}"
        return redis_glance.glance(self._redis, PREFIX, partitions, owners)

    @_guarded
    def rebuilding(self) -> datetime | None:
        """Return up to when the store is filled again, None when it is whole."""
        return maybe_time(self._redis.get(PREFIX + "rebuilding"))

    @_guarded
    def mark_rebuilding(self, until: datetime | None) -> None:
        """Note up to when the store is filled again; None when it is whole."""
        if until is None:
            self._redis.delete(PREFIX + "rebuilding")
        else:
            self._redis.set(PREFIX + "rebuilding", _score(until))

    @_guarded
    def answer(self, intent_id: str) -> Answer | None:
        """Return what became of an intent; None when it has not been come to yet."""
        if self._redis.hexists(PREFIX + "intents", intent_id):
            return Answer(None)
        reason = self._redis.get(f"{PREFIX}refused:{intent_id}")
        return None if reason is None else Answer(reason.decode())

    @_guarded
    def finding(self, finding_id: str) -> Finding | None:
        """Return one finding."""
        return self._one("findings", finding_id, Finding)

    @_guarded
    def findings(self, where: FindingFilter) -> list[Finding]:
        """List findings."""
        return self._many("findings", self._pages.names("findings", where), Finding)

    @_guarded
    def incident(self, incident_id: str) -> Incident | None:
        """Return one incident."""
        return self._one("incidents", incident_id, Incident)

    @_guarded
    def incidents(self, where: IncidentFilter) -> list[Incident]:
        """List incidents."""
        return self._many("incidents", self._pages.names("incidents", where), Incident)

    @_guarded
    def written(self, where: IncidentFilter | FindingFilter) -> list[bytes]:
        """List incidents or findings as they were written."""
        kind = "incidents" if isinstance(where, IncidentFilter) else "findings"
        return self._rows(kind, self._pages.names(kind, where))

    @_guarded
    def changed(self, since: int) -> tuple[int, list[bytes]]:
        """Return the offset, and the incidents that were saved after another."""
        offset = self.offset()
        if since == 0:
            names = self._pages.names("incidents", IncidentFilter(is_open=True, limit=sys.maxsize))
        else:
            names = self._redis.zrangebyscore(f"{PREFIX}incidents:saved", f"({since}", "+inf")
        return offset, self._rows("incidents", names)

    @_guarded
    def latest_notice(self, incident_id: str) -> Notice | None:
        """Return the newest notice of an incident."""
        return self._one("notices", incident_id, Notice)

    @_guarded
    def sources(self) -> list[SourceStatus]:
        """Return the state of every source, by name."""
        rows = self._redis.hgetall(PREFIX + "sources")
        return [from_json(rows[name], SourceStatus) for name in sorted(rows)]

    @_guarded
    def things(self, kind: str) -> list[Standing]:
        """Return what stands of a kind, by name."""
        rows = self._redis.hgetall(f"{PREFIX}things:{kind}")
        return [from_json(rows[name], Standing) for name in sorted(rows)]

    @_guarded
    def thing(self, kind: str, name: str) -> Standing | None:
        """Return one standing thing."""
        return self._one(f"things:{kind}", name, Standing)  # type: ignore[arg-type]  # a union is no class

    @_guarded
    def budgets(self) -> list[BudgetStatus]:
        """Return every budget as it stands, by name."""
        rows = self._redis.hgetall(f"{PREFIX}things:{BUDGETS}")
        return [from_json(rows[name], BudgetStatus) for name in sorted(rows)]

    @_guarded
    def destinations(self) -> list[DestinationStatus]:
        """Return how each destination does, by name; of what waits the oldest thousand count."""
        return redis_glance.destinations(self._redis, self._waiting_at, PREFIX)

    @_guarded
    def gpus(self) -> list[GpuHost]:
        """Return every host with GPUs as it stands, by name."""
        rows = self._redis.hgetall(f"{PREFIX}things:{GPUS}")
        return [from_json(rows[name], GpuHost) for name in sorted(rows)]

    @_guarded
    def intents(self, where: IntentFilter = ANY_INTENT) -> list[Intent]:
        """Return what took effect."""
        return self._many("intents", self._pages.names("intents", where), Intent)  # type: ignore[arg-type]  # a union is no class

    @_guarded
    def note_used(self, token: str, at: datetime) -> None:
        """Note when a token was used."""
        self._redis.hset(PREFIX + "tokens:used", token, _score(at))

    @_guarded
    def tokens_used(self) -> dict[str, datetime]:
        """Return when each token was used last."""
        rows = self._redis.hgetall(PREFIX + "tokens:used")
        return {name.decode(): time_of(float(at)) for name, at in rows.items()}

    @_guarded
    def deliveries(self, where: DeliveryFilter = ANY_DELIVERY) -> list[Delivery]:
        """List deliveries; one that cannot be read is counted among the dead, or will be."""
        found: list[Delivery] = []
        names = self._pages.names("deliveries", where)
        for at in range(0, len(names), READ_AT_ONCE):
            rows = self._outbox_rows(names[at : at + READ_AT_ONCE])
            talks = [row[b"conversation"] for row in rows]
            refs = self._redis.hmget(PREFIX + "messages", talks) if talks else []
            for row, ref in zip(rows, refs, strict=True):
                with suppress(*_UNREADABLE):
                    parent = _ref(ref)
                    if parent is not None and parent.keys() == {DIGEST}:
                        parent = self._parent(row[b"conversation"])
                    found.append(_delivery_in(row, parent))
        return found

    def _outbox_rows(self, names: Sequence[bytes]) -> list[dict[bytes, bytes]]:
        with self._redis.pipeline(transaction=False) as asked:
            for name in names:
                asked.hmget(f"{PREFIX}delivery:{name.decode()}", _DELIVERY)
            rows = (zip(_DELIVERY, row, strict=True) for row in asked.execute())
            there = [{name: said for name, said in row if said is not None} for row in rows]
            return [row for row in there if b"conversation" in row]

    @_guarded
    def told(self, incident_id: str, limit: int = 1000) -> list[Delivery]:
        """Return what was told of an incident, alone or with others, in the order of telling."""
        names = self._redis.zrange(f"{PREFIX}told:{incident_id}", 0, limit - 1)
        found = (self._delivery(name.decode()) for name in names)
        return [delivery for delivery in found if delivery is not None]

    @_guarded
    def incident_of(self, finding_id: str) -> Incident | None:
        """Return the incident that holds a finding."""
        name = self._redis.hget(PREFIX + "holds", finding_id)
        found = None if name is None else self._one("incidents", name, Incident)
        return found if found is not None and finding_id in found.finding_ids else None

    @_guarded
    def delivery_counts(self) -> dict[str, int]:
        """Count deliveries by state."""
        with self._redis.pipeline(transaction=False) as asked:
            for name in STATES:
                asked.zcard(f"{PREFIX}deliveries:{name}")
            return dict(zip(STATES, asked.execute(), strict=True))

    @_guarded
    def next_due(self) -> datetime | None:
        """Return when the next delivery is due, or None when nothing waits."""
        first = self._redis.zrange(PREFIX + "outbox", 0, 0, withscores=True)
        return time_of(first[0][1]) if first else None

    @_guarded
    def claim(self, now: datetime, lease: timedelta) -> Delivery | None:
        """Take the next due delivery so that no one else sends it while the lease lasts."""
        keys = _keys("outbox", "deliveries:", "delivery:")
        found = self._claim(keys=keys, args=[_score(now), _score(now + lease)])
        if isinstance(found, list):
            raise UnreadableDeliveryError(found[0].decode("utf-8", "replace"), "not a delivery")
        if not found:
            return None
        delivery_id = found.decode("utf-8", "replace")
        try:
            return self._delivery(delivery_id)
        except _UNREADABLE as error:
            reason = f"cannot be read: {error}"
            claim = self._redis.hget(f"{PREFIX}delivery:{delivery_id}", "claim")
            self.conclude(delivery_id, int(claim), Refused(reason), now, now)
            raise UnreadableDeliveryError(delivery_id, reason) from None

    @_guarded
    def conclude(
        self, delivery_id: str, claim: int, outcome: Outcome, now: datetime, due: datetime
    ) -> bool:
        """Record how a claimed send ended; `due` is when to look at it again."""
        state, error, ref = "unknown", "", ""
        if isinstance(outcome, Sent):
            state, ref = "sent", _json(outcome.ref).decode()
        elif isinstance(outcome, Refused):
            state, error = "dead", outcome.reason
        elif isinstance(outcome, Retry):
            state, error = "ready", outcome.reason
        else:
            error = outcome.reason
        keys = _keys("outbox", "deliveries:", "delivery:", "messages", "destinations:")
        args: list[Any] = [delivery_id, claim, state, _score(now), _score(due), error, ref]
        return bool(self._conclude(keys=keys, args=args))

    @_guarded
    def renew(self, delivery_id: str, claim: int, until: datetime) -> bool:
        """Hold on to a claimed delivery until then; False when the claim is no longer held."""
        keys = _keys("outbox", "delivery:")
        return bool(self._renew(keys=keys, args=[delivery_id, claim, _score(until)]))

    @_guarded
    def release(self, now: datetime, due: datetime) -> int:
        """Take back every claim, since whoever held one is dead; return how many there were."""
        keys = _keys("outbox", "deliveries:", "delivery:")
        return int(self._release(keys=keys, args=[_score(now), _score(due)]))

    @_guarded
    def tell(self, posts: Sequence[Notice], now: datetime) -> int:
        """Put posts into the outbox that no log holds; return how many were new."""
        args: list[Any] = [_score(now)]
        for post in posts:
            args += [post.delivery_id, post.incident_id, post.destination, post.seq, _json(post)]
            args += [_packed(pages.of_notice(post))]
        keys = _keys("outbox", "deliveries", "delivery:", "conversation:", "told:")
        return int(self._tell(keys=keys, args=args))

    @_guarded
    def troubles(self) -> list[bytes]:
        """Return the troubles that were told and are not over, as they were noted."""
        rows = self._redis.hgetall(PREFIX + "troubles")
        return [rows[key] for key in sorted(rows)]

    @_guarded
    def note_trouble(
        self, key: str, trouble: bytes, notices: Sequence[Notice], now: datetime
    ) -> bool:
        """Note that a trouble began or is over, with what is told of it."""
        args: list[Any] = [_score(now), key, trouble]
        for one in notices:
            args += [one.delivery_id, one.incident_id, one.destination, one.seq, one.action]
            args += [_json(one), _packed(pages.of_notice(one))]
        keys = _keys("outbox", "deliveries", "delivery:", "conversation:", "troubles")
        return bool(self._trouble(keys=keys, args=args))

    @_guarded
    def beat(self, part: str, faults: Sequence[str], until: datetime) -> None:
        """Say that a part of the service works until then, and what it knows to be wrong."""
        self._redis.hset(PREFIX + "beats", part, _json((until, list(faults))))

    @_guarded
    def beats(self) -> dict[str, tuple[datetime, list[str]]]:
        """Return by part until when it said to work, and what it knew to be wrong."""
        rows = self._redis.hgetall(PREFIX + "beats")
        return {name.decode(): _BEAT.decode(rows[name]) for name in sorted(rows)}

    @_guarded
    def waiting(self, destination: str) -> list[list[Delivery]]:
        """Return the first posts that wait for a destination, each with what follows it."""
        found = []
        names = [f"{PREFIX}deliveries:{state}" for state in ("ready", "unknown")]
        for id_ in [one for name in names for one in self._redis.zrange(name, 0, -1)]:
            with suppress(redis.ResponseError, *_UNREADABLE):
                key = f"{PREFIX}delivery:{id_.decode()}"
                action, conversation = self._redis.hmget(key, "action", "conversation")
                if action == b"post" and conversation.decode().endswith(f"|{destination}"):
                    ids = self._redis.zrange(conversation, 0, -1)
                    rows = [self._delivery(one.decode()) for one in ids]
                    # It may have been sent since it was listed.
                    if ids[:1] == [id_] and rows[0] is not None:
                        found.append([row for row in rows if row is not None])
        return found

    @_guarded
    def catch_up(self, digests: Sequence[tuple[Notice, Sequence[Delivery]]], now: datetime) -> bool:
        """Put digests into the outbox, each in the place of posts that wait."""
        args: list[Any] = [_score(now), len(digests)]
        for notice, posts in digests:
            args += [notice.delivery_id, notice.incident_id, notice.destination, _json(notice)]
            args += [_packed(pages.of_notice(notice)), len(posts)]
            for post in posts:
                args += [post.notice.delivery_id, post.claim]
        keys = _keys("outbox", "deliveries", "delivery:", "conversation:", "messages")
        return bool(self._catch_up(keys=keys, args=args))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _one(self, name: str, id_: str | bytes, kind: type[_R]) -> _R | None:
        data = self._redis.hget(PREFIX + name, id_)
        return None if data is None else from_json(data, kind)

    def _many(self, name: str, ids: Sequence[bytes], kind: type[_R]) -> list[_R]:
        return [from_json(row, kind) for row in self._rows(name, ids)]

    def _rows(self, name: str, ids: Sequence[bytes]) -> list[bytes]:
        chunks = (ids[at : at + READ_AT_ONCE] for at in range(0, len(ids), READ_AT_ONCE))
        rows = (row for chunk in chunks for row in self._redis.hmget(PREFIX + name, chunk))
        return [row for row in rows if row is not None]

    def _parent(self, conversation: bytes) -> dict[str, str] | None:
        """Return what the first post of a conversation came to, or the digest in its place."""
        ref = _ref(self._redis.hget(PREFIX + "messages", conversation))
        if ref is None or ref.keys() != {DIGEST}:
            return ref
        told = _ref(self._redis.hget(PREFIX + "messages", ref[DIGEST]))
        return ref if told is None else {**told, **ref}

    def _delivery(self, delivery_id: str) -> Delivery | None:
        row = self._redis.hgetall(f"{PREFIX}delivery:{delivery_id}")
        if not row:
            return None
        return _delivery_in(row, self._parent(row[b"conversation"]))


def _delivery_in(row: Mapping[bytes, bytes], parent: dict[str, str] | None) -> Delivery:
    return Delivery(
        notice=from_json(row[b"notice"], Notice),
        state=row[b"state"].decode(),  # type: ignore[arg-type]  # as our scripts write it
        due=time_of(float(row[b"due"])),
        attempts=int(row[b"attempts"]),
        claim=int(row[b"claim"]),
        error=(row.get(b"error") or b"").decode() or None,
        ref=_ref(row.get(b"ref")),
        parent=parent,
        updated_at=time_of(float(row[b"updated"])),
    )


def _things(changes: Changes) -> dict[tuple[str, str], object]:
    """Return all that is kept by kind and name."""
    return {
        **changes.things,
        **{(BUDGETS, name): budget for name, budget in changes.budgets.items()},
        **{(GPUS, name): host for name, host in changes.gpus.items()},
        **{(PARTITIONS, name): one for name, one in changes.partitions.items()},
    }


def _told_in(notice: Notice) -> list[str]:
    """Name the incidents that a notice tells."""
    if notice.incident.kind not in BUNDLES:
        return [notice.incident_id]
    return [driver.series for driver in notice.incident.drivers]


def _keys(*names: str) -> list[str]:
    return [PREFIX + name for name in names]


def _with_notes(name: str) -> str:
    """Return a script that notes what is found by what: its first line has to stay the first."""
    script, notes = ((_LUA / one).read_text("utf-8") for one in (name, "note.lua"))
    shebang, _, body = script.partition("\n")
    return f"{shebang}\n{notes}{body}"


def _packed(facts: pages.Facts) -> bytes:
    return msgspec.msgpack.encode(facts)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _ref(data: bytes | None) -> dict[str, str] | None:
    return from_json(data, dict[str, str]) if data else None


def _score(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()
