"""What must have come of a load: every incident told once and in time, and the state of no faults.

Nothing that ran is believed: what is expected is known of the rows alone, or is worked out from the
log in this process, where nothing fails.
"""

import json
import re
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec

from service.adapters.kafka_findings import Chains, chained, decode, encode
from service.adapters.kafka_findings import records as said
from service.adapters.kafka_rollups import decode as read_report
from service.adapters.kafka_rollups import encode as encode_report
from service.adapters.kafka_topics import EVENTS, FINDINGS, ROLLUPS
from service.bootstrap import build_adder, build_desk_parts, build_pipeline
from service.core.chain import BEGINNING
from service.core.ports import FindingFilter, IncidentFilter
from service.entrypoints.desk_log import DeskLog
from service.entrypoints.partition import Partition, Place, steps
from service.entrypoints.rollup_log import RollupLog
from tests.integration.kafka.reading import batches, message_of, records

ALL = 1_000_000
SERVICE = re.compile(r"Service (\d+)\b")


class Told(NamedTuple):
    """How the incidents that must be told were told, and how long after the row was there."""

    lost: list
    doubled: list
    wrong: list
    seconds: list


def told_in(messages, asked):
    """Hold the first messages of conversations against the resources that must be told."""
    counts, seconds = Counter(), []
    for message in messages:
        if message.get("thread_ts") is None:
            number = int(SERVICE.search(json.dumps(message["blocks"])).group(1))
            counts[number] += 1
            seconds.append(float(message["ts"]) - asked.get(number, 0))
    return Told(
        [n for n in asked if n not in counts],
        [n for n in asked if counts[n] > 1],
        [n for n in counts if n not in asked],
        sorted(seconds),
    )


def is_said_as_without_faults(settings, cluster, broker):
    """Tell whether of each partition, and of sums, is said what undisturbed readers would say.

    `broker` is the folder of the broker's files.
    """
    there = {}
    for record in chained(said(cluster)):
        there.setdefault((record.topic, record.partition), []).extend(encode(record))
    partitions, wanted, reports = {}, {}, {}
    every = timedelta(seconds=settings.kafka.sums_every_seconds)
    for number, batch in batches(broker, cluster.topic(EVENTS)):
        if number not in partitions:
            pipeline = build_pipeline(
                settings, {}, tells_history=False, keeps_history=False, is_part=True
            )
            place = Place(EVENTS, number, settings.kafka.partitions)
            partitions[number] = Partition(place, pipeline, BEGINNING, 100, sums_every=every)
        for step in steps(batch):
            output = partitions[number].take(*step)
            if output.record is not None:
                wanted.setdefault((EVENTS, number), []).extend(encode(output.record))
            reports.setdefault(number, []).extend(output.reports)
    sums = RollupLog(build_adder(settings), settings.kafka.partitions, BEGINNING)
    come, chains = {}, Chains()
    for record in records(cluster, ROLLUPS):
        if not record.headers:
            report = read_report(record.value)
            come.setdefault(report.partition, []).extend(chains.take(report))
        found = sums.take(message_of(record))
        if found is not None:
            wanted.setdefault((ROLLUPS, 0), []).extend(encode(found))
    all_came = True
    for number, every_one in reports.items():
        parts = [read_report(part) for one in every_one for part in encode_report(one)]
        # Time goes on meanwhile, and is said.
        all_came &= come.get(number, [])[: len(parts)] == parts
    return all_came and there == wanted


class Expected:
    """What a desk that nothing disturbs makes of the log of findings."""

    def __init__(self, settings, cluster):
        remembers = timedelta(days=settings.remember_days)
        partitions = settings.kafka.partitions
        desk = DeskLog(
            build_desk_parts(settings), settings.detection.detectors, remembers, partitions
        )
        incidents, findings = {}, {}
        self.actions = Counter()
        for record in records(cluster, FINDINGS):
            message = message_of(record)
            changes = desk.take(message.offset, message.at, decode(message.value))
            if changes is not None:
                incidents |= {one.incident_id: one for one in changes.incidents}
                findings |= {one.finding_id: one for one in changes.findings}
                self.actions.update(notice.action for notice in changes.notices)
        self.state = _digest(incidents.values(), findings.values())


def state_of(store):
    """Return a digest of all incidents and findings in a store."""
    return _digest(
        store.incidents(IncidentFilter(limit=ALL)), store.findings(FindingFilter(limit=ALL))
    )


def _digest(incidents, findings):
    lines = sorted(msgspec.json.encode(one) for group in (incidents, findings) for one in group)
    return sha256(b"\n".join(lines)).hexdigest()
