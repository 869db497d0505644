from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.idle_gpu import IdleGpuColumns
from service.adapters.prices import load_prices
from service.core.events import GpuSample
from service.core.gpu_rates import HourCost
from service.core.gpu_runs import run_of
from service.core.gpu_summaries import summary
from service.core.gpus import GpuHours
from service.core.idle import IdleGpus

T0 = datetime(2025, 6, 23, 8, tzinfo=UTC)
STEP = int(T0.timestamp()) // 3600
BOOK = load_prices()
EMPTY = load_prices().__class__([])
KEY = ("GPU-0", "")


def at(hours=0.0, seconds=0.0):
    return T0 + timedelta(hours=hours, seconds=seconds)


def sample(when, level=0.0, **fields):
    values = {
        "timestamp": when,
        "gpu_uuid": "GPU-0",
        "hostname": "node-1",
        "resource_id": "i-1",
        "instance_type": "p5.4xlarge",
        "provider": "aws",
        "region_id": "us-east-1",
        "utilization": level,
        "memory_used_bytes": 0.0,
        "power_watts": 60.0,
    }
    return GpuSample(**(values | fields))


def stretch(begin, end, level=0.0, every=60, **fields):
    count = round((end - begin) * 3600 / every)
    return [sample(at(begin, n * every), level, **fields) for n in range(count)]


def hours_of(samples):
    hours = GpuHours()
    for one in samples:
        hours.observe(int(one.timestamp.timestamp()), one)
    return hours


def summed(samples, step=0):
    return summary(hours_of(samples).gpus[KEY], STEP + step)


def idle_gpus(book=BOOK):
    return IdleGpus(IdleGpuColumns(), book)


def told(samples, *, until=None, costs=(), book=BOOK, gpus=None):
    """Feed samples as they are measured; return every verdict."""
    gpus = gpus or idle_gpus(book)
    gpus.hours.resources |= {cost.resource_id for cost in costs}
    for cost in costs:
        gpus.observe_cost(cost)
    verdicts = []
    for one in sorted(samples, key=lambda s: s.x_arrived_at or s.timestamp):
        arrived = one.x_arrived_at or one.timestamp
        gpus.observe(arrived, one)
        verdicts += gpus.advance(arrived)
    return verdicts + (gpus.advance(until) if until else [])


def finished(hours=4.0, **fields):
    return stretch(0, 3, 0.9, **fields) + stretch(3, 3 + hours, **fields)


# --- GPU-hours


def test_a_gpu_hour_says_what_was_seen():
    half = stretch(0, 0.5, 0.4, memory_used_bytes=5e9, namespace="ml", pod="a")
    rest = {"namespace": "ml", "pod": "b", "power_watts": 80.0, "xid": 31, "tags": {"team": "x"}}
    found = summed(half + stretch(0.5, 1, **rest))
    assert found.samples == 60
    assert found.coverage == pytest.approx(59 / 60)
    assert found.max_utilization == 0.4
    assert found.mean_utilization == pytest.approx(0.2)
    assert found.max_engine_active is None
    assert found.max_memory_used_bytes == 5e9
    assert found.max_power_watts == 80.0
    assert found.new_xids == (31,)
    assert (found.pod, found.tags, found.resource_id) == ("b", {"team": "x"}, "i-1")
    assert found.instance_type == "p5.4xlarge"


def test_an_unknown_gpu_hour_has_no_summary():
    assert summed(stretch(0, 1), step=5) is None


