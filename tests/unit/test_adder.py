"""Parts of all series with an adder over them find what one pipeline over all would."""

from datetime import UTC, datetime
from zlib import crc32

import msgspec
import pytest

from service.bootstrap import build_adder, build_pipeline
from service.config import Settings
from service.core.intents import Feedback, Order
from service.core.state import Streams
from tests.arriving import Disk
from tests.crossing import BEGINS, ENDS, HOUR, row, rows, sums

pytestmark = pytest.mark.slow  # weeks through the whole pipeline

T0 = datetime(2026, 3, 1, tzinfo=UTC)
PARTS = 3


def batches():
    """The past at once, then hour by hour."""
    found = {}
    for arrival in rows(T0):
        found.setdefault(max(arrival.arrived_at, T0 + (BEGINS - 1) * HOUR), []).append(arrival)
    return sorted(found.items())


def part_of(arrival):
    return crc32(arrival.event.resource_id.encode()) % PARTS


def settings():
    known = Settings()
    detection = msgspec.structs.replace(
        known.detection, group_by=[*known.detection.group_by, "tag:env"]
    )
    return msgspec.structs.replace(known, detection=detection)


SAID_AT = T0 + (BEGINS + 6) * HOUR


def order(names, verdict="new_level"):
    said = Feedback(
        at=SAID_AT, who="ana", via="api", why="y", incident_id="i", verdict=verdict
    )  # fmt: skip
    return Order(feedback=said, finding_ids=sorted(names), undoes=None)


def of_series(found):
    return [n for n, m in found.items() if "~" not in m.finding.series and not m.finding.backfill]


def alone(feedback=False):
    pipeline = build_pipeline(settings(), {"events": "effective"}, tells_history=True)
    found = {}
    for offset, (now, batch) in enumerate(batches(), 1):
        for member in pipeline.find(batch, now, offset).members:
            found[member.finding.finding_id] = member
        if feedback and now == SAID_AT:
            for member in pipeline.obey(order(of_series(found)), now):
                found[member.finding.finding_id] = member
    return pipeline, found


class Together:
    """Parts, and what adds them up."""

    def __init__(self):
        metrics = {"events": "effective"}
        self.parts = [
            build_pipeline(settings(), metrics, tells_history=True, is_part=True)
            for _ in range(PARTS)
        ]
        self.adder = build_adder(settings())
        self.found = {}

    def take(self, offset, now, batch):
        said, levels = [], []
        for number, part in enumerate(self.parts):
            mine = [one for one in batch if part_of(one) == number]
            self._note(part.find(mine, now, offset).members)
            said += [(str(number), cell) for cell in part.partials(now)]
            levels += part.asked_levels()
        self.adder.take_levels(levels, now)
        self._note(self.adder.find(said, now))
        assert self.adder.find(said, now) == []

    def obey(self, now):
        what = order(of_series(self.found))
        for part in self.parts:
            self._note(part.obey(what, now))

    def restart(self):
        """Go on from what was saved."""
        old = [self.adder, *self.parts]
        fresh = Together()
        for one, new in zip(old, [fresh.adder, *fresh.parts], strict=True):
            disk = Disk()
            disk.write(one.save(Streams()))
            assert new.restore(disk.saved()) == []
        self.adder, self.parts = fresh.adder, fresh.parts

    def _note(self, members):
        self.found |= {member.finding.finding_id: member for member in members}


def run(restarts=(), feedback=False):
    together = Together()
    for offset, (now, batch) in enumerate(batches(), 1):
        together.take(offset, now, batch)
        if feedback and now == SAID_AT:
            together.obey(now)
        if offset in restarts:
            together.restart()
    return together


@pytest.fixture(scope="module")
def wanted():
    return alone()[1]


@pytest.fixture(scope="module")
def got():
    return run().found


def findings(found):
    return {name: member.finding for name, member in found.items()}


def test_what_crosses_parts_is_found_as_by_one(wanted, got):
    crossing = sums(findings(wanted).values())
    assert {one.detector for one in crossing.values()} >= {"new_spend", "spike", "shift"}
    assert sums(findings(got).values()) == crossing


def test_what_is_found_of_single_series_and_where_it_belongs_is_the_same(wanted, got):
    assert findings(got) == findings(wanted)
    for name, member in wanted.items():
        assert got[name].groups == member.groups
        assert got[name].is_group == member.is_group


def test_parts_and_adder_that_are_saved_and_restored_find_the_same(got):
    assert findings(run(restarts=(3, 9, 30)).found) == findings(got)


def wakes(t0):
    """A machine of a region of its own that cost nothing, and then much."""
    for hour in range(ENDS):
        for number in range(8):
            more = {"region_id": "eu-north-1"} if number == 4 else {}
            cost = (60 if hour >= BEGINS + 10 else 0) if number == 4 else 5 + (hour + number) % 3
            yield row(T0, hour, f"i-{number}", cost, tags={"team": "search"}, **more)


def test_what_a_series_tells_of_its_own_is_no_first_spend_any_more(monkeypatch):
    monkeypatch.setattr("tests.unit.test_adder.rows", lambda _: wakes(T0))
    [one] = [found for found in findings(alone()[1]).values() if found.impact > 1]
    assert (one.detector, one.impact) == ("new_spend", 26 * 60)
    told = [found for found in findings(run().found).values() if found.impact > 1]
    assert {found.detector for found in told} == {"new_spend", "spike"}
    assert sum(found.impact for found in told) == one.impact


def levels_of(scorings):
    return {
        scoring._rows.key(one.row): (one.level.since, pytest.approx(one.level.more))
        for scoring in scorings.values()
        for one in scoring._levels.all()
    }


def test_a_new_level_of_resources_is_one_of_their_groups_as_with_one():
    pipeline, single = alone(feedback=True)
    together = run(feedback=True, restarts=(7, 9))
    levels = levels_of(pipeline._parts.group_scorings)
    assert {of.resource for of in levels} >= {"~group~owner=ads", "~group~region=us-east-1"}
    assert levels_of(together.adder._parts.scorings) == levels
    assert findings(together.found) == findings(single)
