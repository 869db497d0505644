"""The driver of the benchmark stands for the service only if both raise the same findings."""

from datetime import timedelta
from decimal import Decimal

import pytest

from detectors.base import start_of
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival
from tests.benchmarks.detection import drive, families
from tests.factories import make_event

HOUR = timedelta(hours=1)
T0 = start_of(drive.BASE, 1)
DAYS = 70


def cropped(own):
    return own._replace(
        **{name: getattr(own, name)[: DAYS * 24] for name in ("final", "seen", "present", "added")}
    )


def arrivals(series):
    """What arrives at the end of each hour: what is new, and what was restated a day later."""
    found = {}
    for row, own in enumerate(series):
        for hour in range(len(own.final)):
            if not own.present[hour]:
                continue
            said = {0: own.seen[hour]}
            if own.final[hour] != own.seen[hour]:
                said[1] = own.final[hour]
            for revision, cost in said.items():
                at = T0 + (hour + 1 + 24 * revision) * HOUR
                event = make_event(
                    charge_period_start=T0 + hour * HOUR,
                    charge_period_end=T0 + (hour + 1) * HOUR,
                    effective_cost=Decimal(repr(float(cost))),
                    resource_id=f"i-{row}",
                    x_event_id=f"{row}-{hour}-{revision}",
                    x_revision=revision,
                )
                found.setdefault(at, []).append(Arrival(at, "events", event))
    return sorted(found.items())


def by_service(series):
    pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
    findings = {}
    for offset, (now, batch) in enumerate(arrivals(series), 1):
        changes = pipeline.step(batch, now, offset).changes
        findings |= {finding.finding_id: finding for finding in changes.findings}
    return {
        (int(f.resource_id[2:]), f.detector, (f.detected_at - T0) // HOUR)
        for f in findings.values()
        if f.resource_id
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_driver_raises_what_the_service_raises():
    series = [cropped(own) for own in families.build(12, 101, families.KNOWN)]
    found = drive.findings(drive.run(series))
    driven = {(f.row, f.detector, f.arrived) for f in found if f.arrived <= DAYS * 24}
    assert len(driven) >= 5
    assert by_service(series) == driven