@settings(max_examples=60)
@given(st.data())
def test_order_and_repetition_change_nothing(data):
    readings = st.tuples(
        st.integers(0, 2 * 3600 - 1),
        st.sampled_from([None, 0.0, 0.005, 0.3, 1.0]),
        st.sampled_from([None, 0.0, 0.2]),
        st.sampled_from([None, 50.0, 300.0, 2147483632.0]),
        st.sampled_from([None, "", "a", "b"]),
        st.sampled_from([None, 0, 31, 79]),
    )
    drawn = data.draw(st.lists(readings, min_size=1, max_size=25))
    samples = [
        sample(at(0, s), level, engine_active=engine, power_watts=watts, pod=pod, xid=xid)
        for s, level, engine, watts, pod, xid in drawn
    ]
    again = data.draw(st.permutations(samples + data.draw(st.lists(st.sampled_from(samples)))))
    one, two = hours_of(samples), hours_of(again)
    for step in (0, 1):
        assert summary(one.gpus[KEY], STEP + step) == summary(two.gpus[KEY], STEP + step)
    assert run_of(one, one.gpus[KEY]) == run_of(two, two.gpus[KEY])
    left, right = one.gpus[KEY], two.gpus[KEY]
    assert (left.latest, left.pods, left.xids) == (right.latest, right.pods, right.xids)


def test_of_two_samples_of_one_second_the_busier_counts():
    for pair in ([0.0, 0.7], [0.7, 0.0]):
        found = summed([sample(at(0, 5), level) for level in pair])
        assert (found.samples, found.max_utilization) == (1, 0.7)


@pytest.mark.parametrize(
    "blind",
    [
        {"utilization": None},
        {"utilization": float("nan")},
        {"utilization": 92233720368547757.94, "engine_active": 140737488355328.0},
        {"utilization": None, "encoder_utilization": 0.0},
    ],
)
def test_a_sample_whose_sensors_say_nothing_is_not_a_sample(blind):
    assert summed(stretch(0, 1, **blind)) is None


@pytest.mark.parametrize("every", [1, 5, 15, 30, 60, 120, 300, 600, 900])
def test_the_sampling_interval_is_learnt(every):
    found = summed(stretch(-1, 2, every=every), step=0)
    assert found.coverage == pytest.approx(1.0, abs=0.003)
    assert found.samples == 3600 // every


@pytest.mark.parametrize(("begin", "end"), [(0.2, 0.5), (0.0, 0.3), (0.7, 1.0)])
def test_missing_samples_are_not_covered(begin, end):
    kept = [s for s in stretch(-1, 2, every=30) if not at(begin) <= s.timestamp < at(end)]
    assert summed(kept).coverage == pytest.approx(0.7, abs=0.02)


def test_a_restart_with_another_interval_is_followed():
    samples = stretch(-1, 0.5, every=15) + stretch(0.5, 2, every=60)
    assert summed(samples).coverage > 0.9


def test_of_a_mig_instance_only_the_engine_counts():
    hours = hours_of(stretch(0, 1, 1.0, gpu_instance_id=3, engine_active=0.0))
    gpu = hours.gpus["GPU-0", "3"]
    assert summary(gpu, STEP).max_utilization is None
    assert gpu.last_busy == -1


def test_samples_older_than_two_days_or_from_the_future_are_left_out():
    hours = GpuHours()
    now = int(at(100).timestamp())
    for when in (at(51.9), at(101.1)):
        hours.observe(now, sample(when))
    assert (hours.skewed, hours.gpus) == (2, {})


def test_samples_seconds_apart_vouch_for_no_more_than_themselves():
    assert summed([sample(at(0, 5)), sample(at(0, 9))]).coverage == 0
    assert summed([sample(at(0, 5)), sample(at(0, 17)), sample(at(0, 19))]).coverage == 12 / 3600


# --- verdicts


def test_the_first_verdict_names_everything_a_finding_needs():
    tags = {"team": "vision"}
    labels = {"namespace": "ml", "pod": "train", "sub_account_id": "42", "tags": tags}
    first = told(finished(**labels))[0]
    assert (first.key, first.cause, first.gpus) == (
        "i-1",
        "finished",
        ("GPU-0",),
    )
    assert (first.since, first.started_at) == (at(2), at(3, -60))
    assert timedelta(minutes=110) <= first.detected_at - first.started_at <= timedelta(hours=2)
    assert (first.namespace, first.pod, first.tags) == ("ml", "train", tags)
    assert (first.sub_account_id, first.region_id) == ("42", "us-east-1")
    assert first.score > 1
    assert not first.ended


