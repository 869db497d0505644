"""Sample values for tests: one believable incident, its notice and its chart."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from detectors.base import step_of
from service.core.drivers import Driver
from service.core.events import CostEvent
from service.core.experiments import RunBill
from service.core.findings import Finding
from service.core.gpu_hosts import GpuDevice, GpuHost, HourCount, IdleGroup
from service.core.incidents import Incident
from service.core.notices import Chart, Notice, delivery_id_of
from service.core.unit_costs import UnitBill, UnitDay
from service.core.untagged import Gap as AllocationGap
from service.core.wording import text_of

STARTS_AT = datetime(2026, 3, 9, 18, tzinfo=UTC)
NOW = STARTS_AT + timedelta(hours=44)
SERIES = "aws-main/prod-payments/i-0abc1234def567890/USD/hour"


def make_driver(**overrides) -> Driver:
    values = {
        "series": SERIES,
        "resource": "i-0abc1234def567890",
        "impact": Decimal("1990.50"),
        "run_rate_per_day": Decimal("1070.25"),
        "share": 0.8617,
        "kind": "shift",
        "reason": "It costs $52.10 an hour since 9 Mar 18:00 UTC, where $7.51 is normal.",
    }
    return Driver(**(values | overrides))


def make_incident(**overrides) -> Incident:
    values = {
        "incident_id": "5f2c9f0a61d84e0b8f5a3f1d2c7b9e10",
        "fingerprint": "9a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "owner": "payments",
        "owner_source": "tag team=payments",
        "state": "firing",
        "severity": "high",
        "starts_at": STARTS_AT,
        "ends_at": None,
        "impact": Decimal("2310.00"),
        "run_rate_per_day": Decimal("1240.00"),
        "billing_currency": "USD",
        "finding_ids": ["f1", "f2"],
        "drivers": [
            make_driver(),
            make_driver(
                series="aws-main/prod-payments/vol-77/USD/hour",
                resource="vol-77",
                impact=Decimal("319.50"),
                run_rate_per_day=Decimal("169.75"),
                share=0.1383,
                kind="spike",
                reason="$12.70 in the hour from 10 Mar 09:00 UTC, where $0.40 to $0.90 is normal.",
            ),
        ],
        "opened_at": STARTS_AT + timedelta(hours=2),
        "updated_at": NOW,
        "title": "Amazon EC2 · prod-payments",
        "kind": "shift",
        "status": "provisional",
        "sub_account_id": "123456789012",
        "service_name": "Amazon EC2",
        "region_id": "us-east-1",
        "actual": Decimal("2860.44"),
        "expected": Decimal("550.44"),
        "expected_low": Decimal("480.00"),
        "expected_high": Decimal("640.00"),
        "confidence": "High: 44 odd hours, at most one normal period in 1,000,000 looks like this",
        "odd_until": NOW,
    }
    return Incident(**(values | overrides))


def make_gpu_host(**overrides) -> GpuHost:
    """Two GPUs of one host, one of which has done nothing for hours."""
    since = NOW - timedelta(hours=5)
    devices = [
        GpuDevice(
            gpu_uuid=f"GPU-{number}", gpu_instance_id=None, model="H100", state=state,
            since=since, cause=cause, allocated=True, namespace="ml", pod="train-0",
        )
        for number, (state, cause) in enumerate([("active", None), ("idle", "finished")])
    ]  # fmt: skip
    told = IdleGroup(
        finding_id="f1", cause="finished", since=since, gpu_count=1,
        wasted_per_hour=Decimal("4.10"), waste=Decimal("20.50"), saves_per_hour=Decimal(0),
        saves_why="as the rest of it works", reason="1 of 2 GPUs has done nothing.",
    )  # fmt: skip
    step = step_of(NOW, 1)
    values = {
        "host": "i-gpu", "resource_id": "i-gpu", "owner": "ml", "owner_source": "tag team=ml",
        "sub_account_id": "1", "region_id": "us-east-1", "provider": "AWS",
        "instance_type": "p5.4xlarge", "model": "H100", "pool": "train", "gpus": 2,
        "billing_currency": "USD", "price_per_gpu_hour": Decimal("4.10"), "price_source": "list",
        "reserved": False, "devices": devices, "idle": [told],
        "hours": [HourCount(step - hour, 7200, 3600, 3600, 7200) for hour in range(5, 0, -1)],
    }  # fmt: skip
    return GpuHost(**(values | overrides))


def make_chart(**overrides) -> Chart:
    """Five days of hours: a daily wave, a gap of three hours, odd from the third evening on."""
    hours, odd_from, gap = 120, 76, range(50, 53)
    start = STARTS_AT - timedelta(hours=odd_from)
    expected = [11.0 + 3.5 * _wave(hour) for hour in range(hours)]
    actual = [
        None if hour in gap else value * (4.2 if hour >= odd_from else 1 + 0.06 * _wave(5 * hour))
        for hour, value in enumerate(expected)
    ]
    values = {
        "series": SERIES,
        "currency": "USD",
        "step_hours": 1,
        "starts": [start + timedelta(hours=hour) for hour in range(hours)],
        "actual": actual,
        "expected": [None if hour < 8 else value for hour, value in enumerate(expected)],
        "low": [None if hour < 8 else value * 0.8 for hour, value in enumerate(expected)],
        "high": [None if hour < 8 else value * 1.25 for hour, value in enumerate(expected)],
        "odd": [hour >= odd_from for hour in range(hours)],
    }
    return Chart(**(values | overrides))


def _wave(hour: int) -> float:
    """Return a triangle of period 24 between -1 and 1, exact on every machine."""
    return abs(hour % 24 - 12) / 6 - 1


def make_notice(**overrides) -> Notice:
    incident = overrides.get("incident") or make_incident()
    destination = overrides.get("destination", "slack:#finops")
    seq = overrides.get("seq", 0)
    action, reason = overrides.get("action", "post"), overrides.get("reason", "first")
    values = {
        "delivery_id": delivery_id_of(incident.incident_id, destination, seq),
        "incident_id": incident.incident_id,
        "destination": destination,
        "action": action,
        "seq": seq,
        "at": NOW,
        "reason": reason,
        "text": text_of(incident, action, reason),
        "incident": incident,
        "chart": make_chart(),
        "why_here": "route owner=payments",
        "data_until": NOW - timedelta(hours=1),
        "told_after": "50 min after it began",
    }
    return Notice(**(values | overrides))


def make_finding(**overrides) -> Finding:
    values = {
        "finding_id": "f1",
        "detector": "shift",
        "kind": "shift",
        "status": "provisional",
        "series": SERIES,
        "resource_id": "i-0abc1234def567890",
        "sub_account_id": "prod-payments",
        "service_name": "Amazon EC2",
        "region_id": "us-east-1",
        "owner": "payments",
        "charge_period_start": STARTS_AT,
        "charge_period_end": STARTS_AT + timedelta(hours=3),
        "detected_at": STARTS_AT + timedelta(hours=3),
        "score": 5.25,
        "actual": Decimal("156.30"),
        "expected": Decimal("22.53"),
        "expected_low": Decimal("18.00"),
        "expected_high": Decimal("27.10"),
        "impact": Decimal("133.77"),
        "billing_currency": "USD",
        "reason": "It costs $52.10 an hour since 9 Mar 18:00 UTC, where $7.51 is normal.",
        "owner_source": "tag team=payments",
        "run_rate_per_day": Decimal("1070.25"),
    }
    return Finding(**(values | overrides))


def make_event(**overrides) -> CostEvent:
    start = datetime(2026, 6, 1, tzinfo=UTC)
    values = {
        "charge_period_start": start,
        "charge_period_end": start + timedelta(hours=1),
        "charge_category": "Usage",
        "charge_frequency": None,
        "billed_cost": Decimal(1),
        "effective_cost": Decimal(1),
        "billing_currency": "USD",
        "sub_account_id": "000123",
        "service_name": "Amazon EC2",
        "region_id": "us-east-1",
        "resource_id": "i-1",
        "sku_id": "SKU",
        "x_event_id": "e1",
    }
    return CostEvent(**(values | overrides))


def make_day(first, day, resource, cost, revision=0, **more):
    """Make a row of a whole day, so many days after the first."""
    start = first + timedelta(days=day)
    return make_event(
        charge_period_start=start, charge_period_end=start + timedelta(days=1),
        resource_id=resource, effective_cost=Decimal(str(cost)),
        x_event_id=f"{resource}-{day}-{revision}", x_revision=revision, **more,
    )  # fmt: skip


def make_gap(owner, cost):
    return AllocationGap(
        missing="no team", policy="tags", owner=owner, sub_account_id="", service_name=None,
        billing_currency="USD", cost=Decimal(cost), resources=1,
    )  # fmt: skip


def make_unit_bill(owner):
    day = UnitDay(day=NOW.date(), cost=Decimal(3), count=Decimal(10_000), unit_cost=Decimal("0.3"))
    return UnitBill(
        name="inference", unit="inferences", per=Decimal(1000), owner=owner,
        billing_currency="USD", days=[day],
    )  # fmt: skip


def make_run_bill(name, experiment="resnet", cost=1, team="unowned"):
    return RunBill(
        run_id=name, experiment=experiment, name=None, owner=None, team=team, started_at=NOW,
        ended_at=None, cost=Decimal(cost), billing_currency="USD", usual_cost=None, metric=None,
        best=None, best_at=None, cost_since_best=None, resource_id="i-1",
    )  # fmt: skip
