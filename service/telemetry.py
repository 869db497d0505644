"""Logging, and the name of every metric in one place."""

import logging
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal, TextIO, get_args

import prometheus_client as prometheus
import structlog
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from structlog.typing import EventDict, Processor, WrappedLogger

from service.core.books import Taken
from service.core.findings import Finding
from service.core.notices import DeliveryState
from service.core.severity import Severity

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
LONGEST_TEXT: Final = 2000

# Clients that tell of every connection; what they warn of is ours to hear.
TALKATIVE: Final = ("kafka", "aiokafka")

EventOutcome = Taken | Literal["rejected"]

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_AGES: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600, 21_600, 86_400, 259_200)


class Metrics:
    """Every metric of one process, in a registry of its own.

    Labels are names that the configuration or the code fixes (source, detector, kind, state,
    notifier, outcome, route), never text that came with a row: the number of time series does not
    grow with the number of resources, accounts, owners or tags. Made once, handed to all who count.
    """

    def __init__(self, version: str) -> None:
        # Each counter's time of creation would double the number of time series.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = prometheus.CollectorRegistry(auto_describe=True)
        prometheus.ProcessCollector(registry=registry)
        prometheus.PlatformCollector(registry=registry)
        prometheus.GCCollector(registry=registry)
        prometheus.Info("spendwatch_build", "What is running.", registry=registry).info(
            {"version": version}
        )
        self._count_input(registry)
        self._count_judgement(registry)
        self._count_telling(registry)
        self._count_asking(registry)

    def _count_input(self, registry: prometheus.CollectorRegistry) -> None:
        self.events = prometheus.Counter(
            "spendwatch_events_processed",
            "Events taken in, by what became of them.",
            ["source", "outcome"],
            registry=registry,
        )
        self.dead_letters = prometheus.Counter(
            "spendwatch_dead_letters",
            "Bad input that was set aside with its reason.",
            ["source"],
            registry=registry,
        )
        self.event_age = prometheus.Histogram(
            "spendwatch_event_age_seconds",
            "From the arrival of a batch's newest event until what follows from it is saved.",
            ["source"],
            buckets=_AGES,
            registry=registry,
        )
        self.last_arrival = prometheus.Gauge(
            "spendwatch_source_last_arrival_timestamp_seconds",
            "When the newest event of a source arrived.",
            ["source"],
            registry=registry,
        )
        self.series = prometheus.Gauge(
            "spendwatch_series", "Series that are being watched.", registry=registry
        )

    def _count_judgement(self, registry: prometheus.CollectorRegistry) -> None:
        self.batch_seconds = prometheus.Histogram(
            "spendwatch_batch_seconds",
            "What one batch of events takes, from the first event to the saved state.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.findings = prometheus.Counter(
            "spendwatch_findings",
            "Findings raised, and those confirmed or retracted since.",
            ["detector", "kind", "state"],
            registry=registry,
        )
        self.incidents_open = prometheus.Gauge(
            "spendwatch_incidents_open",
            "Incidents that fire: no one has dealt with them yet.",
            ["severity"],
            registry=registry,
        )
        self.partitions = prometheus.Gauge(
            "spendwatch_partitions",
            "Partitions of the input that this worker has.",
            registry=registry,
        )
        self.is_rollups = prometheus.Gauge(
            "spendwatch_rollups_active",
            "Whether this process is the one that judges sums; others stand by.",
            registry=registry,
        )
        self.judged_until = prometheus.Gauge(
            "spendwatch_sums_judged_until_timestamp_seconds",
            "Up to when every partition has said what sums are made of, and they were judged.",
            registry=registry,
        )
        self.lag = prometheus.Gauge(
            "spendwatch_log_lag_messages",
            "Messages that wait in the partitions that this process has.",
            registry=registry,
        )
        self.offset = prometheus.Gauge(
            "spendwatch_saved_offset", "How far into the log what is saved reaches.",
            registry=registry,
        )  # fmt: skip

    def _count_telling(self, registry: prometheus.CollectorRegistry) -> None:
        self.notices = prometheus.Counter(
            "spendwatch_notices",
            "Attempts to send a notice, by how they ended.",
            ["notifier", "outcome"],
            registry=registry,
        )
        self.notice_delay = prometheus.Histogram(
            "spendwatch_notice_delay_seconds",
            "From the decision to tell until the destination has the notice.",
            ["notifier"],
            buckets=_AGES,
            registry=registry,
        )
        self.is_router = prometheus.Gauge(
            "spendwatch_router_active",
            "Whether this process is the one router; others stand by.",
            registry=registry,
        )
        self.rebuilds = prometheus.Counter(
            "spendwatch_store_rebuilds",
            "How often the store had lost what it had, and was filled anew from the log.",
            registry=registry,
        )
        self.outbox_depth = prometheus.Gauge(
            "spendwatch_outbox_depth", "Deliveries, by state.", ["state"], registry=registry
        )

        self.gates_shut = prometheus.Gauge(
            "spendwatch_circuit_open",
            "Destinations that fail and are only tried now and then.",
            ["notifier"],
            registry=registry,
        )

    def _count_asking(self, registry: prometheus.CollectorRegistry) -> None:
        self.store_up = prometheus.Gauge(
            "spendwatch_store_up", "Whether the store answered the last scrape.", registry=registry
        )
        self.api_requests = prometheus.Counter(
            "spendwatch_api_requests",
            "Requests answered, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.api_seconds = prometheus.Histogram(
            "spendwatch_api_request_seconds",
            "What answering a request took.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )

    def event(
        self, source: str, outcome: EventOutcome, age: timedelta | None = None, number: int = 1
    ) -> None:
        """Count `number` events of one source that ended alike; `age` is theirs, where known."""
        self.events.labels(source, outcome).inc(number)
        if outcome == "rejected":
            self.dead_letters.labels(source).inc(number)
        if age is not None:
            self.event_age.labels(source).observe(max(age.total_seconds(), 0.0))

    def finding(self, finding: Finding) -> None:
        """Count a finding that was raised, confirmed or retracted."""
        self.findings.labels(finding.detector, finding.kind, finding.status).inc()

    def notice(self, notifier: str, outcome: str, delay: timedelta | None = None) -> None:
        """Count an attempt to send; `delay` is given once the destination has the notice."""
        self.notices.labels(notifier, outcome).inc()
        if delay is not None:
            self.notice_delay.labels(notifier).observe(max(delay.total_seconds(), 0.0))

    def outbox(self, counts: Mapping[str, int]) -> None:
        """Show how many deliveries are in each state."""
        for state in get_args(DeliveryState):
            self.outbox_depth.labels(state).set(counts.get(state, 0))

    def firing(self, counts: Mapping[str, int]) -> None:
        """Show how many incidents of each severity fire."""
        for severity in get_args(Severity):
            self.incidents_open.labels(severity).set(counts.get(severity, 0))

    def render(self) -> bytes:
        """Return all metrics in Prometheus text format, of content type `CONTENT_TYPE`."""
        return prometheus.generate_latest(self.registry)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream`, which is standard error unless given.

    JSON, or coloured words on a terminal. One line per record whatever a value holds: control
    characters are escaped and long values cut. `level` is a name that the standard library knows,
    or else ValueError.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tame,
    ]
    plain = structlog.processors.format_exc_info
    render: list[Processor] = [plain, structlog.processors.JSONRenderer()]
    if stream.isatty():
        # The default formatter prints the local variables of every frame, secrets among them.
        words = structlog.dev.ConsoleRenderer(
            repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
        )
        render = [words]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _tame(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    for name, value in record.items():
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            record[name] = value[:LONGEST_TEXT] + "…"
    # A foreign library's message may quote what a stranger sent; values are quoted when rendered.
    record["event"] = str(record["event"]).translate(_CONTROLS)
    return record