def test_it_is_updated_every_hour_and_keeps_its_name():
    verdicts = told(finished(6.0))
    assert len(verdicts) == 5
    assert len({(v.key, v.cause, v.since, v.detected_at) for v in verdicts}) == 1
    gaps = {b.updated_at - a.updated_at for a, b in pairwise(verdicts)}
    assert gaps == {timedelta(hours=1)}
    assert [v.waste for v in verdicts] == sorted(v.waste for v in verdicts)


def test_it_ends_when_the_gpu_works_again():
    last = told(finished() + stretch(7, 8, 0.9))[-1]
    assert (last.ended, last.ending, last.until) == (True, "worked", at(7))
    assert last.reason.endswith("Over at 23 Jun 2025 15:00 UTC: at work again.")
    assert last.idle_gpu_seconds == pytest.approx(4 * 3600, abs=120)


def test_it_ends_when_the_samples_end():
    verdicts = told(finished(), until=at(12))
    assert (verdicts[-1].ended, verdicts[-1].ending) == (True, "silent")
    assert verdicts[-1].until == at(7, -60)
    assert verdicts[-1].idle_gpu_seconds == pytest.approx(4 * 3600, abs=120)


def test_it_ends_when_a_new_pod_has_settled():
    old, new = {"namespace": "ml", "pod": "old"}, {"namespace": "ml", "pod": "new"}
    samples = stretch(0, 3, 0.9, **old) + stretch(3, 6, pod="") + stretch(6, 7, **new)
    last = told(samples)[-1]
    assert (last.cause, last.ending, last.until) == ("finished", "pod", at(6))


def test_idle_again_within_a_day_it_goes_on_under_its_name():
    samples = finished() + stretch(7, 8, 0.9) + stretch(8, 15)
    verdicts = told(samples)
    assert len({(v.key, v.cause, v.since) for v in verdicts}) == 1
    assert next(v.ended for v in verdicts if v.updated_at > at(7))
    assert not verdicts[-1].ended
    assert 10 * 3600 < verdicts[-1].idle_gpu_seconds < 11 * 3600


def test_idle_again_after_more_than_a_day_it_is_new():
    samples = finished() + stretch(7, 40, 0.9, every=300) + stretch(40, 52, every=300)
    verdicts = told(samples)
    assert len({v.since for v in verdicts}) == 2
    assert 11 * 3600 < verdicts[-1].idle_gpu_seconds < 12 * 3600


def test_late_samples_that_show_work_withdraw_it():
    seen = [s for s in finished() if s.timestamp != at(4.5)]
    late = sample(at(4.5), 0.9, x_arrived_at=at(5.5))
    verdicts = told([*seen, late])
    withdrawn = next(v for v in verdicts if v.ended)
    assert (withdrawn.retracted, withdrawn.ending) == (True, "withdrawn")
    assert withdrawn.updated_at <= at(5.5) + timedelta(minutes=5)
    assert (withdrawn.waste, withdrawn.idle_gpu_seconds) == (0, 0)
    raised_again = verdicts[-1]
    assert not raised_again.retracted
    assert raised_again.started_at == at(4.5)


def test_late_samples_that_leave_enough_idleness_only_move_its_start():
    late = sample(at(3.25), 0.9, x_arrived_at=at(6.5))
    seen = [s for s in finished() if s.timestamp != at(3.25)]
    verdicts = told([*seen, late])
    assert not any(v.ended for v in verdicts)
    assert verdicts[-1].started_at == at(3.25)


def test_a_whole_hour_that_comes_late_still_counts():
    held_back = [
        msgspec.structs.replace(s, x_arrived_at=at(5.5)) if at(3) <= s.timestamp < at(4) else s
        for s in finished()
    ]
    first = told(held_back)[0]
    assert first.started_at == at(3, -60)
    assert first.detected_at == at(5.5) + timedelta(minutes=5)


