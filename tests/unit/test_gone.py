"""What can change no more is forgotten everywhere, so that a year leaves no more than a month."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import msgspec
import numpy as np
import pytest

from service.bootstrap import build_pipeline
from service.config import DetectionSettings, Settings
from service.core.events import Arrival, GpuSample
from service.core.intents import Feedback
from service.core.state import Streams
from tests.arriving import Disk
from tests.factories import make_event
from tests.kept import kept

pytestmark = pytest.mark.slow  # a year through the whole pipeline

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NEW = 20
REMEMBERED = 14


def build():
    settings = Settings(
        remember_days=REMEMBERED, detection=DetectionSettings(group_by=["owner", "tag:run"])
    )
    return build_pipeline(settings, {"events": "effective"}, tells_history=True)


def row(name, start, cost, length=DAY, **values):
    return make_event(
        charge_period_start=start, charge_period_end=start + length, resource_id=name,
        effective_cost=Decimal(f"{cost:.4f}"), x_event_id=f"{name}-{start:%m%d%H}",
        **({"tags": {"team": "search"}} | values),
    )  # fmt: skip


def jobs(day, since):
    """Short-lived resources, each of its own run and session; one of them costs a good deal."""
    start = T0 + day * DAY
    for number in range(NEW):
        name, length = f"job-{since}-{number}", timedelta(hours=1) if number < 3 else DAY
        cost = 2 + number / 10 + 200 * (number == 4 and since % 10 == 0 and day == since + 1)
        tags = {"team": f"t{number % 2}", "run": f"r{since}-{number % 4}"}
        tags["createdBy"] = f"session-{since}-{number}"
        yield row(
            name, start, cost, length, tags=tags, service_name="EMR", region_id=f"run-{since}"
        )


def gpus(day):
    """A GPU that works for an hour, and a reservation that is unused until the next day."""
    start, hour = T0 + day * DAY, timedelta(hours=1)
    more = {"charge_description": "p4d.24xlarge", "service_name": "EC2"}
    yield row(f"gpu-{day}", start + 20 * hour, 32, hour, **more)
    for number in range(3):
        at = start + (18 + number) * hour
        yield row(f"cr-{day}", at, 32, hour, capacity_reservation_status="Unused", **more)
    if day:
        yield row(f"cr-{day - 1}", start, 32, hour, capacity_reservation_status="Used", **more)
    for minute in range(0, 60, 10):
        yield GpuSample(
            timestamp=start + 20 * hour + timedelta(minutes=minute), gpu_uuid=f"GPU-{day}",
            hostname=f"node-{day}", resource_id=f"gpu-{day}", utilization=0.9, pod=f"p-{day}",
        )  # fmt: skip


@cache
def days():
    """What each day brings."""
    random = np.random.default_rng(3)
    found = []
    for day in range(400):
        start = T0 + day * DAY
        rows = [row(f"i-{n}", start, 20 * np.exp(random.normal(0, 0.05))) for n in range(4)]
        rows += [event for since in range(max(day - 2, 0), day + 1) for event in jobs(day, since)]
        for since in range(day // 12 * 12 - 36, day + 1, 12):
            spike = 90 * (day == since + 33) * (since >= 0)
            rows.append(row(f"m-{since}", start, 20 * np.exp(random.normal(0, 0.03)) + spike))
        if day % 10 == 0:
            month = timedelta(days=30)
            once = {"charge_category": "Purchase", "charge_frequency": "One-Time"}
            rows.append(row(f"buy-{day}", start, 1, month, billed_cost=Decimal(5000), **once))
            rows.append(row(f"fee-{day}", start, 1, month, charge_frequency="Recurring"))
        if 150 <= day < 180 or day >= 240:
            rows.append(row("comes-back", start, 30, tags={"team": "search"}))
        rows += gpus(day)
        found.append([Arrival(start + DAY, "events", event) for event in rows])
    return found


def step(pipeline, day):
    return pipeline.step(days()[day], T0 + (day + 1) * DAY, day + 1).changes


def test_of_four_hundred_days_no_more_is_kept_than_of_three_hundred():
    pipeline, incidents, said, most = build(), {}, [], (Counter(), Counter())
    for day in range(400):
        changes = step(pipeline, day)
        incidents |= {incident.incident_id: incident for incident in changes.incidents}
        for incident in changes.incidents:
            verdict = ("not_an_issue", "new_level")[len(said) % 2]
            intent = Feedback(
                at=T0 + (day + 1) * DAY, incident_id=incident.incident_id, verdict=verdict,
                who="ann", via="cli", why="?",
            )  # fmt: skip
            if incident.state == "firing" and pipeline.refusal(intent) is None:
                said.append(verdict)
                pipeline.intent(intent, T0 + (day + 1) * DAY, day + 1)
        if day >= 200 and day % 20 == 19:
            most[day >= 300].update(kept(pipeline) - most[day >= 300])
    before, after = most
    assert {i.kind for i in incidents.values()} >= {"spike", "purchase", "idle_gpu"}
    assert {*said} == {"not_an_issue", "new_level"}
    grown = {
        name: (before[name], now) for name, now in after.items() if now > 1.1 * before[name] + 5
    }
    assert grown == {}
    assert pipeline.series > 400 * NEW > 10 * after["Ledger._books"]


def saved_of(pipeline):
    """All that would be saved, but for what has no order and numbers that the save itself gives."""
    disk = Disk()
    disk.write(pipeline.save(Streams()))
    (rollups,) = disk.kept.pop("rollups")
    del disk.kept["deliveries"]
    every = {name: parts for name, parts in disk.kept.items() if "groups/values" not in name}
    return every, sorted(msgspec.msgpack.decode(rollups), key=lambda group: group[0])


def test_a_run_that_forgot_and_was_restored_says_the_same_and_keeps_the_same():
    pipeline, restored, disk, streams = build(), build(), Disk(), Streams()
    for day in range(110):
        said = msgspec.json.encode(step(pipeline, day))
        assert msgspec.json.encode(step(restored, day)) == said
        if day % 3 == 0:
            disk.write(restored.save(streams))
        if day % 36 == 0:
            saved, restored = disk.saved(), build()
            assert restored.restore(saved) == []
            streams = saved.followed
            assert restored.series == pipeline.series
            assert saved_of(restored) == saved_of(pipeline)


@pytest.mark.parametrize("parts", [2, 6])
def test_what_is_forgotten_does_not_depend_on_how_arrivals_were_cut(parts):
    whole, cut = build(), build()
    for day in range(60):
        now = T0 + (day + 1) * DAY
        whole.step(days()[day], now, day + 1)
        for part in range(parts):
            at = now + part * timedelta(hours=1)
            cut.step(days()[day][part::parts], at, day * parts + part + 1)
    assert kept(cut)["Ledger._books"] == kept(whole)["Ledger._books"] < 30 * NEW


def test_who_comes_back_is_new_and_no_first_spend():
    pipeline, found = build(), {}
    for day in range(280):
        found |= {f.finding_id: f for f in step(pipeline, day).findings if day >= 170}
    assert not [f for f in found.values() if "comes-back" in f.series or f.kind == "new_spend"]
