"""Parts of all series with an adder over them find what one pipeline over all would."""

from datetime import UTC, datetime
from zlib import crc32

import msgspec
import pytest

from service.bootstrap import build_adder, build_pipeline
from service.config import Settings
from service.core.state import Streams
from tests.arriving import Disk
from tests.crossing import BEGINS, HOUR, rows, sums

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


def alone():
    pipeline = build_pipeline(settings(), {"events": "effective"}, tells_history=True)
    found = {}
    for offset, (now, batch) in enumerate(batches(), 1):
        for member in pipeline.find(batch, now, offset).members:
            found[member.finding.finding_id] = member
    return found


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
        said = []
        for number, part in enumerate(self.parts):
            mine = [one for one in batch if part_of(one) == number]
            self._note(part.find(mine, now, offset).members)
            said += [(str(number), cell) for cell in part.partials(now)]
        self._note(self.adder.find(said, now))
        assert self.adder.find(said, now) == []

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


def run(restarts=()):
    together = Together()
    for offset, (now, batch) in enumerate(batches(), 1):
        together.take(offset, now, batch)
        if offset in restarts:
            together.restart()
    return together.found


@pytest.fixture(scope="module")
def wanted():
    return alone()


@pytest.fixture(scope="module")
def got():
    return run()


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
    assert findings(run(restarts=(3, 9, 30))) == findings(got)
