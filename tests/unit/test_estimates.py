"""The minutes before the bill: estimated from telemetry, settled by the bill, never added to it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import step_of
from service.adapters.prices import load_prices
from service.bootstrap import build_pipeline
from service.config import Settings, SourceSettings
from service.core.estimates import Ahead, Estimates, Gap
from service.core.events import Arrival, GpuSample
from service.core.ledger import Ledger
from service.core.money import ZERO
from service.core.prices import UNDATED, Price, PriceBook
from service.core.state import Saved, Streams
from tests.factories import make_event

T0 = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BOOK = PriceBook([Price("aws", "p5.48xlarge", "us-east-1", UNDATED, Decimal(60), 8, "list")])


def sample(minute, resource="i-1", gpu="GPU-0", **more):
    return GpuSample(
        timestamp=T0 + minute * MINUTE, gpu_uuid=gpu, hostname="h", resource_id=resource,
        **{"instance_type": "p5.48xlarge", "region_id": "us-east-1", "provider": "aws"} | more,
    )  # fmt: skip


def row(hour, cost=50, resource="i-1", hours=1, revision=0, **more):
    return make_event(
        charge_period_start=T0 + hour * HOUR, charge_period_end=T0 + (hour + hours) * HOUR,
        resource_id=resource, effective_cost=Decimal(str(cost)), x_revision=revision,
        x_event_id=f"{resource}-{hour}-{revision}", **more,
    )  # fmt: skip


class World:
    def __init__(self, discount=0, book=BOOK):
        self.ledger = Ledger({})
        ahead = {"gpu": Ahead("aws", Decimal(discount) / 100)}
        self.estimates = Estimates(self.ledger, book, ahead)

    def take(self, *things):
        for thing in things:
            if isinstance(thing, GpuSample):
                self.estimates.observe("gpu", thing)
            else:
                change = self.ledger.take("aws", thing)
                self.estimates.observe_bill(change.series, thing)
        for source, event in self.estimates.advance():
            self.ledger.take(source, event)
        return self

    def cost(self, hour, resource="i-1"):
        """Return what all series of a resource cost in an hour: nothing may be there twice."""
        step = step_of(T0 + hour * HOUR, 1)
        series = self.ledger.of_resource(resource)
        points = [self.ledger.point(one, step) for one in series if one.grain == "hour"]
        days = [self.ledger.point(one, step // 24) for one in series if one.grain == "day"]
        return sum((point for point in points + days if point is not None), ZERO)


def test_the_first_sample_is_money_within_the_minute():
    assert World().take(sample(0)).cost(0) == 5  # five minutes of $60 an hour


def test_an_hour_grows_as_it_goes_on_and_is_whole_at_its_end():
    world = World()
    seen = [world.take(sample(minute)).cost(0) for minute in range(61)]
    assert seen == sorted(seen)
    assert (seen[30], seen[-1]) == (35, 60)


def test_a_gap_is_not_bridged():
    assert World().take(sample(0), sample(10), sample(130)).cost(0) == 15


def test_eight_gpus_of_one_machine_are_paid_once():
    assert World().take(*(sample(0, gpu=f"GPU-{n}") for n in range(8))).cost(0) == 5


def test_a_discount_is_taken_off_the_list():
    assert World(discount=40).take(sample(0)).cost(0) == 3


@pytest.mark.parametrize(
    "telemetry",
    [
        sample(0, resource=None),
        sample(0, instance_type="unheard-of"),
        sample(0, instance_type=None),
    ],
)
def test_what_has_no_name_on_the_bill_or_no_price_is_not_estimated(telemetry):
    assert World().take(telemetry).cost(0) == 0


def test_another_feed_is_not_estimated():
    world = World()
    world.estimates.observe("other", sample(0))
    assert list(world.estimates.advance()) == []


things = st.lists(
    st.one_of(
        st.builds(sample, st.integers(0, 3 * 60 - 1), gpu=st.sampled_from(["GPU-0", "GPU-1"])),
        st.builds(row, st.integers(0, 2), st.integers(1, 99)),
        st.builds(row, st.integers(0, 2), st.integers(1, 99), sub_account_id=st.just("another")),
        st.builds(row, st.just(0), st.integers(1, 99), hours=st.just(24)),
    ),
    max_size=25,
)


@given(things, st.randoms(use_true_random=False), st.integers(1, 5))
def test_whatever_comes_first_what_is_billed_is_billed_and_nothing_is_added(things, random, cut):
    billed = Ledger({})
    for thing in things:
        if not isinstance(thing, GpuSample):
            billed.take("aws", thing)
    random.shuffle(things)
    world = World()
    for start in range(0, len(things), cut):
        world.take(*things[start : start + cut])
    for series in billed.of_resource("i-1"):
        for step in billed.steps(series):
            assert world.ledger.point(series, step) == billed.point(series, step)
    for hour in range(3):
        known = [
            billed.point(s, step_of(T0 + hour * HOUR, 1) // (24 if s.grain == "day" else 1))
            for s in billed.of_resource("i-1")
        ]
        if any(point is not None for point in known):
            assert world.cost(hour) == sum(point for point in known if point is not None)
        else:
            assert world.cost(hour) <= 60


@given(st.lists(st.integers(0, 179), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_samples_and_their_batches_do_not_show(minutes, random):
    worlds = []
    for cut in (1, 3, len(minutes)):
        random.shuffle(minutes)
        world = World()
        for start in range(0, len(minutes), cut):
            world.take(*(sample(minute) for minute in minutes[start : start + cut]))
        worlds.append([world.cost(hour) for hour in range(3)])
    assert worlds[0] == worlds[1] == worlds[2]


def test_it_is_a_row_of_the_series_that_the_bill_has():
    world = World().take(row(0, tags={"team": "x"}), sample(70))
    [series] = world.ledger.of_resource("i-1")
    assert (world.cost(0), world.cost(1)) == (50, 5)
    assert world.estimates.covers(series, step_of(T0 + HOUR, 1))
    assert not world.estimates.covers(series, step_of(T0, 1))
    assert world.ledger.about(series).tags == {"team": "x"}


def test_once_a_whole_hour_was_billed_the_next_costs_as_much():
    world = World().take(*(sample(minute) for minute in range(61)), row(0, 48))
    assert world.take(sample(61), sample(62), sample(120)).cost(1) == 48 / Decimal(12)
    assert world.take(row(-5, "0.5"), *(sample(minute) for minute in range(60, 121))).cost(1) == 48


def test_a_bill_in_another_currency_is_not_estimated_by_a_list_in_dollars():
    assert World().take(row(0, billing_currency="EUR"), sample(70)).cost(1) == 0


def test_what_was_estimated_is_compared_with_what_was_billed():
    world = World().take(*(sample(minute) for minute in range(61)))
    assert world.estimates.gaps() == []
    world.take(row(0, 50, service_name="Amazon EC2"))
    [gap] = world.estimates.gaps()
    assert gap == Gap(
        service_name="Amazon EC2", billing_currency="USD", hours=1,
        estimated=Decimal(60), billed=Decimal(50),
    )  # fmt: skip


def test_what_no_bill_speaks_of_is_taken_back_after_ten_days():
    world = World().take(sample(0))
    world.estimates.forget(T0 + timedelta(days=9))
    assert world.take().cost(0) == 5
    world.estimates.forget(T0 + timedelta(days=11))
    assert world.take().cost(0) == 0
    assert world.estimates.gaps() == []


def test_saved_and_restored_it_goes_on_as_if_nothing_had_been():
    world = World().take(*(sample(minute) for minute in range(20)))
    chunks = {c.stream: [c.data] for c in world.estimates.save(Streams(), "x")}
    again = Estimates(world.ledger, BOOK, {"gpu": Ahead("aws")})
    again.restore(Saved(chunks, chunks.__getitem__), "x", lambda _: True)
    for one in (world.estimates, again):
        one.observe("gpu", sample(40))
        [series] = world.ledger.of_resource("i-1")
        one.observe_bill(series, row(0))
    assert list(again.advance()) == list(world.estimates.advance()) != []


def settings():
    ahead = SourceSettings(path="telemetry", ahead_of="aws")
    return Settings(sources={"aws": SourceSettings(path="bill"), "gpu": ahead})


def test_a_machine_that_is_forgotten_is_heard_of_in_the_same_hour_marked_until_the_bill_comes():
    price = load_prices().price("aws", "p5.48xlarge", "us-east-1", T0)
    pipeline = build_pipeline(settings(), {"aws": "effective"}, tells_history=True)
    told, notices, offset = {}, [], 0

    def step(now, *arrivals):
        nonlocal offset
        offset += 1
        changes = pipeline.step(list(arrivals), now, offset).changes
        told.update({finding.finding_id: finding for finding in changes.findings})
        notices.extend(changes.notices)

    # It works by day on weekdays, at what the list asks, for three weeks; the bill is a day late.
    past = 21 * 24
    for hour in range(past):
        works = hour % 24 in range(9, 17)
        event = row(hour, price.usd_per_hour if works else "0.5")
        at = event.charge_period_end + timedelta(hours=24)
        step(at, Arrival(at, "aws", event))
    quiet = set(told)
    # Tonight, at one, somebody leaves it on.
    began = T0 + (past + 25) * HOUR
    for minute in range(60):
        at = began + minute * MINUTE
        telemetry = sample((past + 25) * 60 + minute)
        step(at, Arrival(at, "gpu", telemetry))
    new = [finding for name, finding in told.items() if name not in quiet]
    assert new
    assert all(finding.estimated for finding in new)
    assert all("Estimated in part, from telemetry and prices" in f.reason for f in new)
    assert min(finding.detected_at for finding in new) < began + HOUR
    ids = {finding.finding_id for finding in new}
    mine = [n for n in notices if not ids.isdisjoint(n.incident.finding_ids)]
    said = [notice.text for notice in mine if notice.action != "thread"]
    assert said
    assert all("Estimated: in part from telemetry and prices" in text for text in said)
    # The bill says the same of it.
    late = began + timedelta(hours=24)
    rows = [row(hour, "0.5") for hour in range(past, past + 25)]
    rows.append(row(past + 25, price.usd_per_hour))
    step(late, *(Arrival(late, "aws", event) for event in rows))
    assert [told[finding.finding_id].estimated for finding in new] == [False] * len(new)
    assert all("Estimated" not in told[finding.finding_id].reason for finding in new)
    [gap] = pipeline.gaps()
    assert (gap.hours, gap.billed) == (1, price.usd_per_hour)
