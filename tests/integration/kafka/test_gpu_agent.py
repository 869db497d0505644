"""The agent between a real exporter's answers and a real broker."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from service.adapters.gpu.buffer import Buffer
from service.config import ConfigError, GpuAgentSettings, GpuHostSettings, KafkaSettings
from service.core.events import GpuSample
from service.core.partitions import partition_of
from service.core.ports import LogUnavailableError
from service.entrypoints.gpu_agent import GpuAgent
from tests.integration.kafka.reading import records
from tests.needs import need

SPENDWATCH = Path(sys.executable).with_name("spendwatch")
DATA = Path(__file__).parents[2] / "data"
T4 = (DATA / "dcgm" / "t4_idle.prom").read_bytes()


@pytest.fixture
def exporter():
    """Serve what `answer` holds, as an exporter does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.answer)
            self.server.asked += 1

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.answer, server.asked = T4, 0
        server.url = f"http://127.0.0.1:{server.server_port}/metrics"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def with_agent(settings, *exporters, **options):
    agent = GpuAgentSettings(exporters=list(exporters), **options)
    return msgspec.structs.replace(settings, gpu_agent=agent)


def samples(cluster):
    return [
        msgspec.json.decode(line, type=GpuSample)
        for record in records(cluster, "gpu.samples")
        for line in record.value.splitlines()
    ]


def test_what_an_exporter_says_is_published_with_what_the_config_knows_of_the_host(
    cluster, settings, exporter
):
    host = GpuHostSettings(resource_id="i-1", instance_type="g4dn.xlarge", tags={"team": "ml"})
    hosts = {"424773df46e0": host}
    agent = GpuAgent(with_agent(settings, exporter.url, hosts=hosts, feed="gpus"))
    assert agent.run_once() == (1, [])
    (record,) = records(cluster, "gpu.samples")
    assert dict(record.headers) == {"source": b"gpus"}
    assert record.partition == partition_of("i-1", 4)
    (sample,) = samples(cluster)
    assert (sample.resource_id, sample.instance_type, sample.tags) == (
        "i-1", "g4dn.xlarge", {"team": "ml"},
    )  # fmt: skip
    assert (sample.model, sample.utilization, sample.x_arrived_at) == ("Tesla T4", 0.0, None)


def test_one_exporter_that_does_not_answer_costs_no_other(cluster, settings, exporter):
    agent = GpuAgent(with_agent(settings, "http://127.0.0.1:9/metrics", exporter.url))
    sent, failures = agent.run_once()
    assert sent == 1
    assert failures == ["http://127.0.0.1:9/metrics: [Errno 111] Connection refused"]


@pytest.mark.parametrize("answer", [b"<html>", b"\xff\xfe", b'DCGM_FI_DEV_GPU_UTIL{UUID="a" 3'])
def test_what_is_no_exporters_text_is_said(settings, exporter, answer):
    exporter.answer = answer
    agent = GpuAgent(with_agent(settings, exporter.url))
    sent, (failure,) = agent.run_once()
    assert sent == 0
    assert failure.startswith(f"{exporter.url}: not an exporter's text")


def test_what_was_seen_while_kafka_was_away_is_published_later(cluster, settings, exporter):
    away = KafkaSettings(bootstrap_servers="127.0.0.1:9", topic_prefix=cluster.prefix, partitions=4)
    wanted = with_agent(settings, exporter.url)
    for _ in range(3):
        with pytest.raises(LogUnavailableError):
            GpuAgent(msgspec.structs.replace(wanted, kafka=away)).run_once()
    assert GpuAgent(wanted).run_once() == (4, [])
    times = [sample.timestamp for sample in samples(cluster)]
    assert len(set(times)) == 4
    assert times == sorted(times)


def test_a_full_buffer_drops_the_oldest_and_counts_them(tmp_path):
    buffer = Buffer(tmp_path / "b.sqlite", 100)
    buffer.put((f"k{n}", bytes(30)) for n in range(5))
    assert (buffer.dropped, buffer.lines, buffer.size) == (2, 3, 90)
    assert [row.key for row in buffer.first(9)] == ["k2", "k3", "k4"]
    buffer.forget(buffer.first(2)[-1].seq)
    buffer.close()
    again = Buffer(tmp_path / "b.sqlite", 100)
    assert (again.lines, again.size, [row.key for row in again.first(9)]) == (1, 30, ["k4"])
    again.close()


