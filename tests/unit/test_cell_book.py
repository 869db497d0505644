"""Cells of several parts, and the groups that they add up to."""

from datetime import timedelta
from decimal import Decimal
from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import EPOCH
from service.core.cell_book import CellBook
from service.core.cell_sums import CellSums
from service.core.cells import CellName
from service.core.events import CELL_MARK, EARLIEST, SeriesKey
from service.core.owners import Owner
from service.core.partials import CellPart, StepPart
from service.core.rollups import Rollup, Rollups, few
from service.core.state import Streams
from tests.arriving import Disk


def cell_of(team, region="r", things=()):
    name = [team, f"tag team={team}", "a", "EC2", region, team, *things]
    mark = CELL_MARK + msgspec.json.encode(name).decode()
    return SeriesKey("aws", "a", mark, "USD", "hour")


CELLS = [cell_of(team, region) for team in ("x", "y") for region in ("r", "s")]
AMOUNTS = st.integers(-5, 50).map(lambda n: Decimal(n) / 4)


@st.composite
def rollups(draw):
    costs = draw(st.lists(AMOUNTS, max_size=4))
    told = tuple(draw(st.tuples(*[AMOUNTS] * 4))) if draw(st.booleans()) else ()
    if not costs:
        return Rollup(told=told)
    new = few(*draw(st.lists(st.sampled_from(costs), max_size=3)))
    return Rollup(sum(costs), len(costs), max(costs), new, told)


SAID = st.lists(
    st.tuples(st.sampled_from("01"), st.sampled_from(CELLS), st.integers(0, 1), rollups()),
    min_size=1, max_size=6,
)  # fmt: skip


def part(cell, *steps, size=1, alone=None):
    return CellPart(cell, size, alone, [StepPart(s, EARLIEST, r) for s, r in steps])


@given(st.lists(SAID, max_size=4))
def test_a_group_is_at_any_time_what_all_parts_last_said_of_its_cells(batches):
    sums = Rollups()
    book, newest = CellBook(["owner"], sums), {}
    for batch in batches:
        news = book.put((part_, part(cell, (step, one))) for part_, cell, step, one in batch)
        book.add_up(news)
        newest |= {(name, cell, step): one for name, cell, step, one in batch}
        for team in "xy":
            for step in (0, 1):
                group = SeriesKey("aws", "", f"~group~owner={team}", "USD", "hour")
                mine = [
                    one
                    for (_, cell, at), one in newest.items()
                    if at == step and group in book.groups(cell) and (one.members or one.told)
                ]
                whole = reduce(Rollup.join, mine) if mine else Rollup()
                assert sums.at(group, step).cost == whole.cost
                assert sums.at(group, step).members == whole.members
                if whole.members:
                    paid = [one for one in mine if one.members]
                    assert sums.at(group, step).largest == max(one.largest for one in paid)
                assert sums.at(group, step).new == whole.new
                told = sums.at(group, step).told
                assert (told or (0,) * 4) == (whole.told or (0,) * 4)


def test_what_is_said_again_changes_nothing():
    book = CellBook(["owner"], Rollups())
    said = [("0", part(CELLS[0], (7, Rollup(Decimal(3), 1, Decimal(3)))))]
    first = book.put(said)
    assert book.add_up(first).keys() == {(book.groups(CELLS[0])[0], 7)}
    again = book.put(said)
    assert (again.costs, book.add_up(again)) == ({}, {})


def test_a_cell_says_who_owns_it_where_it_is_and_what_it_is_spent_on():
    cell = cell_of("x", things=("family=p4d", "region=r", "region=s"))
    name = CellName.of(cell, 1)
    assert name.owner == Owner("x", "tag team=x")
    assert (name.sub_account_id, name.service_name, name.region_id) == ("a", "EC2", "r")
    assert name.things == {"family": ("p4d",), "region": ("r", "s")}


@pytest.mark.parametrize("resource", ["i-1", CELL_MARK + '["x"]'])
def test_what_is_no_cell_is_refused(resource):
    with pytest.raises(ValueError, match="not a cell"):
        CellName.of(SeriesKey("aws", "a", resource, "USD", "hour"), 1)


def test_a_resource_that_is_alone_is_named_and_one_of_several_is_not():
    book = CellBook(["owner"], Rollups())
    paid = (7, Rollup(Decimal(3), 1, Decimal(3)))
    book.put([("0", part(CELLS[0], paid, alone=("i-1", "one")))])
    (place,) = book.places([CELLS[0]])
    assert (place.resource_id, place.resource_name) == ("i-1", "one")
    book.put([("1", part(CELLS[0], paid, alone=("i-2", "two")))])
    (place,) = book.places([CELLS[0]])
    assert (place.resource_id, place.resource_name) == (None, None)
    assert book.size(CELLS) == 2


def test_saved_and_restored_it_is_the_same_and_other_groups_are_refused():
    sums = Rollups()
    book = CellBook(["owner"], sums)
    book.put([("0", part(CELLS[0], (7, Rollup(Decimal(3), 1, Decimal(3)))))])
    disk = Disk()
    disk.write(book.save(Streams(), "book"))
    back = CellBook(["owner"], Rollups())
    back.restore(disk.saved(), "book")
    assert back.point(CELLS[0], 7) == Decimal(3)
    assert back.groups(CELLS[0]) == book.groups(CELLS[0])
    with pytest.raises(ValueError, match="other dimensions"):
        CellBook(["service"], Rollups()).restore(disk.saved(), "book")


@given(st.lists(st.tuples(SAID, st.sampled_from(["close", "save", "go on"])), max_size=5))
def test_packed_or_open_saved_or_not_a_cell_says_what_its_parts_do(batches):
    sums, plain, streams, disk = CellSums(), Rollups(), Streams(), Disk()
    for batch, then in batches:
        for name, cell, step, one in batch:
            said = plain.put(cell, 40 * step, name, one)
            assert sums.put(cell, 40 * step, name, one) == said
        if then == "close":
            sums.close()
        elif then == "save":
            disk.write(sums.save(streams, "sums"))
            sums = CellSums()
            sums.restore(disk.saved(), "sums")
            streams = _followed(disk)
        for cell in CELLS:
            assert sums.steps(cell) == plain.steps(cell)
            for step in (0, 40):
                assert sums.at(cell, step) == plain.at(cell, step)
                assert sums.point(cell, step) == plain.point(cell, step)


def _followed(disk):
    saved = disk.saved()
    CellSums().restore(saved, "sums")
    return saved.followed


def test_days_that_are_too_old_are_let_go_of():
    sums = CellSums()
    one = Rollup(Decimal(3), 1, Decimal(3))
    sums.put(CELLS[0], 30, "0", one)
    sums.put(CELLS[0], 60, "0", one)
    sums.put(CELLS[1], 30, "0", one)
    assert sums.forget(EPOCH + timedelta(days=2)) == [CELLS[1]]
    assert sums.steps(CELLS[0]) == [60]
    sums.drop([CELLS[1]])
    assert sums.steps(CELLS[1]) == []
