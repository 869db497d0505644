"""What partitions write into histories of their own answers as the history of one machine does."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from service.adapters import history
from service.adapters.histories import Histories
from service.adapters.history import History
from service.adapters.kafka_log import Message
from service.adapters.kafka_messages import SOURCE_HEADER, line_of
from service.adapters.kafka_topics import EVENTS
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.chain import BEGINNING
from service.core.claims import Claim
from service.core.events import Arrival, SeriesKey
from service.core.partitions import partition_key, partition_of
from service.core.ports import Changes, SourceStatus
from service.entrypoints.admin_token import new_token
from service.entrypoints.api.access import Local, digest
from service.entrypoints.api.app import build_app
from service.entrypoints.partition import Partition, Place
from service.entrypoints.recorder import Recorder
from service.telemetry import Metrics
from tests.factories import make_event

PARTITIONS = 3
START = datetime(2026, 2, 20, tzinfo=UTC)
DAYS = 18
NOW = START + timedelta(days=DAYS)
HOUR = timedelta(hours=1)
ADMIN = new_token()
SETTINGS = Settings()


def an_hour(number, hour, **more):
    start = START + hour * HOUR
    cost = Decimal(100 * number + hour % 24 + (300 if hour == 24 * 15 and number == 2 else 0)) / 100
    row = {
        "charge_period_start": start, "charge_period_end": start + HOUR,
        "resource_id": f"i-{number}", "billed_cost": cost, "effective_cost": cost,
        "sub_account_id": f"acct-{number % 2}", "x_event_id": f"{number}-{hour}",
        "service_name": ("EC2", "RDS", "S3")[number % 3], "sku_id": f"sku-{number % 4}",
        "consumed_quantity": Decimal(1 + number % 3), "tags": {"team": f"t{number % 3}"},
    }  # fmt: skip
    return make_event(**(row | more))


def messages():
    """Yield (arrival, rows of one resource and day): rows restated, bought and moved."""
    for day in range(DAYS):
        for number in range(9):
            hours = range(24 * day, 24 * day + 24)
            tags = {"team": "moved"} if number == 3 and day > 10 else {"team": f"t{number % 3}"}
            at = START + timedelta(days=day + 1, minutes=number)
            yield at, [an_hour(number, hour, tags=tags) for hour in hours]
            if day == 12 and number < 3:
                restated = [
                    an_hour(
                        number,
                        hour,
                        x_revision=1,
                        effective_cost=Decimal(7),
                        x_event_id=f"r{number}-{hour}",
                    )
                    for hour in range(24 * 11, 24 * 12)
                ]
                yield at + timedelta(minutes=20), restated
    fee = {"charge_category": "Purchase", "charge_frequency": "One-Time", "x_event_id": "fee"}
    unused = {"commitment_discount_status": "Unused", "commitment_discount_id": "ri-1"}
    yield NOW, [an_hour(4, 24 * 15, **fee), an_hour(5, 24 * 16 + 1, x_event_id="u", **unused)]


def in_order():
    """Return the messages that each partition has, with what one machine takes in at once."""
    for at, rows in sorted(messages(), key=lambda one: one[0]):
        for number in range(PARTITIONS):
            mine = [row for row in rows if partition_of(partition_key(row), PARTITIONS) == number]
            if mine:
                yield at, number, mine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("histories")


@pytest.fixture(scope="module")
def whole(folder):
    """The history of one machine."""
    one = History(folder / "one")
    pipeline = build_pipeline(SETTINGS, {}, tells_history=False)
    for offset, (at, _, rows) in enumerate(in_order(), 1):
        batch = [Arrival(at, "aws", row) for row in rows]
        one.append(pipeline.step(batch, at, offset).ledger_rows)
        if offset % 50 == 0:
            one.flush()
    one.flush()
    yield one
    one.close()


def a_partition(number):
    pipeline = build_pipeline(SETTINGS, {}, tells_history=False, keeps_history=True, is_part=True)
    place = Place(EVENTS, number, PARTITIONS)
    return Partition(place, pipeline, BEGINNING, 100, sums_every=timedelta(minutes=1))


@pytest.fixture(scope="module")
def logs():
    """What is in each partition of the topic."""
    logs = [[] for _ in range(PARTITIONS)]
    for at, number, rows in in_order():
        value = b"".join(map(line_of, rows))
        logs[number].append(Message(len(logs[number]), at, {SOURCE_HEADER: b"aws"}, value))
    assert all(logs)
    return logs


@pytest.fixture(scope="module")
def parts(folder, logs):
    """The histories of partitions, of which a worker was killed, and two went on beside each other.

    Segments are merged soon.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "MOST_SMALL", 3)
        yield from written(folder, logs)