def test_how_arrivals_are_cut_into_batches_does_not_matter():
    samples = finished() + stretch(7, 8, 0.9) + stretch(8, 12)
    one_by_one = told(samples)
    gpus, in_batches = idle_gpus(), []
    for start in range(0, len(samples), 37):
        batch = samples[start : start + 37]
        for one in batch:
            gpus.observe(one.timestamp, one)
        in_batches += gpus.advance(batch[-1].timestamp)
    assert in_batches == one_by_one


@settings(max_examples=40)
@given(st.data())
def test_whatever_comes_in_what_comes_out_is_whole(data):
    spells = st.tuples(
        st.floats(0.02, 5),
        st.sampled_from([None, 0.0, 0.0, 0.9]),
        st.sampled_from([None, "", "a", "b-1"]),
        st.sampled_from([None, 0, 31, 79]),
        st.sampled_from([None, None, 1]),
        st.sampled_from([0.0, 0.0, 3.0, 30.0]),
    )
    gpus, now, verdicts = idle_gpus(), 0.0, []
    for hours, level, pod, xid, part, silence in data.draw(st.lists(spells, max_size=12)):
        fields = {"pod": pod, "xid": xid, "gpu_instance_id": part, "engine_active": level}
        for one in stretch(now, now + hours, level, every=300, **fields):
            late = timedelta(seconds=data.draw(st.sampled_from([0, 5, 4000])))
            gpus.observe(one.timestamp + late, one)
            verdicts += gpus.advance(one.timestamp + late)
        now += hours + silence
    verdicts += gpus.advance(at(now + 3))
    last = {(v.key, v.cause, v.since): v for v in verdicts}
    assert all(v.ended for v in last.values())
    for v in verdicts:
        assert len(v.gpus) == v.gpu_count > 0
        assert v.started_at <= v.until <= v.updated_at
        assert v.waste >= 0
        assert v.reason.endswith(".")
    gpus.advance(at(now + 24 * 9))
    assert (gpus.hours.gpus, gpus._told, gpus._groups) == ({}, {}, {})


def test_a_long_run_keeps_its_evidence_and_not_its_samples():
    gpus = idle_gpus()
    last = told(stretch(0, 3, 0.9) + stretch(3, 24 * 6, every=300), gpus=gpus)[-1]
    assert last.idle_gpu_seconds == pytest.approx((24 * 6 - 3) * 3600, rel=0.01)
    assert len(gpus.hours.gpus[KEY].hours) <= 50


def test_a_gpu_at_work_keeps_a_few_hours():
    gpus = idle_gpus()
    told(stretch(0, 24, 0.9), gpus=gpus)
    assert len(gpus.hours.gpus[KEY].hours) <= 3


def test_a_gpu_that_is_gone_for_a_week_is_forgotten_and_its_row_used_again():
    gpus = idle_gpus()
    told(stretch(0, 2, 0.9), until=at(24 * 9), gpus=gpus)
    assert gpus.hours.gpus == {}
    assert gpus.hours.resources == set()
    told(stretch(24 * 9, 24 * 9 + 2, 0.9, gpu_uuid="GPU-1"), gpus=gpus)
    assert gpus._rows == {("GPU-1", ""): 0}


# --- money


def test_the_list_price_of_each_hour_is_used():
    change = datetime(2025, 6, 23, 13, 18, 30, tzinfo=UTC)
    p5 = [finished(8.0, gpu_uuid=f"GPU-{n}", instance_type="p5.48xlarge") for n in range(8)]
    verdicts = told([s for gpu in p5 for s in gpu])
    before = verdicts[0]
    assert before.detected_at < change < verdicts[-1].updated_at
    assert before.price_per_gpu_hour == Decimal("12.29")
    assert before.wasted_per_hour == before.saves_per_hour == Decimal("98.32")
    last = verdicts[-1]
    assert last.wasted_per_hour == Decimal("55.04")
    idle_before = 3 * 3600 + 60  # 10:59 to 14:00, the first hour that begins at the new price
    idle_after = last.idle_gpu_seconds / 8 - idle_before
    expected = (idle_before * 98.32 + idle_after * 55.04) / 3600
    assert float(last.waste) == pytest.approx(expected, rel=1e-6)


