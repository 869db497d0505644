"""The GPU agent: asks GPUs what they do and publishes it, also what it saw while Kafka was away."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from typing import Final

import structlog

from service.adapters.gpu.base import Hosts, Probe, ProbeError, completed
from service.adapters.gpu.buffer import Buffer
from service.adapters.kafka_messages import Packer, line_of
from service.adapters.kafka_publisher import Publisher
from service.adapters.kafka_topics import SAMPLES, ensure
from service.bootstrap import build_cluster, build_hosts, build_probes, build_topics
from service.config import Settings
from service.core.events import GpuSample
from service.core.partitions import partition_key
from service.core.ports import LogUnavailableError
from service.entrypoints.machine import utc_now
from service.entrypoints.stopping import Stop
from service.telemetry import configure_logging

PROBES_AT_ONCE: Final = 16
LINES_AT_ONCE: Final = 5000
PAUSE_SECONDS: Final = 2.0

_log = structlog.get_logger("gpu-agent")


class GpuAgent:
    """Asks every `every_seconds`; what was asked is on disk before anything else happens with it.

    Samples reach the topic in order and at least once: a repeated one is the same GPU at the same
    moment, and counts once.
    """

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings = settings
        self._agent = settings.gpu_agent
        self._clock = clock
        self._probes = build_probes(settings)
        self._hosts = build_hosts(settings)
        self._cluster = build_cluster(settings)
        self._lock = threading.Lock()
        self._told_dropped = 0

    def run(self) -> None:
        """Ask and publish until SIGTERM or Ctrl-C; what is not published then stays on disk.

        OSError when the buffer cannot be written or read any more.
        """
        configure_logging(self._settings.log_level)
        stop = Stop()
        with closing(self._buffer()) as buffer, ThreadPoolExecutor(1, "publish") as pool:
            publishing = pool.submit(self._publish, buffer, stop)
            publishing.add_done_callback(lambda _: stop.set())  # who only asks would seem healthy
            try:
                while not stop.is_set():
                    self._ask(buffer)
                    stop.wait(self._agent.every_seconds)
            finally:
                stop.set()
            publishing.result()

    def run_once(self) -> tuple[int, list[str]]:
        """Ask once and publish: how many samples reached Kafka, and which GPUs did not answer."""
        with closing(self._buffer()) as buffer:
            failures = self._ask(buffer)
            ensure(self._cluster, build_topics(self._settings), self._settings.kafka.replication)
            sent = 0
            with Publisher(self._cluster) as publisher:
                while step := self._send_some(buffer, publisher):
                    sent += step
        return sent, failures

    def _buffer(self) -> Buffer:
        path = self._settings.data_dir / "gpu-agent" / "buffer.sqlite"
        return Buffer(path, self._agent.buffer_mib * 1024 * 1024)

    def _ask(self, buffer: Buffer) -> list[str]:
        """Ask all at once, so that one that hangs delays none; return why some did not answer."""
        now = self._clock()
        failures: list[str] = []

        def asked(probe: Probe) -> Sequence[GpuSample]:
            try:
                return probe(now)
            except ProbeError as error:
                failures.append(str(error))
                _log.warning("no answer", error=str(error))
                return error.samples

        with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
            samples = [sample for found in pool.map(asked, self._probes) for sample in found]
        with self._lock:
            buffer.put(_lines(samples, self._hosts))
            dropped, waiting = buffer.dropped, buffer.lines
        if dropped > self._told_dropped:
            _log.error("buffer full", dropped=dropped - self._told_dropped, dropped_in_all=dropped)
            self._told_dropped = dropped
        _log.info("asked", samples=len(samples), failed=len(failures), waiting=waiting)
        return sorted(failures)

    def _publish(self, buffer: Buffer, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                ensure(
                    self._cluster, build_topics(self._settings), self._settings.kafka.replication
                )
                with Publisher(self._cluster) as publisher:
                    while not stop.is_set():
                        if not self._send_some(buffer, publisher):
                            stop.wait(PAUSE_SECONDS)
            except LogUnavailableError as error:
                _log.warning("kafka", error=str(error), waiting=buffer.lines)
                stop.wait(PAUSE_SECONDS)

    def _send_some(self, buffer: Buffer, publisher: Publisher) -> int:
        """Publish the oldest lines and forget them; return how many."""
        with self._lock:
            rows = buffer.first(LINES_AT_ONCE)
        if not rows:
            return 0
        packer = Packer(self._settings.kafka.partitions)
        for row in rows:
            full = packer.put(SAMPLES, self._agent.feed, row.key, row.line)
            if full is not None:
                publisher.put(full)
        for message in packer.rest():
            publisher.put(message)
        publisher.flush()
        with self._lock:
            buffer.forget(rows[-1].seq)
        return len(rows)


def _lines(samples: Iterable[GpuSample], hosts: Hosts) -> Sequence[tuple[str, bytes]]:
    """Write samples down, with what the config says of their hosts."""
    known = (completed(sample, hosts) for sample in samples)
    return [(partition_key(sample), line_of(sample)) for sample in known]
