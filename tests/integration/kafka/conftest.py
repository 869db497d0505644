"""One broker for all; every test has topics of its own, told apart by a prefix."""

from uuid import uuid4

import pytest

from service.adapters.kafka_client import Cluster
from service.config import KafkaSettings, Settings


@pytest.fixture
def settings(kafka_server, tmp_path):
    kafka = KafkaSettings(
        bootstrap_servers=kafka_server.address, topic_prefix=f"t{uuid4().hex[:8]}.", partitions=4
    )
    return Settings(data_dir=tmp_path / "var", kafka=kafka)


@pytest.fixture
def cluster(settings):
    kafka = settings.kafka
    return Cluster(kafka.bootstrap_servers, kafka.topic_prefix, {})


@pytest.fixture
def config(settings, tmp_path):
    """Write the settings down as a person would."""
    path = tmp_path / "spendwatch.toml"
    kafka = settings.kafka
    path.write_text(f"""
data_dir = "{settings.data_dir}"
[kafka]
bootstrap_servers = "{kafka.bootstrap_servers}"
topic_prefix = "{kafka.topic_prefix}"
partitions = {kafka.partitions}
""")
    return path
