import json
from decimal import Decimal
from pathlib import Path

import pytest

from service.core.ledger import Ledger
from tests.integration.sources.buckets import total_of
from tests.reading import iso, read

SAMPLE = Path(__file__).parents[2] / "data" / "sources" / "opencost.json"
WINDOW = {"start": "2026-03-04T10:00:00Z", "end": "2026-03-04T11:00:00Z"}
POD = {
    "cluster": "c", "namespace": "n", "controller": "d", "controllerKind": "deployment", "pod": "p",
}  # fmt: skip


def allocation(name="c/n/p", **values):
    return {
        "name": name,
        "properties": POD,
        "window": WINDOW,
        "minutes": 60,
        "cpuCost": 0,
        "ramCost": 0,
        "totalCost": 0,
    } | values


def answer(path, *found):
    path.write_text(json.dumps({"code": 200, "data": [{one["name"]: one for one in found}]}))
    return path


def rows(tmp_path, *found):
    result = read(answer(tmp_path / "a.json", *found))
    assert result.rejected == []
    return {event.sku_id: event for event in result.events}


def test_pitfall_18_kinds_of_cost_add_up_to_the_total_to_its_last_digit():
    [total] = read(SAMPLE).reader.totals.values()
    assert total.effective_cost == Decimal("22.50385") + Decimal("1.9") + Decimal("12.24")


def test_an_allocation_is_not_billed():
    [total] = read(SAMPLE).reader.totals.values()
    assert total.billed_cost == 0


def test_idle_and_parts_of_the_network_are_in_the_costs_already(tmp_path):
    found = rows(
        tmp_path,
        allocation(
            cpuCost=2, cpuCostIdle=1, networkCost=0.5, networkInternetCost=0.5, totalCost=2.5
        ),
    )
    assert {sku: event.effective_cost for sku, event in found.items()} == {
        "CPU": 2,
        "Network": Decimal("0.5"),
    }


def test_adjustments_to_the_real_price_are_in_the_cost(tmp_path):
    [event] = rows(tmp_path, allocation(cpuCost=2, cpuCostAdjustment=-0.5, totalCost=1.5)).values()
    assert event.effective_cost == Decimal("1.5")


def test_a_kind_of_cost_that_is_not_known_yet_is_counted_as_other(tmp_path):
    found = rows(tmp_path, allocation(cpuCost=2, quantumCost=3, totalCost=5))
    assert found["Other"].effective_cost == 3


def test_gpu_hours_are_paid_for_and_used_in_both_shapes(tmp_path):
    gpu = {"gpuHours": 8, "gpuCost": 24, "gpuEfficiency": 0.25, "totalCost": 24}
    now = allocation(**gpu, gpuAllocation={"gpuUsageAverage": 0.25, "gpuRequestAverage": 1})
    old = allocation(**gpu, gpuUsageAverage=2, gpuRequestAverage=8)
    for shape in (now, old):
        [event] = rows(tmp_path, shape).values()
        assert (event.pricing_quantity, event.consumed_quantity) == (8, 2)
        assert event.charge_description == "GPU of c/n/deployment/d: 25% of 8 GPU-Hours in use"


def test_pitfall_25_an_efficiency_of_zero_without_usage_is_unknown_and_not_idle(tmp_path):
    gpu = {"gpuHours": 8, "gpuCost": 24, "gpuEfficiency": 0, "totalCost": 24}
    for about in (None, {"gpuUsageAverage": None, "gpuRequestAverage": 1}):
        [event] = rows(tmp_path, allocation(**gpu, gpuAllocation=about)).values()
        assert event.consumed_quantity is None
    used = {"gpuUsageAverage": 0, "gpuRequestAverage": 1}
    [event] = rows(tmp_path, allocation(**gpu, gpuAllocation=used)).values()
    assert event.consumed_quantity == 0


def test_pitfall_13_pods_of_one_controller_are_one_resource_and_all_count(tmp_path):
    ledger = Ledger({"opencost": "effective"})
    pods = [allocation(f"c/n/p{n}", cpuCost=1, totalCost=1) for n in range(3)]
    result = read(answer(tmp_path / "a.json", *pods))
    assert {event.resource_id for event in result.events} == {"c/n/deployment/d"}
    for arrival in result.arrivals:
        ledger.take("opencost", arrival.event)
    assert total_of(ledger) == 3


def test_idle_and_unallocated_cost_are_resources_of_their_own(tmp_path):
    names = ("c/__idle__", "__unallocated__", "c/__unmounted__")
    found = [allocation(name, cpuCost=1, totalCost=1, properties={}) for name in names]
    result = read(answer(tmp_path / "a.json", *found))
    assert {event.resource_id for event in result.events} == set(names)


def test_a_pod_that_ran_for_minutes_belongs_to_its_window(tmp_path):
    ran = {"start": "2026-03-04T10:20:00Z", "end": "2026-03-04T10:25:00Z", "minutes": 5}
    [event] = rows(tmp_path, allocation(cpuCost=1, totalCost=1, **ran)).values()
    assert iso(event.charge_period_start) == WINDOW["start"]
    assert iso(event.charge_period_end) == WINDOW["end"]


def test_a_set_by_name_and_a_list_say_the_same(tmp_path):
    found = [allocation(cpuCost=1, totalCost=1), allocation("c/x", ramCost=2, totalCost=2)]
    listed = tmp_path / "listed.json"
    listed.write_text(json.dumps({"code": 200, "data": [found]}))
    costs = [
        sorted(event.effective_cost for event in read(path).events)
        for path in (listed, answer(tmp_path / "a.json", *found))
    ]
    assert costs[0] == costs[1] == [1, 2]


def test_pitfall_1_a_window_that_is_asked_for_again_replaces_what_it_said(tmp_path, book):
    ledger = Ledger({"opencost": "effective"})
    for number, cost in enumerate((1, 4, 4)):
        path = answer(tmp_path / f"{number}.json", allocation(cpuCost=cost, totalCost=cost))
        for arrival in read(path, book=book).arrivals:
            ledger.take("opencost", arrival.event)
    assert total_of(ledger) == 4


def test_a_pods_label_goes_before_its_namespaces(tmp_path):
    labels = {"labels": {"team": "vision"}, "namespaceLabels": {"team": "ml", "env": "prod"}}
    [event] = rows(tmp_path, allocation(cpuCost=1, totalCost=1, properties=POD | labels)).values()
    assert event.tags == {"team": "vision", "env": "prod", "cluster": "c", "namespace": "n"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"window": {"start": None, "end": None}}, "the window's start or end is not a time"),
        ({"cpuCost": None, "ramCost": None, "totalCost": None}, "has no cost"),
        ({"cpuCost": "much"}, "Invalid decimal string - at `$.cpuCost`"),
    ],
)
def test_a_bad_allocation_costs_no_other(tmp_path, values, reason):
    good = allocation("c/good", cpuCost=1, totalCost=1)
    result = read(answer(tmp_path / "a.json", allocation(**values), good))
    assert result.reasons == [reason]
    assert len(result.events) == 1
