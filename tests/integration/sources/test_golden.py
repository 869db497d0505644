"""What each native row becomes in FOCUS is written down; see tests/golden.py to write it afresh."""

import pytest

from service.adapters.sources import SOURCES
from tests.golden import DATA, described, golden_of
from tests.golden_records import NAMES as RECORDS

NAMES = sorted(path.stem for path in (DATA / "golden").glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_a_native_row_becomes_what_is_written_down(name):
    assert described(name) == golden_of(name).read_text()


def test_every_source_has_what_it_reads_written_down():
    assert sorted([*NAMES, *RECORDS]) == sorted(SOURCES)
