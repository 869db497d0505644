"""What each record becomes in FOCUS is written down: tests/golden_records.py writes it."""

import pytest

from tests.golden_records import NAMES, described, golden_of


@pytest.mark.parametrize("name", NAMES)
def test_a_record_becomes_what_is_written_down(name):
    assert described(name) == golden_of(name).read_text()
