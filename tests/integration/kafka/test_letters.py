"""Dead letters from a worker's hand to a person's and back."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.adapters.kafka_letters import Letter, letters, refused, send
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import REFUSED, ensure
from service.bootstrap import build_topics
from service.config import ConfigError
from service.core.events import Rejected
from service.entrypoints.letters import list_letters, replay_letters, show_letter
from tests.integration.kafka.reading import records

SPENDWATCH = Path(sys.executable).with_name("spendwatch")


def letter(offset, raw=b"not json \x1b[2J \xff", topic="billing.events"):
    return Letter(
        topic=topic, partition=1, offset=offset, line=2, source="aws",
        reason="is not JSON", raw=raw,
    )  # fmt: skip


@pytest.fixture
def said(settings, cluster):
    ensure(cluster, build_topics(settings), -1)
    with Publisher(cluster) as publisher:
        for offset in (3, 4, 3):
            send(publisher, letter(offset))
        send(publisher, letter(9, topic="gpu.samples"))
        publisher.send(REFUSED, refused(Rejected("a.csv", 7, "is no amount", b"x,y")), key="k")
        publisher.flush()
    return []


def test_a_letter_that_was_written_twice_is_listed_once(settings, said):
    list_letters(settings, said.append)
    assert said == [
        "billing.events/1/3/2  is not JSON",
        "billing.events/1/4/2  is not JSON",
        "gpu.samples/1/9/2  is not JSON",
        "a.csv:7  is no amount",
        "4 dead letters: 3 of aws, 1 of ingest",
    ]


def test_a_letter_holds_the_line_whole(cluster, said):
    assert next(letters(cluster)).raw == b"not json \x1b[2J \xff"


def test_what_is_replayed_comes_back_to_its_partition_under_its_feed(settings, cluster, said):
    assert replay_letters(settings, "billing.events/1/[34]/*", said.append) == 2
    found = records(cluster, "billing.events")
    assert {record.partition for record in found} == {1}
    assert [dict(record.headers) for record in found] == [{"source": b"aws"}] * 2
    assert found[0].value == b"not json \x1b[2J \xff\n"


def test_what_ingest_refused_is_mended_in_its_file(settings, cluster, said):
    assert replay_letters(settings, "a.csv:7", said.append) == 0
    assert said == ["a.csv:7: was never in a message: mend it in its file, and ingest that again"]
    show_letter(settings, "a.csv:7", said.append)
    assert said[1:] == ["a.csv:7: is no amount", "x,y"]


def test_a_name_that_is_no_letters_is_said(settings, said):
    with pytest.raises(ConfigError, match="no dead letter 'nobody'"):
        show_letter(settings, "nobody", said.append)
    with pytest.raises(ConfigError, match="no dead letter 'nobody'"):
        replay_letters(settings, "nobody", said.append)


def test_the_command_shows_a_letter_without_letting_it_steer_the_terminal(config, said):
    command = [SPENDWATCH, "dead-letters", "show", "billing.events/1/3/2", "--config", config]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "billing.events/1/3/2: is not JSON\nnot json ?[2J \ufffd\n"
