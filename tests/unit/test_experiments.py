"""What runs cost, who shares a machine, and which run has run away."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival, Run
from service.core.experiments import Experiments, by_experiment
from service.core.ledger import Ledger
from service.core.owners import Owners
from service.core.state import Saved, Streams
from tests.factories import make_event

T0 = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
OWNERS = Owners(["team"], {})


def at(hours):
    return T0 + timedelta(hours=hours)


def run(run_id="r1", start=0.0, end=None, seen=None, **more):
    ended = None if end is None else at(end)
    return Run(
        timestamp=ended or at(start if seen is None else seen), run_id=run_id, experiment="resnet",
        started_at=at(start), ended_at=ended, **{"resource_id": "i-1"} | more,
    )  # fmt: skip


def row(hour, cost=10, resource="i-1", hours=1, revision=0, **more):
    return make_event(
        charge_period_start=at(hour), charge_period_end=at(hour + hours), resource_id=resource,
        effective_cost=Decimal(str(cost)), x_event_id=f"{resource}-{hour}-{revision}",
        x_revision=revision, **more,
    )  # fmt: skip


class World:
    def __init__(self):
        self.ledger = Ledger({})
        self.experiments = Experiments(self.ledger)

    def bill(self, *rows):
        for event in rows:
            change = self.ledger.take("aws", event)
            self.experiments.observe_cost(change.series, self.ledger.about(change.series))
        return self

    def runs(self, *runs):
        for one in runs:
            self.experiments.observe(one)
        return self

    def costs(self, hours=1000):
        return {one.run.run_id: one.cost for one in self.experiments.costs(at(hours))}

    def findings(self, hours):
        return [member.finding for member in self.experiments.advance(at(hours), OWNERS)]


def test_a_run_costs_its_machine_for_as_long_as_it_ran():
    world = World().bill(*(row(hour) for hour in range(6))).runs(run(start=1.5, end=4))
    assert world.costs() == {"r1": Decimal(25)}


def test_runs_at_once_share_a_machine():
    runs = (run("a", 0, 2), run("b", 1, 2))
    assert World().bill(row(0), row(1)).runs(*runs).costs() == {"a": Decimal(15), "b": Decimal(5)}


def test_a_machine_that_is_billed_by_the_day_is_shared_by_the_day():
    assert World().bill(row(0, 240, hours=24)).runs(run(end=6)).costs() == {"r1": Decimal(60)}


def test_rows_that_name_a_run_are_its_own_and_nobody_elses():
    world = World().bill(row(0, resource="i-2", tags={"mlflow.runId": "r1"}), row(0))
    world.runs(run(end=1, resource_id=None), run("r2", 0, 1))
    assert world.costs() == {"r1": Decimal(10), "r2": Decimal(10)}


@pytest.mark.parametrize("bill_first", [True, False])
def test_it_does_not_matter_whether_the_bill_or_the_run_comes_first(bill_first):
    world = World()
    steps = [lambda: world.bill(row(0)), lambda: world.runs(run(end=1))]
    for step in steps if bill_first else reversed(steps):
        step()
    assert world.costs() == {"r1": Decimal(10)}


def test_a_run_that_nobody_has_heard_of_for_a_day_costs_nothing_more():
    world = World().bill(*(row(hour) for hour in range(60))).runs(run(seen=2))
    assert world.costs(60) == {"r1": Decimal(260)}


def test_what_a_tracker_said_last_counts_whatever_came_first():
    runs = [run(seen=1), run(end=2)]
    for order in (runs, runs[::-1]):
        assert World().bill(*(row(h) for h in range(9))).runs(*order).costs() == {"r1": Decimal(20)}


spans = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 10)), min_size=1, max_size=6)


@given(spans, st.lists(st.decimals(0, 999, places=11), min_size=24, max_size=24))
def test_never_more_is_handed_out_than_was_billed(spans, costs):
    world = World().bill(*(row(hour, cost) for hour, cost in enumerate(costs)))
    world.runs(*(run(str(n), start, start + long) for n, (start, long) in enumerate(spans)))
    assert sum(world.costs().values()) <= sum(costs)


@given(spans)
def test_a_full_hour_of_one_run_is_handed_out_whole(spans):
    [(start, long), *_] = spans
    world = World().bill(*(row(hour) for hour in range(40))).runs(run("a", start, start + long))
    assert float(world.costs().get("a", 0)) == pytest.approx(10 * long, abs=10 / 3600 * 3)


def usual(world, count=3):
    """Three runs of two hours each, one after the other: $20 each."""
    world.bill(*(row(hour) for hour in range(100)))
    return world.runs(*(run(f"u{n}", 2 * n, 2 * n + 2) for n in range(count)))


def test_a_run_of_many_times_the_usual_cost_has_run_away():
    world = usual(World()).runs(run("big", 10, 17, name="lr-3", owner="ada", tags={"team": "nlp"}))
    [finding] = world.findings(17)
    assert (finding.kind, finding.status, finding.owner) == ("runaway_run", "provisional", "nlp")
    assert (finding.actual, finding.expected, finding.impact) == (70, 20, 50)
    assert finding.reason == (
        "Run lr-3 of resnet, started by ada, cost $70.00, "
        "3.5 times the $20.00 that a run of it usually costs."
    )
    assert world.findings(18) == []


def test_without_enough_runs_before_there_is_no_usual():
    assert usual(World(), 2).runs(run("big", 10, 40)).findings(60) == []


def test_it_is_told_while_it_runs_and_the_usual_stays_what_it_was():
    world = usual(World()).runs(run("big", 10, seen=11))
    assert world.findings(15) == []
    world.bill(row(100))
    [finding] = world.findings(18)
    assert (finding.actual, finding.ended_at) == (80, None)
    assert finding.run_rate_per_day == 240
    world.runs(run("u9", 60, 100), run("big", 10, 20))
    [ended] = [f for f in world.findings(101) if f.finding_id == finding.finding_id]
    assert (ended.expected, ended.actual, ended.run_rate_per_day) == (20, 100, None)


def test_only_a_change_of_rows_takes_it_back():
    world = usual(World()).runs(run("big", 10, 17))
    [finding] = world.findings(17)
    world.bill(*(row(hour, 1, revision=1) for hour in range(10, 17)))
    [same] = world.findings(18)
    assert (same.finding_id, same.status) == (finding.finding_id, "retracted")


def test_its_costs_are_final_three_days_after_its_end():
    world = usual(World()).runs(run("big", 10, 17))
    assert [(f.status, f.ended_at) for f in world.findings(17)] == [("provisional", None)]
    assert world.findings(17 + 71) == []
    assert [(f.status, f.ended_at) for f in world.findings(17 + 72)] == [("confirmed", at(17))]
    assert world.findings(17 + 200) == []


def test_money_that_improves_nothing_is_told_after_a_day():
    stale = run("r", 0, metric="val_loss", best_at=at(10), best=0.3, seen=30)
    world = World().bill(*(row(hour) for hour in range(60))).runs(stale)
    assert world.findings(30) == []
    world.bill(row(60))
    [finding] = world.findings(35)
    assert (finding.impact, finding.actual) == (250, 350)
    assert finding.reason == (
        "Run r of resnet has cost $350.00, $250.00 of it since val_loss last improved, "
        "on 4 Mar 10:00 UTC."
    )


def test_a_run_that_is_over_is_not_said_to_be_stuck():
    stale = run("r", 0, 50, metric="val_loss", best_at=at(10))
    assert World().bill(*(row(hour) for hour in range(60))).runs(stale).findings(60) == []


def test_what_was_over_before_its_source_was_met_is_history():
    world = usual(World())
    world.experiments.observe(run("big", 10, 17), at(300))
    [finding] = world.findings(300)
    assert finding.backfill


def test_runs_add_up_by_experiment():
    world = World().bill(*(row(hour) for hour in range(6))).runs(run("a", 0, 2), run("b", 2, 3))
    bills = world.experiments.bills(at(9), OWNERS)
    assert by_experiment(bills) == {("resnet", "USD"): (2, Decimal(30))}


def test_saved_and_restored_it_goes_on_as_if_nothing_had_been():
    world = usual(World()).runs(run("big", 10, seen=11), run("tagged", 0, 1, resource_id=None))
    world.bill(row(0, 5, "i-9", tags={"run_id": "tagged"}))
    world.findings(18)
    streams = Streams()
    chunks = {chunk.stream: [chunk.data] for chunk in world.experiments.save(streams, "x")}
    saved = Saved(chunks, chunks.__getitem__)
    again = Experiments(world.ledger)
    again.restore(saved, "x", lambda _: True)
    assert again.costs(at(30)) == world.experiments.costs(at(30))
    for one in (world.experiments, again):
        one.observe(run("big", 10, 20))
    assert [m.finding for m in again.advance(at(21), OWNERS)] == world.findings(21)


def test_a_runaway_run_is_an_incident_with_a_notice():
    pipeline = build_pipeline(Settings(), {"aws": "effective"}, tells_history=True)
    batch = [Arrival(at(101), "aws", row(hour)) for hour in range(100)]
    runs = [run(f"u{n}", 2 * n, 2 * n + 2) for n in range(3)]
    runs.append(run("big", 10, 40, name="lr-3", tags={"team": "nlp"}))
    batch += [Arrival(at(101), "mlflow", one) for one in runs]
    changes = pipeline.step(batch, at(101), 1).changes
    [incident] = [one for one in changes.incidents if one.kind == "runaway_run"]
    assert (incident.owner, incident.impact) == ("nlp", 280)
    [notice] = [one for one in changes.notices if one.incident_id == incident.incident_id]
    assert "15.0 times the $20.00 that a run of it usually costs" in notice.text
