"""Usage of models before its bill: estimated by key and hour, settled by day, never added."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import DAY, step_of
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core import money
from service.core.budgets import Terms
from service.core.estimates import Ahead
from service.core.events import Arrival
from service.core.ledger import Ledger
from service.core.state import Saved, Streams
from service.core.token_bills import WHOLE_AFTER, TokenBills
from tests.factories import make_event

T0 = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
AI = "AI and Machine Learning"


def used(hour, cost, key="key-1", model="gpt-5", project="proj-a", revision=0, **more):
    start = T0 + hour * HOUR
    return make_event(
        charge_period_start=start, charge_period_end=start + HOUR, billed_cost=money.ZERO,
        effective_cost=Decimal(str(cost)), sub_account_id=project, resource_id=key,
        sku_id=f"{model}-input-tokens", pricing_quantity=Decimal(1000), service_category=AI,
        x_revision=revision, x_event_id=f"{key}-{model}-{hour}-{revision}",
        **{"service_name": "OpenAI API", "tags": {"model": model, "estimated": True}} | more,
    )  # fmt: skip


def billed(day, cost, model="gpt-5-2026-01-01", project="proj-a", revision=0, **more):
    start = T0 + day * DAY * HOUR
    return make_event(
        charge_period_start=start, charge_period_end=start + DAY * HOUR, effective_cost=None,
        billed_cost=Decimal(str(cost)), sub_account_id=project, resource_id=None,
        sku_id=f"{model}, input", service_category=AI, tags={"model": model} if model else None,
        x_revision=revision, x_event_id=f"{project}-{model}-{day}-{revision}",
        **{"service_name": "OpenAI API"} | more,
    )  # fmt: skip


class World:
    def __init__(self, ahead=None):
        self.ledger = Ledger({})
        self.bills = TokenBills({}, ahead or {})
        self.events = []

    def take(self, *events, now=T0 + 100 * DAY * HOUR, source="openai"):
        for event in events:
            assert self.bills.wants(source, event)
            self.bills.take(source, event, now)
        return self.pass_time(now)

    def pass_time(self, now):
        for told in self.bills.advance(now):
            self.ledger.take(told.source, told.event)
            self.events.append(told)
        return self

    def costs(self, series_like=""):
        """Return what each step of each series costs."""
        return {
            (series, step): self.ledger.point(series, step)
            for series in self.ledger.series()
            for step in self.ledger.steps(series)
            if series_like in series.resource
        }

    def cost(self, hour):
        """Return what all keys cost in an hour."""
        step = step_of(T0 + hour * HOUR, 1)
        known = self.costs().items()
        return money.total(
            cost for (series, at), cost in known if (series.grain, at) == ("hour", step)
        )

    def total(self):
        return money.total(self.costs().values())


def hours(count, cost=1, **more):
    return [used(hour, cost, **more) for hour in range(count)]


def test_usage_costs_its_estimate_at_once_and_says_that_it_is_one():
    world = World().take(used(3, 2), now=T0 + 3 * HOUR)
    (told,) = world.events
    assert world.total() == 2
    assert told.event.tags["estimated"] is True
    assert told.event.pricing_quantity == 1000
    assert world.bills.covers(next(world.ledger.series()), step_of(T0 + 3 * HOUR, 1))


def test_the_bill_of_a_day_that_is_over_is_shared_out_over_its_hours():
    world = World().take(used(0, 3), used(1, 1), billed(0, "2.8"))
    assert [cost for key, cost in sorted(world.costs().items()) if cost] == [
        Decimal("2.1"), Decimal("0.7"),
    ]  # fmt: skip
    assert list(world.bills.covered()) == []
    assert "estimated" not in world.events[0].event.tags


def test_what_no_usage_explains_stays_with_the_bills_own_line():
    world = World().take(*hours(4), billed(0, 4), billed(0, 7, model="file search"))
    assert world.total() == 11
    assert [*world.costs("file search").values()] == [7]


def test_a_bill_without_any_usage_counts_by_itself():
    assert World().take(billed(0, 5), billed(1, 6)).total() == 11


def test_todays_bill_is_not_whole_yet_and_the_estimate_goes_before_it():
    world = World().take(*hours(12), billed(0, 2), now=T0 + 12 * HOUR)
    assert world.total() == 12
    over = T0 + DAY * HOUR + WHOLE_AFTER
    assert world.pass_time(over - HOUR).total() == 12
    assert world.pass_time(over).total() == 2
    assert {told.at for told in world.events[-12:]} == {over}


def test_a_bill_that_is_far_above_the_estimate_is_of_usage_that_was_not_told_of():
    world = World().take(used(20, 1), billed(0, 24))
    assert world.total() == 24
    assert world.cost(20) == 1


def test_what_a_model_was_billed_at_is_what_its_next_hours_are_estimated_at():
    world = World().take(*hours(24), billed(0, 18))
    world.take(used(30, 1), used(31, 1, model="other"), now=T0 + 31 * HOUR)
    assert (world.cost(30), world.cost(31)) == (Decimal("0.75"), 1)


def test_hours_that_were_told_before_the_price_was_known_are_told_again():
    world = World().take(*hours(36), billed(0, 18), now=T0 + 36 * HOUR)
    assert world.total() == 18 + 12 * Decimal("0.75")


def test_a_free_day_does_not_make_the_next_one_silent():
    world = World().take(*hours(24), billed(0, 0))
    world.take(used(30, 5), now=T0 + 31 * HOUR)
    assert world.total() == 5


def test_a_discount_is_taken_off_until_a_bill_is_known():
    world = World({"openai": Ahead("openai", Decimal("0.3"))})
    assert world.take(used(0, 10), now=T0).total() == 7


@pytest.mark.parametrize(
    ("line", "total"),
    [
        (billed(0, 3, model=None), 3),  # by project
        (billed(0, 3, project=None), 3),  # by model
        (billed(0, 3, project=None, model=None), 3),
        (billed(0, 3, project="proj-b"), 3),  # who is billed calls it something else
        (billed(0, 3, model="gpt-4o"), 7),  # another model of the same provider
        (billed(0, 3, billing_currency="EUR"), 7),
    ],
)
def test_a_line_is_of_the_usage_that_it_does_not_rule_out(line, total):
    assert World().take(*hours(4), line).total() == total


def test_two_projects_of_one_model_each_pay_their_own_bill():
    world = World().take(
        *hours(2), *hours(2, key="key-2", project="proj-b"),
        billed(0, 1), billed(0, 3, project="proj-b"),
    )  # fmt: skip
    assert money.total(world.costs("key-1").values()) == 1
    assert money.total(world.costs("key-2").values()) == 3


def test_a_gateways_usage_is_settled_by_the_bills_of_the_feed_that_it_runs_ahead_of():
    world = World({"litellm": Ahead("openai")})
    gateway = {"service_name": "openai", "project": "team-x"}
    world.take(*hours(4, model="azure/strange-name", **gateway), source="litellm")
    assert world.take(billed(0, 3)).total() == 3
    assert money.total(world.costs("key-1").values()) == 3


def test_a_restated_hour_and_a_restated_bill_replace_what_they_said():
    world = World().take(*hours(2), billed(0, 4), used(0, 3, revision=1))
    assert world.total() == 4
    assert world.cost(0) == 3
    assert world.take(billed(0, 6, revision=1)).total() == 6


def test_the_status_compares_what_was_told_with_what_was_billed():
    world = World().take(*hours(24, cost="1.5"), billed(0, 30))
    (gap,) = world.bills.gaps()
    assert (gap.service_name, gap.hours, gap.estimated, gap.billed) == ("OpenAI API", 24, 36, 30)
    world.bills.forget(T0, T0 + 10 * DAY * HOUR)
    assert world.bills.gaps() == []


def test_rows_of_other_feeds_and_metrics_are_left_alone():
    bills = TokenBills({"billed": "billed"}, {})
    assert not bills.wants("billed", used(0, 1))
    assert not bills.wants("billed", billed(0, 1))
    assert not bills.wants("aws", make_event())
    bedrock = billed(0, 1, model="nova").__class__
    row = used(0, 1, model="nova")
    row = bedrock(
        **{f: getattr(row, f) for f in row.__struct_fields__} | {"tags": {"model": "nova"}}
    )
    assert not bills.wants("aws", row)
    assert TokenBills({}, {"litellm": Ahead("aws")}).wants("aws", row)


amounts = st.integers(1, 40).map(lambda cents: Decimal(cents) / 7).map(lambda d: round(d, 9))
things = st.lists(
    st.one_of(
        st.builds(used, st.integers(0, 50), amounts, key=st.sampled_from("ab"),
                  model=st.sampled_from(["m", "n"]), project=st.sampled_from(["p", "q"])),
        st.builds(billed, st.integers(0, 1), amounts, model=st.sampled_from(["m", "n", None]),
                  project=st.sampled_from(["p", "q", None])),
    ),
    max_size=20, unique_by=lambda event: (event.x_event_id, event.sub_account_id),
)  # fmt: skip


@given(things, st.randoms(use_true_random=False), st.integers(1, 6))
def test_the_order_of_usage_and_bills_and_their_batches_do_not_show(events, random, cut):
    found = []
    for size in (len(events) or 1, cut):
        world = World()
        for start in range(0, len(events), size):
            world.take(*events[start : start + size])
        found.append({key: cost for key, cost in world.costs().items() if cost})
        random.shuffle(events)
    assert found[0] == found[1]


@given(things)
def test_no_day_ever_costs_more_than_its_bill_and_what_no_bill_is_about(events):
    world = World().take(*events)
    for day in range(3):
        mine = [e for e in events if (e.charge_period_start - T0) // (DAY * HOUR) == day]
        usage = money.total(e.effective_cost for e in mine if e.effective_cost is not None)
        bill = money.total(e.billed_cost for e in mine if e.effective_cost is None)
        first = step_of(T0, 1) + day * DAY
        cost = money.total(
            cost for (_, step), cost in world.costs().items()
            if step in range(first, first + DAY) or step == first // DAY
        )  # fmt: skip
        assert bill <= cost <= 2 * usage + bill
        if not any(e.effective_cost is not None for e in mine):
            assert cost == bill
        if any(e.effective_cost is None and not e.tags and not e.sub_account_id for e in mine):
            assert cost == bill or usage * 2 < bill  # it names nobody, so it is of all the rest


@given(things, st.integers(0, 20))
def test_what_is_saved_goes_on_as_though_nothing_had_been(events, cut):
    whole, first = World(), World()
    whole.take(*events[:cut]).take(*events[cut:])
    first.take(*events[:cut])
    chunks = {}
    for chunk in first.bills.save(Streams(), "t"):
        chunks.setdefault(chunk.stream, []).append(memoryview(chunk.data))
    rest = World()
    rest.ledger = first.ledger
    rest.bills.restore(Saved(chunks, lambda stream: chunks[stream]), "t", lambda _: True)
    assert rest.take(*events[cut:]).costs() == whole.costs()
    assert rest.bills.gaps() == whole.bills.gaps()


def test_a_runaway_key_is_heard_of_the_same_hour_and_the_bill_lifts_the_mark():
    pipeline = build_pipeline(Settings(), {"openai": "effective"}, tells_history=True)
    told, last = {}, 20 * DAY + 5
    tags = {"model": "gpt-5", "estimated": True, "team": "search"}
    cost = {hour: Decimal(40 if hour == last else 2 + hour % 3) for hour in range(last + 1)}
    for hour in range(last + DAY + 8):
        now = T0 + (hour + 1) * HOUR
        batch = [used(hour, cost[hour], tags=tags)] if hour <= last else []
        if now.hour == 2 and hour > DAY:
            first = hour // DAY * DAY - DAY
            paid = sum(cost.get(at, 0) for at in range(first, first + DAY))
            batch.append(billed(first // DAY, paid))
        arrivals = [Arrival(now, "openai", event) for event in batch]
        outcome = pipeline.step(arrivals, now, hour + 1)
        told |= {finding.finding_id: finding for finding in outcome.changes.findings}
        if hour == last:
            spike = next(f for f in told.values() if f.kind == "spike" and f.ended_at is None)
            assert (spike.estimated, spike.owner, spike.detected_at) == (True, "search", now)
            assert "Estimated in part" in spike.reason
    assert not told[spike.finding_id].estimated
    assert told[spike.finding_id].impact == spike.impact
    (gap,) = pipeline.gaps()
    assert gap.estimated == gap.billed


@pytest.mark.parametrize("metric", ["effective", "billed"])
def test_a_budget_counts_the_bill_once_and_what_is_not_billed_yet(metric):
    terms = Terms(amount=Decimal(1000), currency="USD")
    settings = Settings(budgets={"all": terms})
    pipeline = build_pipeline(settings, {"openai": metric}, tells_history=True)
    days = {}
    for hour in range(3 * DAY):
        now = T0 + (hour + 1) * HOUR
        batch = [used(hour, 2)]
        if now.hour == 7 and hour > DAY:
            batch.append(billed(hour // DAY - 1, 36))
            batch.append(billed(hour // DAY - 1, 5, model="file search"))
        arrivals = [Arrival(now, "openai", event) for event in batch]
        for spent in pipeline.find(arrivals, now, hour + 1).spent:
            days |= spent.days
    for spent in pipeline.find([], now + HOUR, hour + 2).spent:
        days |= spent.days
    found = [days[day].get("usage", 0) for day in sorted(days)]
    # 48 of tokens at list, of which 36 were billed: so the third day's are estimated at 36, too.
    assert found == ([41, 41, 36] if metric == "effective" else [41, 41, 0])
