"""Sums of groups: exact whatever comes in whatever order, and never a rise or fall of their own."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import step_of
from service.core.events import SeriesKey, series_of
from service.core.group_names import GroupName
from service.core.groups import Change, Groups
from service.core.ledger import Ledger
from service.core.owners import Owners
from service.core.rollups import Rollup, Rollups
from tests.factories import make_event

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BY = ("owner", "sub_account", "service", "region", "tag:env")

ROW = st.fixed_dictionaries(
    {
        "resource": st.sampled_from("abcd"),
        "hour": st.integers(0, 3),
        "revision": st.integers(0, 2),
        "sku": st.sampled_from("xy"),
        "cost": st.decimals(-5, 50, places=3),
        "team": st.sampled_from([None, "red", "blue"]),
        "env": st.sampled_from([None, "prod"]),
        "currency": st.sampled_from(["USD", "EUR"]),
        "service": st.sampled_from(["EC2", "S3"]),
        "frequency": st.sampled_from([None, "Recurring"]),
    }
)


def event_of(row):
    tags = {key: row[key] for key in ("team", "env") if row[key] is not None}
    start = T0 + row["hour"] * HOUR
    return make_event(
        charge_period_start=start,
        charge_period_end=start + HOUR,
        resource_id=row["resource"],
        sku_id=row["sku"],
        effective_cost=row["cost"],
        billing_currency=row["currency"],
        service_name=row["service"],
        charge_frequency=row["frequency"],
        x_revision=row["revision"],
        x_event_id="-".join(map(str, row.values())),
        tags=tags or None,
    )


class Feed:
    """Batches of rows as the pipeline feeds them."""

    def __init__(self):
        self.ledger = Ledger({})
        self.rollups = Rollups()
        self.groups = Groups(BY, Owners(["team"], {}), self.ledger, self.rollups)
        self.keys = set()

    def batch(self, rows, now):
        self.groups.settle(lambda _series, step: step < step_of(now, 1) - 1, now)
        before, new = {}, set()
        for event in map(event_of, rows):
            key = series_of("s", event), step_of(event.charge_period_start, 1)
            if self.ledger.take("s", event, before).taken == "new":
                new.add(key)
            if event.is_scored:
                self.groups.take(*key, event)
        point = self.ledger.point
        self.groups.apply({key: Change(before[key], point(*key), now) for key in new})
        self.keys |= new

    def sums(self):
        steps = {step for _, step in self.keys}
        return {
            (str(group), step): self.rollups.at(group, step)
            for group in self.rollups.groups()
            for step in steps
            if self.rollups.at(group, step).members
        }


@given(st.lists(st.lists(ROW, max_size=6), max_size=6))
def test_a_group_costs_what_its_members_do_after_any_rows_restatements_and_retags(batches):
    feed = Feed()
    for number, rows in enumerate(batches):
        feed.batch(rows, T0 + number * HOUR)
    feed.batch([], T0 + timedelta(days=9))
    for group in feed.rollups.groups():
        for step in {step for _, step in feed.keys}:
            points = [feed.ledger.point(one, step) for one in feed.groups.members(group)]
            costs = [cost for cost in points if cost is not None]
            expected = Rollup(sum(costs), len(costs), max(costs)) if costs else Rollup()
            assert feed.rollups.at(group, step) == expected
            assert {one.billing_currency for one in feed.groups.members(group)} <= {
                group.billing_currency
            }
    for series, step in feed.keys:
        cost = feed.ledger.point(series, step)
        for group in feed.groups.of(series):
            assert series in feed.groups.members(group)
        assert cost is None or len(feed.groups.of(series)) >= 4


@given(st.lists(st.lists(ROW, max_size=5), max_size=5), st.randoms(use_true_random=False))
def test_the_order_within_a_batch_does_not_show(batches, random):
    one, other = Feed(), Feed()
    for number, rows in enumerate(batches):
        one.batch(rows, T0 + number * HOUR)
        other.batch(random.sample(rows, len(rows)), T0 + number * HOUR)
        assert one.groups.changed() == other.groups.changed()
    assert one.sums() == other.sums()


@given(
    st.lists(st.tuples(st.sampled_from("pqr"), st.decimals(0, 9, places=2)), max_size=9),
    st.randoms(use_true_random=False),
)
def test_parts_add_up_in_any_order_and_a_repeated_part_counts_once(upserts, random):
    group = SeriesKey("s", "", "~group~owner=red", "USD", "hour")
    newest = {part: Rollup(cost, 1, cost) for part, cost in upserts}
    rollups = Rollups()
    for part, cost in upserts:
        rollups.put(group, 7, part, Rollup(cost, 1, cost))
    again = list(newest)
    random.shuffle(again)
    for part in again:
        assert not rollups.put(group, 7, part, newest[part])
    whole = rollups.at(group, 7)
    assert whole.cost == sum(known.cost for known in newest.values())
    assert whole.members == len(newest)
    assert rollups.point(group, 7) == (whole.cost if newest else None)
    assert rollups.widest(group) == len(newest)


def row(**values):
    return {
        "resource": "a", "hour": 0, "revision": 0, "sku": "x", "cost": Decimal(3), "team": "red",
        "env": None, "currency": "USD", "service": "EC2", "frequency": None,
    } | values  # fmt: skip


def owners_of(feed, hour):
    step = step_of(T0 + hour * HOUR, 1)
    return {
        name.value: feed.rollups.at(group, step).cost
        for group in feed.rollups.groups()
        if (name := GroupName.of(group)).by == "owner" and feed.rollups.at(group, step).members
    }


def test_who_gets_a_resource_gets_its_past_as_well():
    feed = Feed()
    feed.batch([row(), row(resource="b", team="blue")], T0 + HOUR)
    feed.batch([row(hour=1, team="blue"), row(hour=1, resource="b", team="blue")], T0 + 2 * HOUR)
    assert owners_of(feed, 0) == {"red": 3, "blue": 3}
    feed.batch([], T0 + 4 * HOUR)
    assert owners_of(feed, 0) == owners_of(feed, 1) == {"blue": 6}


def test_rows_of_one_step_that_disagree_move_nothing():
    feed = Feed()
    feed.batch([row()], T0 + HOUR)
    for hour in (1, 2, 3):
        both = [row(hour=hour, team=None, sku="y"), row(hour=hour)]
        feed.batch(both, T0 + (hour + 1) * HOUR)
    feed.batch([], T0 + 9 * HOUR)
    assert owners_of(feed, 3) == {"red": 6}


def test_forgotten_steps_are_gone_and_the_rest_stays():
    feed = Feed()
    feed.batch([row(), row(hour=3)], T0 + HOUR)
    feed.rollups.forget(T0 + 2 * HOUR)
    assert owners_of(feed, 0) == {}
    assert owners_of(feed, 3) == {"red": 3}


@pytest.mark.parametrize("by", ["team", "tag:", "", "Owner"])
def test_a_group_by_what_no_row_has_is_refused(by):
    with pytest.raises(ValueError, match="group_by"):
        Groups([by], Owners([], {}), Ledger({}), Rollups())


def test_who_moves_is_no_newcomer_of_the_group_that_it_left():
    feed = Feed()
    both = [row(hour=0), row(resource="b", hour=0, team="blue")]
    feed.batch(both, T0 + HOUR)
    feed.batch([row(hour=1, team="blue")], T0 + 2 * HOUR)
    feed.batch([], T0 + 9 * HOUR)
    step = step_of(T0, 1)
    newcomers = {
        name.value: feed.groups.newcomers(group, step)
        for group in feed.rollups.groups()
        if (name := GroupName.of(group)).by == "owner"
    }
    assert newcomers == {"red": [], "blue": [3, 3]}


def test_sums_are_looked_through_once_when_all_members_of_one_size_move():
    feed = Feed()
    count = 60
    feed.batch([row(resource=f"r{n}") for n in range(count)], T0)
    feed.batch([row(resource=f"r{n}", hour=1, team="blue") for n in range(count)], T0)
    looks, point = [], feed.ledger.point
    feed.ledger.point = lambda series, step: looks.append(step) or point(series, step)
    feed.batch([], T0 + 9 * HOUR)
    assert owners_of(feed, 0) == {"blue": 3 * count}
    assert len(looks) < 10 * count
