"""Replay: history through the very same pipeline, by arrival time, into four files."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from service.adapters.dead_letters import DeadLetters, too_late
from service.adapters.intents import holds_intents, read_intents
from service.adapters.sources import SOURCES, Address, Delivery, Reader, SnapshotBook
from service.adapters.spool import Spool
from service.adapters.whole_files import write_whole
from service.bootstrap import (
    bucket_settings,
    build_hosts,
    build_pipeline,
    build_shelf,
    build_token_prices,
)
from service.config import ConfigError, Settings
from service.core import money
from service.core.drivers import Driver
from service.core.events import EARLIEST, CostEvent, Rejected
from service.core.experiments import RunBill
from service.core.findings import Finding
from service.core.incidents import Incident
from service.core.intents import Intent, named
from service.core.ledger import Metric
from service.core.notices import Notice
from service.pipeline import Outcome, Pipeline

FINDING_FIELDS: Final = (
    "finding_id", "detector", "kind", "status", "series", "resource_id", "sub_account_id",
    "service_name", "region_id", "owner", "charge_period_start", "charge_period_end",
    "detected_at", "score", "actual", "expected", "expected_low", "expected_high", "impact",
    "billing_currency", "reason",
)  # fmt: skip
INCIDENT_FIELDS: Final = (
    "incident_id", "fingerprint", "owner", "owner_source", "state", "severity", "starts_at",
    "ends_at", "impact", "run_rate_per_day", "billing_currency", "finding_ids", "drivers",
    "opened_at", "updated_at",
)  # fmt: skip
NOTICE_FIELDS: Final = (
    "delivery_id", "incident_id", "destination", "action", "seq", "at", "reason", "text",
)  # fmt: skip
SHOWN_REJECTS: Final = 10


class Progress(NamedTuple):
    """How far a replay is: a phase, events done, events in all (0 when not known)."""

    phase: str
    done: int
    total: int


class Summary(msgspec.Struct, kw_only=True):
    """`summary.json`."""

    events: int
    rejected: int
    duplicates: int
    late: int
    series: int
    findings: int
    incidents: int
    notices: int
    seconds: float
    events_per_second: float
    totals: list[dict[str, object]]


class Replay:
    """One replay: reads all of the input first, then lets it arrive.

    Afterwards `rejected` holds the first refused rows, SHOWN_REJECTS at most, `letters` says how
    many dead letters there are, and `broken` how many of `files` could not be read to their end.
    """

    def __init__(self, settings: Settings, on_progress: Callable[[Progress], None]) -> None:
        self._settings = settings
        self._progress = on_progress
        self.rejected: list[Rejected] = []
        self.letters = 0
        self.files = 0
        self.broken = 0
        self.notes: list[str] = []
        self._ended = EARLIEST

    def run(self, inputs: Sequence[Path], out: Path, source: str | None) -> Summary:
        """Replay the inputs into `out`, which is made.

        ConfigError for an unknown source or an input that is not there; OSError when `out` cannot
        be written, both before anything is read.
        """
        if source is not None and source not in SOURCES:
            raise ConfigError(f"no source {source!r}; there are {', '.join(SOURCES)}")
        for path in inputs:
            if Address.of(path) is None and not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for some names
                raise ConfigError(f"{path}: there is no such file or folder")
        began = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        part = out / ".dead_letters.ndjson.part"
        part.write_bytes(b"")
        letters = DeadLetters(part)

        def reject(rejected: Rejected) -> None:
            letters.put(rejected)
            if len(self.rejected) < SHOWN_REJECTS:
                self.rejected.append(rejected)

        findings: dict[str, Finding] = {}
        incidents: dict[str, Incident] = {}
        notices: list[Notice] = []
        said = [path for path in inputs if Address.of(path) is None and holds_intents(path)]
        intents = [intent for path in said for intent in read_intents(path, reject)]
        with SnapshotBook.temporary() as book, TemporaryDirectory() as cache:
            metrics: dict[str, Metric] = {}
            pipeline = build_pipeline(
                self._settings, metrics, tells_history=True, keeps_history=False
            )
            events = self._events([path for path in inputs if path not in said], Path(cache))
            reader = Reader(
                events,
                source=source,
                mode="replay",
                reject=reject,
                snapshots=book,
                hosts=build_hosts(self._settings),
                token_prices=build_token_prices(self._settings),
            )
            spool = Spool()
            try:
                metrics |= self._read(reader, spool)
                for outcome in self._step(pipeline, spool, intents):
                    changes = outcome.changes
                    findings |= {f.finding_id: f for f in changes.findings}
                    incidents |= {i.incident_id: i for i in changes.incidents}
                    notices += changes.notices
                    for arrival in outcome.too_late:
                        reject(too_late(arrival))
            finally:
                spool.close()
            self.notes += reader.notes
            self.files, self.broken = reader.files, reader.broken
            summary = _summary(reader, pipeline, began)
        summary.findings, summary.incidents = len(findings), len(incidents)
        summary.notices = len(notices)
        _write_lines(out / "findings.ndjson", _ordered(findings), FINDING_FIELDS)
        _write_lines(out / "incidents.ndjson", _ordered(incidents), INCIDENT_FIELDS)
        _write_lines(out / "notices.ndjson", notices, NOTICE_FIELDS)
        _put_runs(out / "experiments.ndjson", pipeline.runs(self._ended))
        self.letters = letters.count
        letters.flush()
        _put_letters(part, out / "dead_letters.ndjson", letters.count)
        told = msgspec.json.format(msgspec.json.encode(summary)) + b"\n"
        write_whole(out / "summary.json", told)
        return summary

    def _events(self, inputs: Sequence[Path], cache: Path) -> list[Path | Delivery]:
        """Return what is to be read: of a bucket, the deliveries that are there now."""
        found: list[Path | Delivery] = []
        for number, path in enumerate(inputs):
            said = bucket_settings(self._settings, path)
            shelf = build_shelf(path, cache / str(number), said)
            if shelf is None:
                found.append(path)
            else:
                shelf.show(shelf.look())
                found += shelf.plan(self.notes.append)
        return found

    def _read(self, reader: Reader, spool: Spool) -> dict[str, Metric]:
        """Put every event aside, and find out which cost each source fills."""
        metrics: dict[str, Metric] = {}
        for count, arrival in enumerate(reader, 1):
            event = arrival.event
            if isinstance(event, CostEvent):
                if event.effective_cost:
                    metrics[arrival.source] = "effective"
                else:
                    metrics.setdefault(arrival.source, "billed")
            spool.put(arrival)
            if count % 5000 == 0:
                self._progress(Progress("reading", count, 0))
        return metrics | {
            name: known.metric
            for name, known in self._settings.sources.items()
            if known.metric is not None
        }

    def _step(
        self, pipeline: Pipeline, spool: Spool, intents: Iterable[Intent]
    ) -> Iterable[Outcome]:
        """Let events and intents arrive; an intent comes after the events of its second."""
        done = 0
        waiting = deque(sorted(intents, key=lambda intent: (intent.at, intent.intent_id)))
        for now, batch in spool.batches():
            self._ended = now
            while waiting and waiting[0].at < now.replace(microsecond=0):
                yield self._follow(pipeline, waiting.popleft(), done)
            done += len(batch)
            yield pipeline.step(batch, now, done)
            self._progress(Progress("replaying", done, len(spool)))
        for intent in waiting:
            yield self._follow(pipeline, intent, done)

    def _follow(self, pipeline: Pipeline, intent: Intent, done: int) -> Outcome:
        if (refused := pipeline.refusal(intent)) is not None:
            self.notes.append(f"{named(intent)} not followed: {refused}")
        return pipeline.intent(intent, intent.at, done)


def _summary(reader: Reader, pipeline: Pipeline, began: float) -> Summary:
    seconds = time.monotonic() - began
    statuses = pipeline.statuses.values()
    return Summary(
        events=reader.read,
        rejected=reader.rejected,
        duplicates=sum(status.duplicates for status in statuses),
        late=sum(status.late for status in statuses),
        series=pipeline.series,
        findings=0,
        incidents=0,
        notices=0,
        seconds=round(seconds, 3),
        events_per_second=round(reader.read / seconds, 1) if seconds else 0.0,
        totals=[
            {
                "source": source,
                "billing_currency": currency,
                "charge_category": category,
                "rows": total.rows,
                "billed_cost": money.text(total.billed_cost),
                "effective_cost": money.text(total.effective_cost),
            }
            for (source, currency, category), total in sorted(reader.totals.items())
        ],
    )


def _ordered(rows: dict[str, Finding] | dict[str, Incident]) -> list[Finding | Incident]:
    def when(row: Finding | Incident) -> tuple[datetime, str]:
        if isinstance(row, Finding):
            return row.detected_at, row.finding_id
        return row.opened_at, row.incident_id

    return sorted(rows.values(), key=when)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, Driver):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _write_lines(path: Path, rows: Iterable[object], fields: Sequence[str]) -> None:
    lines = [
        msgspec.json.encode({name: _plain(getattr(row, name)) for name in fields}) for row in rows
    ]
    write_whole(path, b"".join(line + b"\n" for line in lines))


def _put_runs(path: Path, runs: Sequence[RunBill]) -> None:
    if runs:
        _write_lines(path, runs, RunBill.__struct_fields__)
    else:
        path.unlink(missing_ok=True)


def _put_letters(part: Path, path: Path, count: int) -> None:
    if count:
        part.replace(path)
    else:
        part.unlink()
        path.unlink(missing_ok=True)
