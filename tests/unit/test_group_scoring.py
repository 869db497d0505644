"""Groups through the whole pipeline: what no member shows is seen, and what they show is not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from msgspec.structs import replace

from detectors.base import Score
from service.bootstrap import build_pipeline
from service.config import Settings
from service.core.events import Arrival, SeriesKey
from service.core.findings import OddPoint, Stretch
from service.core.stretches import Stretches
from service.core.told import Told
from tests.arriving import told_of
from tests.factories import make_event

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = 38
LEAK = 36 * 24
MEMBERS = 12


def rows(leak=0.0, members=MEMBERS, only=None, more=(), start=0, **values):
    """Noisy machines of one team and one of another; from hour LEAK on each costs a share more."""
    random = np.random.default_rng(11)
    found = []
    for hour in range(start, DAYS * 24):
        at = T0 + hour * HOUR
        for number in range(members + 1):
            cost = 5 * np.exp(random.normal(0, 0.15))
            if hour >= LEAK and number < members and (only is None or number == only):
                cost *= 1 + leak
            found.append(
                make_event(
                    **{
                        "charge_period_start": at,
                        "charge_period_end": at + HOUR,
                        "effective_cost": Decimal(f"{cost:.4f}"),
                        "resource_id": f"i-{number}",
                        "x_event_id": f"{number}-{hour}",
                        "tags": {"team": "search" if number < members else "ads"},
                        "sub_account_id": "a" if number < members else "b",
                    }
                    | values
                )
            )
    return [Arrival(event.charge_period_end, "events", event) for event in [*found, *more]]


def run(arrivals, **detection):
    findings, incidents = told_of(arrivals, past=T0 + LEAK * HOUR, **detection)
    return findings, list(incidents.values())


def of_groups(findings):
    return [f for f in findings.values() if "~group~" in f.series]


@pytest.fixture(scope="module")
def leak():
    return run(rows(leak=0.25))


def test_many_small_leaks_are_one_finding_about_their_sum(leak):
    findings, _ = leak
    (found,) = {f.series: f for f in of_groups(findings)}.values()
    assert found.series == "events//~group~owner=search/USD/hour"
    assert found.resource_id is None
    assert (found.owner, found.sub_account_id, found.service_name, found.region_id) == (
        "search", "a", "Amazon EC2", "us-east-1",
    )  # fmt: skip
    assert T0 + LEAK * HOUR < found.detected_at <= T0 + (LEAK + 24) * HOUR
    assert found.reason.startswith("12 resources of search together, beyond what is told of them")
    assert found.impact == found.actual - found.expected


def test_a_group_and_its_members_are_one_incident_that_counts_money_once(leak):
    findings, incidents = leak
    (found,) = of_groups(findings)[:1]
    (incident,) = [i for i in incidents if found.finding_id in i.finding_ids]
    joined = [findings[one] for one in incident.finding_ids]
    members = {f.series for f in joined} - {f.series for f in of_groups(findings)}
    late = {f.series for f in findings.values() if f.charge_period_start >= T0 + LEAK * HOUR}
    assert members >= {series for series in late if "~group~" not in series and "/a/" in series}
    spent = Decimal("0.25") * 5 * MEMBERS * (DAYS * 24 - LEAK)
    assert incident.impact < Decimal("1.3") * spent


def test_what_one_member_shows_is_told_of_the_member_alone():
    findings, _ = run(rows(leak=4.0, only=3))
    assert {f.resource_id for f in findings.values() if f.impact > 100} == {"i-3"}
    assert of_groups(findings) == []


def test_a_group_that_one_member_dominates_is_not_scored_apart():
    findings, _ = run(rows(leak=0.25, members=1))
    assert of_groups(findings) == []


def newcomers(count):
    return [
        make_event(
            charge_period_start=T0 + hour * HOUR,
            charge_period_end=T0 + (hour + 1) * HOUR,
            effective_cost=Decimal(30) / count,
            resource_id=f"i-new-{number}",
            x_event_id=f"new-{number}-{hour}",
            tags={"team": "search"},
            sub_account_id="a",
        )
        for hour in range(LEAK, DAYS * 24)
        for number in range(count)
    ]


@pytest.mark.parametrize(("count", "told"), [(1, False), (3, False), (12, True)])
def test_an_ordinary_new_resource_is_no_finding_of_its_group_but_a_swarm_is(count, told):
    findings, _ = run(rows(more=newcomers(count)))
    assert bool(of_groups(findings)) is told


def test_a_changed_tag_is_neither_a_rise_of_one_team_nor_a_fall_of_the_other():
    moved = [
        arrival._replace(event=make_event(**_values(arrival.event, {"team": "ads"})))
        if arrival.event.resource_id in ("i-1", "i-2", "i-3", "i-4")
        and arrival.event.charge_period_start >= T0 + LEAK * HOUR
        else arrival
        for arrival in rows()
    ]
    findings, _ = run(moved)
    assert of_groups(findings) == []


def _values(event, tags):
    names = ("charge_period_start", "charge_period_end", "effective_cost", "resource_id")
    more = {name: getattr(event, name) for name in (*names, "x_event_id", "sub_account_id")}
    return more | {"tags": tags}


def test_without_groups_only_members_speak():
    findings, _ = run(rows(leak=0.25), group_by=[])
    assert of_groups(findings) == []


def test_the_order_of_equal_arrivals_does_not_show(leak):
    arrivals = rows(leak=0.25)
    random = np.random.default_rng(2)
    assert run([arrivals[n] for n in random.permutation(len(arrivals))]) == leak


def test_what_was_told_of_a_resource_is_not_told_again_of_the_group_that_it_moves_to():
    moved = []
    for arrival in rows(members=24):
        event = arrival.event
        hour = (event.charge_period_start - T0) // HOUR
        number = int(event.resource_id.removeprefix("i-"))
        team = "search" if number < 12 else "ads"
        cost = event.effective_cost
        if number == 0 and LEAK <= hour < LEAK + 3:
            cost = Decimal(400)
        if number == 0 and hour >= LEAK + 6:
            team = "ads"
        values = _values(event, {"team": team}) | {"effective_cost": cost}
        moved.append(arrival._replace(event=make_event(**values)))
    findings, _ = run(moved, group_by=["owner"])
    assert "i-0" in {f.resource_id for f in findings.values()}
    assert of_groups(findings) == []


def test_which_of_two_revisions_at_once_comes_first_does_not_show():
    def told_after(order):
        pipeline = build_pipeline(Settings(), {"events": "effective"}, tells_history=True)
        pair = [
            make_event(tags={"team": team}, x_revision=revision, x_event_id=str(revision))
            for revision, team in enumerate(("ads", "search"))
        ]
        now = pair[0].charge_period_end
        batch = [Arrival(now, "events", pair[one]) for one in order]
        pipeline.step(batch, now, 1)
        return sorted(map(str, pipeline._parts.rollups.groups()))

    assert told_after((0, 1)) == told_after((1, 0))


def test_a_wider_sum_gives_way_also_when_its_own_rows_change_at_once():
    stretches = Stretches(lambda _source: timedelta(hours=72))
    wide, narrow, member = (
        SeriesKey("s", "", resource, "USD", "hour")
        for resource in ("~group~service=x", "~group~owner=y", "i-1")
    )
    sums = {wide: [member, member], narrow: [member]}
    told = Told(
        stretches,
        lambda _series: [wide, narrow],
        lambda s: sums.get(s, ()),
        lambda *_: Decimal(10),
        lambda *_: (),
    )
    point = OddPoint(Decimal(30), Decimal(10), Decimal(9), Decimal(11), 9.0)
    score = Score(9.0, 0.0, 0.0, 0.0, 5)

    def find(series):
        fresh = Stretch(series, "spike", "spike", 1, 5.0)
        told.subtract(series, 5)
        stretches.put(stretches.raise_or_extend(fresh, 5, score, T0), 5, point)
        return fresh

    found = find(wide)
    told.note(stretches.changed())
    find(narrow)
    told.subtract(wide, 5)
    told.note(stretches.changed())
    assert found.points[5].excess == 0


def test_no_resource_can_pass_for_a_group():
    more = [
        make_event(
            charge_period_start=T0 + hour * HOUR,
            charge_period_end=T0 + (hour + 1) * HOUR,
            resource_id="~group~owner=search",
            x_event_id=f"x-{hour}",
        )
        for hour in range(30 * 24)
    ]
    findings, _ = run(rows(more=more))
    assert [f.series for f in findings.values() if f.kind == "gone"] == [
        "events/000123/~~group~owner=search/USD/hour"
    ]


def test_a_resource_of_another_team_that_joins_later_is_not_named():
    later = [
        make_event(
            charge_period_start=T0 + hour * HOUR,
            charge_period_end=T0 + (hour + 1) * HOUR,
            effective_cost=Decimal(12),
            resource_id="i-secret",
            x_event_id=f"secret-{hour}",
            tags={"team": "ads"},
            sub_account_id="a",
        )
        for hour in range(LEAK + 20, DAYS * 24)
    ]
    ours = [arrival for arrival in rows(leak=0.25) if arrival.event.sub_account_id == "a"]
    more = [Arrival(event.charge_period_end, "events", event) for event in later]
    findings, _ = run(ours + more, group_by=["service"])
    reasons = [found.reason for found in of_groups(findings) if found.owner == "search"]
    assert any(reason.startswith("13 resources") for reason in reasons)
    assert not any("i-secret" in reason for reason in reasons)
    assert any("one resource of other owners +$12" in reason for reason in reasons)


def test_a_sum_of_several_teams_without_an_owner_of_their_account_names_nobodys_resources():
    ours = [
        arrival._replace(
            event=replace(arrival.event, tags={"team": f"t{arrival.event.resource_id}"})
        )
        for arrival in rows(leak=0.25)
        if arrival.event.sub_account_id == "a"
    ]
    findings, _ = run(ours, group_by=["service"])
    reasons = [found.reason for found in of_groups(findings)]
    assert {found.owner for found in of_groups(findings)} == {"unowned"}
    assert any("resources of other owners +$" in reason for reason in reasons)
    assert not any("i-" in reason for reason in reasons)
