import numpy as np
import pytest

from tests.benchmarks.detection import compare, judge, peers, plan
from tests.benchmarks.detection.faults import KINDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def rows():
    return compare.rows("known", plan.QUICK)


def found(tallies):
    """The share of all faults that were found."""
    delays = [delay for kind in KINDS for delay in judge.add(tallies).delays[kind]]
    return np.mean([delay is not None for delay in delays])


def test_our_default_finds_more_faults_than_any_peer_at_the_asked_rate(rows):
    ours, theirs = rows[0], rows[3:]
    assert {row.name for row in theirs} == set(peers.able(slow=False))
    beaten = {row.name: found(row.tallies) for row in theirs}
    assert max(beaten.values()) < found(ours.tallies)


def test_our_default_raises_about_as_many_false_findings_as_it_is_asked(rows):
    low, high = judge.interval(rows[0].tallies)
    assert low < 2 * plan.ASKED
    assert high > plan.ASKED / 4


def test_no_peer_was_calibrated_to_more_than_the_asked_rate():
    series = compare.series("known", plan.QUICK.calibration, plan.CALIBRATION["known"])
    for name in peers.able(slow=False):
        heard = compare.calibration("known", plan.QUICK.calibration, name)
        level = peers.threshold(heard, series, plan.ASKED)
        tally = judge.add(judge.each(series, peers.findings(heard, level)))
        assert tally.rate <= plan.ASKED, name
