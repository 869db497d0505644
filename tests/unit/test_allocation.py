"""Which tags are missing and what that costs, and storage that outlived its machine."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from service.bootstrap import build_pipeline
from service.config import AllocationSettings, ConfigError, Settings
from service.config_file import checked
from service.core.events import Arrival
from service.core.state import Saved, Streams
from service.core.tag_policy import Dimensions, Policy
from tests.factories import make_day, make_event

T0 = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(required=["team", "environment"], allowed={"environment": ["prod", "dev"]})


def row(day, resource="i-0a1b", cost=10, revision=0, **more):
    return make_day(T0, day, resource, cost, revision, **more)


class World:
    """A pipeline whose bill comes once a day, at noon of the day after."""

    def __init__(self, **allocation):
        settings = Settings(allocation=AllocationSettings(**allocation))
        self.pipeline = build_pipeline(settings, {"aws": "effective"}, tells_history=True)
        self.findings, self.incidents, self.notices, self.offset = {}, {}, [], 0

    def day(self, day, *rows):
        now = T0 + (day + 1.5) * DAY
        self.offset += 1
        batch = [Arrival(now, "aws", event) for event in rows]
        changes = self.pipeline.step(batch, now, self.offset).changes
        self.findings |= {f.finding_id: f for f in changes.findings}
        self.incidents |= {i.incident_id: i for i in changes.incidents}
        self.notices += changes.notices

    def of(self, kind):
        return [finding for finding in self.findings.values() if finding.kind == kind]


def test_what_lacks_tags_is_one_finding_for_each_owner_and_account_with_its_dollars():
    world = World(policies={"tags": POLICY})
    untagged = {"tags": {"team": "ml"}}
    for day in range(12):
        world.day(
            day,
            row(day, "i-1", 30, **untagged),
            row(day, "i-2", 20, tags={"Team": "ml", "env": "prd"}),
            row(day, "i-3", 5, tags={"team": "ml", "Environment": "Prod"}),
            row(day, "i-4", 7),
        )
    by_owner = {finding.owner: finding for finding in world.of("tag_policy")}
    assert by_owner.keys() == {"ml", "unowned"}
    found = by_owner["ml"]
    assert (found.actual, found.impact, found.ended_at) == (Decimal(50 * 11), None, None)
    assert found.reason == (
        "1 resource with no environment ($330/month); 1 resource with environment 'prd' is not "
        "allowed ($220/month). The dearest: i-1, i-2."
    )
    assert "no team" in by_owner["unowned"].reason


def test_it_is_told_to_its_owner_once_and_is_over_when_the_tags_are_there():
    world = World(policies={"tags": POLICY})
    for day in range(4):
        world.day(day, row(day, "i-1", 30, tags={"team": "ml"}))
    [notice] = [n for n in world.notices if n.action == "post"]
    assert "not tagged" in notice.text
    assert "$" in notice.text
    for day in range(4, 7):
        world.day(day, row(day, "i-1", 30, tags={"team": "ml", "env": "dev"}))
    [found] = world.of("tag_policy")
    assert found.ending == "mended"
    [incident] = world.incidents.values()
    assert (incident.state, incident.severity, incident.owner) == ("resolved", "low", "ml")
    assert len([n for n in world.notices if n.action == "post"]) == 1


def test_a_policy_asks_only_whom_it_is_for_and_from_its_amount_on():
    aimed = Policy(required=["team"], service="Amazon S3")
    world = World(
        policies={"s3": aimed, "big": Policy(required=["x"], from_per_month=Decimal(999))}
    )
    for day in range(4):
        world.day(day, row(day), row(day, "b", 50, service_name="Amazon S3"))
    assert [f.resource_name for f in world.of("tag_policy")] == ["s3"]


def test_untagged_and_unowned_spend_is_ranked():
    world = World(policies={"tags": POLICY})
    world.day(0, row(0, "i-1", 3, tags={"team": "ml"}), row(0, "i-2", 9, service_name="Amazon S3"))
    world.day(1)
    gaps = world.pipeline.unallocated(T0 + 2 * DAY).gaps
    assert [(g.missing, g.owner, g.service_name, g.cost, g.resources) for g in gaps] == [
        ("no environment", "unowned", "Amazon S3", Decimal(9), 1),
        ("no owner", "unowned", "Amazon S3", Decimal(9), 1),
        ("no team", "unowned", "Amazon S3", Decimal(9), 1),
        ("no environment", "ml", "Amazon EC2", Decimal(3), 1),
    ]


@pytest.mark.parametrize(
    ("machine", "volume"),
    [
        ({"resource": "i-0a1b"}, {"resource": "vol-0c2d", "tags": {"instance-id": "i-0a1b"}}),
        (
            {"resource": "/subscriptions/s/virtualmachines/vm1", "resource_name": "vm1"},
            {"resource": "/subscriptions/s/disks/vm1_OsDisk_1_ab"},
        ),
        (
            {"resource": "//compute/projects/p/zones/z/instances/web"},
            {"resource": "//compute/projects/p/zones/z/disks/web"},
        ),
    ],
)
def test_storage_that_outlived_its_machine_is_told_with_its_dollars_since_then(machine, volume):
    world = World()
    for day in range(20):
        rows = [row(day, cost=4, **volume)]
        world.day(day, *rows, *([row(day, cost=90, **machine)] if day < 5 else []))
    [found] = world.of("orphaned_storage")
    assert found.charge_period_start == T0 + 5 * DAY
    assert found.detected_at <= T0 + 14 * DAY
    assert found.impact == Decimal(4 * 14)  # what came by the last look
    assert "5 Mar" not in found.reason
    assert "6 Mar 2026" in found.reason
    assert "$120 a month" in found.reason
    for day in range(20, 27):
        world.day(day, row(day, "i-other"))
    assert world.of("orphaned_storage")[0].ending == "mended"


def test_storage_of_a_machine_that_runs_or_was_never_seen_is_left_alone():
    world = World()
    for day in range(20):
        world.day(
            day, row(day), row(day, "vol-1a", tags={"instance": "i-0a1b"}), row(day, "vol-2b")
        )
    assert world.of("orphaned_storage") == []


def test_a_commitment_that_nobody_uses_is_told_and_over_when_it_is_used():
    world = World()
    fee = {
        "charge_frequency": "Recurring",
        "commitment_discount_id": "arn:ri/1",
        "commitment_discount_status": "Unused",
    }
    for day in range(5):
        world.day(day, row(day, "arn:ri/1", 24, **fee), row(day))
    [found] = world.of("unused_commitment")
    assert (found.impact, found.run_rate_per_day) == (Decimal(24 * 4), Decimal(24))
    assert "$96 of the commitment arn:ri/1" in found.reason
    assert "$720 a month" in found.reason
    for day in range(5, 14):
        world.day(day, row(day, "arn:ri/1", 24, **fee | {"commitment_discount_status": "Used"}))
    assert world.of("unused_commitment")[0].ending == "mended"


def test_a_months_fee_for_what_was_not_used_is_told_too():
    world = World()
    fee = make_event(
        charge_period_start=T0, charge_period_end=T0 + 31 * DAY, resource_id="arn:ri/2",
        charge_category="Purchase", charge_frequency="Recurring", effective_cost=Decimal(310),
        commitment_discount_status="Unused", x_event_id="fee",
    )  # fmt: skip
    world.day(30, fee)
    world.day(31)
    [found] = world.of("unused_commitment")
    assert found.impact == Decimal(310)
    assert found.run_rate_per_day == pytest.approx(Decimal(10), rel=Decimal("0.05"))


def test_a_run_that_is_cut_and_restored_says_the_same():
    def rows(day):
        store = row(day, "vol-1a", 3, tags={"instance": "i-0a1b", "team": "ml"})
        return [store, *([row(day)] if day < 4 else [])]

    whole = World(policies={"tags": POLICY})
    for day in range(16):
        whole.day(day, *rows(day))
    cut = World(policies={"tags": POLICY})
    for day in range(16):
        if day == 13:
            streams, kept = Streams(), {}
            for chunk in cut.pipeline.save(streams):
                kept.setdefault(chunk.stream, []).append(memoryview(chunk.data))
            fresh = World(policies={"tags": POLICY})
            fresh.pipeline.restore(Saved(kept, kept.__getitem__))
            fresh.offset, fresh.findings = cut.offset, cut.findings
            cut = fresh
        cut.day(day, *rows(day))
    assert cut.findings == whole.findings
    assert {finding.kind for finding in whole.findings.values()} >= {
        "tag_policy",
        "orphaned_storage",
    }


def test_a_machine_that_was_forgotten_is_known_after_a_restart_while_its_storage_is_there():
    world, fresh = World(), World()
    for day in range(100):
        store = row(day, "vol-1a", 3, tags={"instance": "i-0a1b"})
        world.day(day, store, *([row(day)] if day < 4 else []))
    kept = {chunk.stream: [memoryview(chunk.data)] for chunk in world.pipeline.save(Streams())}
    fresh.pipeline.restore(Saved(kept, kept.__getitem__))
    fresh.offset, fresh.findings = world.offset, world.findings
    fresh.day(100, row(100, "vol-1a", 3, tags={"instance": "i-0a1b"}))
    [found] = fresh.of("orphaned_storage")
    assert found.ending == ""


def test_a_dimension_has_several_spellings_and_those_of_the_config_go_first():
    dimensions = Dimensions({"team": ["crew"]})
    assert dimensions.of({"user:Crew": "a", "team": "b"}, "team") == "a"
    assert dimensions.of({"ENV": "prod"}, "environment") == "prod"
    assert dimensions.of({"env": True}, "environment") is None
    assert dimensions.of({"Cost-Center": 42}, "cost-center") == "42"


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({}, "neither required nor allowed"),
        ({"allowed": {"env": []}}, "allowed.env is empty"),
        ({"required": ["team"], "from_per_month": "-1"}, "from_per_month is below 0"),
    ],
)
def test_a_policy_that_asks_for_nothing_is_refused(policy, why):
    with pytest.raises(ConfigError, match=why):
        checked({"allocation": {"policies": {"p": policy}}}, Settings, "the config")
