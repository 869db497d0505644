"""Ingest against a real broker: what is in the topics afterwards, whoever was killed meanwhile."""

import csv
import fcntl
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from service.config import ConfigError, KafkaSettings, Settings
from service.core.partitions import partition_of
from service.entrypoints.ingest import Ingest, Order
from tests.integration.kafka.reading import ends, records

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
START = datetime(2026, 6, 1, tzinfo=UTC)
MANY = 30_000
# The command, which rests after each message: else it may be over before a busy machine sees one.
RESTING = (
    sys.executable,
    "-c",
    """
import time
from service.adapters.kafka_publisher import Publisher
from service.entrypoints import cli
put = Publisher.put
def put_and_rest(self, *message):
    put(self, *message)
    time.sleep(0.05)
Publisher.put = put_and_rest
cli.main()
""",
)


def row(number):
    """One hour of one of a hundred resources."""
    start = START + timedelta(hours=number // 100)
    return {
        "ChargePeriodStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
        "ChargePeriodEnd": f"{start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "ChargeCategory": "Usage",
        "BilledCost": str(number),
        "EffectiveCost": str(number),
        "BillingCurrency": "USD",
        "BillingAccountId": "b",
        "SubAccountId": "a",
        "ServiceName": "Compute",
        "ResourceId": f"i-{number % 100}",
        "SkuId": "s",
    }


def write_events(path, numbers):
    with path.open("w") as file:
        for number in numbers:
            file.write(json.dumps(row(number) | {"x_EventId": f"e{number}"}) + "\n")
    return path


def write_focus(path, numbers):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row(0)))
        writer.writeheader()
        writer.writerows(map(row, numbers))
    return path


WRITERS = {"events.ndjson": write_events, "focus.csv": write_focus}


def ingest(config, *args, **options):
    command = [SPENDWATCH, "ingest", "--config", config, *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, **options
    )


def publish(settings, *inputs, **order):
    """Ingest without a process of its own."""
    return Ingest(settings, lambda *_: None).publish(Order(inputs, **order))


def lines(cluster, topic="billing.events"):
    """Return every row in a topic, having checked that it is where it should be."""
    found = []
    for record in records(cluster, topic):
        for line in record.value.splitlines():
            rows = json.loads(line)
            key = rows.get("ResourceId") or rows.get("resource_id")
            assert record.partition == partition_of(key, 4)
            assert dict(record.headers)["source"]
            found.append(rows)
    return found


def costs(rows):
    return Counter(int(row["BilledCost"]) for row in rows)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", WRITERS)
def test_rows_arrive_once_in_order_of_time_and_a_second_call_has_no_news(
    cluster, settings, tmp_path, name
):
    file = WRITERS[name](tmp_path / name, reversed(range(1000)))
    assert publish(settings, file).published == 1000
    rows = lines(cluster)
    assert costs(rows) == Counter(range(1000))
    for number in range(100):
        mine = [r["ChargePeriodStart"] for r in rows if r["ResourceId"] == f"i-{number}"]
        assert mine == sorted(mine)
    assert publish(settings, file).published == 0
    assert len(lines(cluster)) == 1000


def test_of_a_snapshot_that_is_delivered_again_only_what_changed_is_news(
    cluster, settings, tmp_path
):
    file = write_focus(tmp_path / "f.csv", range(1000))
    assert publish(settings, file).published == 1000
    text = file.read_text()
    file.write_text(text.replace(",999,999,", ",7777,7777,"))
    assert publish(settings, file).published == 1
    assert costs(lines(cluster))[7777] == 1


@pytest.mark.parametrize("name", WRITERS)
def test_killed_half_way_and_started_again_no_row_is_there_twice_and_none_is_missing(
    cluster, config, settings, tmp_path, name
):
    file = WRITERS[name](tmp_path / name, range(MANY))
    at = 0
    for _ in range(2):
        at = ingest_until_there_is_more(cluster, config, file, at)
    last = publish(settings, file)
    assert last.known > 0
    assert last.known + last.published == MANY
    rows = lines(cluster)
    assert costs(rows) == Counter(range(MANY))
    assert len({(r["x_EventId"], r.get("x_Revision", 0)) for r in rows}) == MANY
    assert publish(settings, file).published == 0


def ingest_until_there_is_more(cluster, config, file, at):
    run = subprocess.Popen([*RESTING, "ingest", "--config", config, file])
    wait_until(lambda: sum(ends(cluster, "billing.events")) > at or run.poll() is not None)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    return sum(ends(cluster, "billing.events"))


def test_a_broker_that_is_killed_and_comes_back_costs_no_row(
    kafka_server, cluster, config, tmp_path
):
    file = write_events(tmp_path / "e.ndjson", range(MANY))
    run = subprocess.Popen([*RESTING, "ingest", "--config", config, file])
    wait_until(lambda: sum(ends(cluster, "billing.events")) > 2)
    kafka_server.kill()
    assert run.poll() is None
    kafka_server.start()
    assert run.wait(timeout=90) == 0
    assert costs(lines(cluster)) == Counter(range(MANY))


