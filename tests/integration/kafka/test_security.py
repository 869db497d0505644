"""TLS, SASL and ACL for real: servers with a private authority, and every half of it refused."""

import asyncio
import socket
import subprocess
import sys
import time

import msgspec
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from service.adapters.kafka_log import GroupLog
from service.adapters.kafka_messages import Message
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import ensure
from service.bootstrap import build_cluster, build_topics, open_store
from service.config import ConfigError, KafkaSettings, Settings, StoreSettings
from service.core.ports import Changes, StoreUnavailableError
from service.core.secret import Secret
from tests.kafka_server import KafkaServer
from tests.needs import need
from tests.ports import free_port

PASSWORD = "s3cret-of-the-test"
PROTECTED = """
listener.security.protocol.map=CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.client.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username="spendwatch" password="{password}";
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An authority, a server's and a client's certificate, and a stranger's authority."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1", "localhost")
        # Java reads no other form of a private key.
        key = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        certificate = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (folder / f"{name}.key").write_bytes(key)
        (folder / f"{name}.crt").write_bytes(certificate)
        (folder / f"{name}.pem").write_bytes(key + certificate)
    return folder


@pytest.fixture(scope="module")
def broker(files, tmp_path_factory):
    need("java")
    server = KafkaServer(tmp_path_factory.mktemp("kafka-tls"))
    (server.folder / "extra.properties").write_text(
        PROTECTED.format(folder=files, password=PASSWORD)
    )
    (server.folder / "format.args").write_text(
        f"--add-scram\nSCRAM-SHA-512=[name=spendwatch,password={PASSWORD}]\n"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def kafka(broker, files):
    return KafkaSettings(
        bootstrap_servers=broker.address,
        partitions=1,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        username="spendwatch",
        password=Secret(PASSWORD),
        ca_file=files / "ca.pem",
        certificate_file=files / "client.crt",
        key_file=files / "client.key",
    )


def reach(kafka):
    settings = Settings(kafka=kafka)
    cluster = build_cluster(settings)
    ensure(cluster, build_topics(settings), -1)
    return cluster


def test_kafka_is_reached_with_tls_both_ways_and_a_password(kafka):
    cluster = reach(kafka)
    producer = cluster.producer()
    producer.send("cost.intents", b"1", key=b"k").get(timeout=20)
    producer.close()
    assert PASSWORD not in repr(cluster)


async def test_a_group_reads_what_was_published_with_the_same_protection(kafka):
    cluster = reach(kafka)
    with Publisher(cluster) as publisher:
        publisher.put(Message("billing.events", 0, "aws", b"{}", 1))
        publisher.flush()
    stop = asyncio.Event()

    async def from_the_start(ours, _):
        return dict.fromkeys(ours, 0)

    log = GroupLog(cluster, "group", ["billing.events"], from_the_start)
    async for topic, partition, message in log.messages(stop):
        assert (topic, partition, message.offset) == ("billing.events", 0, 0)
        assert (dict(message.headers), message.value) == ({"source": b"aws"}, b"{}")
        stop.set()


# In a process of its own: after a failure the client leaves sockets and threads behind.
REACH = """
import os, sys
from pathlib import Path
from service.adapters import kafka_client
from service.adapters.kafka_topics import ensure
from service.bootstrap import build_cluster, build_topics
from service.config_file import load
from service.core.ports import LogUnavailableError
kafka_client.ANSWERS_WITHIN_MS = 3000
settings = load(Path(sys.argv[1]), {})
try:
    ensure(build_cluster(settings), build_topics(settings), -1)
except LogUnavailableError as error:
    print("refused:", error, flush=True)
else:
    print("reached", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("without", ["nothing", "password", "authority", "certificate", "tls"])
def test_kafka_is_not_reached_with_any_part_wrong(broker, files, tmp_path, without):
    lines = {
        "tls": f"""
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
username = "spendwatch"
password = "{"wrong" if without == "password" else PASSWORD}"
ca_file = "{files / ("stranger.pem" if without == "authority" else "ca.pem")}"
""",
        "certificate": f"""
certificate_file = "{files / "client.crt"}"
key_file = "{files / "client.key"}"
""",
    }
    given = [text for name, text in lines.items() if without not in (name, "tls")]
    config = tmp_path / "c.toml"
    address = f'bootstrap_servers = "{broker.address}"\npartitions = 1'
    config.write_text("\n".join(["[kafka]", address, *given]))
    command = [sys.executable, "-W", "ignore", "-c", REACH, config]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith("reached" if without == "nothing" else "refused: Kafka does not answer")
    assert PASSWORD not in said


def test_a_file_that_is_not_there_is_named(kafka, tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.pem: No such file"):
        reach(msgspec.structs.replace(kafka, ca_file=tmp_path / "nowhere.pem"))


@pytest.fixture(scope="module")
def redis(files, tmp_path_factory):
    """A Redis that listens with TLS only, asks who connects, and lets one user at its own keys."""
    folder = tmp_path_factory.mktemp("redis-tls")
    users = folder / "users.acl"
    users.write_text(
        "user default off\n"
        f"user worker on >{PASSWORD} ~spendwatch:* resetchannels"
        " -@all +@read +@write +@scripting +@connection +time -@dangerous\n"
    )
    port = free_port()
    command = [
        need("redis-server"), "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1",
        "--tls-cert-file", files / "server.crt", "--tls-key-file", files / "server.key",
        "--tls-ca-cert-file", files / "ca.pem", "--aclfile", users, "--dir", folder, "--save", "",
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield port
    server.terminate()
    server.wait()


@pytest.fixture
def store_settings(redis, files):
    return StoreSettings(
        url=f"rediss://127.0.0.1:{redis}/0",
        username="worker",
        password=Secret(PASSWORD),
        ca_file=files / "ca.pem",
        certificate_file=files / "client.crt",
        key_file=files / "client.key",
    )


def test_redis_is_reached_with_tls_both_ways_and_an_acl_user(store_settings):
    with open_store(Settings(store=store_settings)) as store:
        assert store.save(Changes(previous=0, offset=7)) == "saved"
        assert store.offset() == 7


@pytest.mark.parametrize("wrong", ["password", "user", "authority", "certificate", "plaintext"])
def test_redis_is_not_reached_with_any_part_wrong(store_settings, redis, files, wrong):
    changes = {
        "password": {"password": Secret("wrong")},
        "user": {"username": None, "password": None},
        "authority": {"ca_file": files / "stranger.pem"},
        "certificate": {"certificate_file": None, "key_file": None},
        "plaintext": {
            "url": f"redis://127.0.0.1:{redis}/0", "ca_file": None,
            "certificate_file": None, "key_file": None,
        },
    }  # fmt: skip
    settings = Settings(store=msgspec.structs.replace(store_settings, **changes[wrong]))
    with pytest.raises(StoreUnavailableError), open_store(settings):
        pass


def test_the_acl_user_can_neither_wipe_nor_read_what_is_not_ours(store_settings):
    with open_store(Settings(store=store_settings)) as store:
        for command in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "other"), ("KEYS", "*")):
            with pytest.raises(Exception, match="no permissions"):
                store._redis.execute_command(*command)
