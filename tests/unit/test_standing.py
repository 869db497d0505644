"""Standing things: put and dropped by intents, each version by its content."""

from datetime import UTC, datetime

import msgspec
import pytest

from service.bootstrap import build_desk_parts
from service.config import Settings
from service.core.budget_findings import Budgets
from service.core.deliveries import Deliveries
from service.core.incidents import Incidents, SeverityLimits
from service.core.intents import Drop, Intent, Put
from service.core.money import ZERO
from service.core.owners import Owners
from service.core.routing import Route, Router
from service.core.standing import Things, etag_of
from service.core.state import Saved, Streams
from service.core.subscriptions import Subscription
from service.core.tokens import Token
from service.desk import Desk, Parts

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
SAID = {"at": AT, "who": "ana", "via": "cli", "why": "first set-up"}
TOKEN = Token(name="ana", sha256="0" * 64, teams=["ml"], role="viewer")
OTHER = msgspec.structs.replace(TOKEN, role="editor")


def desk(things=None):
    router = Router(Route(receiver="everyone"), {"everyone": ["console:"]})
    parts = Parts(
        Incidents(SeverityLimits(ZERO, ZERO)),
        Deliveries(router),
        Things() if things is None else things,
        Budgets([], Owners([], {})),
    )
    return Desk(parts, lambda _: None)


def follow(at, intent, offset=1):
    assert at.refusal(intent) is None
    at.follow(intent)
    return at.tell([], AT, offset, [])


def test_what_is_put_stands_until_it_is_dropped():
    here = desk()
    put, drop = Put(thing=TOKEN, **SAID), Drop(kind="token", name="ana", **SAID)
    changes = follow(here, put)
    assert (changes.things, changes.intents) == ({("token", "ana"): TOKEN}, [put])
    assert here.everything(AT, []).things == {("token", "ana"): TOKEN}
    changes = follow(here, drop, 2)
    assert (changes.things, changes.intents) == ({("token", "ana"): None}, [drop])
    assert here.everything(AT, []).things == {}
    assert here.tell([], AT, 3, []).things == {}


@pytest.mark.parametrize(
    ("stands", "intent", "why"),
    [
        (None, Drop(kind="token", name="ana", **SAID), "no token 'ana'"),
        (None, Put(thing=TOKEN, if_match=etag_of(TOKEN), **SAID), "changed meanwhile"),
        (TOKEN, Put(thing=OTHER, if_match="", **SAID), "changed meanwhile"),
        (TOKEN, Put(thing=OTHER, if_match=etag_of(OTHER), **SAID), "changed meanwhile"),
        (TOKEN, Drop(kind="token", name="ana", if_match="x", **SAID), "changed meanwhile"),
        (None, Put(thing=TOKEN, if_match="", **SAID), None),
        (TOKEN, Put(thing=OTHER, if_match=etag_of(TOKEN), **SAID), None),
        (TOKEN, Drop(kind="token", name="ana", if_match=etag_of(TOKEN), **SAID), None),
    ],
)
def test_who_changes_what_another_changed_meanwhile_is_refused(stands, intent, why):
    refused = desk(Things([stands] if stands else [])).refusal(intent)
    assert refused is None if why is None else why in refused


def test_things_are_saved_and_restored():
    things, streams = Things(), Streams()
    things.put(TOKEN)
    chunks = list(things.save(streams, "things"))
    things.drop("token", "ana")
    things.put(msgspec.structs.replace(TOKEN, name="bo"))
    chunks += things.save(streams, "things")
    back = Things()
    read = {"things": [memoryview(chunk.data) for chunk in chunks]}
    back.restore(Saved(read, read.__getitem__), "things")
    assert back.everything() == things.everything()
    assert back.drain() == {}


def test_an_intent_is_read_back_as_what_it_was():
    for intent in (Put(thing=TOKEN, **SAID), Drop(kind="token", name="ana", **SAID)):
        assert msgspec.json.decode(msgspec.json.encode(intent), type=Intent) == intent


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("slack:#ml", None),
        ("webhook:tickets", None),
        ("email:a@example.com", "no receiver of the config is told by 'email', only by slack, "),
        ("pigeon:loft", "no receiver of the config is told by 'pigeon'"),
        ("webhook:nobody", "'webhook:nobody' is not under [notifiers.webhook.to]"),
        ("slack:", "'slack:' names no one to tell"),
        ("\x1b[2J:x", "no receiver of the config is told by '[2J'"),
    ],
)
def test_a_subscription_that_could_never_be_delivered_is_refused_when_it_is_made(destination, why):
    settings = Settings(
        receivers={"everyone": ["slack:#spend", "webhook:tickets"]},
        notifiers={"webhook": {"to": {"tickets": {}}}},
    )
    desk = Desk(build_desk_parts(settings), lambda _: None)
    thing = Subscription(name="x", team="ml", destination=destination)
    refused = desk.refusal(Put(thing=thing, **SAID))
    assert refused == why if why is None else refused.startswith(why)