def test_the_bill_goes_before_the_list():
    costs = [HourCost("i-1", at(h), Decimal(f"4.{h}")) for h in range(5)]
    verdict = told(finished(2.0), costs=costs)[0]
    assert verdict.price_per_gpu_hour == Decimal("4.4")
    assert verdict.price_source == "as billed"
    expected = 60 * Decimal("4.2") / 3600 + Decimal("4.3") + Decimal("4.4") * (50 * 60) / 3600
    assert verdict.waste == pytest.approx(expected, abs=Decimal("0.08"))


def test_an_hour_that_is_not_billed_yet_costs_what_the_last_one_did():
    verdict = told(finished(), costs=[HourCost("i-1", at(1), Decimal(3))])[-1]
    assert verdict.price_per_gpu_hour == 3
    assert verdict.price_source == "as billed up to 23 Jun 2025 10:00 UTC"


def test_a_bill_of_nothing_is_no_price():
    verdict = told(finished(), costs=[HourCost("i-1", at(1), Decimal(0))])[-1]
    assert "list price" in verdict.price_source


def test_a_reserved_instance_saves_nothing_when_stopped():
    costs = [HourCost("i-1", at(1), Decimal(3), commitment_status="Used")]
    verdict = told(finished(), costs=costs)[-1]
    assert (verdict.wasted_per_hour, verdict.saves_per_hour) == (3, 0)
    assert "stopping it saves nothing, as a commitment pays for it either way" in verdict.reason


def test_stopping_does_not_save_what_is_priced_by_the_month():
    costs = [HourCost("i-1", at(1), Decimal(3), kept_cost=Decimal("0.25"))]
    verdict = told(finished(), costs=costs)[-1]
    assert (verdict.wasted_per_hour, verdict.saves_per_hour) == (3, Decimal("2.75"))
    assert (
        "saves $2.75/h, as what is priced by the month, such as a disk, goes on" in verdict.reason
    )


def test_samples_that_end_say_nothing_about_the_gpu():
    verdict = told(finished(), until=at(10))[-1]
    assert verdict.ending == "silent"
    assert verdict.reason.endswith("Whether it idles on is unknown.")
    assert "Over" not in verdict.reason


def test_without_any_price_there_is_no_money():
    verdict = told(finished(), book=EMPTY)[0]
    money = (verdict.waste, verdict.wasted_per_hour, verdict.saves_per_hour)
    assert money == (None, None, None)
    assert verdict.reason.endswith("No price is known, so no cost is shown.")


def test_money_is_in_the_currency_of_the_bill():
    costs = [HourCost("i-1", at(1), Decimal(3), "EUR")]
    verdict = told(finished(), costs=costs)[-1]
    assert verdict.currency == "EUR"
    assert "3.00 EUR/h wasted" in verdict.reason


def test_while_other_gpus_of_it_work_stopping_saves_nothing():
    labels = {"instance_type": "g6.12xlarge"}
    works = [stretch(0, 7, 0.9, gpu_uuid=f"GPU-{n}", **labels) for n in (1, 2, 3)]
    verdict = told(finished(**labels) + [s for gpu in works for s in gpu])[-1]
    assert (verdict.gpu_count, verdict.gpus_of_instance) == (1, 4)
    assert verdict.wasted_per_hour == Decimal("1.1504")
    assert (verdict.saves_per_hour, verdict.saves_why) == (0, "as the rest of it works")


def test_when_other_gpus_of_it_are_not_seen_the_saving_is_unknown():
    verdict = told(finished(instance_type="g6.12xlarge"))[-1]
    assert verdict.saves_per_hour is None
    assert "saves an unknown amount, as nothing is known of its other GPUs" in verdict.reason