def test_the_agent_lives_through_a_broker_restart_and_kill_9_and_loses_no_sample(
    kafka_server, cluster, config, exporter
):
    text = config.read_text()
    config.write_text(f'{text}[gpu_agent]\nexporters = ["{exporter.url}"]\nevery_seconds = 1\n')
    agent = subprocess.Popen([SPENDWATCH, "gpu-agent", "-c", config], stderr=subprocess.DEVNULL)
    wait_until(lambda: exporter.asked >= 2)
    kafka_server.kill()
    asked = exporter.asked
    wait_until(lambda: exporter.asked >= asked + 2)
    agent.kill()
    agent.wait()
    kafka_server.start()
    agent = subprocess.Popen([SPENDWATCH, "gpu-agent", "-c", config], stderr=subprocess.DEVNULL)
    asked = exporter.asked
    wait_until(lambda: exporter.asked >= asked + 2)
    # One answer may have been given to the agent that was killed before it was on disk.
    wait_until(lambda: len({s.timestamp for s in samples(cluster)}) >= asked + 1)
    agent.terminate()
    assert agent.wait(timeout=30) == 0


def test_an_agent_that_can_publish_no_more_ends_and_says_why(settings, config, exporter):
    text = config.read_text()
    config.write_text(f'{text}[gpu_agent]\nexporters = ["{exporter.url}"]\nevery_seconds = 1\n')
    agent = subprocess.Popen(
        [SPENDWATCH, "gpu-agent", "-c", config], stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: exporter.asked >= 2)
    with closing(sqlite3.connect(settings.data_dir / "gpu-agent" / "buffer.sqlite")) as file:
        file.execute(
            "CREATE TRIGGER broken BEFORE DELETE ON line"
            " BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
    _, errors = agent.communicate(timeout=30)
    assert agent.returncode == 1
    assert errors.splitlines()[-1].endswith("buffer.sqlite: disk I/O error")


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_agent_that_asks_nobody_is_a_mistake(settings):
    with pytest.raises(ConfigError, match="name exporters"):
        GpuAgent(settings)


def test_this_machines_gpus_are_asked_or_it_is_said_that_there_are_none(settings):
    sent, failures = GpuAgent(with_agent(settings, nvml=True)).run_once()
    if failures:
        assert (sent, failures) == (0, ["nvml: NVML Shared Library Not Found"])
    else:
        assert sent >= 1  # this machine has a GPU


def asked_nvml(folder, *options):
    """Ask through the real bindings; NVIDIA's library is stood in for by one with its interface."""
    library = folder / "libnvidia-ml.so.1"
    source = DATA / "nvml" / "stand_in.c"
    subprocess.run([need("cc"), "-shared", "-fPIC", *options, "-o", library, source], check=True)
    program = """
import datetime, msgspec, sys
from service.adapters.gpu.base import ProbeError
from service.adapters.gpu.nvml import Nvml
failure = None
try:
    found = Nvml()(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC))
except ProbeError as error:
    found, failure = error.samples, str(error)
print(msgspec.json.encode([found, failure]).decode())
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


def test_a_gpu_that_is_lost_is_said_and_costs_the_others_nothing(tmp_path):
    found, failure = asked_nvml(tmp_path, "-DLOST")
    assert [sample["gpu_uuid"] for sample in found] == ["GPU-whole", "GPU-cut"]
    assert failure == "nvml: GPU 1: GPU is lost"


def test_nvml_tells_of_whole_gpus_and_of_mig_instances(tmp_path):
    (whole, cut), failure = asked_nvml(tmp_path)
    assert failure is None
    assert (whole["gpu_uuid"], whole["utilization"], whole["power_watts"]) == (
        "GPU-whole", 0.62, 412.5,
    )  # fmt: skip
    assert (whole["memory_used_bytes"], whole["decoder_utilization"]) == (2**34, 0.04)
    assert "encoder_utilization" not in whole
    assert (cut["gpu_uuid"], cut["gpu_instance_id"], cut["memory_used_bytes"]) == (
        "GPU-cut",
        9,
        2**30,
    )
    assert "utilization" not in cut
