import io
import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import pytest
import structlog

from service.core.findings import Finding
from service.core.notices import DeliveryState
from service.core.ports import Changes, SourceStatus
from service.core.secret import Secret
from service.entrypoints.counting import Counting
from service.telemetry import Metrics, configure_logging

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def untouched_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def a_finding(number):
    return Finding(
        finding_id=f"f{number}",
        detector="spike",
        kind="spike",
        status="provisional",
        series=f"aws/{number}/i-{number}/USD/hour",
        resource_id=f"i-{number}",
        sub_account_id=f"{number}",
        service_name=f"service {number}",
        region_id=f"region-{number}",
        owner=f"team-{number}",
        charge_period_start=NOW,
        charge_period_end=NOW + timedelta(hours=1),
        detected_at=NOW,
        score=9.0,
        actual=Decimal(number),
        expected=Decimal(1),
        expected_low=Decimal(1),
        expected_high=Decimal(1),
        impact=Decimal(number),
        billing_currency="USD",
        reason=f"reason {number}",
    )


def lines(metrics):
    return [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]


def test_ten_thousand_resources_add_no_time_series():
    metrics = Metrics("1")

    def watch(number):
        metrics.event("aws", "new", timedelta(milliseconds=number))
        metrics.finding(a_finding(number))
        metrics.notice("slack", "sent", timedelta(seconds=1))
        metrics.series.set(number)

    watch(0)
    before = len(lines(metrics))
    for number in range(1, 10_000):
        watch(number)
    after = lines(metrics)
    assert len(after) == before
    assert 'spendwatch_events_processed_total{outcome="new",source="aws"} 10000.0' in after
    assert (
        'spendwatch_findings_total{detector="spike",kind="spike",state="provisional"} 10000.0'
        in after
    )
    assert "spendwatch_series 9999.0" in after


def test_every_own_metric_has_the_prefix_and_a_help_text():
    metrics = Metrics("1")
    documented = [
        line.split(maxsplit=3)
        for line in metrics.render().decode().splitlines()
        if line.startswith("# HELP")
    ]
    own = [words for words in documented if not words[2].startswith(("process_", "python_"))]
    assert len(own) > 10
    assert all(words[2].startswith("spendwatch_") and len(words) == 4 for words in own)


def test_a_rejected_event_is_also_a_dead_letter():
    metrics = Metrics("1")
    metrics.event("aws", "rejected", number=3)
    assert 'spendwatch_dead_letters_total{source="aws"} 3.0' in lines(metrics)


def test_a_state_that_emptied_reads_zero_and_not_its_old_count():
    metrics = Metrics("1")
    metrics.outbox({"ready": 4, "sent": 9})
    metrics.outbox({"sent": 13})
    shown = [line for line in lines(metrics) if line.startswith("spendwatch_outbox_depth")]
    assert len(shown) == len(get_args(DeliveryState))
    assert 'spendwatch_outbox_depth{state="ready"} 0.0' in shown
    assert 'spendwatch_outbox_depth{state="sent"} 13.0' in shown


def test_firing_incidents_are_counted_by_severity():
    metrics = Metrics("1")
    metrics.firing({"high": 2, "low": 1})
    shown = lines(metrics)
    assert 'spendwatch_incidents_open{severity="high"} 2.0' in shown
    assert 'spendwatch_incidents_open{severity="medium"} 0.0' in shown


def test_two_processes_worth_of_metrics_do_not_meet():
    first, second = Metrics("1"), Metrics("1")
    first.event("aws", "new")
    assert not any("events_processed_total{" in line for line in lines(second))


def test_a_log_line_is_one_json_object_whatever_it_holds(untouched_logging):
    stream = io.StringIO()
    configure_logging("info", stream)
    nasty = 'i-1\n{"level":"error"}\x1b[2J'
    structlog.get_logger("worker").info("took in", resource=nasty, token=Secret("xoxb-1"))
    logging.getLogger("uvicorn.error").warning("bad path %s", nasty)
    own, foreign = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert own["resource"] == nasty
    assert own["event"] == "took in"
    assert own["level"] == "info"
    assert own["logger"] == "worker"
    assert own["timestamp"].endswith("Z")
    assert foreign["logger"] == "uvicorn.error"
    assert "xoxb-1" not in stream.getvalue()


def test_on_a_terminal_no_value_can_write_its_own_line_or_colours(untouched_logging):
    stream = Terminal()
    configure_logging("info", stream)
    nasty = "i-1\nforged line\x1b[2J"
    structlog.get_logger("worker").info("took in", resource=nasty)
    logging.getLogger("uvicorn.error").warning("bad path %s", nasty)
    shown = stream.getvalue()
    assert len(shown.splitlines()) == 2
    assert "\x1b[2J" not in shown


def test_a_long_value_is_cut_and_a_low_level_is_silent(untouched_logging):
    stream = io.StringIO()
    configure_logging("warning", stream)
    log = structlog.get_logger("worker")
    log.info("not shown")
    log.warning("shown", text="x" * 10_000)
    (line,) = stream.getvalue().splitlines()
    assert len(line) < 2300


def test_a_logged_exception_is_told_without_the_values_of_its_frames(untouched_logging):
    stream = Terminal()
    configure_logging("info", stream)
    hidden = "frame-" + "value"
    try:
        int(hidden[:0])
    except ValueError:
        structlog.get_logger("worker").exception("failed")
    assert "ValueError" in stream.getvalue()
    assert hidden not in stream.getvalue()


def test_an_unknown_level_is_refused(untouched_logging):
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud", io.StringIO())


def test_how_old_events_are_when_they_are_saved_is_counted_once_a_batch():
    metrics, now = Metrics("0"), datetime(2026, 6, 1, tzinfo=UTC)
    counting = Counting(metrics, lambda: now)
    for events in (5, 9, 9):
        status = SourceStatus(
            source="aws", events=events, last_arrived_at=now - timedelta(seconds=30)
        )
        counting.count(Changes(previous=0, offset=1, sources=[status]), is_news=True)
    shown = metrics.render().decode()
    assert 'spendwatch_event_age_seconds_count{source="aws"} 2.0' in shown
    assert 'spendwatch_event_age_seconds_sum{source="aws"} 60.0' in shown