def test_mig_instances_share_the_price_of_their_gpu():
    def part(number, level):
        fields = {"gpu_instance_id": number, "utilization": None}
        return stretch(0, 3, engine_active=0.5, **fields) + stretch(
            3, 7, engine_active=level, **fields
        )

    verdict = told(part(1, 0.5) + part(2, 0.5) + part(5, 0.5) + part(6, 0.0))[-1]
    assert verdict.gpus == ("GPU-0/6",)
    assert verdict.wasted_per_hour == Decimal("6.88") / 4
    assert verdict.saves_per_hour == 0


def test_a_whole_gpu_in_a_pod_is_judged_while_its_mig_instances_are_seen():
    whole = finished(6, pod="train-0")
    part = stretch(0, 9, engine_active=0.5, gpu_instance_id=1, utilization=None)
    assert not any("GPU-0" in verdict.gpus for verdict in told(whole + part))
    part = stretch(0, 3.2, engine_active=0.5, gpu_instance_id=1, utilization=None)
    verdict = told(whole + part)[-1]
    assert verdict.gpus == ("GPU-0",)


def test_costs_of_what_is_no_gpu_are_not_kept():
    gpus = idle_gpus()
    gpus.observe_cost(HourCost("i-cpu", at(), Decimal(1), instance_type="m5.large"))
    assert gpus.rates._bills == {}


# --- capacity reservations


def reservation(hour, status, cost="55.04"):
    return HourCost(
        "cr-1",
        at(hour),
        Decimal(cost),
        capacity_reservation_status=status,
        instance_type="p5.48xlarge",
        region_id="us-east-1",
        tags={"team": "x"},
    )


def test_a_reservation_unused_for_two_hours_is_told():
    gpus = idle_gpus()
    gpus.advance(at())
    gpus.observe_cost(reservation(0, "Used"))
    gpus.observe_cost(reservation(1, "Unused"))
    assert gpus.advance(at(3)) == []
    gpus.observe_cost(reservation(2, "Unused"))
    (verdict,) = gpus.advance(at(4))
    assert (verdict.cause, verdict.key, verdict.since) == ("reserved_unused", "cr-1", at(1))
    assert (verdict.waste, verdict.saves_per_hour) == (Decimal("110.08"), Decimal("55.04"))
    assert verdict.reason == (
        "Reserved capacity cr-1 (p5.48xlarge) is unused since 23 Jun 2025 09:00 UTC. $55.04/h "
        "wasted, $110.08 so far (as billed); releasing it saves $55.04/h."
    )


def test_a_reservation_that_is_used_again_is_over():
    gpus = idle_gpus()
    gpus.advance(at())
    for hour in range(3):
        gpus.observe_cost(reservation(hour, "Unused"))
    gpus.advance(at(4))
    gpus.observe_cost(reservation(3, "Used"))
    (verdict,) = gpus.advance(at(5))
    assert (verdict.ended, verdict.ending, verdict.until) == (True, "used", at(3))
    assert not verdict.retracted


def test_a_reservation_of_which_no_bill_speaks_any_more_is_over_and_goes_on_if_one_does():
    gpus = idle_gpus()
    gpus.advance(at())
    for hour in range(3):
        gpus.observe_cost(reservation(hour, "Unused"))
    gpus.advance(at(4))
    assert gpus.advance(at(74)) == []
    (verdict,) = gpus.advance(at(75))
    assert (verdict.ended, verdict.ending, verdict.until) == (True, "unbilled", at(3))
    assert verdict.reason.endswith("No longer billed from 23 Jun 2025 11:00 UTC on.")
    assert gpus.advance(at(99)) == []
    for hour in range(3, 98):
        gpus.observe_cost(reservation(hour, "Unused"))
    (again,) = gpus.advance(at(100))
    assert (again.ended, again.since) == (False, verdict.since)


def test_a_reservation_whose_hours_are_restated_as_used_is_withdrawn():
    gpus = idle_gpus()
    gpus.advance(at())
    for status in ("Unused", "Used"):
        for hour in range(3):
            gpus.observe_cost(reservation(hour, status))
        verdicts = gpus.advance(at(4) if status == "Unused" else at(5))
    assert verdicts[-1].retracted