def written(folder, logs):
    rand = random.Random(5)  # noqa: S311 - chance that can be had again
    top = folder / "parts"
    for number, log in enumerate(logs):
        killed, partition = Recorder(top / str(number)), a_partition(number)
        for message in log[: rand.randrange(len(log))]:
            killed.take(partition.take(message).rows)
            if rand.random() < 0.05:  # what waits then is lost
                killed.flush()
        both = [(Recorder(top / str(number)), a_partition(number)) for _ in range(2)]
        for message in log:
            for recorder, partition in both:
                recorder.take(partition.take(message).rows)
                if rand.random() < 0.05:
                    recorder.flush()
        for recorder, _ in both:
            recorder.close()
    histories = Histories(top)
    yield histories
    histories.close()


@pytest.fixture
def ask(store):
    claim = Claim(name="c", owner="ml", author="ada", resource_id="i-7")
    sources = [SourceStatus(source="aws")]
    store.save(Changes(previous=0, offset=1, sources=sources, things={("claim", "c"): claim}))

    async def asked(known, path):
        app = build_app(
            store=store, history=known, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
            local=Local(None, digest(ADMIN)),
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {ADMIN}"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as http:
            answer = await http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return asked


WINDOW = "since=2026-02-20T00:00:00Z&until=2026-03-10T00:00:00Z"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/spend?{WINDOW}",
        f"/v1/spend?{WINDOW}&by=owner&by=tag:team",
        f"/v1/spend?{WINDOW}&by=service_name&by=commitment_discount_status&limit=2",
        "/v1/spend?since=2026-03-01T00:00:00Z&until=2026-03-04T00:00:00Z&by=resource_id&grain=hour",
        "/v1/spend?since=2026-03-07T00:00:00Z&until=2026-03-10T00:00:00Z&by=tag:team&tag=team=moved",
        f"/v1/movers?{WINDOW}&by=resource_id",
        "/v1/movers?by=service_name",
        *(
            f"/v1/series/{SeriesKey('aws', f'acct-{n % 2}', f'i-{n}', 'USD', 'hour')}?{WINDOW}"
            for n in (2, 3, 4)
        ),
    ],
)
async def test_partitions_answer_as_one_machine_does(ask, whole, parts, path):
    wanted = await ask(whole, path)
    assert str(wanted).count("'") > 50
    assert await ask(parts, path) == wanted


def test_what_two_wrote_beside_each_other_is_there_once(parts, whole):
    always = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    query = "{told} SELECT count(*), count(DISTINCT series) FROM newest"
    assert parts.ask([query], *always, {}) == whole.ask([query], *always, {})


def test_while_nobody_has_written_there_is_no_answer(tmp_path):
    histories = Histories(tmp_path / "parts")
    with pytest.raises(OSError, match="nobody has written a history into"):
        histories.ask(["{told} SELECT 1"], START, NOW, {})
    histories.close()


def test_a_disk_that_takes_nothing_is_a_fault_that_is_said_until_it_does(folder, logs):
    place = folder / "full" / "0"
    recorder, partition = Recorder(place), a_partition(0)
    recorder.take(partition.take(logs[0][0]).rows)
    in_the_way = place / "2026-02"
    in_the_way.write_text("not a folder")
    assert not recorder.flush()
    assert "cannot be written" in recorder.fault
    in_the_way.unlink()
    assert recorder.flush()
    assert recorder.fault is None
    recorder.close()