def test_the_command_says_what_it_did_and_a_dry_run_what_it_would_do(cluster, config, tmp_path):
    file = write_focus(tmp_path / "f.csv", range(100))
    said = ingest(config, "--dry-run", file)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("would publish 100 rows to billing.events in 4 messages, ")
    assert ends(cluster, "billing.events") == []
    said = ingest(config, file, "--feed", "aws")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("published 100 rows to billing.events in 4 messages, ")
    headers = {dict(record.headers)["source"] for record in records(cluster, "billing.events")}
    assert headers == {b"aws"}


def test_a_dry_run_needs_no_broker_and_leaves_nothing_behind(settings, tmp_path):
    nowhere = msgspec.structs.replace(
        settings, kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9", partitions=1)
    )
    order = Order([write_focus(tmp_path / "f.csv", range(100))])
    report = Ingest(nowhere, lambda *_: None).rehearse(order)
    assert report.rows == {("billing.events", 0): 100}
    assert not settings.data_dir.exists()


def test_a_dry_run_knows_what_was_published_before(settings, tmp_path):
    file = write_focus(tmp_path / "f.csv", range(10))
    publish(settings, file)
    assert Ingest(settings, lambda *_: None).rehearse(Order([file])).published == 0


def test_a_cluster_that_is_not_there_is_said_in_one_line(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text(
        f'data_dir = "{tmp_path / "var"}"\n[kafka]\nbootstrap_servers = "127.0.0.1:9"'
    )
    said = ingest(config, write_focus(tmp_path / "f.csv", range(1)))
    assert said.returncode == 1
    assert said.stderr == "spendwatch: Kafka does not answer: 127.0.0.1:9: Connection refused\n"


def test_without_kafka_in_the_config_the_missing_key_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"kafka.bootstrap_servers is not set"):
        publish(Settings(), tmp_path)


def test_what_is_refused_goes_to_the_dead_letters_with_the_reason(cluster, settings, tmp_path):
    file = write_events(tmp_path / "e.ndjson", range(10))
    file.write_text(file.read_text() + '{"ChargePeriodStart": "soon"}\nnot json\n')
    assert publish(settings, file).rejected == 2
    letters = [json.loads(record.value) for record in records(cluster, "ingest.dlq")]
    assert {letter["row"] for letter in letters} == {11, 12}
    assert any("is not JSON" in letter["reason"] for letter in letters)
    assert all(letter["file"] == str(file) for letter in letters)


def test_dead_letters_may_go_to_a_file_and_mostly_bad_input_ends_with_three(
    cluster, config, tmp_path
):
    file = tmp_path / "e.ndjson"
    file.write_text(json.dumps(row(0)) + "\nnot json\nnot json either\n")
    said = ingest(config, file, "--dead-letters", tmp_path / "letters.ndjson")
    assert said.returncode == 3
    assert "more than half of the input was rejected" in said.stderr
    assert len((tmp_path / "letters.ndjson").read_text().splitlines()) == 2
    assert records(cluster, "ingest.dlq") == []
    assert costs(lines(cluster)) == {0: 1}


@pytest.mark.parametrize("order", [{"feed": "a/b"}, {"feed": ""}, {"source": "cur"}])
def test_a_wrong_feed_or_source_is_refused(settings, tmp_path, order):
    with pytest.raises(ConfigError):
        publish(settings, tmp_path, **order)


def test_a_row_says_when_its_file_was_made(cluster, settings, tmp_path):
    file = write_focus(tmp_path / "f.csv", range(1))
    made = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    publish(settings, file)
    (line,) = lines(cluster)
    assert datetime.fromisoformat(line["x_ArrivedAt"]) == made


def test_gpu_samples_go_to_their_topic(cluster, settings, tmp_path):
    file = tmp_path / "g.ndjson"
    sample = {"timestamp": "2026-06-01T00:00:00Z", "gpu_uuid": "GPU-1", "hostname": "n1"}
    file.write_text(json.dumps(sample | {"resource_id": "i-1"}) + "\n")
    publish(settings, file)
    assert [line["gpu_uuid"] for line in lines(cluster, "gpu.samples")] == ["GPU-1"]


def test_one_ingest_at_a_time_holds_a_data_dir(settings, tmp_path):
    folder = settings.data_dir / "ingest"
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="is in use by another ingest"):
            publish(settings, write_focus(tmp_path / "f.csv", range(1)))


def test_a_row_that_no_message_can_hold_is_a_dead_letter(cluster, settings, tmp_path):
    tags = {f"key{number}": "ü" * 2550 for number in range(200)}
    file = tmp_path / "e.ndjson"
    rows = [row(0), row(1) | {"Tags": tags}]
    file.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    report = publish(settings, file)
    assert (report.published, report.rejected) == (1, 1)
    assert costs(lines(cluster)) == {0: 1}
    (letter,) = records(cluster, "ingest.dlq")
    assert "longer than 1000000 bytes" in json.loads(letter.value)["reason"]
