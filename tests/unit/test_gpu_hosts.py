"""GPU hosts and pools: what there is, what it does, and what its idleness costs."""

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from detectors.base import step_of
from service.core.gpu_findings import GpuFindings
from service.core.gpu_hosts import as_news, joined
from service.core.gpu_pools import gpus_of
from service.core.gpu_rates import HourCost
from service.core.owners import Owners
from service.core.state import Streams
from tests.unit.test_gpus import at, idle_gpus, stretch

OWNERS = Owners(["team"], {})
POOL = {"tags": {"team": "ml", "pool": "train"}, "sub_account_id": "1"}


def fed(samples, until, costs=()):
    findings = GpuFindings(idle_gpus())
    for cost in costs:
        findings._idle.hours.resources.add(cost.resource_id)
        findings._idle.observe_cost(cost)
    for one in sorted(samples, key=lambda s: s.timestamp):
        findings.observe(one.timestamp, one)
    findings.members = findings.advance(at(until), OWNERS)
    return findings


def hosts(samples, until, costs=()):
    return fed(samples, until, costs).hosts(at(until), OWNERS)


def test_a_host_says_what_its_gpus_do_and_what_idleness_costs():
    busy = stretch(0, 6, 0.9, gpu_uuid="GPU-1", pod="a", namespace="n", **POOL)
    idle = stretch(0, 3, 0.9, **POOL) + stretch(3, 6, **POOL)
    (host,) = hosts([*busy, *idle], 6).values()
    assert (host.owner, host.pool, host.host) == ("ml", "train", "i-1")
    states = {one.gpu_uuid: (one.state, one.cause, one.allocated) for one in host.devices}
    assert states["GPU-1"] == ("active", None, True)
    assert states["GPU-0"][:2] == ("idle", "finished")
    (told,) = host.idle
    assert told.gpu_count == 1
    assert told.wasted_per_hour == host.price_per_gpu_hour
    assert (told.saves_per_hour, told.saves_why) == (0, "as the rest of it works")
    members = fed([*busy, *idle], 6).members
    assert told.finding_id in {member.finding.finding_id for member in members}


def test_hours_add_up_to_what_is_provisioned():
    found = hosts(stretch(0, 2, 0.9, **POOL) + stretch(2, 4, **POOL), 4.5)
    pools = gpus_of(found.values(), at(4.5), 10)
    (pool,) = pools.pools
    known = [
        (start, share, active, idle)
        for start, share, active, idle in zip(
            pools.starts, pool.idle_share, pool.active_hours, pool.idle_hours, strict=True
        )
        if share is not None
    ]
    assert [round(share) for _, share, _, _ in known] == [0, 1, 1]
    assert known[-1][0] == at(3)
    for _, share, active, idle in known:
        assert share == pytest.approx(idle / (active + idle), abs=1e-3)
        assert active + idle <= pool.provisioned
    assert pool.provisioned == pytest.approx(pool.active + pool.idle + pool.unknown)


def test_who_is_not_heard_of_is_unknown_and_then_not_listed():
    samples = stretch(0, 2, 0.9, **POOL)
    (host,) = hosts(samples, 5).values()
    assert [one.state for one in host.devices] == ["unknown"]
    (pool,) = gpus_of([host], at(5), 10).pools
    assert (pool.active, pool.idle, pool.unknown) == (0, 0, host.gpus)
    known = fed(samples, 5)
    assert list(known.hosts(at(5), OWNERS)) == ["i-1"]
    assert known.hosts(at(5), OWNERS) == {}
    assert known.hosts(at(30), OWNERS) == {"i-1": None}


def test_what_a_commitment_pays_for_saves_nothing():
    costs = [
        HourCost("i-1", at(hour), Decimal(30), commitment_status="Used", sub_account_id="1")
        for hour in range(6)
    ]
    idle = stretch(0, 1, 0.9, **POOL) + stretch(1, 6, **POOL)
    (host,) = hosts(idle, 6, costs).values()
    assert host.reserved
    (pool,) = gpus_of([host], at(6), 10).pools
    assert pool.wasted_per_hour > 0
    assert pool.saves_per_hour == 0
    assert host.idle[0].saves_why == "as a commitment pays for it either way"


def test_parts_of_a_gpu_count_as_one():
    samples = [
        one
        for part in (1, 2)
        for one in stretch(0, 1, engine_active=0.5, utilization=None, gpu_instance_id=part, **POOL)
    ]
    (host,) = hosts(samples, 1).values()
    (pool,) = gpus_of([host], at(1), 10).pools
    assert (len(host.devices), pool.active) == (2, 1)


def test_news_joined_in_order_are_the_whole():
    findings, whole = fed([], 0), None
    for hour in range(9):
        for one in stretch(hour, hour + 1, 0.9 * (hour % 2), **POOL):
            findings.observe(one.timestamp, one)
        findings.advance(at(hour + 1), OWNERS)
        for host in findings.hosts(at(hour + 1), OWNERS).values():
            whole = joined(whole, as_news(host))
    assert whole == findings.all_hosts()["i-1"]
    assert len(whole.hours) == 9


def test_hosts_are_saved_and_not_told_again():
    findings = fed(stretch(0, 2, 0.9, **POOL), 2)
    findings.hosts(at(2), OWNERS)
    chunks = list(findings.save(Streams(), "gpus"))
    assert any(chunk.stream == "gpus/hosts" for chunk in chunks)
    host = findings.all_hosts()["i-1"]
    assert msgspec.json.decode(msgspec.json.encode(host), type=type(host)) == host


def test_the_largest_waste_comes_first():
    (host,) = hosts(stretch(0, 1, 0.9, **POOL) + stretch(1, 6, **POOL), 6).values()
    other = msgspec.structs.replace(host, host="a", idle=[], pool="b")
    found = gpus_of([other, host], at(6), 1)
    assert ([one.host for one in found.hosts], found.hosts_left_out) == (["i-1"], 1)
    assert [pool.pool for pool in found.pools] == ["train", "b"]
    assert found.starts[-1] == at(5)
    assert step_of(found.starts[0] + timedelta(hours=168), 1) == step_of(at(6), 1)
