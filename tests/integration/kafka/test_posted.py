"""Events over HTTP into a real broker: safe when answered, in the partition of their key."""

import json

import httpx
import msgspec

from service.adapters.kafka_posted import PostedMessages
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import ensure
from service.bootstrap import build_topics
from service.core.partitions import partition_of
from service.entrypoints.api import build_app, serve
from service.entrypoints.api.access import Local
from service.telemetry import Metrics
from tests.factories import NOW
from tests.integration.kafka.reading import records
from tests.integration.kafka.test_ingest import row

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_what_is_posted_is_in_the_log_when_it_is_answered(store, settings, cluster, kafka_server):
    ensure(cluster, build_topics(settings), settings.kafka.replication)
    metrics, parts = Metrics("0"), settings.kafka.partitions
    posted = PostedMessages(
        ["pushed"], parts, lambda: Publisher(cluster),
        lambda feed, number: metrics.event(feed, "rejected", number=number),
    )  # fmt: skip
    app = build_app(
        store=store, history=None, metrics=metrics, started_at=NOW, now=lambda: NOW,
        local=Local("admin"), posting=posted,
    )  # fmt: skip
    good = [json.dumps(row(number)).encode() for number in range(500)]
    with serve(app) as url:
        body = b"\n".join([*good, b"nonsense"])
        told = httpx.post(f"{url}/v1/events", content=body, headers=NDJSON, timeout=60).json()
        assert (told["accepted"], told["rejected"]) == (500, 1)
        found = records(cluster, "billing.events")
        rows = [(record.partition, json.loads(line))
                for record in found for line in record.value.splitlines()]  # fmt: skip
        assert sorted(one["BilledCost"] for _, one in rows) == sorted(str(n) for n in range(500))
        assert all(partition_of(one["ResourceId"], parts) == at for at, one in rows)
        assert {dict(record.headers)["source"] for record in found} == {b"pushed"}
        assert all(one["x_EventId"] for _, one in rows)
        (letter,) = records(cluster, "ingest.dlq")
        assert msgspec.json.decode(letter.value)["row"] == 501
        assert 'spendwatch_dead_letters_total{source="pushed"} 1.0' in metrics.render().decode()
    posted.close()


def test_without_a_broker_nothing_is_acknowledged(store, settings, cluster):
    away = cluster._replace(bootstrap_servers="127.0.0.1:9")
    posted = PostedMessages(["pushed"], 4, lambda: Publisher(away), lambda *_: None)
    app = build_app(
        store=store, history=None, metrics=Metrics("0"), started_at=NOW, now=lambda: NOW,
        local=Local("admin"), posting=posted,
    )  # fmt: skip
    with serve(app) as url:
        body = json.dumps(row(1)).encode()
        answer = httpx.post(f"{url}/v1/events", content=body, headers=NDJSON, timeout=60)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    posted.close()
