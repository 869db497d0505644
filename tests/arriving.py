"""Rows that arrive at the real pipeline, and what it says of them in the end."""

from service.bootstrap import build_pipeline
from service.config import DetectionSettings, Settings


def told_of(arrivals, tells_history=True, **detection):
    """Let arrivals come, those of one moment together; return the findings and incidents by id."""
    settings = Settings(detection=DetectionSettings(**detection))
    pipeline = build_pipeline(settings, {"events": "effective"}, tells_history=tells_history)
    by_time = {}
    for arrival in arrivals:
        by_time.setdefault(arrival.arrived_at, []).append(arrival)
    findings, incidents = {}, {}
    for offset, now in enumerate(sorted(by_time), 1):
        changes = pipeline.step(by_time[now], now, offset).changes
        findings |= {f.finding_id: f for f in changes.findings}
        incidents |= {i.incident_id: i for i in changes.incidents}
    return findings, incidents
