"""One machine's threads: when one of them ends, the page says so."""

import threading
import time

import httpx

from service.adapters.history import History
from service.bootstrap import build_notifiers
from service.config import ApiSettings, Settings
from service.core.gates import FAILURES
from service.core.ports import Changes
from service.core.secret import Secret
from service.entrypoints.machine import Machine, Parts
from service.telemetry import Metrics
from tests.factories import make_notice
from tests.ports import free_port


def status(address):
    return httpx.get(f"{address}/v1/status").json()


def test_a_sender_that_ended_is_said_by_the_status(store, tmp_path):
    class Broken:
        def __getattr__(self, name):
            return getattr(store, name)

        def claim(self, now, lease):
            raise ZeroDivisionError

    history = History(tmp_path / "history")
    parts = Parts(
        Settings(api=ApiSettings(port=0, local="viewer")), Broken(), history, Metrics("test"), {}
    )
    with Machine(parts, threading.Event()).serving() as address:
        for _ in range(100):
            found = status(address)
            if found["state"] != "ok":
                break
            time.sleep(0.05)
    history.close()
    assert found["state"] == "degraded"
    assert found["reasons"] == ["The sender has ended: no notice is sent until a restart."]


def test_a_destination_that_fails_is_named_by_the_status_and_by_the_metrics(store, tmp_path):
    port = free_port()
    settings = Settings(
        api=ApiSettings(port=0, local="viewer"),
        receivers={"everyone": ["pagerduty:oncall"]},
        notifiers={
            "pagerduty": {
                "base_url": f"http://127.0.0.1:{port}",
                "to": {"oncall": {"routing_key": Secret("r" * 32)}},
            }
        },
    )
    notices = [
        make_notice(delivery_id=f"d{n}", incident_id=f"i{n}", destination="pagerduty:oncall")
        for n in range(FAILURES)
    ]
    store.save(Changes(previous=0, offset=1, notices=notices))
    history = History(tmp_path / "history")
    notifiers = build_notifiers(settings)
    parts = Parts(settings, store, history, Metrics("test"), notifiers)
    with Machine(parts, threading.Event()).serving() as address:
        for _ in range(200):
            found = status(address)
            if found["state"] != "ok":
                break
            time.sleep(0.05)
        metrics = httpx.get(f"{address}/metrics").text
    history.close()
    assert found["reasons"][0].startswith("pagerduty:oncall takes no notices since 20")
    assert found["reasons"][0].endswith("UTC: cannot connect (ConnectionRefusedError).")
    assert 'spendwatch_circuit_open{notifier="pagerduty"} 1.0' in metrics
