from datetime import UTC, datetime, timedelta

import pytest

from service.core.health import health_of
from service.core.ports import SourceStatus

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def judged(*sources, deliveries=None, next_due=None, rebuilding=False):
    return health_of(sources, deliveries or {}, next_due, NOW, rebuilding=rebuilding)


def a_source(**values):
    return SourceStatus(**({"source": "aws", "events": 1000, "last_arrived_at": NOW} | values))


def test_a_service_that_hears_and_tells_is_ok():
    assert judged(
        a_source(rejected=10), deliveries={"sent": 9, "ready": 2}, next_due=NOW + timedelta(hours=1)
    ) == ("ok", ())


def test_a_new_service_without_sources_is_ok():
    assert judged() == ("ok", ())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"last_error": "no manifest"}, "Source aws: no manifest"),
        (
            {"last_arrived_at": NOW - timedelta(hours=48, seconds=1)},
            "Source aws: nothing arrived for over 48 h.",
        ),
        ({"rejected": 11}, "Source aws: 11 of 1011 rows were rejected."),
    ],
)
def test_a_source_with_a_fault_degrades_and_is_named(values, said):
    assert judged(a_source(source="gcp"), a_source(**values)) == ("degraded", (said,))


@pytest.mark.parametrize(
    ("outbox", "said"),
    [
        ({"deliveries": {"dead": 1}}, "1 notice could not be delivered."),
        ({"deliveries": {"unknown": 2}}, "2 notices may or may not have arrived."),
        (
            {"next_due": NOW - timedelta(minutes=6)},
            "Notices wait to be sent since 10 Mar 2026 11:54 UTC.",
        ),
    ],
)
def test_notices_that_do_not_arrive_degrade(outbox, said):
    assert judged(a_source(), **outbox) == ("degraded", (said,))


def test_rebuilding_is_said_before_the_faults_that_come_with_it():
    health = judged(a_source(last_error="no manifest"), rebuilding=True)
    assert health.state == "rebuilding"
    assert health.reasons == ("The store is being rebuilt from the log.", "Source aws: no manifest")


def test_what_is_wrong_with_the_process_itself_is_a_reason():
    assert health_of([], {}, None, NOW, rebuilding=False, faults=["The sender has ended."]) == (
        "degraded",
        ("The sender has ended.",),
    )
