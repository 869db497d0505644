"""Saved state: a run that was cut, saved and restored says what one that never stopped says."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.budgets import Terms
from service.core.events import Arrival, GpuSample, series_of
from service.core.state import StateError, Streams
from tests.arriving import Disk
from tests.factories import make_event

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = 24
SPIKE, STEP, STOP = 15 * 24 + 10, 18 * 24, 20 * 24
HANDED, NEW, DEARER, JOINED = 12 * 24, 16 * 24 + 5, 17 * 24 + 7, 18 * 24 + 3
MACHINES, SWARM = 8, 12
BUDGETS = {
    "all": Terms(amount=Decimal(30_000)),
    "search": Terms(
        amount=Decimal(5_000), owner="search", period="days", starts=T0.date(), days=10
    ),
    "ads": Terms(amount=Decimal(1_500), owner="ads"),
    "tokens": Terms(amount=Decimal(6_000), service="Tokens", belongs_to="search"),
}


def hourly(name, hour, cost, **more):
    start = T0 + hour * HOUR
    return make_event(
        charge_period_start=start, charge_period_end=start + HOUR, resource_id=f"i-{name}",
        effective_cost=Decimal(f"{cost:.4f}"), x_event_id=f"{name}-{hour}",
        **({"tags": {"team": "odd" if str(name) in "13" else "even"}} | more),
    )  # fmt: skip


def machines(hour, random):
    """Machines of a team: one changes hands, a swarm joins them, of which one costs more later."""
    for number in range(MACHINES + SWARM * (hour >= JOINED) + (hour >= JOINED + 30)):
        cost = 5 * np.exp(random.normal(0, 0.15))
        cost *= 6 if number == MACHINES and JOINED + 60 <= hour < JOINED + 70 else 1
        team = "ads" if number == 1 and hour >= HANDED else "search"
        yield hourly(
            f"m{number}", hour, cost, service_name="EKS", sub_account_id="k8s", tags={"team": team},
            pricing_quantity=Decimal(f"{cost:.4f}"),
        )  # fmt: skip


def elsewhere(hour, random):
    """A price that rises, and a region where nothing was spent before; others follow there."""
    price = Decimal(3 if hour >= DEARER else 2)
    quantity = Decimal(f"{5 + random.normal(0, 0.05):.4f}")
    yield hourly(
        "tokens", hour, float(price * quantity), service_name="Tokens", sub_account_id="api",
        pricing_quantity=quantity, sku_id="output",
    )  # fmt: skip
    for number in range(2 * (NEW <= hour < NEW + 40) + (NEW + 20 <= hour < NEW + 40)):
        yield hourly(
            f"n{number}", hour, 17, region_id="eu-north-1", sku_id="BoxUsage:p4d.24xlarge",
            tags={"team": f"ml-{number // 2}"},
        )  # fmt: skip


@cache
def batches():
    """Weeks of a small estate in which everything happens that the pipeline has a rule for."""
    random = np.random.default_rng(7)
    found = []
    for hour in range(DAYS * 24):
        wave = 10 + 3 * np.sin(hour / 24 * 2 * np.pi)
        for number in range(5):
            cost = wave + random.normal(0, 0.1)
            cost += 40 * (number == 1 and SPIKE <= hour < SPIKE + 3) + 9 * (number == 2) * (
                hour >= STEP
            )
            if number == 3 and hour >= STOP:
                continue
            found.append((hour, hourly(number, hour, cost)))
        if hour % 24 == 0:
            day = T0 + hour * HOUR
            cost = Decimal(f"{200 + random.normal(0, 2) + 300 * (hour >= STEP):.3f}")
            row = make_event(
                charge_period_start=day, charge_period_end=day + 24 * HOUR, effective_cost=cost,
                resource_id="db", x_event_id=f"db-{hour}", service_name="RDS",
            )  # fmt: skip
            found.append((hour + 24, row))
        found += [(hour, row) for row in (*machines(hour, random), *elsewhere(hour, random))]
        if 17 * 24 <= hour < 19 * 24:
            for minute in range(0, 60, 5):
                at = T0 + hour * HOUR + timedelta(minutes=minute)
                sample = GpuSample(
                    timestamp=at, gpu_uuid=f"GPU-{minute % 2}", hostname="node", resource_id="i-4",
                    model="A100", instance_type="p4d.24xlarge", power_watts=60.0,
                    utilization=0.9 if hour < 17 * 24 + 5 else 0.0, pod="train-0", namespace="ml",
                    memory_used_bytes=2e9,
                )  # fmt: skip
                found.append((hour, sample))
    for hour in range(DEARER - 200, DEARER):
        row = hourly(
            "tokens", hour, 14.5, service_name="Tokens", sub_account_id="api", sku_id="output",
            pricing_quantity=Decimal(5), x_revision=1,
        )  # fmt: skip
        found.append((DEARER + 40, row))
    for hour in range(JOINED + 60, JOINED + 63):
        row = hourly(
            f"m{MACHINES}", hour, 20, service_name="EKS", sub_account_id="k8s", x_revision=1,
            tags={"team": "search"}, pricing_quantity=Decimal(20),
        )  # fmt: skip
        found.append((JOINED + 90, row))
    also = hourly("m2", HANDED, 1, service_name="EKS", sub_account_id="k8s", tags={"team": "ads"})
    found.append((HANDED, msgspec.structs.replace(also, x_event_id="also", sku_id="also")))
    found += [(SPIKE + 30, hourly(1, hour, 11.0, x_revision=1)) for hour in range(SPIKE, SPIKE + 2)]
    corrected = hourly(2, 100, -1.5, charge_class="Correction")
    found.append((STEP + 4, msgspec.structs.replace(corrected, x_event_id="correction")))
    bought = make_event(
        charge_category="Purchase", charge_frequency="One-Time", billed_cost=Decimal(8760),
        charge_period_start=T0, charge_period_end=T0 + timedelta(days=30), x_event_id="buy",
    )  # fmt: skip
    found.append((300, bought))
    grouped = {}
    for hour, event in found:
        at = T0 + (hour + 1) * HOUR
        grouped.setdefault(at, []).append(Arrival(at, "events", event))
    return sorted(grouped.items())


def build():
    return build_pipeline(Settings(budgets=BUDGETS), {"events": "effective"}, tells_history=True)


def step(pipeline, offset):
    now, batch = batches()[offset]
    return msgspec.json.encode(pipeline.step(batch, now, offset + 1).changes)


@cache
def uncut():
    pipeline = build()
    return [step(pipeline, offset) for offset in range(len(batches()))]


def test_the_run_holds_what_it_is_meant_to_hold():
    said = b"".join(uncut())
    for kind in ("spike", "shift", "gone", "purchase", "idle_gpu", "new_spend"):
        assert f'"kind":"{kind}"'.encode() in said
    assert b"resources of search together" in said
    assert b"The unit price rose 50 %" in said
    assert b'"retracted"' in said
    for name in BUDGETS:
        assert f"~budget~{name}".encode() in said
    assert b"expected" in said
    assert b"/day" in said


@settings(max_examples=2, deadline=None)
@given(st.sets(st.integers(1, DAYS * 24), min_size=6, max_size=12).map(sorted))
@example([HANDED + 1, NEW + 3, JOINED + 7, JOINED + 40, JOINED + 64, JOINED + 73])
def test_a_run_that_was_cut_and_restored_says_the_same_to_the_last_byte(cuts):
    disk, streams, pipeline, begin = Disk(), Streams(), build(), 0
    for cut in cuts:
        for offset in range(begin, cut):
            assert step(pipeline, offset) == uncut()[offset]
        disk.write(pipeline.save(streams))
        saved, pipeline = disk.saved(), build()
        assert pipeline.restore(saved) == []
        assert pipeline.offset == cut
        streams, begin = saved.followed, cut
    for offset in range(begin, len(batches())):
        assert step(pipeline, offset) == uncut()[offset]


def test_a_save_after_a_restore_holds_what_changed_since_and_nothing_else():
    disk, pipeline = Disk(), build()
    for offset in range(420):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    whole = disk.bytes
    saved, pipeline = disk.saved(), build()
    pipeline.restore(saved)
    assert list(pipeline.save(saved.followed)) == []
    step(pipeline, 420)
    disk.write(pipeline.save(saved.followed))
    assert disk.bytes - whole < whole / 4


def test_what_was_restored_is_saved_as_it_was():
    disk, again, pipeline = Disk(), Disk(), build()
    for offset in range(JOINED + 64):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    pipeline = build()
    pipeline.restore(disk.saved())
    again.write(pipeline.save(Streams()))
    assert again.kept == disk.kept


def test_a_restored_part_of_the_series_goes_on_as_in_the_whole():
    disk, pipeline, cut = Disk(), build(), 400
    for offset in range(cut):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    mine = {"i-2", "i-3"}
    part = build()
    part.restore(disk.saved(), lambda series: series.resource in mine)
    assert part.series == 2
    told = {}
    for offset in range(cut, len(batches())):
        now, batch = batches()[offset]
        own = [a for a in batch if isinstance(a.event, type(make_event())) and
               series_of("events", a.event).resource in mine]  # fmt: skip
        told |= {f.finding_id: f for f in part.step(own, now, offset + 1).changes.findings}
    whole = {}
    for data in uncut()[cut:]:
        for finding in msgspec.json.decode(data)["findings"]:
            if finding["resource_id"] in mine and finding["kind"] not in ("gone", "drop"):
                whole[finding["finding_id"]] = finding
    told = {id_: f for id_, f in told.items() if f.kind not in ("gone", "drop", "budget")}
    assert whole
    assert msgspec.json.encode(told) == msgspec.json.encode(whole)


@pytest.mark.parametrize("stream", ["pipeline", "steps1/history/steps/0", "stretches"])
def test_what_does_not_fit_is_refused_in_one_line(stream):
    disk, pipeline = Disk(), build()
    for offset in range(30):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    disk.kept[stream] = [msgspec.msgpack.encode([["", 9, 1]])]
    with pytest.raises(StateError) as refused:
        build().restore(disk.saved())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ("spike/state", "spike/state is of another type or shape"),
        ("nobody/state", "nobody/state is of no detector that runs now"),
    ],
)
def test_a_detector_of_another_form_starts_anew_and_says_so(column, why):
    disk, pipeline, again = Disk(), build(), build()
    for offset in range(30):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    disk.kept["steps1/forms"].append(msgspec.msgpack.encode([[column, ["<f4", [3]]]]))
    saved = disk.saved()
    assert again.restore(saved) == [why]
    disk.write(again.save(saved.followed))
    assert build().restore(disk.saved()) == []


def test_a_history_of_another_form_is_refused():
    disk, pipeline = Disk(), build()
    for offset in range(30):
        step(pipeline, offset)
    disk.write(pipeline.save(Streams()))
    for column, why in (("last", "another type"), ("steps", "another type")):
        kept = disk.kept["steps1/forms"]
        kept.append(msgspec.msgpack.encode([[f"history/{column}", ["<f4", [9]]]]))
        with pytest.raises(StateError, match=why):
            build().restore(disk.saved())
        kept.pop()
