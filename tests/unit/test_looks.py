"""What partitions see of allocation adds up to what one pipeline over all of it tells."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from service.bootstrap import build_adder, build_pipeline
from service.config import AllocationSettings, KafkaSettings, Settings, SourceSettings
from service.core.events import Arrival
from service.core.intents import Feedback, Order
from service.core.looks import PIECE, Look
from service.core.machines import Word
from service.core.partitions import partition_key, partition_of
from service.core.state import Streams
from service.core.tag_policy import Policy
from service.core.unit_costs import UnitCost, UnitPart
from tests.arriving import Disk
from tests.factories import make_day

T0 = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 56
PARTS = 3
SETTINGS = Settings(
    sources={"usage": SourceSettings(path=".", kind="counts")},
    kafka=KafkaSettings(partitions=PARTS),
    allocation=AllocationSettings(
        policies={
            "tags": Policy(required=["team", "environment"], allowed={"environment": ["prod"]}),
            "dear": Policy(required=["project"], from_per_month=Decimal(4000)),
        },
        unit_costs={
            "inference": UnitCost(where={"team": "ml"}, counts="usage", per=Decimal(1000)),
            "all": UnitCost(where={"owner": "ml"}, counts="usage", count="u-1", belongs_to="web"),
        },
    ),
)


def row(day, resource, cost, revision=0, **more):
    return make_day(T0, day, resource, cost, revision, **more)


def rows(day):
    """Yield a day of ten resources, whose tags lack this and that, and of what is counted."""
    price = 1 if day < 46 else 2
    for number in range(10):
        tags = {"team": "ml"} if number < 5 else {"owner": ("web", "ml")[number % 2]}
        if number % 3 == 0 or day > 50:
            tags["env"] = "prod" if number else "prd"
        yield "aws", row(day, f"i-{number}", price * (20 + number), tags=tags)
    yield from machines_and_storage(day)
    if day == 20:
        yield "aws", row(3, "i-2", 999, revision=1, tags={})
    unused = {"commitment_discount_status": "Unused", "commitment_discount_id": "ri-9"}
    for name in ("ri-9", "ri-8") if 10 < day < 30 else ("ri-8",):
        yield "aws", row(day, name, 48, tags={"team": "web", "env": "prod"}, **unused)
    for number in range(4):
        units = Decimal(1000 + day % 7)
        more = {"sku_id": f"u-{number}", "consumed_quantity": units, "pricing_quantity": units}
        yield "usage", row(day, f"u-{number}", 0, **more)


def is_on(number, day):
    """Tell whether one of several machines runs on a day; some come back."""
    return day < 4 + 3 * number or (number % 3 == 0 and 20 + number < day < 32)


def machines_and_storage(day):
    """Yield machines that are gone at some time, and what is, or may be, their storage."""
    for number in range(8):
        machine = {"resource_name": f"web{number}", "sub_account_id": f"a{number % 2}"}
        if is_on(number, day):
            yield "aws", row(day, f"i-0abc{number}", 90, **machine)
        tags = {"team": "ml", "Instance-ID": f"i-0abc{number}"}
        if not (number == 1 and 20 < day < 28) and (number != 2 or day < 30):
            account = machine["sub_account_id"]
            yield "aws", row(day, f"vol-0d{number}", 3 + number, tags=tags, sub_account_id=account)
            yield "aws", row(day, f"/x/disks/web{number}-data-disk", 2, sub_account_id=account)
    # Two machines have one name, of which one runs.
    yield "aws", row(day, "i-0eeee", 9, resource_name="twin")
    if day < 6:
        yield "aws", row(day, "i-0ffff", 9, resource_name="twin")
    yield "aws", row(day, "vol-0e", 3, tags={"vm": "twin"})
    # One is named anew while it runs; of a third nobody ever heard.
    yield "aws", row(day, "i-0dddd", 9, resource_name="old" if day < 8 else "new")
    yield "aws", row(day, "vol-0f", 3, tags={"vm": "old"})
    yield "aws", row(day, "vol-0a", 3, tags={"vm": "never"})


def batches():
    """The bill of a day comes half an hour after noon of the next; whole hours bring nothing."""
    for day in range(DAYS):
        noon = T0 + (day + 1.5) * DAY
        now = noon + timedelta(minutes=30)
        yield noon, []
        yield now, [Arrival(now, feed, event) for feed, event in rows(day)]
        yield noon + timedelta(hours=1), []
    yield noon + timedelta(hours=1, minutes=5), []


def order(found):
    said = Feedback(
        at=T0 + 50 * DAY, who="a", via="api", why="y", incident_id="i", verdict="not_an_issue"
    )
    names = sorted(n for n, m in found.items() if m.finding.series.startswith("~unit~"))
    return Order(feedback=said, finding_ids=names, undoes=None)


def alone():
    pipeline, found = build_pipeline(SETTINGS, {}, tells_history=True), {}
    for offset, (now, batch) in enumerate(batches(), 1):
        members = pipeline.find(batch, now, offset).members
        if now == T0 + 50.5 * DAY:
            members += pipeline.obey(order(found), now)
        found |= {member.finding.finding_id: member for member in members}
    return found, pipeline.unallocated(now), pipeline.unit_bills(now), pipeline


def apart(restarts):
    """Do the same in parts, saved and restored now and then, with what they see as JSON."""

    def made():
        return build_adder(SETTINGS), [
            build_pipeline(SETTINGS, {}, tells_history=True, is_part=True) for _ in range(PARTS)
        ]

    adder, parts = made()
    found = {}
    for offset, (now, batch) in enumerate(batches(), 1):
        cells, looks, members = [], [], []
        for number, part in enumerate(parts):
            mine = [a for a in batch if partition_of(partition_key(a.event), PARTS) == number]
            members += part.find(mine, now, offset).members
            cells += [(str(number), cell) for cell in part.partials(now)]
            look = part.look()
            for piece in look.pieces() if look else ():
                said = msgspec.json.decode(msgspec.json.encode(piece), type=Look)
                looks.append((str(number), said))
        members += adder.find(cells, now, reversed(looks))
        for number, word in adder.words():
            said = msgspec.json.decode(msgspec.json.encode(word), type=Word)
            members += parts[int(number)].hear(said, now)
            assert parts[int(number)].hear(said, now) == []
        if now == T0 + 50.5 * DAY:
            members += adder.obey(order(found), now)
        found |= {member.finding.finding_id: member for member in members}
        if offset in restarts:
            old, (adder, parts) = (adder, *parts), made()
            for one, new in zip(old, (adder, *parts), strict=True):
                disk = Disk()
                disk.write(one.save(Streams()))
                assert new.restore(disk.saved()) == []
    return found, *adder.allocated(), adder


def allocated(found):
    kinds = ("tag_policy", "unused_commitment")
    return {
        name: member.finding
        for name, member in found.items()
        if member.finding.kind in kinds or member.finding.series.startswith("~unit~")
    }


@pytest.fixture(scope="module")
def wanted():
    return alone()


@pytest.fixture(scope="module")
def got():
    return apart(restarts=(5, 60, 95, 130))


def test_missing_tags_unused_commitments_and_unit_costs_are_found_as_by_one(wanted, got):
    one = allocated(wanted[0])
    assert {finding.kind for finding in one.values()} >= {
        "tag_policy",
        "unused_commitment",
        "shift",
    }
    assert any(finding.ending == "mended" for finding in one.values())
    assert {finding.owner for finding in one.values()} == {"ml", "web", "unowned"}
    assert allocated(got[0]) == one


def test_storage_without_its_machine_is_found_as_by_one(wanted, got):
    one = orphaned(wanted[0])
    assert len(one) == 20
    assert sum(found.ending == "mended" for found in one.values()) == 6
    assert orphaned(got[0]) == one


def orphaned(found):
    return {n: m.finding for n, m in found.items() if m.finding.kind == "orphaned_storage"}


def test_what_cannot_be_allocated_and_what_units_cost_is_shown_as_by_one(wanted, got):
    assert len(wanted[1].gaps) > 4
    kinds = {lapse.kind for lapse in wanted[1].lapses}
    assert kinds == {"tag_policy", "orphaned_storage", "unused_commitment"}
    assert got[1] == wanted[1]
    assert [len(bill.days) for bill in wanted[2]] == [34, 34]
    assert got[2] == wanted[2]


def test_a_unit_costs_finding_has_its_chart(wanted, got):
    name = next(n for n, m in got[0].items() if m.finding.series.startswith("~unit~"))
    chart = got[3].chart(name)
    assert len(chart.actual) > 20
    assert chart == wanted[3].chart(name)


def test_pieces_of_a_look_are_small_and_hold_all_of_it():
    units = [UnitPart("u", day, Decimal(1), Decimal(2)) for day in range(2 * PIECE + 1)]
    look = Look(at=T0, units=units)
    pieces = list(look.pieces())
    assert [len(piece.units) for piece in pieces] == [PIECE, PIECE, 1]
    assert [unit for piece in pieces for unit in piece.units] == units
    assert [len(piece.units) for piece in Look(at=T0).pieces()] == [0]
