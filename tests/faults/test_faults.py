"""The promise under faults, in short: nothing lost, nothing said twice, and the state of no faults.

`make test-faults` is the long form.
"""

import pytest

from tests.faults.rounds import Spec, run_round
from tests.store_server import StoreServer


@pytest.fixture
def store_of_its_own(tmp_path):
    server = StoreServer(tmp_path / "store").start()
    yield server
    server.kill()


@pytest.mark.timeout(600)
def test_twelve_kills_a_lost_store_wrong_clocks_and_a_slack_that_fails_lose_and_double_nothing(
    kafka_server, store_of_its_own, tmp_path
):
    faults = {
        "worker": 3, "rollups": 2, "router": 2, "sending": 4, "api": 1, "wiped": 1, "emptied": 3,
        "slack": 6, "torn": 1, "store_disk": 1, "clock": 3,
    }  # fmt: skip
    spec = Spec("short", faults, incidents=40, seconds=15, may_exit=True)
    outcome = run_round(spec, 1, kafka_server, store_of_its_own, tmp_path / "round", waits=False)
    assert outcome.flaws == {}
    assert outcome.kills == 12
    assert len(outcome.told.seconds) == 40
